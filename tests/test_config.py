"""params.yaml: what is laid over what, and errors that name the key."""

import difflib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tiny import ROOT

from colorexp import config
from colorexp.config import GROUPS

MAIN = "user_guided/res_unet"
NETWORKS = ("simple_unet", "res_unet", "trans_unet")

SMALL_PARAMS = """\
profile: cpu
seed: 7
datasets:
  scenes: {source: scenes, root: colorexp/data/scenes, in: [smoke, cpu, gpu], train: 9, val: 3, test: 5}
  photos: {source: bundled, root: data/bundled, in: [cpu]}
shared:
  common: &common
    in: [cpu, gpu]
    init: artifacts/prepared/scenes/stats.json
    model: some.module:Model
    task: some.module:Task
    train_on: {scenes: 1}
    validate_on: scenes
    evaluate_on: [scenes]
    size: 64
    train_view: crop
    eval_view: whole
    epochs: 10
    batch: 8
    lr: 1e-2
runs:
  paper:
    first:
      <<: *common
      parent: null
      width: 3
    second:
      <<: *common
      parent: first
      size: 32
exhibits:
  paper: {exhibit_run: paper}
profiles:
  smoke: {datasets: {scenes: {size: 64}}, paper: {}}
  cpu:
    datasets: {}
    paper:
      epochs: 5
      width: 4
      second: {epochs: 2, lr: 0.5}
    efficiency: {repeats: 2}
  gpu: {datasets: {}, paper: {}}
  paper: {datasets: {}, paper: {}}
"""

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write SMALL_PARAMS with some text replaced by other text."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)

    def replaced(*pairs: tuple[str, str]) -> None:
        text = SMALL_PARAMS
        for old, new in pairs:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "params.yaml").write_text(text)

    return replaced


def everything() -> None:
    """Read whatever params.yaml holds."""
    for name in config.runs():
        for profile in config.PROFILES:
            config.load(name, profile=profile)
        config.parent(name)
    for name in config.datasets():
        config.dataset(name)
    config.efficiency()
    for paper in config.read()["exhibits"]:
        config.exhibit_run(paper)


# Layers


def test_the_small_file_is_well_formed(write: Write) -> None:
    write()
    everything()
    assert config.papers() == ["paper"]
    assert config.runs() == config.runs("paper") == ["paper/first", "paper/second"]
    assert config.runs("another") == []
    assert config.datasets() == ["scenes", "photos"]
    assert config.parent("paper/second") == "paper/first"
    assert config.parent("paper/first") is None
    assert config.efficiency() == config.Efficiency(repeats=2)


def test_a_profile_lies_over_the_run_and_its_block_for_the_run_over_that(write: Write) -> None:
    write()
    first, second = (config.load(name) for name in config.runs())
    plain = config.load("paper/second", profile="gpu")
    assert (plain.fitting.epochs, plain.fitting.lr, plain.data.size) == (10, 0.01, 32)
    assert (first.fitting.epochs, first.fitting.lr, first.data.size) == (5, 0.01, 64)
    assert (second.fitting.epochs, second.fitting.lr, second.data.size) == (2, 0.5, 32)
    assert first.profile == second.profile == "cpu"
    assert plain.profile == "gpu"


def test_a_profiles_option_reaches_the_runs_that_have_it(write: Write) -> None:
    write()
    assert config.load("paper/first").options == {"width": 4}
    assert config.load("paper/first", profile="gpu").options == {"width": 3}
    assert config.load("paper/second").options == {}


def test_a_profiles_common_key_reaches_runs_that_leave_it_at_its_default(write: Write) -> None:
    write(("      width: 4\n", "      width: 4\n      clip: 0.5\n"))
    assert config.load("paper/second").fitting.clip == 0.5
    assert config.load("paper/second", profile="gpu").fitting.clip == 0.0


def test_the_seed_is_the_files_unless_a_run_has_its_own(write: Write) -> None:
    write(("      size: 32\n", "      size: 32\n      seed: 3\n"))
    assert [config.load(name).seed for name in config.runs()] == [7, 3]
    assert config.dataset("scenes").seed == 7


def test_a_dataset_takes_what_its_profile_says(write: Write) -> None:
    write()
    assert config.dataset("scenes").size == 256
    assert config.dataset("scenes", profile="smoke").size == 64
    assert config.dataset("photos").absence_in("cpu") is None


def test_a_run_outside_the_profile_says_where_it_belongs(write: Write) -> None:
    write(("profile: cpu", "profile: paper"))
    run = config.load("paper/first")
    assert not run.present
    assert run.absence == "not run in this profile: paper/first belongs to cpu, gpu, the profile is paper"
    assert "the profile is" in str(config.dataset("photos").absence_in("paper"))
    assert config.load("paper/first", profile="gpu").absence is None


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("1E3", 1000.0), ("0.5", 0.5), ("+2e-1", 0.2)])
def test_numbers_are_those_of_yaml_1_2(write: Write, text: str, value: float) -> None:
    """In YAML 1.1 `1e-3` is a string."""
    write(("lr: 1e-2", f"lr: {text}"))
    assert config.load("paper/first").fitting.lr == value


@pytest.mark.parametrize("word", ["no", "off", "yes", "on"])
def test_words_are_words(write: Write, word: str) -> None:
    """In YAML 1.1 they are truth values."""
    write(("width: 3", f"width: {word}"))
    assert config.load("paper/first", profile="gpu").options == {"width": word}


def test_an_edited_file_is_read_again(write: Write) -> None:
    write()
    assert config.load("paper/first").seed == 7
    write(("seed: 7", "seed: 8"))
    assert config.load("paper/first").seed == 8


# Errors


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # the file
        ("profile: cpu\n", "", r"params\.yaml lacks profile"),
        ("seed: 7\n", "", r"params\.yaml lacks seed"),
        ("seed: 7", "seed: a lot", r"params\.yaml: seed must be a whole number in 0\.\.4294967295, got 'a lot'"),
        ("seed: 7", "seed: -1", r"params\.yaml: seed must be a whole number in 0\.\.4294967295, got -1"),
        ("seed: 7", "seed: 4294967296", r"params\.yaml: seed must be a whole number in 0\.\.4294967295, got 4294967296"),
        ("seed: 7", "seed: true", r"params\.yaml: seed must be a whole number in 0\.\.4294967295, got True"),
        ("{scenes: {size: 64}}", "{scnes: {size: 64}}", r"profiles\.smoke\.datasets has the unknown key 'scnes'.*'scenes'"),
        ("{scenes: {size: 64}}", "scenes", r"params\.yaml: profiles\.smoke\.datasets must be a mapping, got 'scenes'"),
        ("{exhibit_run: paper}", "{exhibit_run: paper}\n  papre: {}", r"exhibits has the unknown key 'papre'.*'paper'"),
        ("  gpu: {datasets: {}, paper: {}}", "  gup: {datasets: {}}", r"profiles has the unknown key 'gup'.*'gpu'"),
        (
            "      <<: *common\n      parent: first\n      size: 32\n",
            "",
            r"params\.yaml: runs\.paper\.second must be a mapping, got None",
        ),
        ("profile: cpu\n", "profile: cup\n", r"params\.yaml: profile is 'cup'; choose one of smoke, cpu, gpu, paper"),
        ("exhibits:", "exibits:", r"params\.yaml has the unknown key 'exibits' \(did you mean 'exhibits'\?\)"),
        ("      size: 32\n", "      size: 32\n      size: 33\n", r"params\.yaml is not valid YAML: (?s:.*)duplicate key \"size\""),
        ("    second:\n", "    first:\n", r"params\.yaml is not valid YAML: (?s:.*)duplicate key \"first\""),
        ("runs:\n", "runs: [\n", r"params\.yaml is not valid YAML"),
        (
            "  gpu: {datasets: {}, paper: {}}",
            "  gpu: {datasets: {}, papre: {}}",
            r"profiles\.gpu has the unknown key 'papre'.*'paper'",
        ),
        ("efficiency: {repeats: 2}", "efficiency: {repeat: 2}", r"efficiency has the unknown key 'repeat'.*'repeats'"),
        ("{exhibit_run: paper}", "{exhibit_run: mine}", r"exhibits\.paper\.exhibit_run must be 'paper' or 'released', got 'mine'"),
        ("{exhibit_run: paper}", "{}", r"exhibits\.paper\.exhibit_run must be 'paper' or 'released', got None"),
        # a run
        ("    batch: 8\n", "", r"params\.yaml: runs\.paper\.first lacks batch"),
        ("    in: [cpu, gpu]\n", "", r"params\.yaml: runs\.paper\.first\.in = None: "),
        ("    model: some.module:Model\n", "", r"params\.yaml: runs\.paper\.first lacks model"),
        ("batch: 8", "batch: eight", r"params\.yaml: runs\.paper\.first\.batch = 'eight': .*integer"),
        ("batch: 8", "batch: 8.5", r"runs\.paper\.first\.batch = 8\.5: .*integer"),
        ("batch: 8", 'batch: "8"', r"runs\.paper\.first\.batch = '8': .*integer"),
        ("batch: 8", "batch: 0", r"runs\.paper\.first\.batch = 0: .*greater than or equal to 1"),
        ("lr: 1e-2", "lr: -1", r"runs\.paper\.first\.lr = -1: .*greater than 0"),
        ("lr: 1e-2", "lr: true", r"runs\.paper\.first\.lr = True: "),
        ("train_view: crop", "train_view: corp", r"runs\.paper\.first\.train_view = 'corp': .*'whole', 'squash', 'crop'"),
        ("in: [cpu, gpu]", "in: [cpu, gup]", r"runs\.paper\.first\.in\.1 = 'gup': .*'smoke', 'cpu', 'gpu'"),
        ("{scenes: 1}", "{scenes: 0}", r"runs\.paper\.first\.train_on\.scenes = 0: "),
        (
            "{scenes: 1}",
            "{scnes: 1}",
            r"runs\.paper\.first\.train_on names the dataset 'scnes' \(did you mean 'scenes'\?\); datasets",
        ),
        ("{scenes: 1}", "{}", r"runs\.paper\.first\.train_on = \{\}: .*at least 1 item"),
        ("validate_on: scenes", "validate_on: cats", r"first\.validate_on names the dataset 'cats'; datasets are: scenes, photos"),
        ("evaluate_on: [scenes]", "evaluate_on: [scenes, dogs]", r"runs\.paper\.first\.evaluate_on names the dataset 'dogs'"),
        ("evaluate_on: [scenes]", "evaluate_on: []", r"first lacks evaluate_on"),
        ("evaluate_on: [scenes]", "evaluate_on: [scenes, scenes]", r"first\.evaluate_on = .*'scenes' stands there twice"),
        ("    batch: 8\n", "    batch: 8\n    hint_files: {senes: x}\n", r"first\.hint_files names the dataset 'senes'.*'scenes'"),
        (
            "evaluate_on: [scenes]",
            "evaluate_on: [scenes, photos]",
            r"first\.evaluate_on names the dataset 'photos', which the profile gpu does not hold",
        ),
        ("    second:\n", "    16:\n", r"runs\.paper has the name 16; names are text of a-z, 0-9 and _"),
        ("    second:\n", "    ../second:\n", r"runs\.paper has the name '\.\./second'"),
        (
            "{exhibit_run: paper}",
            "{exhibit_run: paper, exhibit_rum: released}",
            r"exhibits\.paper has the unknown key 'exhibit_rum'",
        ),
        ("    in: [cpu, gpu]\n", "    in: []\n", r"runs\.paper\.first\.in = \[\]: .*at least 1 item"),
        ("scenes/stats.json", "senes/stats.json", r"first\.init = '.*senes/stats\.json': neither .* \(did you mean 'scenes'\?\)"),
        ("prepared/scenes/stats.json", "runs/paper/frist", r"first\.init = .*frist': neither .* \(did you mean 'first'\?\)"),
        ("prepared/scenes/stats.json", "elsewhere", r"first\.init = 'artifacts/elsewhere': neither"),
        ("artifacts/prepared/scenes", "artifacts/prepared/photos", r"first\.init = .*is not made in the profile gpu"),
        ("    batch: 8\n", "    batch: 8\n    weights: nowhere\n", r"first\.weights = 'nowhere': there is no such folder"),
        ("batch: 8", "batch: 8\n    accumulate: 3", r"first\.batch = 8 cannot be cut into 3 parts"),
        ("batch: 8", "batch: 8\n    hint_patch: 33", r"second\.hint_patch = 33: pictures of 32 pixels hold no such hint"),
        ("batch: 8", "batch: 8\n    betas: [0.9, 1.0]", r"first\.betas\.1 = 1\.0: .*less than 1"),
        ("lr: 1e-2", "lr: .inf", r"first\.lr = inf: .*finite"),
        ("      size: 32\n", "      size: 32\n      seed: -3\n", r"runs\.paper\.second\.seed = -3: .*greater than or equal to 0"),
        (
            "batch: 8",
            'batch: 8\n    hints: "5-0"',
            r"params\.yaml: runs\.paper\.first\.hints = '5-0': an amount of hints is '0\.5%', '10' or",
        ),
        ("batch: 8", "batch: 8\n    hints: 10", r"first\.hints = 10: .*string"),
        ("batch: 8", 'batch: 8\n    protocols: ["0", ten]', r"runs\.paper\.first\.protocols\.1 = 'ten': an amount of hints is"),
        ("batch: 8", "batch: 8\n    protocols: []", r"runs\.paper\.first\.protocols = \[\]: .*at least 1 item"),
        ("batch: 8", "batch: 8\n    repeats: 2", r"first\.repeats = 2: the first protocol '0' draws nothing, so it must be 1"),
        (
            "batch: 8",
            'batch: 8\n    protocols: ["5"]\n    repeats: 2\n    hint_files: {scenes: x}',
            r"first\.repeats = 2: hint_files hold one draw, so it must be 1",
        ),
        ("batch: 8", 'batch: 8\n    protocols: ["0", "0"]', r"first\.protocols = .*'0' stands there twice"),
        (
            "batch: 8",
            "batch: 8\n    metrics: [psnr, pnsr]",
            r"runs\.paper\.first\.metrics\.1 = 'pnsr': .*'ssim', .*'lpips_alex'.* \(did you mean 'psnr'\?\)",
        ),
        ("batch: 8", "batch: 8\n    pairs: [near]", r"first\.pairs\.0 = 'near': .*'related' or 'independent'"),
        ("batch: 8", "batch: 8\n    pairs: [related, related]", r"first\.pairs = .*'related' stands there twice"),
        (
            "batch: 8",
            'batch: 8\n    pairs: [related]\n    protocols: ["5"]',
            r"protocols = \['5'\]: pairs are measured without hints",
        ),
        ("batch: 8", "batch: 8\n    pair_lists: {scenes: x.csv}", r"first\.pair_lists is read by nothing: pairs names no subset"),
        (
            "batch: 8",
            "batch: 8\n    pairs: [related]\n    pair_lists: {scnes: x}",
            r"pair_lists names the dataset 'scnes' \(did you",
        ),
        (
            "batch: 8",
            "batch: 8\n    references: {owm: 1.0}",
            r"first\.references\.owm.* = 'owm': .*'own', 'own_palette', 'nearest' or 'same_class'",
        ),
        ("batch: 8", "batch: 8\n    references: {own: 0}", r"first\.references\.own = 0: .*greater than 0"),
        ("parent: first", "parent: frist", r"no run 'paper/frist' in params\.yaml \(did you mean 'paper/first'\?\)"),
        # a profile
        ("      width: 4\n", "      wdith: 4\n", r"profiles\.cpu\.paper has the unknown key 'wdith' \(did you mean 'width'\?\)"),
        ("      width: 4\n", "      epohcs: 4\n", r"profiles\.cpu\.paper has the unknown key 'epohcs' \(did you mean 'epochs'\?\)"),
        ("      second: {", "      secnod: {", r"profiles\.cpu\.paper has the unknown key 'secnod'"),
        ("epochs: 5", "epochs: five", r"runs\.paper\.first\.epochs = 'five': .*integer"),
        # a dataset
        (
            "{source: bundled",
            "{sorce: x, source: bundled",
            r"datasets\.photos has the unknown key 'sorce' \(did you mean 'source'\?\)",
        ),
        ("{source: bundled, ", "{", r"params\.yaml: datasets\.photos lacks source"),
        ("source: bundled", "source: web", r"datasets\.photos\.source = 'web': .*'bundled', 'scenes'"),
        ("{source: bundled", "{val: 1.5, source: bundled", r"datasets\.photos\.val"),
        ("val: 3", "val: 0", r"datasets\.scenes\.val must be a number of scenes, at least 1, got 0"),
        ("test: 5", "test: 0.5", r"datasets\.scenes\.test must be a number of scenes, at least 1, got 0\.5"),
        ("train: 9, ", "", r"datasets\.scenes\.train must be a number of scenes, at least 1, got None"),
        ("source: bundled", "source: folder, val: 0.6, test: 0.6", r"datasets\.photos\.val \+ test = 1\.2: together at most 1"),
        ("source: bundled", "source: folder, val: 50", r"datasets\.photos\.val must be a share in 0\.\.1 for a folder, got 50"),
        ("source: bundled", "source: bundled, seed: -1", r"datasets\.photos\.seed = -1: "),
        ("in: [smoke, cpu, gpu]", "in: [smoke, cpu, gpu], size: big", r"datasets\.scenes\.size = 'big': .*integer"),
    ],
)
def test_what_is_wrong_is_named(write: Write, old: str, new: str, message: str) -> None:
    write((old, new))
    with pytest.raises(ValueError, match=message):
        everything()


def test_all_missing_files_of_a_list_of_pairs_are_named_before_anything_is_trained(write: Write, tmp_path: Path) -> None:
    write(("batch: 8", "batch: 8\n    pairs: [related]\n    pair_lists: {scenes: mine.csv}"))
    with pytest.raises(ValueError, match=r"first\.pair_lists\.scenes = 'mine\.csv': there is no such file"):
        config.load("paper/first")
    references = ("refs/a.png", "refs/b.png", "scenes/test-00001", "palettes/ff0000", "refs/a.png")
    rows = "".join(f"test-{i},related,{name}\n" for i, name in enumerate(references))
    (tmp_path / "mine.csv").write_text(f"image,subset,reference\n{rows}")
    with pytest.raises(ValueError, match=r"pair_lists\.scenes = 'mine\.csv' names 2 missing files: refs/a\.png, refs/b\.png$"):
        config.load("paper/first")
    (tmp_path / "refs").mkdir()
    for name in "ab":
        (tmp_path / "refs" / f"{name}.png").touch()
    assert config.load("paper/first").evaluation.conditions == ["related"]
    write(("batch: 8", "batch: 8\n    pairs: [independent]\n    pair_lists: {scenes: mine.csv}"))
    with pytest.raises(ValueError, match=r"'mine\.csv' has no pair of the subset independent"):
        config.load("paper/first")


def test_the_folder_of_palettes_exists(write: Write, tmp_path: Path) -> None:
    write()
    assert config.palettes() is None
    write(("seed: 7", "seed: 7\npalettes: published"))
    with pytest.raises(ValueError, match=r"params\.yaml: palettes = 'published': there is no such folder"):
        config.palettes()
    (tmp_path / "published").mkdir()
    assert config.palettes() == tmp_path / "published"


def test_missing_hint_files_are_named_before_anything_is_trained(write: Write, tmp_path: Path) -> None:
    write(("batch: 8", 'batch: 8\n    protocols: ["0", "10"]\n    hint_files: {scenes: hints}'))
    for folder in ("hints", "hints/h2-n10"):
        with pytest.raises(ValueError, match=rf"runs\.paper\.first\.hint_files\.scenes = 'hints': there is no folder {folder}$"):
            config.load("paper/first")
        (tmp_path / folder).mkdir()
    assert config.load("paper/first").evaluation.hint_files == {"scenes": "hints"}
    write(("batch: 8", "batch: 8\n    hint_files: {scenes: elsewhere}"))
    assert not config.load("paper/first", profile="smoke").present


@pytest.mark.parametrize("profile", config.PROFILES)
def test_a_dataset_that_the_profile_lacks_is_refused_only_where_the_run_belongs(write: Write, profile: str) -> None:
    write(("in: [smoke, cpu, gpu]", "in: [cpu]"))
    if profile == "gpu":
        with pytest.raises(ValueError, match="'scenes', which the profile gpu does not hold; it holds: none"):
            config.load("paper/first", profile=profile)
    else:
        assert config.load("paper/first", profile=profile).present == (profile == "cpu")


def test_an_optional_dataset_is_left_out_until_its_folder_is_named(write: Write) -> None:
    own = "  own: {source: folder, root: data/bundled, in: [cpu], optional: true}\n  scenes: {source"
    both = ("evaluate_on: [scenes]", "evaluate_on: [own, scenes]")
    write(("  scenes: {source", own), both)
    why = "not run in this profile: datasets.own.root names no folder of these pictures yet"
    assert config.dataset("own").absence_in("cpu") == why
    assert config.load("paper/first").evaluation.evaluate_on == ["scenes"]
    assert "not run in this profile: dataset own belongs to cpu" in str(config.dataset("own").absence_in("smoke"))
    write(("  scenes: {source", own.replace("data/bundled", "data/mine")), both)
    assert config.dataset("own").absence_in("cpu") is None
    assert config.load("paper/first").evaluation.evaluate_on == ["own", "scenes"]
    write(("  scenes: {source", own.replace("optional: true", "optional: false")), both)
    assert config.load("paper/first").evaluation.evaluate_on == ["own", "scenes"], "one that is wanted fails when it is prepared"


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("train_on", "{scenes: 1}", "{own: 1}"),
        ("validate_on", "validate_on: scenes", "validate_on: own"),
        ("evaluate_on", "[scenes]", "[own]"),
    ],
)
def test_nothing_trains_on_an_optional_dataset_that_is_not_there(write: Write, key: str, old: str, new: str) -> None:
    write(
        ("  scenes: {source", "  own: {source: folder, root: data/bundled, in: [cpu, gpu], optional: true}\n  scenes: {source"),
        (old, new),
    )
    with pytest.raises(ValueError, match=rf"runs\.paper\.first\.{key} names .*datasets\.own\.root names no folder"):
        config.load("paper/first")
    assert not config.load("paper/first", profile="paper").present


def test_a_file_saved_on_windows_is_read(write: Write, tmp_path: Path) -> None:
    write()
    file = tmp_path / "params.yaml"
    before = config.load("paper/second")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert config.load("paper/second") == before


def test_a_file_that_is_no_text_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"profile: \xff\xfe")
    with pytest.raises(ValueError, match=r"params\.yaml is no text in UTF-8"):
        config.read()


def test_a_file_that_is_no_mapping_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("- a list\n")
    with pytest.raises(ValueError, match=r"params\.yaml must be a mapping"):
        config.read()


def test_every_wrong_key_is_named_at_once(write: Write) -> None:
    write(("batch: 8", "batch: 0"), ("lr: 1e-2", "lr: fast"))
    with pytest.raises(ValueError, match=r"first\.batch = 0.*; .*first\.lr = 'fast'"):
        config.load("paper/first")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: config.load("paper/frist"),
            r"no run 'paper/frist' in params\.yaml \(did you mean 'paper/first'\?\).*paper/second",
        ),
        (lambda: config.load("first"), r"no run 'first' in params\.yaml"),
        (
            lambda: config.load("paper/first", profile="gup"),
            r"no profile 'gup' in params\.yaml; choose one of smoke, cpu, gpu, paper",
        ),
        (lambda: config.dataset("scnes"), r"no dataset 'scnes' in params\.yaml \(did you mean 'scenes'\?\); datasets"),
        (lambda: config.exhibit_run("disco"), r"exhibits\.disco\.exhibit_run must be 'paper' or 'released'"),
        (lambda: config.use_profile("gup"), r"no profile 'gup'; choose one of smoke, cpu, gpu, paper"),
    ],
)
def test_what_does_not_exist_is_named(write: Write, ask: Callable[[], Any], message: str) -> None:
    write()
    with pytest.raises(ValueError, match=message):
        ask()


def test_what_a_profile_changes_of_one_run_alone(write: Write) -> None:
    write()
    assert config.singled_out("paper/second") == {"epochs": 2, "lr": 0.5}
    assert config.singled_out("paper/first") == {}
    write(("second: {epochs: 2, lr: 0.5}", "second: {epochs: 2, size: 32}"))
    assert config.singled_out("paper/second") == {"epochs": 2}


def test_the_parameters_are_read_without_torch() -> None:
    code = "import sys\nfrom colorexp import config\nconfig.load('user_guided/res_unet')\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"torch", "numpy", "pandas"} & set(done.stdout.split()) == set()


# Switching the profile


@pytest.mark.parametrize("profile", config.PROFILES)
def test_switching_the_profile_changes_one_word(project: Path, profile: str) -> None:
    before = (ROOT / "params.yaml").read_text()
    old = config.read()["profile"]
    config.use_profile(profile)
    after = (project / "params.yaml").read_text()
    assert config.read()["profile"] == profile
    changed = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    assert changed == ([] if profile == old else [f"- profile: {old}", f"+ profile: {profile}"])
    config.use_profile(old)
    assert (project / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_a_comment_beside_the_profile_stays(write: Write, tmp_path: Path) -> None:
    write(("profile: cpu", "profile:   cpu  # mine"))
    config.use_profile("gpu")
    assert (tmp_path / "params.yaml").read_text().startswith("profile:   gpu  # mine\n")


def test_an_unknown_profile_changes_nothing(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(ValueError, match="gup"):
        config.use_profile("gup")
    assert (project / "params.yaml").read_bytes() == before


# Our own params.yaml


def test_our_file_is_well_formed(project: Path) -> None:
    everything()


def test_every_run_survives_its_json(project: Path) -> None:
    for name in config.runs():
        for profile in config.PROFILES:
            run = config.load(name, profile=profile)
            assert config.from_dict(json.loads(json.dumps(run.as_dict()))) == run


def test_a_card_of_another_version_is_named(project: Path) -> None:
    values = config.load(MAIN).as_dict()
    values["fitting"]["momentum"] = 0.9
    with pytest.raises(ValueError, match=r"run\.json: fitting has the unknown key 'momentum'"):
        config.from_dict(values)


def test_no_key_belongs_to_two_groups() -> None:
    """A run is flat: a key must have one reader."""
    names = [f.name for kind in (*GROUPS.values(), config.Run) for f in fields(kind)]
    assert len(names) == len(set(names))


def test_a_run_is_shown_as_a_table(project: Path) -> None:
    shown = config.load(MAIN)._repr_html_()
    for key in ("lambda_patch", "epochs", "hint_patch", "threads", "metrics"):
        assert f">{key}</th>" in shown


def test_the_main_runs_have_the_papers_values(project: Path) -> None:
    """User Guided Image Colorization, sections 4.1, 4.3 and 5.1."""
    for name in NETWORKS:
        run = config.load(f"user_guided/{name}", profile="paper")
        fitting = run.fitting
        assert (fitting.batch, fitting.lr, fitting.epochs, fitting.weight_decay) == (32, 1e-2, 200, 1e-3)
        assert (fitting.optimizer, fitting.schedule) == ("adam", "constant")
        assert (run.data.size, run.data.train_view, run.data.near_gray_filter) == (256, "squash", "joint")
        assert (run.hinting.hints, run.hinting.hint_patch, run.hinting.hint_layout) == ("0.5%", 3, "free")
        assert run.evaluation.protocols[0] == "0.5%"
        wanted = {"bins": 32, "hint_encoding": "ab", "hint_scale": 1.0, "class_weight_power": 1.0, "last": 3}
        assert {key: run.options[key] for key in wanted} == wanted
        assert run.options.get("downsample", "max") == "max"
    assert config.load("user_guided/trans_unet", profile="paper").options["tokens"] == "patches"


def test_the_published_test_sets_are_those_of_the_tables(project: Path) -> None:
    """AdaColViT, section 4.1: ImageNet ctest10k, CUB-200-2011 and Oxford-102; the pictures trained on are not measured."""
    expected = {"ctest10k": 10_000, "cub": 5_794, "flowers": 1_000}
    for name in config.runs("adacolvit"):
        assert config.load(name, profile="paper").evaluation.evaluate_on == list(expected)
    for name, count in expected.items():
        held = config.dataset(name, profile="paper")
        assert (held.source, held.profiles, held.expect) == ("folder", ["gpu", "paper"], {"test": count})
        assert not held.optional
        assert config.dataset(name, profile="gpu").optional


def test_the_released_runs_have_the_released_codes_values(project: Path) -> None:
    for name in NETWORKS:
        run = config.load(f"user_guided/{name}_released", profile="paper")
        assert (run.fitting.lr, run.fitting.batch, run.data.near_gray_filter) == (1e-4, 16, "marginal")
        assert (run.options["hint_encoding"], run.options["lambda_patch"]) == ("bins", 0.0)
        assert run.model == config.load(f"user_guided/{name}", profile="paper").model
        assert run.parent == name
        if name != "simple_unet":
            assert run.options["downsample"] == "strided"
    trans = config.load("user_guided/trans_unet_released", profile="paper").options
    assert (trans["tokens"], trans["bottleneck_layers"], trans["bottleneck_feedforward"]) == ("columns", 1, 2)


def test_ablations_of_the_paper_change_one_thing(project: Path) -> None:
    main = config.load(MAIN, profile="paper")
    for name, (group, key, value) in {
        "res_unet_unweighted": ("options", "class_weight_power", 0.0),
        "res_unet_bins16": ("options", "bins", 16),
        "res_unet_bins64": ("options", "bins", 64),
        "res_unet_no_patch_loss": ("options", "lambda_patch", 0.0),
        "res_unet_unfiltered": ("data", "near_gray_filter", "none"),
    }.items():
        values = main.as_dict()
        values[group] = {**values[group], key: value}
        values |= {"name": f"user_guided/{name}", "parent": "res_unet", "profiles": ["gpu", "paper"]}
        own = config.load(f"user_guided/{name}", profile="paper").as_dict()
        assert own | {"profiles": ["gpu", "paper"]} == values


def test_parents_belong_to_the_profiles_of_their_variants(project: Path) -> None:
    """A comparison needs both."""
    for name in config.runs():
        if parent := config.parent(name):
            assert set(config.load(name).profiles) <= set(config.load(parent).profiles)


@pytest.mark.parametrize("profile", ["cpu", "gpu", "paper"])
def test_a_profile_singles_out_none_but_its_own_runs(project: Path, profile: str) -> None:
    """Else the block has no effect. Those of smoke have one here: they make the networks of all tests small."""
    for paper in config.papers():
        block = config.read()["profiles"][profile][paper]
        named = [f"{paper}/{key}" for key in block if f"{paper}/{key}" in config.runs()]
        assert [name for name in named if not config.load(name, profile=profile).present] == []


def test_yaml_and_config_agree_on_what_exists(project: Path) -> None:
    raw = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    assert config.runs() == [f"{paper}/{run}" for paper, table in raw["runs"].items() for run in table]
    assert config.read() == raw

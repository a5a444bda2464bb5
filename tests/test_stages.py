"""What stages depend on: notebooks without outputs, and what each can execute and read."""

import json
from pathlib import Path

import pytest
from tiny import ROOT

from colorexp import config, nb, paths, provenance, stages, tags

ADACOLVIT = ("adacolvit", "ablation_beta", "ablation_groups", "efficiency", "report")
"""Notebooks that read this paper's runs."""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_a_run_executes_its_own_family_alone() -> None:
    known = stages.executed("train", "user_guided/res_unet")
    assert {"colorexp.models.unet", "colorexp.tasks.classify", "colorexp.runs", "colorexp.config"} <= known
    assert not [name for name in known if name.startswith(("colorexp.models.vit", "colorexp.tasks.point", "colorexp.bench"))]


def test_a_notebook_that_builds_networks_executes_those_of_its_papers() -> None:
    assert "colorexp.models.unet" not in stages.executed("ablation_beta")
    assert "colorexp.models.vit" in stages.executed("ablation_beta")
    assert {"colorexp.models.unet", "colorexp.models.vit"} <= stages.executed("efficiency")
    assert not [name for name in stages.executed("user_guided") if name.startswith("colorexp.models")]


def test_how_a_notebook_is_started_is_no_part_of_it() -> None:
    assert "colorexp.nb" not in stages.executed("train", "user_guided/res_unet")


def test_files_are_written_for_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "build", lambda folder: tmp_path / folder)
    stages.write()
    assert {path.name for path in (tmp_path / "nb").iterdir()} == {path.name for path in stages.notebooks()}
    told = json.loads((tmp_path / "reads" / "train" / "user_guided" / "res_unet.json").read_text())
    assert told["code"]["colorexp.models.unet"] == provenance.module_hash("colorexp.models.unet")
    assert told["parameters"]["options"]["bins"] == 32
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "reads" / "train" / "user_guided" / "of_yesterday.json").touch()
    stages.write()
    assert first == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def changed_stages(folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> set[str]:
    """Whose reading differs once params.yaml holds `new`, in the profile cpu."""
    params = folder / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    monkeypatch.setattr(paths, "params", lambda: params)
    found = []
    for content in (text, text.replace(old, new, 1)):
        params.write_text(content)
        config.use_profile("cpu")
        found.append(stages.reads())
    before, after = found
    return {stage for stage in before if before[stage] != after[stage]}


def test_what_the_profile_leaves_out_reads_nothing_but_the_reason() -> None:
    found = stages.reads()
    for stage in ("train/adacolvit/icolorit_b", "evaluate/adacolvit/icolorit_b", "prepare/cub", "pairs/cub"):
        assert set(found[stage]) == {"absence", "profile"}
    assert "belongs to gpu, paper, the profile is" in found["prepare/cub"]["absence"]


def test_a_notebook_counts_in_its_own_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stages.reads()
    strip = nb.stripped
    monkeypatch.setattr(nb, "stripped", lambda path: strip(path) + "more" * (path.stem == "train"))
    after = stages.reads()
    assert {name for name in before if before[name] != after[name]} == {
        f"train/{run}" for run in config.runs() if config.load(run).present
    }


def test_deviations_are_data_of_the_report_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stages.reads()
    found = tags.harvest()
    monkeypatch.setattr(tags, "harvest", lambda: found[1:])
    after = stages.reads()
    assert {name for name in before if before[name] != after[name]} == {"report"}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("profile: cpu\n", "profile: cpu  # two cores\n", set()),
        ("power: 2.0", "power: 3.0", {"train/user_guided/spread", "user_guided", "efficiency", "report"}),
        ("icolorit_t_d6: {depth: 3}", "icolorit_t_d6: {depth: 2}", {"train/adacolvit/icolorit_t_d6", *ADACOLVIT}),
        (
            "icolorit_t_d6: {depth: 3}",
            "icolorit_t_d6: {depth: 3, samples: 2}",
            {"evaluate/adacolvit/icolorit_t_d6", "external", *ADACOLVIT},
        ),
        ("      bins: 16\n", "      bins: 8\n", {"user_guided", "efficiency", "report"}),  # not in this profile
        (
            "    lr: 1e-2\n",
            "    lr: 2e-2\n",
            {"user_guided", "efficiency", "report"},
        ),  # overridden by this profile, shown by the notebook
        ("    train: 1000\n", "    train: 900\n", {"prepare/scenes"}),
        ("    in: [gpu, paper]\n    size: 256\n  ctest10k", "    in: [gpu, paper]\n    size: 224\n  ctest10k", set()),
        (
            "    root: data/bundled\n    in: [smoke",
            "    root: data/bundled\n    seed: 3\n    in: [smoke",
            {"prepare/photos", "pairs/photos"},
        ),
        ("palettes: null", "palettes: data", {"pairs/photos", "pairs/scenes"}),
        ("efficiency: {repeats: 5}", "efficiency: {repeats: 3}", {"efficiency"}),
        ("user_guided: {exhibit_run: paper}", "user_guided: {exhibit_run: released}", {"user_guided", "efficiency", "report"}),
    ],
    ids=[
        "remark",
        "one run",
        "one run in the profile",
        "one evaluation",
        "absent run",
        "overridden",
        "dataset",
        "absent dataset",
        "seed of a dataset",
        "palettes",
        "efficiency",
        "exhibit",
    ],
)
def test_a_value_concerns_what_reads_it(
    old: str, new: str, changed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert changed_stages(tmp_path, monkeypatch, old, new) == changed


@pytest.mark.parametrize(
    ("edit", "counts"),
    [
        (lambda text: text + "\n# a remark\n", False),
        (lambda text: text.replace('"""Doc."""', '"""Another."""'), False),
        (lambda text: text.replace("a = 1", "a  =  1"), False),
        (lambda text: text.replace("a = 1", "a = 2"), True),
        (lambda text: text.replace('"text"', '"other"'), True),
    ],
    ids=["comment", "docstring", "layout", "number", "string"],
)
def test_code_counts_and_remarks_do_not(edit: object, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "module.py"
    monkeypatch.setattr(provenance, "_file", lambda _: file)
    text = '"""Doc."""\n\n\ndef f():\n    """Doc."""\n    a = 1\n    return a, "text"\n'
    file.write_text(text)
    before = provenance.module_hash("colorexp.module")
    file.write_text(edit(text))  # type: ignore[operator]
    assert (provenance.module_hash("colorexp.module") != before) is counts

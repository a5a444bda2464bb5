"""The command line: instant help, short answers, one line of error."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from tiny import ROOT, change, environment, make_project, quick
from typer.testing import CliRunner

from colorexp import apply, config, evaluation, paths, runs
from colorexp.cli import app
from colorexp.data import pairlist

MAIN = "user_guided/res_unet"
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def plain(text: str) -> str:
    """Without colours and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def refused(result: Result) -> str:
    """The one line of an error."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "a traceback"
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture(scope="module")
def trained(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = make_project(tmp_path_factory.mktemp("cli") / "project", prepared=tiny_project)
    with chdir(folder), environment(WANDB_MODE="disabled"):
        runs.train(runs.build(quick(MAIN, evaluate_on=["scenes"])))
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


# Help


def test_help_lists_every_command() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert {"profile", "runs", "check", "prepare", "pairs", "train", "evaluate", "colorize", "hints", "report"} <= set(COMMANDS)
    assert all(re.search(rf"\b{name}\b", plain(result.output)) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in plain(result.output)
    function = next(c.callback for c in app.registered_commands if c.callback.__name__ == command)
    assert plain(function.__doc__.split(".")[0]) in plain(re.sub("[│╭╮╰╯─]", " ", result.output))


def test_help_needs_nothing_heavy() -> None:
    code = "import sys\nimport colorexp.cli\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"torch", "pytorch_lightning", "pandas", "numpy", "matplotlib", "wandb", "papermill", "ruamel.yaml", "pydantic"}
    assert heavy & set(done.stdout.split()) == set()


def test_without_a_command_there_is_help() -> None:
    assert "Usage" in plain(call().output)


# Answers


def test_profile_changes_the_word(project: Path) -> None:
    result = call("profile", "paper")
    assert result.exit_code == 0
    assert config.read()["profile"] == "paper"
    assert "profile: paper" in result.output


def test_runs_lists_every_run_and_whether_it_is_in_the_profile(project: Path) -> None:
    config.use_profile("smoke")
    result = call("runs")
    assert result.exit_code == 0
    lines = {words[0]: words for words in (re.split(r"\s*[│┃|]\s*", line.strip(" │┃|")) for line in result.output.splitlines())}
    for name in config.runs():
        run = config.load(name)
        assert lines[name][1:3] == [run.parent or "", run.model.split(":")[1]]
        assert lines[name][-1] == ("yes" if run.present else "no")


def test_runs_of_an_unknown_paper_are_none(project: Path) -> None:
    result = call("runs", "nobody")
    assert result.exit_code == 0
    assert "user_guided" not in result.output


def test_check_builds_everything(project: Path) -> None:
    result = call("check")
    assert result.exit_code == 0, result.output
    assert f"{len(config.runs())} runs and {len(config.datasets())} datasets are well formed" in result.output


def test_prepare_says_what_it_made(project: Path, tiny_project: Path) -> None:
    (project / "params.yaml").write_bytes((tiny_project / "params.yaml").read_bytes())
    result = call("prepare", "scenes")
    assert result.exit_code == 0
    assert re.search(r"prepared/scenes: 12 train, 4 (val|test), 4 (val|test); 0 left out, see quarantine\.csv", result.output)


def test_train_trains(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = quick(MAIN)
    monkeypatch.setattr(config, "load", lambda name: {MAIN: cfg}[name])
    result = call("train", MAIN, "--out", "mine")
    assert result.exit_code == 0
    assert "epoch 1/1" in result.output
    assert runs.load(prepared / "mine")[0].training() == cfg.training()


def test_evaluate_prints_the_means_that_it_saves(here: Path) -> None:
    result = call("evaluate", MAIN)
    assert result.exit_code == 0
    cfg, task = runs.load(paths.run(MAIN), evaluating=True)
    assert json.loads(result.stdout) == evaluation.summarise(evaluation.evaluate(cfg, task).rows)
    assert paths.results(MAIN).is_file()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (37, 51, 3), dtype=np.uint8)).save(tmp_path / "mine.jpg")
    return tmp_path / "mine.jpg"


def test_colorize_writes_a_picture_beside_the_picture(here: Path, picture: Path) -> None:
    result = call("colorize", picture)
    target = picture.with_name("mine.user_guided-res_unet.png")
    assert result.exit_code == 0
    assert f"written: {target}" in plain(result.output)
    assert Image.open(target).size == (51, 37)


def test_colorize_takes_hints_and_a_target(here: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "hints.txt").write_text("3 4 #336699\n")
    plain_one, hinted = tmp_path / "a.png", tmp_path / "b.png"
    assert call("colorize", picture, "--run", MAIN, "--out", plain_one).exit_code == 0
    assert call("colorize", picture, "--run", MAIN, "--hints", tmp_path / "hints.txt", "--out", hinted).exit_code == 0
    assert plain_one.read_bytes() != hinted.read_bytes()


def test_colorize_prints_warnings(here: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "colorize_file", lambda *given, **options: [f"{options['reference']} is gray"])
    result = call("colorize", picture, "--reference", "ref.png")
    assert result.exit_code == 0
    assert "warning: ref.png is gray" in plain(result.stderr)


def test_colorize_refuses_a_reference_that_the_run_does_not_take(here: Path, picture: Path) -> None:
    assert "user_guided/res_unet takes no reference" in refused(call("colorize", picture, "--run", MAIN, "--reference", picture))


def test_pairs_writes_a_list_and_says_what_is_in_it(prepared: Path) -> None:
    result = call("pairs", "scenes")
    assert result.exit_code == 0, result.output
    assert "12 nearest in train" in plain(result.output)
    assert "2 palette in test" in plain(result.output)
    assert len(pairlist.read(paths.pairs("scenes"))) == 24


def test_hints_writes_files_that_an_evaluation_reads(here: Path, tmp_path: Path) -> None:
    result = call("hints", MAIN, tmp_path / "hints")
    assert result.exit_code == 0
    assert f"{len(list((tmp_path / 'hints').rglob('*.txt')))} files written" in result.output
    cfg = config.load(MAIN)
    pairs = {d: str(tmp_path / "hints" / d) for d in cfg.evaluation.evaluate_on}
    task = runs.load(paths.run(MAIN), evaluating=True)[1]
    drawn, read = (evaluation.evaluate(c, task).rows for c in (cfg, change(cfg, hint_files=pairs)))
    assert drawn.equals(read)


def test_report_names_its_page(prepared: Path) -> None:
    result = call("report")
    assert result.exit_code == 0, result.output
    assert (prepared / "reports" / "index.html").is_file()
    assert "reports/index.html" in plain(result.output)


# Errors


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_an_unknown_run_is_one_line(here: Path, command: str) -> None:
    message = refused(call(command, "user_guided/res_net"))
    assert "res_net" in message
    if command == "train":
        assert "did you mean 'user_guided/res_unet'?" in message


def test_a_run_outside_the_profile_is_one_line(here: Path) -> None:
    assert "not run in this profile" in refused(call("train", "user_guided/trans_unet"))


def test_a_run_that_was_not_trained_is_one_line(here: Path, picture: Path) -> None:
    assert "holds no trained run" in refused(call("evaluate", "user_guided/spread"))
    assert "holds no trained run" in refused(call("colorize", picture, "--run", "user_guided/spread"))


def test_an_unknown_profile_is_one_line(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    assert "no profile 'big'; choose one of smoke, cpu, gpu, paper" in refused(call("profile", "big"))
    assert (project / "params.yaml").read_bytes() == before


def test_an_unknown_dataset_is_one_line(project: Path) -> None:
    assert "no dataset 'lsun' in params.yaml; datasets are: photos, scenes, folder" in refused(call("prepare", "lsun"))


def test_a_bad_picture_is_one_line_that_names_it(here: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    message = refused(call("colorize", tmp_path / "text.jpg"))
    assert f"{tmp_path / 'text.jpg'}: not a picture" in message


def test_a_bad_hint_is_one_line(here: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "hints.txt").write_text("90 4 #336699\n")
    message = refused(call("colorize", picture, "--hints", tmp_path / "hints.txt"))
    assert f"{tmp_path / 'hints.txt'}, line 1: the hint at row 90, column 4 leaves the picture" in message


def test_paths_inside_the_project_are_told_from_its_root(here: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "scratch").mkdir(exist_ok=True)
    monkeypatch.chdir(here / "scratch")
    (here / "scratch" / "bad.png").write_text("no picture")
    told = {
        "scratch/bad.png: not a picture": ("colorize", here / "scratch" / "bad.png"),
        "error: scratch/none.txt: No such file": ("colorize", picture, "--hints", here / "scratch" / "none.txt"),
        "error: artifacts/runs/user_guided/spread holds no trained run": ("evaluate", "user_guided/spread"),
    }
    for message, command in told.items():
        shown = refused(call(*command))
        assert message in shown
        assert str(here) not in shown


def test_the_picture_itself_is_never_written_over(here: Path, picture: Path) -> None:
    before = picture.read_bytes()
    assert "is the picture itself" in refused(call("colorize", picture, "--out", picture))
    assert picture.read_bytes() == before


@pytest.mark.parametrize("name", ["result.jpg", "result", "."])
def test_the_result_is_a_png(here: Path, picture: Path, name: str) -> None:
    assert "must be the name of a PNG file" in refused(call("colorize", picture, "--out", name))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    monitor: val/loss\n", "    monitor: val/los\n", ".monitor = 'val/los' (did you mean 'val/loss'?); this task offers"),
        ("    bins: 32\n", "    bins: 1\n", "params.yaml: runs.user_guided.simple_unet: bins must be None or at least 2, got 1"),
        ("    test: 200\n", "    test: 0\n", "params.yaml: datasets.scenes.test must be a number of scenes, at least 1, got 0"),
        ("photos: {size: 64,", "photos: {sice: 64,", "params.yaml: datasets.photos has the unknown key 'sice'"),
        ("{repeats: 1,", "{repeats: 0,", "params.yaml: profiles.smoke.efficiency.repeats = 0: "),
        ("exhibit_run: paper", "exhibit_run: both", "exhibits.user_guided.exhibit_run must be 'paper' or 'released', got 'both'"),
    ],
)
def test_check_names_a_bad_value_of_any_profile(project: Path, old: str, new: str, message: str) -> None:
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new))
    assert message in refused(call("check"))


def test_a_misspelt_key_is_one_line(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("      downsample: max\n", "      downsmaple: max\n", 1))
    assert "unknown key 'downsmaple'" in refused(call("check"))


def test_outside_a_project_the_packages_own_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("runs").exit_code == 0


def test_a_bug_keeps_its_traceback(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the package says on purpose is shortened."""

    def broken(_: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(config, "use_profile", broken)
    assert isinstance(call("profile", "cpu").exception, ZeroDivisionError)

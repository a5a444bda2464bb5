"""dvc.yaml names everything a stage can execute, so that no change goes unnoticed, and nothing that would re-run too much."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from colorexp import stages

ROOT = Path(__file__).parents[2]


def load(name: str) -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text())


STAGES = load("dvc.yaml")["stages"]
PARAMS = load("params.yaml")
NOTEBOOK_STAGES = [name for name in STAGES if name not in ("sources", "fetch")]


def body(stage: str) -> dict:
    return STAGES[stage].get("do", STAGES[stage])


def notebook_of(stage: str) -> Path:
    stem = body(stage)["cmd"].split()[3].removeprefix("build/nb/")
    return ROOT / "notebooks" / stem


def reads(stage: str) -> str:
    kind, _, paper = stage.partition("_")
    each = {name: f"{name}/${{key}}" for name in stages.PER_DATASET} | {name: f"{name}/{paper}/${{key}}" for name in stages.PER_RUN}
    return f"build/reads/{each.get(kind, stage)}.json"


@pytest.mark.parametrize("stage", NOTEBOOK_STAGES)
def test_a_stage_depends_on_the_file_of_what_it_runs_and_reads(stage: str) -> None:
    assert reads(stage) in body(stage)["deps"]
    assert "params" not in body(stage), "which that file holds, resolved"
    assert not [dep for dep in body(stage)["deps"] if dep.startswith(("notebooks", "build/nb")) or dep.endswith(".py")]


def test_sources_reads_every_module_and_notebook_and_all_parameters() -> None:
    deps = set(STAGES["sources"]["deps"])
    assert "params.yaml" in deps
    assert {dep for dep in deps if dep.startswith("colorexp/")} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "colorexp").rglob("*.py")
    }
    assert {dep for dep in deps if dep.startswith("notebooks/")} == {
        path.relative_to(ROOT).as_posix() for path in stages.notebooks()
    }


KINDS = {(run["model"], run["task"]): f"{paper}/{name}" for paper, runs in PARAMS["runs"].items() for name, run in runs.items()}
"""One run for every network and task."""


@pytest.mark.parametrize("run", KINDS.values())
def test_what_a_training_imports_is_known(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by following imports, checked against what a process really loads."""
    monkeypatch.chdir(ROOT)
    code = f"""
import importlib, json, sys
from colorexp import boot
for name in {sorted(stages.imported("train") | stages.imported("evaluate"))}:
    importlib.import_module(name)
from colorexp import config, runs
runs.build_task(config.load({run!r}, profile="smoke"))
print(json.dumps([name for name in sys.modules if name.split(".")[0] == "colorexp"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    known = stages.executed("train", run) | stages.executed("evaluate", run)
    assert set(json.loads(done.stdout)) - known == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_a_folder_of_code(stage: str) -> None:
    """Python writes __pycache__ there, and any comment anywhere would re-run everything."""
    assert all((ROOT / dep).is_file() for dep in body(stage)["deps"] if dep.startswith("colorexp"))


TOGETHER = {"superpixels": "spixnet"}
"""Runs that one stage trains, measures and shows, because others start from them."""


@pytest.mark.parametrize(("runs", "stage"), TOGETHER.items())
def test_a_stage_of_its_own_makes_all_of_some_runs(runs: str, stage: str) -> None:
    assert {f"artifacts/{kind}/{runs}" for kind in ("runs", "results")} <= set(STAGES[stage]["outs"])
    clocks = {path for metric in STAGES[stage]["metrics"] for path in metric}
    assert {f"reports/timings/train/{runs}/{run}.json" for run in PARAMS["runs"][runs]} <= clocks


@pytest.mark.parametrize("paper", sorted(set(PARAMS["runs"]) - set(TOGETHER)))
def test_every_run_has_its_stages(paper: str) -> None:
    if paper == "superpixels":  # the one stage that trains and measures both in its own notebook
        assert {"artifacts/runs/superpixels", "artifacts/results/superpixels"} <= set(body("spixnet")["outs"])
        return
    for stage in (f"train_{paper}", f"evaluate_{paper}"):
        assert STAGES[stage]["foreach"] == f"${{runs.{paper}}}"
    assert f"artifacts/runs/{paper}/${{key}}" in body(f"evaluate_{paper}")["deps"], "whose run.json holds the parameters"


@pytest.mark.parametrize("stage", [stage for stage in NOTEBOOK_STAGES if not stage.startswith(stages.PER_RUN)])
def test_it_is_known_whose_results_a_notebook_reads(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of papers in its cells and modules `sources` finds whose parameters concern it."""
    monkeypatch.chdir(ROOT)
    folders = ("artifacts/results", "artifacts/runs")
    read = {Path(dep).parts[2] for dep in body(stage)["deps"] if dep.startswith(folders)} - {"external"}  # no paper's
    assert read <= set(stages.papers(notebook_of(stage).stem))


def test_the_lock_file_holds_no_stage_that_is_gone() -> None:
    """DVC never takes one out."""
    keys = {
        name: PARAMS["datasets"] if name in stages.PER_DATASET else PARAMS["runs"][name.partition("_")[2]]
        for name in STAGES
        if "do" in STAGES[name]
    }
    known = {f"{name}@{key}" for name, table in keys.items() for key in table} | (set(STAGES) - set(keys))
    assert set(load("dvc.lock")["stages"]) == known


def test_every_notebook_has_a_stage() -> None:
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert names == {notebook_of(stage).stem for stage in NOTEBOOK_STAGES}


@pytest.mark.parametrize("profile", PARAMS["profiles"])
def test_every_profile_names_what_stages_list(profile: str) -> None:
    """DVC refuses a parameter that is absent, so a section that changes nothing still stands as {}."""
    block = PARAMS["profiles"][profile]
    assert {"efficiency", "datasets", *PARAMS["runs"]} <= set(block)
    assert set(block["datasets"]) == set(PARAMS["datasets"])


def test_git_tracked_results_do_not_switch_the_run_cache_off() -> None:
    """An `outs` entry with `cache: false` does; `plots` and `metrics` do not. Only the last stage may."""
    for stage in set(STAGES) - {"report"}:
        described = [out for out in body(stage).get("outs", []) if isinstance(out, dict)]
        assert all(options.get("cache", True) for out in described for options in out.values())

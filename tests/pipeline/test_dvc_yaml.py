"""dvc.yaml names everything a stage can execute, so that no change goes unnoticed, and nothing that would re-run too much."""

import ast
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from colorexp import provenance

ROOT = Path(__file__).parents[2]
RUNNERS = {"colorexp.nb", "colorexp.absent", "colorexp.cli"}
"""How a notebook is started changes nothing of what it computes."""


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


def imported_by(notebook: Path) -> set[str]:
    source = "\n".join("".join(c["source"]) for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code")
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("colorexp") and module_file(name).is_file()}


def module_file(module: str) -> Path:
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def named_classes(stage: str) -> set[str]:
    """Modules of models and tasks, which params.yaml names and the stage imports by name."""
    papers = [stage.split("_", 1)[1]] if stage.startswith(("train_", "evaluate_")) else []
    papers = list(PARAMS["runs"]) if stage == "efficiency" else papers
    runs = [run for paper in papers for run in PARAMS["runs"][paper].values()]
    return {run[key].split(":")[0] for run in runs for key in ("model", "task")}


def has_code(path: Path) -> bool:
    return any(not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in ast.parse(path.read_text()).body)


def needed(stage: str) -> set[str]:
    modules = provenance.closure(imported_by(notebook_of(stage)) | named_classes(stage)) - RUNNERS
    files = [module_file(module) for module in modules]
    return {
        file.relative_to(ROOT).as_posix()
        for file in files
        if (has_code(file) and file.parent.name != "colorexp") or file.stem != "__init__"
    }


@pytest.mark.parametrize("stage", NOTEBOOK_STAGES)
def test_a_stage_depends_on_every_module_it_can_execute(stage: str) -> None:
    given = {dep for dep in body(stage)["deps"] if dep.startswith("colorexp/")}
    assert needed(stage) - given == set(), "missing in dvc.yaml"


@pytest.mark.parametrize("stage", NOTEBOOK_STAGES)
def test_a_stage_depends_on_no_module_it_cannot_execute(stage: str) -> None:
    """A superfluous dependency retrains for nothing."""
    given = {dep for dep in body(stage)["deps"] if dep.startswith("colorexp/") and dep.endswith(".py")}
    assert given - needed(stage) == set(), "superfluous in dvc.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_a_folder_of_code(stage: str) -> None:
    """Python writes __pycache__ there, and any comment anywhere would re-run everything."""
    assert all((ROOT / dep).is_file() for dep in body(stage)["deps"] if dep.startswith("colorexp"))


@pytest.mark.parametrize("paper", PARAMS["runs"])
def test_every_run_has_its_stages(paper: str) -> None:
    for stage in (f"train_{paper}", f"evaluate_{paper}"):
        assert STAGES[stage]["foreach"] == f"${{runs.{paper}}}"
        assert {f"runs.{paper}.${{key}}", f"profiles.${{profile}}.{paper}", "profile", "seed"} <= set(body(stage)["params"])


def test_every_notebook_is_a_source_and_has_a_stage() -> None:
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(STAGES["sources"]["foreach"]) == names == {notebook_of(stage).stem for stage in NOTEBOOK_STAGES}


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

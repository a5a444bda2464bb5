"""Every notebook: parameters in one tagged cell, clean, short, and without code that belongs into the package."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from tiny import ROOT

from colorexp import nb

STAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
ALL = sorted((ROOT / "notebooks").rglob("*.ipynb"))
CELL_LINES, NOTEBOOK_LINES = 15, 80
LONG = {"user_guided"}
"""A paper's notebook is as long as the paper has exhibits."""
SHORT = [path for path in ALL if path.stem not in LONG]


def cells_of(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


def source_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code_of(path: Path) -> str:
    return "\n".join(source_of(cell) for cell in cells_of(path, "code"))


def lines_of(cell: dict[str, Any]) -> list[str]:
    return [line for line in source_of(cell).splitlines() if line.strip()]


def every(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.relative_to(ROOT / "notebooks").as_posix())


def test_there_are_notebooks_to_look_at() -> None:
    assert {"train", "evaluate", "prepare", "report"} <= {path.stem for path in STAGES}
    assert any(path.parent.name == "explore" for path in ALL)


@every(ALL)
def test_parameters_stand_in_one_tagged_cell_before_all_other_code(path: Path) -> None:
    code = cells_of(path, "code")
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert tagged == code[:1]
    for statement in ast.parse(source_of(tagged[0])).body:
        assert isinstance(statement, ast.Assign), "papermill reads plain assignments"
        ast.literal_eval(statement.value)


@every(ALL)
def test_nothing_of_an_execution_is_left(path: Path) -> None:
    for cell in cells_of(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@every(ALL)
def test_the_kernel_is_the_one_that_every_installation_has(path: Path) -> None:
    assert json.loads(path.read_text())["metadata"]["kernelspec"] == nb.KERNEL


@every(ALL)
def test_code_lives_in_the_package(path: Path) -> None:
    defined = [
        n for n in ast.walk(ast.parse(code_of(path))) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    assert defined == []


@every(ALL)
def test_a_notebook_begins_with_what_it_is(path: Path) -> None:
    first = cells_of(path)[0]
    assert first["cell_type"] == "markdown"
    assert source_of(first).startswith("# ")


@every(SHORT)
def test_notebooks_can_be_read_at_a_glance(path: Path) -> None:
    lengths = [len(lines_of(cell)) for cell in cells_of(path, "code")]
    assert max(lengths) <= CELL_LINES
    assert sum(lengths) <= NOTEBOOK_LINES


@every(STAGES)
def test_a_stage_notebook_writes_where_it_is_told(path: Path) -> None:
    """By hand it leaves the pipeline's results alone; a stage passes the place."""
    names = {t.id: s.value for s in ast.parse(source_of(cells_of(path, "code")[0])).body for t in s.targets}
    assert ast.literal_eval(names["out"]).startswith("scratch/")
    used = {node.id for node in ast.walk(ast.parse(code_of(path))) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert names.keys() <= used, "a parameter that nothing reads"

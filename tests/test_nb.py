"""A notebook as a stage: parameters are checked, results are the same bytes, failures are kept, absent runs say so."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from tiny import ROOT

from colorexp import absent, config, nb, paths
from colorexp.data import pairlist

STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def make_notebook(path: Path, *sources: str, first: str = 'name = "nobody"\ncount = 1') -> Path:
    """A notebook with a cell of parameters, as JupyterLab saves it."""
    cells = [nbformat.v4.new_markdown_cell("# A test"), nbformat.v4.new_code_cell(first, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": nb.KERNEL}), path)
    return path


def texts(path: Path) -> str:
    """Everything that the cells printed or showed."""
    outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain") or "\n".join(o.get("traceback", [])) for o in outputs)


# Execution


def environment() -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("WANDB")}, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A project and a notebook's bytes after two executions."""
    project = tmp_path_factory.mktemp("nb")
    (project / "dvc.yaml").touch()
    notebook = make_notebook(
        project / "build/nb/greet.ipynb",
        "import os, pathlib, sys\nprint(os.getcwd()); print(name, count, type(count).__name__)",
        "print('one'); print('two', file=sys.stderr); {pathlib.Path.cwd(): os.environ['WANDB_MODE']}",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
    )
    found = []
    for _ in range(2):
        command = [sys.executable, "-m", "colorexp.nb", str(notebook), "out/deep/greet.ipynb", "name=world", "count=1e-3"]
        subprocess.run(command, cwd=project, check=True, capture_output=True, env=environment())
        found.append((project / "out/deep/greet.ipynb").read_bytes())
    return project, found


def test_parameters_and_place_are_the_stages(executed: tuple[Path, list[bytes]]) -> None:
    shown = texts(executed[0] / "out/deep/greet.ipynb")
    assert "world 0.001 float" in shown
    assert "offline" in shown


def test_an_executed_notebook_has_the_same_bytes_every_time(executed: tuple[Path, list[bytes]]) -> None:
    first, second = executed[1]
    assert first == second
    assert b'"image/png"' in first


def test_an_executed_notebook_knows_nothing_of_its_machine(executed: tuple[Path, list[bytes]]) -> None:
    project, (first, _) = executed
    assert str(project).encode() not in first
    read = json.loads(first)
    assert read["metadata"] == {"kernelspec": nb.KERNEL}
    assert [cell["id"] for cell in read["cells"]] == [f"cell-{i}" for i in range(len(read["cells"]))]
    assert {key for cell in read["cells"] for key in cell["metadata"]} == {"tags"}


def test_nothing_is_left_beside_an_executed_notebook(executed: tuple[Path, list[bytes]]) -> None:
    assert [path.name for path in (executed[0] / "out/deep").iterdir()] == ["greet.ipynb"]


def test_a_failing_cell_fails_the_stage_and_leaves_its_traceback(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    notebook = make_notebook(project / "sad.ipynb", "print('before')", "1 / (count - 1)", "print('never')")
    out = project / "out" / "sad.ipynb"
    with pytest.raises(SystemExit) as stop:
        nb.run(notebook, out, {"name": "x"})
    assert stop.value.code == 1
    error = capfd.readouterr().err
    assert "ZeroDivisionError" in error
    assert f"open {out} for the executed notebook with its traceback" in error
    shown = texts(out)
    assert "before" in shown
    assert "ZeroDivisionError" in shown
    assert "never" not in shown
    assert [path.name for path in out.parent.iterdir()] == ["sad.ipynb"]


# Parameters


def test_an_unknown_parameter_is_named_with_those_there_are(project: Path) -> None:
    notebook = make_notebook(project / "greet.ipynb")
    with pytest.raises(ValueError, match=r"greet\.ipynb has no parameter 'nmae'; its parameters are: name, count"):
        nb.run(notebook, project / "out.ipynb", {"nmae": "x"})
    assert not (project / "out.ipynb").exists()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("run=user_guided/res_unet", ("run", "user_guided/res_unet")),
        ("lr=1e-3", ("lr", 1e-3)),
        ("flag=true", ("flag", True)),
        ("word=no", ("word", "no")),
        ("many=[1, a=b]", ("many", [1, "a=b"])),
        ("text=a=b", ("text", "a=b")),
        ("nothing=", ("nothing", None)),
    ],
)
def test_arguments_are_yaml(argument: str, expected: tuple[str, Any]) -> None:
    assert nb.parse(argument) == expected


def test_an_argument_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="expected name=value, got 'smoke'"):
        nb.parse("smoke")


# Stripping


def test_what_jupyterlab_saves_beside_the_source_changes_nothing(tmp_path: Path) -> None:
    source = make_notebook(tmp_path / "a.ipynb", "x = 1\nx", "y = 2")
    before = nb.stripped(source)
    saved = json.loads(source.read_text())
    saved["metadata"] = {"kernelspec": {"name": "mine"}, "language_info": {"version": "3.12"}}
    for number, cell in enumerate(saved["cells"]):
        cell["id"] = f"random{number}"
        cell["source"] = cell["source"] if isinstance(cell["source"], list) else cell["source"].splitlines(keepends=True)
        cell["metadata"] |= {"collapsed": True, "execution": {"iopub.execute_input": "2024-01-01"}}
        if cell["cell_type"] == "code":
            cell["execution_count"] = 7
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["hello"]}]
    source.write_text(json.dumps(saved, indent=4))
    assert nb.stripped(source) == before


@pytest.mark.parametrize("part", ["source", "tags", "kind", "order"])
def test_what_matters_is_kept(tmp_path: Path, part: str) -> None:
    source = make_notebook(tmp_path / "a.ipynb", "x = 1", "y = 2")
    before = nb.stripped(source)
    saved = json.loads(source.read_text())
    cell = saved["cells"][2]
    if part == "source":
        cell["source"] = "x = 3"
    elif part == "tags":
        cell["metadata"]["tags"] = ["parameters"]
    elif part == "kind":
        saved["cells"][2] = {"cell_type": "markdown", "id": "c", "metadata": {}, "source": "x = 1"}
    else:
        saved["cells"][2:] = saved["cells"][:1:-1]
    source.write_text(json.dumps(saved))
    assert nb.stripped(source) != before


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_stripped_notebook_is_valid_and_the_same_notebook(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    out.write_text(nb.stripped(path))
    stripped, original = nbformat.read(out, 4), nbformat.read(path, 4)
    nbformat.validate(stripped)
    assert [(c.cell_type, c.source) for c in stripped.cells] == [(c.cell_type, c.source) for c in original.cells]
    assert nb.stripped(out) == out.read_text()


# Runs and datasets outside the profile


def declared(stage: str, key: str) -> list[str]:
    """Everything that dvc.yaml says a stage writes for one run or dataset."""
    body = STAGES[stage]["do"]
    entries = [*body["outs"], *body.get("metrics", [])]
    return [(entry if isinstance(entry, str) else next(iter(entry))).replace("${key}", key) for entry in entries]


def command(stage: str, key: str) -> list[str]:
    """The arguments of `python -m colorexp.nb` in dvc.yaml."""
    return STAGES[stage]["do"]["cmd"].replace("${key}", key).split()[3:]


def leave_out(*stages: str) -> None:
    """What the stage `sources` writes where the profile leaves these out."""
    for stage in stages:
        kind, _, name = stage.partition("/")
        absence = config.dataset(name).absence_in("smoke") if kind == "prepare" else config.load(name).absence
        found = {"absence": absence, "profile": "smoke"} if absence else {}
        paths.write_atomically(paths.reads(stage), json.dumps(found).encode())
        paths.write_atomically(paths.build("nb") / f"{kind}.ipynb", nb.stripped(ROOT / "notebooks" / f"{kind}.ipynb").encode())


ABSENT = [(f"{kind}_{paper}", kind, f"{paper}/trans_unet") for paper in ["user_guided"] for kind in ("train", "evaluate")]


@pytest.mark.parametrize(("stage", "kind", "name"), [*ABSENT, ("prepare", "prepare", "folder")])
def test_what_the_profile_leaves_out_writes_all_its_outputs(
    project: Path, stage: str, kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.use_profile("smoke")
    leave_out(f"{kind}/{name}")
    key = name.split("/")[-1]
    nb.main(command(stage, key))
    for path in declared(stage, key):
        assert (project / path).exists(), path
    written = {p.relative_to(project).as_posix() for p in project.rglob("*") if p.is_file()} - {"params.yaml", "dvc.yaml"}
    written -= {path for path in written if path.startswith("build/")}
    assert all(any(path == out or path.startswith(f"{out}/") for out in declared(stage, key)) for path in written)
    assert re.match(rf"not run in this profile: .*{name} belongs to .*, the profile is smoke", capsys.readouterr().out)
    notebook = project / "reports" / "notebooks" / kind / f"{name}.ipynb"
    assert "Nothing was computed: not run in this profile" in nbformat.read(notebook, 4).cells[0].source


def test_an_absent_runs_outputs_can_be_read_like_any_others(project: Path) -> None:
    config.use_profile("smoke")
    name = "user_guided/trans_unet"
    leave_out(f"train/{name}", f"evaluate/{name}")
    for stage in ("train_user_guided", "evaluate_user_guided"):
        nb.main(command(stage, "trans_unet"))
    card = json.loads((paths.run(name) / "run.json").read_text())
    assert card == {"status": absent.NOT_RUN, "reason": config.load(name).absence}
    history, rows = pd.read_csv(paths.run(name) / "history.csv"), pd.read_parquet(paths.results(name))
    assert len(history) == len(rows) == 0
    assert {"epoch", "step"} <= set(history.columns)
    assert {"dataset", "split", "image", "protocol", "way", "seed", "repeat", "near_gray"} == set(rows.columns)
    assert list(np.load(paths.features(name))) == []
    assert json.loads(paths.report_metrics(name).read_text()) == {"status": absent.NOT_RUN}


def test_an_absent_datasets_list_of_pairs_is_empty(project: Path) -> None:
    absent.write("pairs", "cub", "why", out="artifacts/pairs/cub.csv")
    assert pairlist.read(paths.pairs("cub")) == []
    with pytest.raises(ValueError, match=r"^why$"):
        absent.write("pairs", "cub", "why", out="scratch/cub.csv")


def test_absent_outputs_have_the_same_bytes_every_time(project: Path) -> None:
    config.use_profile("smoke")
    leave_out("evaluate/user_guided/trans_unet")
    found = []
    for _ in range(2):
        nb.main(command("evaluate_user_guided", "trans_unet"))
        found.append({path: path.read_bytes() for path in project.rglob("*") if path.is_file()})
    assert found[0] == found[1]


def test_an_absent_run_starts_nothing_heavy(project: Path) -> None:
    """Dozens of runs are absent in most profiles: each costs a fraction of a second, not ten."""
    config.use_profile("smoke")
    leave_out("train/user_guided/trans_unet")
    check = "import sys\nfrom colorexp import nb\nnb.main(sys.argv[1:])\n"
    check += "assert not {'torch', 'papermill', 'pydantic'} & set(sys.modules)"
    arguments = command("train_user_guided", "trans_unet")
    done = subprocess.run([sys.executable, "-c", check, *arguments], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_present_run_is_not_left_out(project: Path) -> None:
    config.use_profile("smoke")
    leave_out("train/user_guided/res_unet", "prepare/scenes")
    assert absent.reason("train/user_guided/res_unet") is None
    assert absent.reason("prepare/scenes") is None
    assert absent.reason("evaluate/user_guided/res_unet") is None, "nothing was found yet"


def test_only_stages_of_runs_and_datasets_can_be_absent(project: Path) -> None:
    with pytest.raises(ValueError, match=r"no stage 'report' can be left out; choose prepare, pairs, train or evaluate"):
        absent.write("report", "x", "why", out=None)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_what_is_left_out_is_not_written_by_hand(project: Path, kind: str) -> None:
    """A run of another profile may lie in the official place."""
    config.use_profile("smoke")
    leave_out(f"{kind}/user_guided/trans_unet")
    *arguments, out = command(f"{kind}_user_guided", "trans_unet")
    for elsewhere in ([], ["out=scratch/mine"]):
        with pytest.raises(ValueError, match="trans_unet belongs to cpu, gpu, paper, the profile is smoke"):
            nb.main([*arguments, *elsewhere])
    with pytest.raises(ValueError, match="has no parameter 'outt'"):
        nb.main([*arguments, out, "outt=x"])
    config.use_profile("cpu")
    with pytest.raises(ValueError, match=r"is of the profile smoke, which params\.yaml has left"):
        nb.main([*arguments, out])
    assert not (project / "artifacts").exists()

"""What stages depend on: `python -m colorexp.stages` writes a file per stage of what it runs and reads, and strips notebooks.

A notebook counts by its cells' sources and tags, so that saving it in JupyterLab re-runs nothing. Code counts by the modules that
a stage can execute, found by following imports from its notebook and from the model and task of its run. Parameters count as
`config` resolves them, the profile laid over the run or the dataset: one that the profile overrides re-runs nothing, one that
concerns a single run re-runs that run. What the profile leaves out reads nothing but the reason.

dvc.yaml could list notebook, modules and `params` of every stage instead, but DVC parses and writes its lock file anew after every
stage: thirty files and seventy values for each of a hundred stages make that slower than the stages.
"""

import ast
import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from colorexp import config, nb, paths, provenance, tags

PER_RUN = ("train", "evaluate")
"""Notebooks that are executed once for every run."""

PER_DATASET = ("prepare", "pairs")
"""Notebooks that are executed once for every dataset."""

EVERYTHING = "efficiency"
"""The notebook that builds the networks of all runs at the sizes of the profile `paper`."""

ELSEWHERE = "external"
"""The notebook that measures pictures of other programs like the runs of every paper that has exhibits."""


def write() -> None:
    """Write build/nb/<notebook>.ipynb and build/reads/<stage>.json, both folders anew.

    A stage is `train/<paper>/<run>`, `evaluate/<paper>/<run>`, `prepare/<dataset>`, `pairs/<dataset>` or the name of a notebook.
    """
    for folder in (paths.build("nb"), paths.build("reads")):
        shutil.rmtree(folder, ignore_errors=True)
    for notebook in notebooks():
        paths.write_atomically(paths.build("nb") / notebook.name, nb.stripped(notebook).encode())
    for stage, values in reads().items():
        paths.write_atomically(paths.reads(stage), (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())


def reads() -> dict[str, dict[str, Any]]:
    """What every stage depends on: hashes of its notebook and of the modules it can execute, and parameters."""
    found: dict[str, dict[str, Any]] = {}
    active = config.read()["profile"]
    for path in notebooks():
        name = path.stem
        if name in PER_DATASET:
            for dataset in map(config.dataset, config.datasets()):
                absence = _absent(dataset.absence_in(active))
                chosen = {"seed": dataset.seed, "palettes": config.read().get("palettes")}  # the rest stands in what `prepare` made
                values = asdict(dataset) if name == "prepare" else chosen
                found[f"{name}/{dataset.name}"] = absence or _present(name, executed(name), values)
        elif name in PER_RUN:
            for run in map(config.load, config.runs()):
                values = run.training() if name == "train" else asdict(run.evaluation)  # the rest follows run.json
                found[f"{name}/{run.name}"] = _absent(run.absence) or _present(name, executed(name, run.name), values)
        else:
            found[name] = _present(name, executed(name), parameters(name))
    return found


def _absent(reason: str | None) -> dict[str, Any]:
    return {"absence": reason, "profile": config.read()["profile"]} if reason else {}


def _present(notebook: str, modules: Iterable[str], values: dict[str, Any]) -> dict[str, Any]:
    code = {module: provenance.module_hash(module) for module in sorted(modules)}
    return {"notebook": _hash(nb.stripped(_path(notebook))), "code": code, "parameters": values}


def notebooks() -> list[Path]:
    """The notebooks that stages execute, sorted by name."""
    return sorted((paths.root() / "notebooks").glob("*.ipynb"))


def executed(notebook: str, run: str | None = None) -> set[str]:
    """Modules of this package that a notebook of that name can execute.

    Args:
        notebook: Without its extension.
        run: `<paper>/<run>` whose model and task it builds; None for a notebook that builds those of all its papers' runs, or none.
    """
    starts = imported(notebook)
    builds = "colorexp.runs" in provenance.closure(starts)
    runs = [run] if run else [name for paper in papers(notebook) for name in config.runs(paper) if builds]
    for name in runs:
        paper, _, short = name.partition("/")
        values = config.read()["runs"][paper][short]
        starts |= {str(values[key]).partition(":")[0] for key in ("model", "task")}
    found = provenance.closure(starts)
    packages = {module.rsplit(".", n)[0] for module in found for n in range(1, module.count(".") + 1)}
    return (found | packages | provenance.closure(packages)) - RUNNERS  # Python executes packages before their modules


RUNNERS = {"colorexp.nb", "colorexp.absent", "colorexp.stages"}
"""How a notebook is started changes nothing of what it computes."""


def imported(notebook: str) -> set[str]:
    """Modules of this package that a notebook's own cells import."""
    return set(provenance.imports(ast.parse(_source(notebook))))


def parameters(notebook: str) -> dict[str, Any]:
    """What a notebook that is executed once can read of params.yaml.

    Of the runs of its `papers` it holds hashes of their values in the active profile and in `paper`, which tables compare. Where
    it tells how the project deviates from the papers, docstrings are data.
    """
    values: dict[str, Any] = {"profile": config.read()["profile"], "seed": config.read()["seed"]}
    if "colorexp.tags" in provenance.closure(imported(notebook)):
        values |= {"deviations": _hash(repr([place[:-1] for place in tags.harvest()]))}
    if notebook == EVERYTHING:
        values |= {"efficiency": config.read()["profiles"][values["profile"]]["efficiency"]}
    if notebook == ELSEWHERE:
        measured = [run for paper in config.read()["exhibits"] for run in map(config.load, config.runs(paper)) if run.present]
        values |= {run.name: {"data": asdict(run.data), "evaluation": asdict(run.evaluation)} for run in measured}
    for paper in papers(notebook):
        exhibits = config.read()["exhibits"].get(paper)
        values[paper] = {"exhibits": exhibits} | {run: _both(run) for run in config.runs(paper)}
    return values


def papers(notebook: str) -> list[str]:
    """The papers whose runs a notebook reads: those that its cells or its modules name; all of them in the efficiency notebook."""
    named = " ".join([_source(notebook), *provenance.closure(imported(notebook))])
    return [name for name in config.papers() if notebook == EVERYTHING or re.search(rf"\b{name}\b", named)]


def _both(run: str) -> str:
    active, published = config.load(run), config.load(run, profile="paper")
    return provenance.config_hash({"active": active.as_dict(), "paper": published.as_dict()})


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _path(notebook: str) -> Path:
    return paths.root() / "notebooks" / f"{notebook}.ipynb"


def _source(notebook: str) -> str:
    """The code cells of a notebook."""
    cells = json.loads(_path(notebook).read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


if __name__ == "__main__":
    write()

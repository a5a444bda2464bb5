"""What stages depend on: `python -m colorexp.stages OUT` strips notebooks and takes the fingerprints of code.

A notebook counts by its cells' sources and tags, so that saving it in JupyterLab re-runs nothing. Code counts by the modules that
a stage can execute, found by following imports from its notebook and from the model and task of its run. A run's fingerprint is a
file of its own: a change re-runs what can execute it and nothing else. dvc.yaml could list the modules of every stage instead, but
DVC writes its lock file anew after every stage: some thirty files for each of a hundred stages make that slower than the stages.
"""

import ast
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from colorexp import config, nb, paths, provenance

PER_RUN = ("train", "evaluate")
"""Notebooks that are executed once for every run."""


def write(out: Path) -> None:
    """Write `nb/<notebook>.ipynb`, `code/<notebook>.json` and `code/<train or evaluate>/<paper>/<run>.json` under a folder.

    Args:
        out: Both folders in it are made anew.
    """
    for folder in ("nb", "code"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for notebook in notebooks():
        nb.strip(notebook, out / "nb" / notebook.name)
        name = notebook.stem
        if name not in PER_RUN:
            _fingerprint(out / "code" / f"{name}.json", executed(name))
    for run in config.runs():
        for name in PER_RUN:
            _fingerprint(out / "code" / name / f"{run}.json", executed(name, run))


def notebooks() -> list[Path]:
    """The notebooks that stages execute, sorted by name."""
    return sorted((paths.root() / "notebooks").glob("*.ipynb"))


def executed(notebook: str, run: str | None = None) -> set[str]:
    """Modules of this package that a notebook of that name can execute.

    Args:
        notebook: Without its extension.
        run: `<paper>/<run>` whose model and task it builds; the efficiency notebook builds all of them.
    """
    runs = [run] if run else config.runs() if notebook == "efficiency" else []
    starts = imported(paths.root() / "notebooks" / f"{notebook}.ipynb")
    for name in runs:
        paper, _, short = name.partition("/")
        values = config.read()["runs"][paper][short]
        starts |= {str(values[key]).partition(":")[0] for key in ("model", "task")}
    found = provenance.closure(starts) - RUNNERS
    return found | {module.rsplit(".", n)[0] for module in found for n in range(1, module.count(".") + 1)}  # and their packages


RUNNERS = {"colorexp.nb", "colorexp.absent", "colorexp.stages"}
"""How a notebook is started changes nothing of what it computes."""


def imported(notebook: Path) -> set[str]:
    """Modules of this package that a notebook's own cells import."""
    cells = json.loads(notebook.read_text())["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return set(provenance.imports(ast.parse(source)))


def _fingerprint(file: Path, modules: Iterable[str]) -> None:
    hashes = {module: provenance.module_hash(module) for module in sorted(modules)}
    paths.write_atomically(file, (json.dumps(hashes, indent=0) + "\n").encode())


if __name__ == "__main__":
    write(paths.resolve(sys.argv[1]))

"""Runs one notebook the way a stage does: `python -m colorexp.nb NOTEBOOK OUT [name=value ...]`.

Papermill's API with what its command line lacks: an unknown parameter is an error, folders are made, the executed notebook has the
same bytes every time (no clocks, random ids or paths of this machine), and a failing cell leaves it behind with its traceback.
"""

import ast
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # jupyter-events would compile a grammar of a second

from ruamel.yaml import YAML

from colorexp import absent, paths

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def stripped(source: Path) -> str:
    """What matters of a notebook, as a notebook: its cells' sources and tags, not what JupyterLab saves beside them."""
    notebook = json.loads(source.read_text())
    cells = [_bare(cell, number) for number, cell in enumerate(notebook["cells"])]
    content = {"cells": cells, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1) + "\n"


def _bare(cell: dict[str, Any], number: int) -> dict[str, Any]:
    source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    tags = cell["metadata"].get("tags", [])
    bare = {"cell_type": cell["cell_type"], "id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}, "source": source}
    return bare | ({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {})


def run(notebook: Path, out: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook, or write that the profile leaves its run or dataset out.

    Args:
        notebook: With a cell tagged `parameters`.
        out: The executed notebook.
        parameters: Values for that cell.

    Raises:
        ValueError: If the notebook does not have such a parameter, or the profile leaves out what is asked for elsewhere than by a
            stage.
        SystemExit: If a cell fails; the executed notebook holds the traceback and is named on stderr.
    """
    known = declared(notebook)
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{notebook} has no parameter {unknown[0]!r}; its parameters are: {', '.join(known)}")
    name = parameters.get("run") or parameters.get("dataset")
    if name and (why := absent.reason(f"{notebook.stem}/{name}")):
        absent.write(notebook.stem, name, why, out=parameters.get("out"))
        absent.notebook(out, f"{notebook.stem}: {name}", why)
        print(why)
        return
    start = time.perf_counter()
    _execute(notebook, out, parameters)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # of the kernel
    print(f"{out.stem}: {time.perf_counter() - start:.1f} s, peak memory {peak / 2**30:.2f} GiB")


def declared(notebook: Path) -> list[str]:
    """Names that the cell tagged `parameters` assigns."""
    cells = json.loads(notebook.read_text())["cells"]
    tagged = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    statements = [statement for source in tagged for statement in ast.parse(source).body]
    return [target.id for s in statements if isinstance(s, ast.Assign) for target in s.targets if isinstance(target, ast.Name)]


def _execute(notebook: Path, out: Path, parameters: dict[str, Any]) -> None:
    import nbformat
    import papermill

    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ.setdefault("WANDB_MODE", "offline")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".partial-{out.name}")
    try:
        executed = papermill.execute_notebook(
            str(notebook),
            str(partial),
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            extra_arguments=["--IPKernelApp.log_level=50"],  # the kernel warns of its own transport, and of being shut down
            cwd=str(paths.root()),
        )
        nbformat.write(clean(executed), partial)
        os.replace(partial, out)
    except papermill.PapermillExecutionError as error:
        os.replace(partial, out)
        print(f"{error}\nthe stage failed; open {out} for the executed notebook with its traceback", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        partial.unlink(missing_ok=True)


def clean(notebook: Any) -> Any:  # noqa: ANN401  a NotebookNode, which is untyped
    """Remove clocks, random ids and this machine's paths from an executed notebook."""
    notebook.metadata = {"kernelspec": KERNEL}
    here = str(paths.root())
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        for output in cell.get("outputs", []):
            for holder, key in ((output, "text"), *((output.get("data", {}), kind) for kind in output.get("data", {}))):
                if isinstance(holder.get(key), str):
                    holder[key] = holder[key].replace(here, ".")
    return notebook


def parse(argument: str) -> tuple[str, Any]:
    """`name=value`, the value read as YAML 1.2, where 1e-3 is a number.

    Raises:
        ValueError: If there is no `=`.
    """
    name, equals, value = argument.partition("=")
    if not equals:
        raise ValueError(f"expected name=value, got {argument!r}")
    return name, YAML(typ="safe", pure=True).load(value)


def main(arguments: list[str]) -> None:
    """The command line."""
    run(Path(arguments[0]), Path(arguments[1]), dict(parse(argument) for argument in arguments[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])

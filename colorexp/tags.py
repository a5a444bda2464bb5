"""Where this project differs from the papers, or chose what they leave open: the tags of its docstrings."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from colorexp import paths

KINDS = ("Deviation", "Unspecified")
_TAG = re.compile(rf"^({'|'.join(KINDS)}):\s*", re.MULTILINE)
_END = re.compile(r"^\s*$|^[A-Z]\w*:(?:\s|$)", re.MULTILINE)
"""An empty line or the next tag."""


class Place(NamedTuple):
    """One tag of one docstring."""

    module: str
    object: str
    """Class or function, dotted; the name before a string below an assignment; empty for the module itself."""
    kind: str
    text: str
    source: str
    """The file, relative to the project."""
    line: int = 0
    """Of the tag in it. An edit above moves it, so that it tells no state of the project from another."""


def harvest(package: Path | None = None) -> list[Place]:
    """Every `Deviation:` and `Unspecified:` of the package's docstrings, by module and order in it.

    Args:
        package: Folder of the package, by default this one.
    """
    package = package or paths.package()
    places = []
    for file in sorted(package.rglob("*.py")):
        source = file.relative_to(package.parent)
        module = ".".join(source.with_suffix("").parts).removesuffix(".__init__")
        for name, line, text in _docstrings(ast.parse(file.read_text()), ""):
            places += [Place(module, name, kind, told, source.as_posix(), line + below) for kind, told, below in tagged(text)]
    return places


def tagged(text: str) -> list[tuple[str, str, int]]:
    """Kind, text and line, from 0, of every tag of a docstring; it goes on until an empty line or the next tag."""
    found = []
    for match in _TAG.finditer(text):
        rest = text[match.end() :]
        end = _END.search(rest)
        told = " ".join(rest[: end.start() if end else None].split())
        found.append((match[1], told, text[: match.start()].count("\n")))
    return found


_Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _docstrings(node: _Node, name: str) -> Iterator[tuple[str, int, str]]:
    """Names, first lines and cleaned texts, those below assignments too."""
    if text := ast.get_docstring(node):
        yield name, node.body[0].lineno, text
    before: ast.stmt | None = None
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child, f"{name}.{child.name}".lstrip("."))
        elif isinstance(before, ast.Assign | ast.AnnAssign) and (text := _text(child)):
            target = before.targets[0] if isinstance(before, ast.Assign) else before.target
            yield f"{name}.{ast.unparse(target)}".lstrip("."), child.lineno, text
        before = child


def _text(statement: ast.stmt) -> str:
    """A statement that is a string and nothing else."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
        return inspect.cleandoc(statement.value.value)
    return ""

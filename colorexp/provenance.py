"""Where a number comes from: hashes of data, configuration and code. Never a clock, never a commit."""

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from colorexp import paths


def config_hash(values: dict[str, Any]) -> str:
    """Of plain values, whatever the order of their keys. 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


def data_hash(dataset: str) -> str:
    """Of a prepared dataset: its manifest (with a checksum per picture) and its statistics.

    Raises:
        FileNotFoundError: If the dataset has not been prepared.
    """
    folder = paths.prepared(dataset)
    digest = hashlib.sha256()
    for name in ("manifest.parquet", "stats.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{paths.shown(folder)} is not prepared; run `dvc repro` or `colorexp prepare {dataset}`")
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:12]


def file_hash(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def code_hash(modules: Iterable[str]) -> str:
    """Of the given modules of this package and all they import from it."""
    digest = hashlib.sha256()
    for module in sorted(closure(modules)):
        digest.update(f"{module} {module_hash(module)}\n".encode())
    return digest.hexdigest()[:12]


def module_hash(module: str) -> str:
    """Of one module's code: comments, docstrings and layout do not count."""
    return _read(module).hash


def closure(modules: Iterable[str]) -> set[str]:
    """The modules and everything of this package they import, directly or not, also inside functions."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _read(module).imports
    return found


class _Module(NamedTuple):
    hash: str
    imports: list[str]


def _read(module: str) -> _Module:
    file = _file(module)
    return _parsed(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _parsed(file: Path, _stamp: int) -> _Module:
    tree = ast.parse(file.read_text())
    found = imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return _Module(hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12], found)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def imports(tree: ast.AST) -> list[str]:
    """Modules of this package that some code imports itself, also inside functions."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == "colorexp" and _file(name).is_file()]


def _file(module: str) -> Path:
    path = paths.package().parent / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

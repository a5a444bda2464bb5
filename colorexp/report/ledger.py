"""The ledger of claims: what the papers say, as relations between quantities that expressions address.

An expression is arithmetic (+ - * /) over numbers and

- `psnr(adacolvit_t, at=5, way=samples, on=scenes)`: a measure of a run on test pictures, by its name in the results (`lpips` is
  whichever LPIPS the profile measures). Without `at` it is the run's first hint protocol, without `on` the claim's data; with
  `kind=palette` only pictures count whose reference is of that kind. Another
  paper's run is `superpixels.spixnet`; of `adacolvit_t_d24 | adacolvit_t` it is the first that the profile includes.
- `most(x, by)`, `least(x, by)`: x over the tenth of pictures with the most or least of another measure; `where(x, by, above=8)` and
  `where(x, by, upto=8)`: over pictures on one side of a number.
- `cell(disco_table4, measured, variant='Dual branch', pictures=data)`: one number of a table under reports/, with the interval or
  deviation that its row holds; `data` is the claim's data. `exact(...)` says that a number has no spread.
- `option(adacolvit_t, beta1)`: a value of a run's configuration.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from colorexp import config, paths
from colorexp.report import tables
from colorexp.report.estimates import OPERATORS, Relation

RELATIONS = get_args(Relation)
GROUPS = ("most", "least", "where")
FUNCTIONS = (*GROUPS, "cell", "exact", "option")
"""All other calls are measures of runs."""
KEYWORDS = {"where": {"above", "upto"}}
ON_MEASURES = {"at", "way", "on", "kind"}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim; texts are empty where they do not apply."""

    id: str
    paper: str
    where: str
    """Section, table, figure."""
    claim: str
    """In our words."""
    relation: Relation
    margin: float
    a: str = ""
    """Expression; empty where nothing here can measure it, for the reason in `needs`."""
    b: str = ""
    printed: tuple[str | float | None, ...] = (None, None)
    """The paper's numbers: `<exhibit>/<method>/<dataset>/<metric>` in published/<paper>.csv, a number, or None."""
    on: str = ""
    """Data set of the published numbers, by our name; others can tell an ordering."""
    only_on: str = ""
    """The same for a claim that other data cannot speak of."""
    needs: str = ""
    """What would make it testable."""
    contradicted: str = ""
    """How the paper's own numbers contradict it."""
    overturned: str = ""
    """Why it is meant not to be reproduced."""
    note: str = ""


def load(path: Path | None = None) -> list[Claim]:
    """Every claim of published/claims.yaml.

    Raises:
        ValueError: If a key, relation, paper, data set, run or printed cell is unknown, an expression is none, or an id comes
            twice; the claim is named.
    """
    path = path or paths.package() / "published" / "claims.yaml"
    content = _parsed(path.read_text(), path.name)
    if unknown := content.keys() - {"planned", "claims"}:
        raise ValueError(f"{path.name} has the unknown key {sorted(unknown)[0]!r}; it has planned and claims")
    planned = frozenset(content.get("planned") or ())
    claims = [_claim(values) for values in content["claims"]]
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise ValueError(f"claim {claim.id}: there are two of this id")
        seen.add(claim.id)
        _check(claim, planned)
    return claims


@lru_cache(maxsize=1)
def _parsed(text: str, name: str) -> dict[str, Any]:
    """Parsing takes longer than all else."""
    try:
        content: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {error}") from error
    return content


def _claim(values: Mapping[str, Any]) -> Claim:
    where = f"claim {values.get('id', values)}"
    known = {f.name: f for f in fields(Claim)}
    if unknown := values.keys() - known.keys():
        raise ValueError(f"{where}: unknown key {sorted(unknown)[0]!r}; keys are {', '.join(known)}")
    if missing := [name for name, f in known.items() if f.default is MISSING and name not in values]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    typed = dict(values)
    for name in ("a", "b"):
        typed[name] = str(values.get(name, ""))
    typed["printed"] = tuple(values.get("printed", (None, None)))
    if isinstance(values["margin"], bool) or not isinstance(values["margin"], int | float) or not values["margin"] >= 0:
        raise ValueError(f"{where}: margin must be a number from 0 up, got {values['margin']!r}")
    return Claim(**typed)


def _check(claim: Claim, planned: frozenset[str]) -> None:
    where = f"claim {claim.id}"
    if claim.relation not in RELATIONS:
        raise ValueError(f"{where}: relation is {claim.relation!r}; choose one of {', '.join(RELATIONS)}")
    known = {run.partition("/")[0] for run in (*config.runs(), *planned)}
    if claim.paper not in known:
        raise ValueError(f"{where}: no paper {claim.paper!r}; papers are {', '.join(sorted(known))}")
    if bool(claim.a) != bool(claim.b) or not (claim.a or claim.needs):
        raise ValueError(f"{where}: give both quantities, or none and what it needs")
    if len(claim.printed) != 2 or (claim.on and claim.only_on):
        raise ValueError(f"{where}: there are two printed values, and one of on and only_on")
    for dataset in filter(None, (claim.on, claim.only_on)):
        if dataset not in config.datasets():
            raise ValueError(f"{where}: no data set {dataset!r}; data sets are {', '.join(config.datasets())}")
    for run in (run for text in (claim.a, claim.b) if text for run in addressed(parse(text, where), claim.paper)):
        if run not in planned and run not in config.runs():
            raise ValueError(f"{where}: no run {run!r} in params.yaml, nor is it planned")
    for side in claim.printed:
        printed(claim.paper, side, where)


# Printed numbers


def printed(paper: str, side: str | float | None, where: str = "") -> float | None:
    """A number that a paper prints.

    Args:
        paper: The paper.
        side: `<exhibit>/<method>/<dataset>/<metric>`, the number itself, or None.
        where: What an error begins with.

    Raises:
        ValueError: If the paper prints no such number.
    """
    if not isinstance(side, str):
        return side
    exhibit, *method, dataset, metric = side.split("/")
    table = tables.published(paper, exhibit).fillna({"dataset": ""})
    try:
        return tables.printed(table, method="/".join(method), dataset=dataset, metric=metric)
    except KeyError as error:
        raise ValueError(f"{where}: {side!r} is no printed number: {error.args[0]}") from None


# Expressions


@lru_cache(maxsize=1024)
def parse(text: str, where: str = "") -> ast.expr:
    """An expression as a tree.

    Raises:
        ValueError: If it is none of the module's form.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise ValueError(f"{where}: {text!r} is no expression") from None
    _validate(tree, f"{where}: {text!r}")
    return tree


def _validate(node: ast.expr, where: str) -> None:
    match node:
        case ast.Constant(value=int() | float()):
            return
        case ast.BinOp(left=left, op=op, right=right) if type(op).__name__ in OPERATORS:
            _validate(left, where)
            _validate(right, where)
        case ast.Call(func=ast.Name(id="exact"), args=[inner], keywords=[]):
            _validate(inner, where)
        case ast.Call(func=ast.Name(id=name), args=[x, by], keywords=keywords) if name in GROUPS:
            for inner in (x, by):
                if not is_measure(inner):
                    raise ValueError(f"{where}: {name} takes two measures of runs")
                _validate(inner, where)
            if len(keywords) != len(KEYWORDS.get(name, ())) // 2 or not names(node) <= KEYWORDS.get(name, set()):
                raise ValueError(f"{where}: where takes one of above and upto, most and least take none")
        case ast.Call(func=ast.Name(id="cell"), args=[ast.Name(), ast.Name()]):
            return
        case ast.Call(func=ast.Name(id="option"), args=[run, ast.Name()], keywords=[]):
            list(_runs(run, "", where))
        case ast.Call(args=[run]) if is_measure(node) and names(node) <= ON_MEASURES:
            list(_runs(run, "", where))
        case _:
            raise ValueError(f"{where}: {ast.unparse(node)} is no quantity")


def is_measure(node: ast.AST) -> bool:
    """Whether it is a call such as `psnr(run)`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in FUNCTIONS


def names(node: ast.Call) -> set[str]:
    """Of a call's keywords."""
    return {str(keyword.arg) for keyword in node.keywords}


def keywords(node: ast.Call) -> dict[str, str]:
    """A call's keywords with their values as text: words, texts and numbers."""
    return {str(k.arg): k.value.id if isinstance(k.value, ast.Name) else str(ast.literal_eval(k.value)) for k in node.keywords}


def measures(tree: ast.AST) -> list[ast.Call]:
    """The measures of runs in an expression."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_measure(node)]


def alternatives(node: ast.Call, paper: str) -> list[str]:
    """`<paper>/<run>` of the first argument of a measure or an option, the preferred one first."""
    return list(_runs(node.args[0], paper, ast.unparse(node)))


def addressed(tree: ast.AST, paper: str) -> set[str]:
    """Every `<paper>/<run>` of an expression."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    chosen = [node for node in calls if is_measure(node) or getattr(node.func, "id", "") == "option"]
    return {run for node in chosen for run in alternatives(node, paper)}


def _runs(node: ast.expr, paper: str, where: str) -> Iterator[str]:
    match node:
        case ast.Name(id=name):
            yield f"{paper}/{name}"
        case ast.Attribute(value=ast.Name(id=other), attr=name):
            yield f"{other}/{name}"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from _runs(left, paper, where)
            yield from _runs(right, paper, where)
        case _:
            raise ValueError(f"{where}: {ast.unparse(node)} is no run")

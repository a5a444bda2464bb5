"""What this project measured, as estimates: expressions of the ledger looked up in results, configuration and tables."""

import ast
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from colorexp import config, paths
from colorexp.report import estimates, ledger, tables
from colorexp.report.estimates import Estimate
from colorexp.report.ledger import Claim

STAND_IN = "_random"
"""Ends the name of a measure whose backbone has random weights."""
SHARE = 0.1
"""Of the pictures, that `most` and `least` take."""


class Missing(Exception):
    """A quantity that cannot be had here; its text says why."""


@dataclass
class Sources:
    """Where the numbers of one claim are from; filled while they are looked up."""

    datasets: set[str] = field(default_factory=set)
    other_data: bool = False
    """Whether some are of other data than the published numbers."""
    tables: bool = False
    """Whether some are from tables that say nothing of pictures, such as timings and counts."""
    stand_in: bool = False
    n: int | None = None
    seeds: int | None = None
    notes: list[str] = field(default_factory=list)


class Reader:
    """Results and tables, each read once."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], pd.DataFrame] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        self._repetitions: dict[str, list[str]] = {}

    def rows(self, run: str, way: str) -> pd.DataFrame:
        """All draws of hints of a run and way, without near-gray pictures.

        Raises:
            Missing: If the run has no results.
        """
        if (run, way) not in self._rows:
            if why := tables.absence(run):
                raise Missing(why)
            found = tables.results(run, every_draw=True, way=way)
            gray = found["near_gray"].astype(bool)
            nothing_else = gray.groupby(found["dataset"]).transform("all")  # a data set that holds gray pictures alone
            self._rows[run, way] = found[~gray | nothing_else]
        return self._rows[run, way]

    def repetitions(self, run: str) -> list[str]:
        """The run and those that differ from it by the seed alone."""
        if run not in self._repetitions:
            self._repetitions[run] = tables.repetitions(run)
        return self._repetitions[run]

    def table(self, name: str) -> pd.DataFrame:
        """A table under reports/tables or reports/timings, all of it text.

        Raises:
            Missing: If there is none, or nothing in it.
        """
        if name not in self._tables:
            places = [paths.resolve(f"reports/{folder}/{name}.csv") for folder in ("tables", "timings")]
            found = next((place for place in places if place.is_file()), None)
            if found is None or not found.read_bytes().strip():
                raise Missing(f"not run: there is no table {name}")
            self._tables[name] = pd.read_csv(found, dtype=str)
        return self._tables[name]


class Evidence:
    """Both quantities of a claim.

    Args:
        claim: One that has quantities.
        reader: Shared by all claims.

    Raises:
        Missing: If a measure cannot be had.
    """

    def __init__(self, claim: Claim, reader: Reader) -> None:
        self.claim, self.sources = claim, Sources()
        self._reader = reader
        self._trees = [ledger.parse(text) for text in (claim.a, claim.b)]
        self._measures = {ast.unparse(node): self._measure(node) for tree in self._trees for node in ledger.measures(tree)}
        self._pictures = estimates.Pictures(list(self._measures.values()), key=claim.id)
        if self._measures:
            self.sources.n = len(self._pictures.images)
            if not self.sources.n or len(self.sources.datasets) > 1:
                raise Missing("the quantities share no picture")

    def sides(self) -> tuple[Estimate, Estimate]:
        """Both quantities.

        Raises:
            Missing: If a cell of a table or a group of pictures is empty.
        """
        one, other = (self._value(tree) for tree in self._trees)
        return one, other

    def _value(self, node: ast.expr) -> Estimate:
        match node:
            case ast.Constant(value=value):
                return estimates.constant(float(value))  # type: ignore[arg-type]  # `ledger.parse` let numbers alone pass
            case ast.BinOp(left=left, op=op, right=right):
                return estimates.combine(type(op).__name__, self._value(left), self._value(right))
            case ast.Call(func=ast.Name(id="exact"), args=[inner]):
                return estimates.constant(self._value(inner).value)
            case ast.Call(func=ast.Name(id="cell")):
                return self._cell(node)
            case ast.Call(func=ast.Name(id="option"), args=[_, ast.Name(id=name)]):
                return self._option(node, name)
            case ast.Call(func=ast.Name(id=name)) if name in ledger.GROUPS:
                return self._group(name, node)
            case ast.Call():
                return self._pictures.mean(self._measures[ast.unparse(node)], of=self._run(node))
        raise AssertionError(ast.unparse(node))

    def _run(self, node: ast.Call) -> str:
        """The first run of a measure that the profile includes.

        Raises:
            Missing: If it includes none.
        """
        runs = ledger.alternatives(node, self.claim.paper)
        known = [run for run in runs if run in config.runs()]
        if not known:
            raise Missing(f"not run: params.yaml does not have {runs[0]} yet")
        found = next((run for run in known if config.load(run).present), None)
        if found is None:
            raise Missing(str(config.load(known[0]).absence))
        if found != runs[0]:
            self._note(f"{found} stands for {runs[0]}, which this profile leaves out")
        return found

    def _measure(self, node: ast.Call) -> pd.DataFrame:
        """One value per picture (rows) and seed (columns), means over draws of hints."""
        run, asked = self._run(node), ledger.keywords(node)
        dataset = asked.get("on") or self._dataset(run)
        at = asked.get("at", config.load(run).evaluation.conditions[0])
        metric, columns = node.func.id, {}  # type: ignore[attr-defined]  # a name, as `ledger.is_measure` saw
        for name in self._reader.repetitions(run):
            rows = self._reader.rows(name, asked.get("way", ""))
            rows = rows[(rows["dataset"] == dataset) & (rows["protocol"] == at)]
            rows = rows[rows["reference_kind"] == asked["kind"]] if "kind" in asked else rows
            column = next((c for c in map(str, rows) if c == metric or (metric == "lpips" and c.startswith("lpips_"))), None)
            if column is None or rows[column].isna().all():
                raise Missing(f"not measured: {metric} of {name} on {dataset}, {at}")
            self._names(metric, column)
            columns[config.load(name).seed] = rows.groupby("image")[column].mean()
        self.sources.datasets.add(dataset)
        self.sources.seeds = min(len(columns), self.sources.seeds or len(columns))
        if reduced := tables.reduced(run):
            self._note(f"{run.partition('/')[2]}: {reduced}")
        return pd.DataFrame(columns).dropna()

    def _names(self, metric: str, column: str) -> None:
        if column != metric:
            self._note(f"measured as {column}")
        self.sources.stand_in |= column.endswith(STAND_IN)

    def _dataset(self, run: str) -> str:
        """The claim's data set, or where another may stand for it, the run's first one.

        Raises:
            Missing: If the run is not evaluated on data that the claim cannot do without.
        """
        held, wanted = config.load(run).evaluation.evaluate_on, self.claim.on or self.claim.only_on
        if wanted in held:
            return wanted
        if self.claim.only_on:
            raise Missing(f"needs {wanted}, which this profile does not measure")
        self.sources.other_data |= bool(wanted)
        return held[0]

    def _group(self, name: str, node: ast.Call) -> Estimate:
        """Mean over the pictures that a second measure picks."""
        x, by = (self._measures[ast.unparse(inner)] for inner in node.args)
        values = by.mean(axis=1).loc[self._pictures.images]
        limits = {key: float(text) for key, text in ledger.keywords(node).items()}
        low, high = values.quantile([SHARE, 1 - SHARE])
        if name != "where" and low == high:
            raise Missing(f"{ast.unparse(node.args[1])} is nearly the same for all pictures")
        groups = {"most": lambda: values >= high, "least": lambda: values <= low}
        groups |= {"where": lambda: values > limits["above"] if "above" in limits else values <= limits["upto"]}
        counted = groups[name]()
        if not counted.any():
            raise Missing(f"no picture is in {ast.unparse(node)}")
        run = self._run(node.args[0])  # type: ignore[arg-type]  # a measure
        return self._pictures.mean(x, of=run, counted=counted)

    def _option(self, node: ast.Call, name: str) -> Estimate:
        value = config.load(self._run(node)).options.get(name)
        if not isinstance(value, int | float):
            raise Missing(f"{ast.unparse(node)} is {value}")
        return estimates.constant(float(value))

    def _cell(self, node: ast.Call) -> Estimate:
        table, column = (arg.id for arg in node.args)  # type: ignore[attr-defined]  # names, as `ledger.parse` saw
        wanted = ledger.keywords(node)
        if wanted.get("pictures") == "data":
            wanted["pictures"] = self._dataset(self._root())
        found = self._reader.table(table)
        for key, value in wanted.items():
            found = found[found[key] == value] if key in found else found.head(0)
        if not len(found):
            raise Missing(f"not run: {table} has no row {', '.join(wanted.values())}")
        if len(found) > 1:
            raise ValueError(f"claim {self.claim.id}: {len(found)} rows of {table} are {wanted}")
        row = {str(name): value for name, value in found.iloc[0].dropna().items()}
        if column not in row:
            raise Missing(str(row.get("note", f"not measured: {column} of {', '.join(wanted.values())}")))
        made_by = str(row.get("made_by", "")).partition(":")[0]
        if made_by and (why := tables.absence(made_by)):
            raise Missing(why)
        self._about(row)
        return _spread(float(row[column]), column, row, ast.unparse(node))

    def _root(self) -> str:
        """The run that others of the paper vary."""
        return next(run for run in config.runs(self.claim.paper) if config.parent(run) is None)

    def _about(self, row: dict[str, Any]) -> None:
        """What a table says beside a number."""
        where = row.get("dataset", row.get("pictures"))
        if where and "n" in row:
            count = int(float(row["n"]))
            self.sources.datasets.add(where.removesuffix(" (test)"))
            self.sources.n = min(count, self.sources.n or count)
        elif not where:
            self.sources.tables = True
        self.sources.stand_in |= str(row.get("metric", "")).endswith(STAND_IN)
        for name in ("note", "machine"):
            if name in row:
                self._note(str(row[name]))

    def _note(self, text: str) -> None:
        if text not in self.sources.notes:
            self.sources.notes.append(text)


def _spread(value: float, column: str, row: dict[str, Any], key: str) -> Estimate:
    """The interval of a cell: that of its row, or from the deviation of its repetitions, or none."""
    if {"low", "high"} <= row.keys():
        return estimates.between(value, float(row["low"]), float(row["high"]), key)
    unit = column.rpartition("_")[2]
    std = row.get(f"{column.removesuffix('_' + unit)}_std_{unit}")
    if std is None or "repeats" not in row:
        return estimates.lone(value)
    return estimates.repeated(value, float(std), int(row["repeats"]), key)

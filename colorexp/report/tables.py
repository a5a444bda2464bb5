"""Per-image results and published numbers -> comparison tables, as CSV, Markdown and LaTeX."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from colorexp import config, evaluation, paths
from colorexp.seeding import seed_of

COLUMNS = ("published", "measured", "low", "high", "n", "dataset", "profile", "seeds", "metric", "made_by", "note")
RESAMPLES = 2000
INTERVAL_MINIMUM = 20
"""Fewer pictures carry no interval."""
NOT_MEASURED = "not measured"
MISSING = "not run: "
"""How a note begins of what the profile includes and was not run."""
LONG = 40
"""Letters of a text above which its column wraps in LaTeX."""
PAGE = 30
"""Rows above which a table may break between pages there, as a longtable."""
STAND_IN = "_random"
"""How the name of a measure ends whose network has random weights, for want of trained ones."""


# Results of runs


def absence(run: str) -> str | None:
    """Why there is nothing to show of `<paper>/<run>`: the profile leaves it out, or it has no results; None where there is.

    Raises:
        ValueError: If params.yaml has no such run.
    """
    if is_external(run):
        return None
    missing = None if paths.results(run).is_file() else f"{MISSING}{run} has no results; dvc repro makes them"
    return config.load(run).absence or missing


def results(run: str, *, every_draw: bool = False, way: str = "") -> pd.DataFrame:
    """The per-image rows of `<paper>/<run>`; none where `absence` says why.

    Args:
        run: The run.
        way: How the task coloured pictures, see `evaluation.KEYS`.
        every_draw: Whether all draws of hints are meant, not the first alone.
    """
    if absence(run):
        return pd.DataFrame(columns=[*evaluation.KEYS, *evaluation.REFERENCE_KEYS])
    rows = pd.read_parquet(paths.results(run))
    rows = rows[rows["way"] == way].reset_index(drop=True)
    return rows if every_draw else rows[rows["repeat"] == 0].reset_index(drop=True)


def history(run: str) -> pd.DataFrame:
    """One row per epoch of `<paper>/<run>`; none where it was not trained."""
    path = paths.run(run) / "history.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["epoch", "step"])


def card(run: str) -> dict[str, Any]:
    """run.json of `<paper>/<run>`: status, configuration, best epoch, provenance; nothing where it was not trained."""
    path = paths.run(run) / "run.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def made_by(run: str) -> str:
    """A run with the hashes of its configuration, its code and the data that it was trained on; a method from elsewhere by name."""
    made = {} if is_external(run) else card(run).get("provenance", {})
    data = " ".join(f"{name} {value}" for name, value in made.get("data", {}).items())
    return f"{run}: config {made['config']}, code {made['code']}, data {data}" if made else run


EXTERNAL = "external"
"""Results of methods from elsewhere are those of the run `external/<paper>/<method>`, see `colorexp.external`."""


def from_elsewhere(paper: str) -> list[str]:
    """The methods from elsewhere that were measured like a paper's runs, sorted."""
    return sorted(path.stem for path in paths.results(f"{EXTERNAL}/{paper}/any").parent.glob("*.parquet"))


def is_external(run: str) -> bool:
    """Whether `run` is a method from elsewhere, of which there are results and nothing else."""
    return run.startswith(f"{EXTERNAL}/")


def repetitions(run: str) -> list[str]:
    """`run` and the runs that differ from it in nothing but the seed."""
    if is_external(run):
        return [run]
    own = config.load(run)
    same = own.as_dict() | {"name": "", "seed": 0, "parent": None}
    others = (config.load(name) for name in config.runs(own.paper))
    return [other.name for other in others if other.as_dict() | {"name": "", "seed": 0, "parent": None} == same]


def samples(run: str) -> list[str]:
    """Labels `<dataset>/<image>.<part>` of the pictures that `<paper>/<run>` kept, sorted; none where the profile leaves it out."""
    folder = paths.samples(run)
    return sorted(path.relative_to(folder).as_posix().removesuffix(".png") for path in folder.rglob("*.png"))


def sample(run: str, label: str) -> "np.ndarray | None":
    """One of these pictures, (H, W, 3) uint8, or None where the run did not keep it."""
    path = paths.samples(run) / f"{label}.png"
    return np.asarray(Image.open(path)) if path.is_file() else None


# Configuration


def overview(paper: str) -> pd.DataFrame:
    """The paper's runs: what each varies and whether the profile includes it; of those left out, the paper's values."""
    rows = []
    for name in config.runs(paper):
        cfg = config.load(name)
        profile = None if cfg.present else "paper"
        parent = cfg.parent and config.load(f"{paper}/{cfg.parent}", profile=profile)
        varied = _changes(parent, config.load(name, profile=profile)) if parent else {}
        varies = ", ".join(f"{key}: {value}" for key, (_, value) in varied.items())
        state = "yes" if cfg.present else f"no (in {', '.join(cfg.profiles)})"
        rows.append({"run": cfg.name.split("/")[1], "in this profile": state, "varies": cfg.parent or "", "by": varies})
    return pd.DataFrame(rows)


def overrides(run: str) -> pd.DataFrame:
    """What the active profile changes of a run's values in the profile `paper`."""
    changes = _changes(config.load(run, profile="paper"), config.load(run))
    changes.pop("profile", None)
    profile = config.read()["profile"]
    return pd.DataFrame([{"key": key, "paper": str(old), profile: str(new)} for key, (old, new) in changes.items()])


_IDENTITY = ("name", "parent", "profiles")


def _changes(one: config.Run, other: config.Run) -> dict[str, tuple[Any, Any]]:
    before, after = (_flat(run.as_dict()) for run in (one, other))
    keys = [key for key in {**before, **after} if key not in _IDENTITY]
    return {key: (before.get(key, "–"), after.get(key, "–")) for key in keys if before.get(key, "–") != after.get(key, "–")}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    groups = [values[name] for name in (*config.GROUPS, "options")]
    return {key: value for key, value in values.items() if key not in (*config.GROUPS, "options")} | {
        key: value for group in groups for key, value in group.items()
    }


# Cells


class Cell(NamedTuple):
    """One number of an exhibit: what the paper prints and what was measured."""

    labels: dict[str, str]
    """The paper's row and column names."""
    metric: str
    """Definition of what was measured, as in `metrics`."""
    published: float | None = None
    values: "pd.Series[float] | float | None" = None
    """One value per picture, or a single number, or None where there is none."""
    dataset: str = ""
    seeds: int | None = None
    note: str = ""
    std: float | None = None
    """Standard deviation, over draws of hints, of the mean over pictures."""
    std_published: float | None = None
    made_by: str = ""
    """What measured it, as `made_by` says."""


def tested(
    run: str,
    metric: str,
    *,
    dataset: str,
    protocol: str,
    labels: Mapping[str, str],
    published: float | None = None,
    way: str = "",
    kind: str = "",
) -> Cell:
    """A test result: one value per picture that is not near gray, averaged over the run's repetitions; `way` as in `results`.

    With `kind` only pictures count whose reference is of that kind. Of a measure whose network had no weights it is what its
    stand-in says, under that one's name and with a note. `run` may be a method from elsewhere, `external/<paper>/<method>`.
    """
    if why := absence(run):
        return Cell(dict(labels), metric, published, dataset=dataset, note=why)
    cfg = None if is_external(run) else config.load(run)
    chosen = _counted(run, dataset, protocol, way=way)
    chosen = chosen[chosen["reference_kind"] == kind] if kind else chosen
    notes = [reduced(run)]
    if metric not in chosen and f"{metric}{STAND_IN}" in chosen:
        metric += STAND_IN
        notes.insert(0, "stand-in: a network with random weights")
    if metric not in chosen or chosen[metric].isna().all():
        known = dataset in cfg.evaluation.evaluate_on if cfg else len(chosen) > 0
        missing = metric if known else f"{dataset}, which this profile lacks" if cfg else f"no pictures of {dataset}"
        return Cell(dict(labels), metric, published, dataset=dataset, note=f"{NOT_MEASURED}: {missing}")
    values = chosen.groupby("image")[metric].mean()
    seeds = chosen["seed"].nunique() if cfg else None
    if cfg is None and (flagged := int(chosen["luminance_flagged"].sum())):
        notes.append(f"{flagged} of {len(chosen)} changed the lightness, which is the input's here")
    note = "; ".join(filter(None, notes))
    return Cell(dict(labels), metric, published, values, f"{dataset} (test)", seeds=seeds, note=note, made_by=made_by(run))


def _counted(run: str, dataset: str, protocol: str, *, every_draw: bool = False, way: str = "") -> pd.DataFrame:
    """The rows of a run and its repetitions that means are taken over: all of a data set that holds gray pictures alone."""
    rows = pd.concat([results(name, every_draw=every_draw, way=way) for name in repetitions(run)])
    rows = rows[(rows["dataset"] == dataset) & (rows["protocol"] == protocol)]
    return rows if rows["near_gray"].all() else rows[~rows["near_gray"].astype(bool)]


def trained(run: str, metric: str, *, labels: Mapping[str, str], published: float | None = None) -> Cell:
    """A training mean of the epoch whose weights were kept, over the training mode's own forward passes."""
    cfg = config.load(run)
    found = card(run)
    if why := cfg.absence or (None if found else f"{MISSING}{run} was not trained; dvc repro does"):
        return Cell(dict(labels), metric, published, note=why)
    rows, best = history(run), found["best"]
    if best is None:
        return Cell(dict(labels), metric, published, note="nothing to train")
    value = float(rows.loc[rows["epoch"] == best["epoch"], f"train/{metric}"].iloc[0])
    where = " + ".join(cfg.data.train_on) + " (train)"
    notes = [f"epoch {best['epoch'] + 1}", reduced(run)]
    return Cell(dict(labels), metric, published, value, where, 1, "; ".join(filter(None, notes)), made_by=made_by(run))


def elsewhere(paper: str, quantities: Mapping[str, str], *, columns: Sequence[str], protocol: str | None = None) -> list[Cell]:
    """Cells of the methods from elsewhere that were measured like a paper's runs, on the data sets that they sent.

    Args:
        paper: The paper.
        quantities: By the table's names, the metrics.
        columns: Labels of the table: the first is the method's, the others some of `pictures`, `hints` and `quantity`.
        protocol: Only methods of this one.
    """
    cells = []
    for method in from_elsewhere(paper):
        run = f"{EXTERNAL}/{paper}/{method}"
        for dataset, hints in results(run)[["dataset", "protocol"]].drop_duplicates().itertuples(index=False):
            for quantity, metric in quantities.items() if protocol in (None, hints) else ():
                known = {columns[0]: method, "pictures": dataset, "hints": hints, "quantity": quantity}
                labels = {name: known[name] for name in columns}
                cells.append(tested(run, metric, dataset=dataset, protocol=hints, labels=labels))
    return cells


def over_draws(
    run: str, metric: str, *, dataset: str, protocol: str, labels: Mapping[str, str], published: float | None = None
) -> Cell:
    """A test result as the mean over all draws of hints, one value per picture, with the spread of the draws' means.

    Args are those of `tested`. With one draw there is no spread.
    """
    cell = tested(run, metric, dataset=dataset, protocol=protocol, labels=labels, published=published)
    if not isinstance(cell.values, pd.Series):
        return cell
    chosen = _counted(run, dataset, protocol, every_draw=True)
    means = chosen.groupby("repeat")[metric].mean()
    return cell._replace(
        values=chosen.groupby("image")[metric].mean(), std=round(float(means.std()), 9) if len(means) > 1 else None
    )


def reduced(run: str) -> str:
    """What the profile changes of this run alone, as a note: it then competes on other terms, as pictures from elsewhere do."""
    if is_external(run):
        return "pictures from elsewhere"
    return ", ".join(f"{key} {value}" for key, value in config.singled_out(run).items())


def comparison(cells: Iterable[Cell]) -> pd.DataFrame:
    """Published beside measured: labels, then the columns of `COLUMNS`; after `n`, `std` and `std_published` where a cell has one.

    Intervals are 95% percentile bootstraps over pictures, seeded by the cell's labels; below 20 pictures there is none. `dataset`
    names what ours was measured on; the published number stands on the paper's data.
    """
    profile = config.read()["profile"]
    rows, cells = [], list(cells)
    spread = any(cell.std is not None or cell.std_published is not None for cell in cells)
    for cell in cells:
        values = cell.values.dropna() if isinstance(cell.values, pd.Series) else cell.values
        low, high, n = None, None, None
        if isinstance(values, pd.Series):
            low, high = bootstrap(values, *cell.labels.values(), cell.metric)
            n, values = len(values), float(values.mean())
        measured = {"measured": _rounded(values), "low": _rounded(low), "high": _rounded(high), "n": n}
        measured |= {"std": _rounded(cell.std), "std_published": cell.std_published} if spread else {}
        about = {"dataset": cell.dataset, "profile": profile, "seeds": cell.seeds, "metric": cell.metric}
        about |= {"made_by": cell.made_by, "note": cell.note}
        rows.append({**cell.labels, "published": cell.published, **measured, **about})
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    numbers = dict.fromkeys(("published", "measured", "low", "high", *(("std", "std_published") if spread else ())), "float64")
    return pd.DataFrame(rows).astype({**numbers, "n": "Int64", "seeds": "Int64"})


def bootstrap(values: "pd.Series[float]", *key: str) -> tuple[float | None, float | None]:
    """95% percentile interval of the mean over resampled pictures, or nothing below 20 of them."""
    if len(values) < INTERVAL_MINIMUM:
        return None, None
    rng = np.random.default_rng(seed_of("bootstrap", *key))
    draws = rng.integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values.to_numpy()[draws].mean(1), [2.5, 97.5])
    return float(low), float(high)


class Difference(NamedTuple):
    """A mean over pictures with its 95% interval, which is empty below 20 pictures."""

    mean: float
    low: float | None
    high: float | None
    n: int


def difference(one: Cell, other: Cell) -> Difference | None:
    """Mean difference over the pictures two cells share, with its paired interval; None where a cell is empty."""
    if not (isinstance(one.values, pd.Series) and isinstance(other.values, pd.Series)):
        return None
    paired = (one.values - other.values).dropna()
    key = (*one.labels.values(), *other.labels.values(), one.metric)
    return Difference(float(paired.mean()), *bootstrap(paired, *key), len(paired))


Side = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]
"""A run, a hint protocol and, where they are meant, a way of colouring and a kind of reference."""


def claims(asked: Iterable[tuple[str, str | tuple[str, str], Side, Side]], *, dataset: str) -> pd.DataFrame:
    """Paired differences over one dataset's test pictures.

    Args:
        asked: Claim, metric (or one for each side), first side, second side.
        dataset: The dataset.

    Returns:
        Claim, metric, both sides, difference with its 95% interval, number of pictures, verdict, note. A claim says that the first
        side is larger; it holds or fails only where the whole interval agrees.
    """
    profile = config.read()["profile"]
    rows = []
    for claim, metric, *sides in asked:
        names = metric if isinstance(metric, tuple) else (metric, metric)
        one, other = (_tested(name, side, dataset) for name, side in zip(names, sides, strict=True))
        found = difference(one, other)
        low, high, n = None, None, None
        if found:
            low, high, n = found.low, found.high, found.n
        first, second = (f"{cell.labels['run'].split('/')[1]} at {cell.labels['hints']}" for cell in (one, other))
        value = {"difference": _rounded(found.mean if found else None), "low": _rounded(low), "high": _rounded(high), "n": n}
        notes = [f"{cell.labels['run'].split('/')[1]}: {cell.note}" for cell in (one, other) if cell.note and found]
        note = "; ".join(dict.fromkeys(notes)) or one.note or other.note
        about = {"verdict": verdict(low, high), "dataset": f"{dataset} (test)", "profile": profile, "note": note}
        rows.append(
            {"claim": claim, "metric": " - ".join(dict.fromkeys(names)), "first": first, "second": second, **value, **about}
        )
    return pd.DataFrame(rows).astype({**dict.fromkeys(("difference", "low", "high"), "float64"), "n": "Int64"})


def _tested(metric: str, side: Side, dataset: str) -> Cell:
    run, protocol, way, kind = (*side, "", "")[:4]
    labels = {"run": run, "hints": ", ".join(filter(None, (protocol, kind, way)))}
    return tested(run, metric, dataset=dataset, protocol=protocol, labels=labels, way=way, kind=kind)


def verdict(low: float | None, high: float | None) -> str:
    """What an interval says of the claim that its number is above zero; nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


# Published numbers


def published(paper: str, exhibit: str) -> pd.DataFrame:
    """The rows of published/<paper>.csv of one exhibit."""
    table = pd.read_csv(paths.published(paper))
    return table[table["exhibit"] == exhibit].reset_index(drop=True)


def printed(table: pd.DataFrame, *, method: str, dataset: str, metric: str) -> float:
    """The one printed number for a method, data set and metric.

    Raises:
        KeyError: If the paper prints none, or several.
    """
    found = table[(table["method"] == method) & (table["dataset"] == dataset) & (table["metric"] == metric)]["value"]
    if len(found) != 1:
        raise KeyError(f"{len(found)} published values for {method}, {dataset}, {metric}")
    return float(found.iloc[0])


# Files and forms for reading


def write(table: pd.DataFrame, out: str | Path) -> pd.DataFrame:
    """Write a table as CSV, its path relative to the project, and hand it on for the notebook to show."""
    paths.write_atomically(paths.resolve(out), table.to_csv(index=False).encode())
    return table


def wide(table: pd.DataFrame, *, rows: Sequence[str], column: str) -> pd.DataFrame:
    """A comparison as people read it: a line per `rows`, a column per value of `column`, `measured (published)` in the cells.

    Last come the number of pictures and the notes, where the table has them. Lines without any number are left out, unless they
    should have some and results are missing; and what was not measured needs no note in a line where something was: its cell is a
    dash. Nothing comes of a table without rows.
    """
    if table.empty:
        return table
    table = table.assign(**{name: table[name].astype(object).fillna("").astype(str) for name in rows})  # no label reads as NaN
    numbers = table[["measured", "published"]].notna()
    keys = [table[name] for name in rows]
    missing = table["note"].fillna("").str.startswith(MISSING) if "note" in table else False
    table = table[(numbers.any(axis=1) | missing).groupby(keys).transform("any")]
    if "note" in table:
        seen = table["note"].fillna("").str.startswith(NOT_MEASURED) & numbers["measured"].groupby(keys).transform("any")
        table = table.assign(note=table["note"].mask(seen))
    order = list(dict.fromkeys(table[column]))
    about = [name for name in ("n", "note") if name in table]
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for record in table.to_dict("records"):
        line = lines.setdefault(tuple(str(record[name]) for name in rows), dict.fromkeys([*order, *about], ""))
        line[str(record[column])] = _cell(record)
        for name in about:
            value = record[name]
            told = "" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)
            parts = [part for text in (line[name], told) for part in text.split("; ") if part]
            line[name] = "; ".join(dict.fromkeys(parts))
    return pd.DataFrame([dict(zip(rows, key, strict=True)) | cells for key, cells in lines.items()])


def _cell(record: Mapping[Any, Any]) -> str:
    measured = "–" if pd.isna(record["measured"]) else f"{record['measured']:.4g}{_spread(record.get('std'))}"
    if not pd.isna(record["low"]) and record["low"] < record["high"]:
        measured += f" [{record['low']:.4g}, {record['high']:.4g}]"
    if pd.isna(record["published"]):
        return measured
    return f"{measured} ({record['published']:.4g}{_spread(record.get('std_published'))})"


def _spread(std: float | None) -> str:
    return "" if pd.isna(std) or std == 0 else f" ± {std:.2g}"


def markdown(table: pd.DataFrame) -> str:
    """A pipe table, what made its numbers as a list below."""
    table, notes = _footnoted(table)
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(_plain(value) for value in row) + " |" for row in table.itertuples(index=False)]
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))] if notes else []
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame) -> str:
    """A booktabs table, what made its numbers as another below; long texts wrap, and long tables want the package longtable."""
    table, notes = _footnoted(table)
    below = pd.DataFrame(enumerate(notes, start=1))
    plain = table.map(_plain).astype(str)  # a table without rows leaves its columns without a type
    parts = [plain.to_latex(index=False, escape=True, column_format=_columns(plain), longtable=len(plain) > PAGE)]
    return "".join([*parts, below.to_latex(index=False, header=False, escape=True)] if notes else parts)


def _columns(table: pd.DataFrame) -> str:
    long = [table[name].str.len().max() > LONG for name in table]
    return "".join(rf"p{{{0.6 / sum(long):.2f}\linewidth}}" if wraps else "l" for wraps in long)


def _footnoted(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """With numbers in the column `made_by`, and what they stand for."""
    if "made_by" not in table:
        return table, []
    made = table["made_by"].fillna("")
    notes = list(dict.fromkeys(filter(None, made)))
    return table.assign(made_by=[str(notes.index(one) + 1) if one else "" for one in made]), notes


def _plain(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "/")

"""What was run, for how long, and what became of the claims."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from colorexp import config, paths
from colorexp.absent import NOT_RUN
from colorexp.report.scorecard import TEXTS, VERDICTS, shown
from colorexp.report.site.exhibits import Block, Cell, Figure, Table, long


class Score(NamedTuple):
    """A paper's claims, counted."""

    title: str
    page: str
    """Its page, where it has one."""
    counts: dict[str, int]
    """By verdict."""


class Card(NamedTuple):
    """A paper at a glance."""

    paper: str
    title: str
    picture: Figure | None
    exhibits: list[tuple[str, str]]
    """Anchors and titles."""
    trained: int
    runs: int
    seconds: float


def runs(paper: str) -> list[list[Cell]]:
    """A line per run: name, status, seed, profile, hashes of configuration, code and data, parameters, seconds of training."""
    return [_line(name) for name in config.runs(paper)] if paper in config.papers() else []


RUN_COLUMNS = ("run", "status", "profile", "seed", "config", "code", "data", "parameters", "training (s)")


def _line(name: str) -> list[Cell]:
    found = _card(name)
    short, status = name.partition("/")[2], found.get("status", "not run")
    if "provenance" not in found:
        return [Cell(short), Cell(status), *[Cell("")] * 7]
    made, cfg, seconds = found["provenance"], found["config"], _seconds(name)
    data = ", ".join(f"{dataset} {value}" for dataset, value in made["data"].items())
    told = [Cell(text) for text in (short, status, cfg["profile"], str(cfg["seed"]), made["config"], made["code"], data)]
    parameters, spent = str(found["parameters"]), f"{seconds:.1f}" if seconds else ""
    return [*told, Cell(parameters, parameters), Cell(spent, spent)]


def _card(name: str) -> dict[str, Any]:
    file = paths.run(name) / "run.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def _seconds(name: str) -> float:
    file = paths.timings(f"train/{name}")
    return float(json.loads(file.read_text()).get("train_seconds", 0)) if file.is_file() else 0.0


def data_hashes() -> dict[str, str]:
    """Hashes of the data sets that runs were trained on; of those that changed between runs, none."""
    found: dict[str, set[str]] = {}
    for name in config.runs():
        for dataset, value in _card(name).get("provenance", {}).get("data", {}).items():
            found.setdefault(dataset, set()).add(value)
    return {dataset: next(iter(values)) for dataset, values in found.items() if len(values) == 1}


def card(paper: str, title: str, blocks: Iterable[Block], lead: str | None) -> Card:
    """A paper's picture, exhibits and runs.

    Args:
        paper: The paper.
        title: Its title.
        blocks: Of its page.
        lead: The figure that introduces it; where it is missing the first one does.
    """
    shown = [block for block in blocks if isinstance(block, Figure | Table)]
    figures = [block for block in shown if isinstance(block, Figure)]
    picture = next((figure for figure in figures if figure.anchor == lead), figures[0] if figures else None)
    present = [name for name in config.runs(paper) if _card(name).get("status", NOT_RUN) != NOT_RUN]
    exhibits = [(block.anchor, block.title) for block in shown]
    seconds = sum(map(_seconds, present))
    return Card(paper, title, picture, exhibits, len(present), len(config.runs(paper)), seconds)


def total(cards: Sequence[Card]) -> str:
    """How many runs there are, and how long their trainings took."""
    trained, runs, seconds = sum(c.trained for c in cards), sum(c.runs for c in cards), sum(c.seconds for c in cards)
    return f"{trained} of {runs} runs, {seconds / 60:.0f} minutes of training"


def scorecard(reports: Path) -> pd.DataFrame:
    """reports/scorecard.csv; empty where it has not been made."""
    file = reports / "scorecard.csv"
    return pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["id", "paper", "where", "claim", "verdict"])


def verdicts(scores: pd.DataFrame) -> list[str]:
    """Verdicts that occur, in the order of the scorecard, then those that it does not know."""
    found = list(dict.fromkeys(map(str, scores["verdict"])))
    return sorted(found, key=lambda verdict: VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS))


def scores(table: pd.DataFrame, titles: Mapping[str, str], papers: Sequence[str]) -> list[Score]:
    """A line per paper that the scorecard names; those without runs have no page."""
    named = [paper for paper in titles if (table["paper"] == paper).any()]
    counts = {paper: Counter(map(str, table[table["paper"] == paper]["verdict"])) for paper in named}
    return [Score(titles[paper], paper if paper in papers else "", counts[paper]) for paper in named]


def files(reports: Path) -> list[str]:
    """The scorecard's files."""
    return sorted(file.name for file in reports.glob("scorecard.*"))


def claims(scores: pd.DataFrame, paper: str) -> tuple[list[str], list[list[Cell]]]:
    """Columns and lines of a paper's part of the scorecard, as people read it."""
    own = shown(scores.fillna(dict.fromkeys(TEXTS, "")), paper) if len(scores) else scores
    return long(own, {}) if len(own) else ([], [])

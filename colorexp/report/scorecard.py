"""Every published claim judged by what was measured here: a verdict, an effect with its interval, and on what it rests."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from colorexp import config, paths
from colorexp.report import estimates, ledger, tables
from colorexp.report.estimates import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from colorexp.report.evidence import Evidence, Missing, Reader, Sources
from colorexp.report.ledger import Claim

UNTESTABLE = "not testable here"
CONTRADICTED = "the paper contradicts itself"
OVERTURNED = "overturned on purpose"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, UNTESTABLE, CONTRADICTED, OVERTURNED)
RELATIONS = {"gt": "a > b + margin", "lt": "a < b - margin", "ratio_ge": "a / b >= margin", "within": "a within margin of b"}
"""By the names of relations."""
NUMBERS = ("margin", "published_a", "published_b", "a", "b", "effect", "low", "high")
TEXTS = ("verdict", "measured", "ordering", "scope", "note")
COLUMNS = ("id", "paper", "where", "claim", "relation", *NUMBERS, "n", "seeds", *TEXTS)
HOLDS = {REPRODUCED: "holds", NOT_REPRODUCED: "does not hold", INCONCLUSIVE: "undecided"}


# Judging


def scorecard(claims: Sequence[Claim]) -> pd.DataFrame:
    """One row per claim: what the paper prints, what was measured, and the verdict.

    Returns:
        `COLUMNS`. `a` and `b` are the measured quantities, `effect` their ratio for `ratio_ge` and else their difference, with its
        95% interval over the same `n` pictures. `measured` is what the measurement alone says, where the verdict is about the
        paper; `ordering` whether the mere order holds, where the claim is not reproduced and asks for more; `scope` on what it
        was measured; `note` why it was not, or what to bear in mind.
    """
    reader = Reader()
    table = pd.DataFrame([_row(claim, reader) for claim in claims], columns=list(COLUMNS))
    return table.astype({**dict.fromkeys(NUMBERS, "float64"), "n": "Int64", "seeds": "Int64"})


def _row(claim: Claim, reader: Reader) -> dict[str, Any]:
    published = [ledger.printed(claim.paper, side) for side in claim.printed]
    row: dict[str, Any] = {name: getattr(claim, name) for name in ("id", "paper", "where", "claim", "relation", "margin")}
    row |= {"published_a": published[0], "published_b": published[1], "ordering": ""}
    measured, reason = UNTESTABLE, f"needs {claim.needs}"
    sources = Sources()
    if claim.a:
        try:
            found = Evidence(claim, reader)
            numbers, measured, reason = _judged(claim, found)
            row |= numbers
            sources = found.sources
        except Missing as missing:
            reason = str(missing)
    row["verdict"] = _verdict(claim, measured)
    row["measured"] = measured if row["verdict"] != measured else ""
    row["scope"] = scope(claim, sources) if measured != UNTESTABLE else ""
    row["note"] = "; ".join(filter(None, (claim.contradicted, claim.overturned, reason, claim.note, *sources.notes)))
    return row


def _judged(claim: Claim, found: Evidence) -> tuple[dict[str, Any], str, str]:
    """Numbers of a row, what they say, and what keeps them from saying more."""
    one, other = found.sides()
    effect, sources = estimates.effect(claim.relation, one, other), found.sources
    if sources.stand_in and (claim.margin or claim.relation in ("ratio_ge", "within")):
        raise Missing("a backbone of random weights stands in, which can tell an ordering, not a size")
    interval = effect.interval
    verdict = estimates.verdict(claim.relation, claim.margin, interval)
    low, high = interval or (None, None)
    numbers = {"a": one.value, "b": other.value, "effect": effect.value, "low": low, "high": high}
    row: dict[str, Any] = {name: _rounded(value) for name, value in numbers.items()}
    row |= {"n": sources.n, "seeds": sources.seeds, "ordering": "" if verdict == REPRODUCED else _ordering(claim, interval)}
    tie = "a and b are the same for every picture" if interval == (0, 0) else ""
    return row, verdict, tie if interval else _no_interval(sources)


def _no_interval(sources: Sources) -> str:
    if sources.n is not None and sources.n < tables.INTERVAL_MINIMUM:
        return f"no interval below {tables.INTERVAL_MINIMUM} pictures"
    return "no interval: one number, whose spread is not known"


def _ordering(claim: Claim, interval: tuple[float, float] | None) -> str:
    """Whether the order alone holds, where a claim that is not reproduced asks for a distance as well."""
    if claim.relation in ("gt", "lt") and claim.margin:
        return HOLDS[estimates.verdict(claim.relation, 0.0, interval)]
    if claim.relation == "ratio_ge" and claim.margin > 1:
        return HOLDS[estimates.verdict("ratio_ge", 1.0, interval)]
    return ""


def _verdict(claim: Claim, measured: str) -> str:
    if claim.contradicted:
        return CONTRADICTED
    return OVERTURNED if claim.overturned and measured == NOT_REPRODUCED else measured


def scope(claim: Claim, sources: Sources) -> str:
    """On what a verdict rests, and whether that is the paper's data at the paper's scale, in words."""
    params, told = config.read(), []
    if sources.datasets:
        where = " and ".join(sorted(sources.datasets))
        count = "" if sources.n is None else f", n = {sources.n}"
        seeds = f"{sources.seeds} seeds" if (sources.seeds or 1) > 1 else f"seed {params['seed']}"
        if sources.other_data or (params["profile"] != "paper" and (claim.on or claim.only_on)):
            told.append("ordering only" if claim.relation in ("gt", "lt") else "not on the paper's scale")
        told.append(f"on {where}{count}, profile {params['profile']}, {seeds}")
    if sources.tables:
        told.append("counted or timed here at the published size")
    if sources.stand_in:
        told.append("stand-in: a backbone of random weights")
    return ", ".join(told)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


# Forms for reading


def summary(card: pd.DataFrame) -> pd.DataFrame:
    """Number of claims per paper and verdict, with totals; for the landing page and the README."""
    counts = card.groupby(["paper", "verdict"], sort=False).size().unstack(fill_value=0)  # noqa: PD010  no aggregation is meant
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0)
    counts.insert(0, "claims", counts.sum(axis=1))
    counts.loc["all"] = counts.sum()
    counts.columns.name = None
    return counts.rename_axis("paper").reset_index()


def shown(card: pd.DataFrame, paper: str) -> pd.DataFrame:
    """The claims of one paper as people read them: claim, published, measured, verdict, on what it rests."""
    part = card[card["paper"] == paper]
    return pd.DataFrame([_line(row) for row in part.to_dict("records")])


def _line(row: dict[Any, Any]) -> dict[str, str]:
    sides = [_pair(row, "published_a", "published_b"), _pair(row, "a", "b")]
    effect = "" if pd.isna(row["effect"]) else f"{row['effect']:.3g}"
    if not pd.isna(row["low"]):
        effect += f" [{row['low']:.3g}, {row['high']:.3g}]"
    verdict = row["verdict"] + (f" (measured: {row['measured']})" if row["measured"] else "")
    if row["ordering"]:
        verdict += f"; the order alone {row['ordering']}"
    asked = RELATIONS[row["relation"]]
    asked = asked.replace("margin", f"{row['margin']:g}") if row["margin"] else asked[:5]
    about = "; ".join(filter(None, (row["scope"], row["note"])))
    return {
        "claim": f"{row['claim']} ({row['where']})",
        "asked": asked,
        "published a, b": sides[0],
        "measured a, b": sides[1],
        "effect [95% interval]": effect,
        "verdict": verdict,
        "on what": about,
    }


def _pair(row: dict[Any, Any], *names: str) -> str:
    values = [row[name] for name in names]
    return "" if all(map(pd.isna, values)) else ", ".join("–" if pd.isna(value) else f"{value:.4g}" for value in values)


_HEAD = """# Scorecard

Every claim of the papers that can be put as a relation between two measured quantities. The effect is a - b, or a / b where the
claim is about a ratio; its interval is a 95% bootstrap over the same test pictures, and over training seeds where a run has
several; of a run that was trained once it holds nothing of how trainings differ. A claim is reproduced, or not, only if the whole
interval says so, by the margin under "asked". Other data than the paper's and smaller networks tell an ordering.
"""


def markdown(card: pd.DataFrame) -> str:
    """The summary and a table per paper."""
    parts = [_HEAD, tables.markdown(summary(card))]
    for paper in dict.fromkeys(card["paper"]):
        parts += [f"## {paper}\n", tables.markdown(shown(card, paper))]
    return "\n".join(parts)


def write(out: str | Path) -> pd.DataFrame:
    """Judge the ledger and write scorecard.csv, .md and .tex, and scorecard_summary.csv.

    Args:
        out: The folder of reports, relative to the project.
    """
    card = scorecard(ledger.load())
    target = paths.resolve(out)
    tex = "\n".join(f"% {paper}\n{tables.latex(shown(card, paper))}" for paper in dict.fromkeys(card["paper"]))
    texts = {"scorecard.csv": card.to_csv(index=False), "scorecard.md": markdown(card), "scorecard.tex": tex}
    texts["scorecard_summary.csv"] = summary(card).to_csv(index=False)
    for name, text in texts.items():
        paths.write_atomically(target / name, text.encode())
    return card


# README


MARKS = ("<!-- made by `colorexp report` -->", "<!-- as far as here -->")
"""What stands before and after the summary in README.md."""


def into_readme() -> None:
    """Put the summary of reports/ between README's marks; a README without them stays as it is."""
    readme, table = paths.root() / "README.md", pd.read_csv(paths.resolve("reports/scorecard_summary.csv"))
    text = readme.read_text() if readme.is_file() else ""
    begin, end = map(re.escape, MARKS)
    block = f"{MARKS[0]}\n{tables.markdown(table)}{MARKS[1]}"
    changed = re.sub(f"{begin}.*?{end}", lambda _: block, text, flags=re.DOTALL)
    if changed != text:
        paths.write_atomically(readme, changed.encode())

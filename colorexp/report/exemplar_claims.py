"""What the exemplar paper says of its networks, as differences over the same pairs, and where to look if one does not hold."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from colorexp.report import exemplar, tables
from colorexp.report.exemplar import Row
from colorexp.report.phrases import listed

RELATED, INDEPENDENT = exemplar.REFERENCES.values()


class Claim(NamedTuple):
    """That a measure of the first row under some references is larger than one of the second."""

    text: str
    metric: str | tuple[str, str]
    first: tuple[Row, str]
    second: tuple[Row, str]
    otherwise: str
    """What may be the cause where it does not hold."""


OURS = Row("exemplar")
SHORT = "Where stage 2 is short, its smaller terms are hardly felt: see the curves of all terms."
RANDOM = "Where the list's features are a stand-in's with random weights, a nearest reference shares texture and tone, not things."
NO_WEIGHTS = "It needs the weights of an aesthetic model."


def _falls(text: str, without: str, metric: str, cause: str) -> list[Claim]:
    name = {"his": "HIS", "aesthetics": "AS"}[metric]
    return [
        Claim(
            f"{text}: {name} falls, {references} references (Table 3)",
            metric,
            (OURS, references),
            (Row(without), references),
            cause,
        )
        for references in (RELATED, INDEPENDENT)
    ]


CLAIMS = (
    *_falls("without the database", "no_database", "his", "Colours of the reference alone have its histogram all by themselves."),
    *_falls("without the prior", "no_prior", "his", SHORT),
    *_falls("without gate and sparse loss", "direct_sum", "his", "Two sources added are more colour than one chosen."),
    *_falls("without the database", "no_database", "aesthetics", NO_WEIGHTS),
    *_falls("without the prior", "no_prior", "aesthetics", NO_WEIGHTS),
    *_falls("without gate and sparse loss", "direct_sum", "aesthetics", NO_WEIGHTS),
    Claim("related references are easier to follow: higher HIS (Table 1)", "his", (OURS, RELATED), (OURS, INDEPENDENT), RANDOM),
    Claim(
        "the automatic network ignores the reference: lower HIS, independent references (Table 1)",
        "his",
        (OURS, INDEPENDENT),
        (Row("automatic"), INDEPENDENT),
        SHORT,
    ),
    Claim(
        "a rival that over-transfers has a higher HIS, related references (Table 1, Figure 5)",
        "his",
        (Row("histogram_matching"), RELATED),
        (OURS, RELATED),
        SHORT,
    ),
    Claim(
        "and is farther from the true colours (in the place of AS)",
        "ab_error",
        (Row("histogram_matching"), RELATED),
        (OURS, RELATED),
        SHORT,
    ),
    Claim(
        "and its objects are less of one colour (in the place of AS)",
        "spread",
        (Row("histogram_matching"), RELATED),
        (OURS, RELATED),
        SHORT,
    ),
    Claim(
        "the sparse loss makes the gate decide: lower entropy (eq. 11)",
        "gate_entropy",
        (Row("no_sparse"), RELATED),
        (OURS, RELATED),
        SHORT,
    ),
    Claim("the sparse loss leaves fewer pixels mixed", "mixed_share", (Row("no_sparse"), RELATED), (OURS, RELATED), SHORT),
    Claim(
        "without gate and sparse loss colours break inside objects (Figure 8)",
        "spread",
        (Row("direct_sum"), RELATED),
        (OURS, RELATED),
        "Spread counts every difference inside an object, the gradual ones too, and paler colours spread less.",
    ),
    Claim(
        "more saturated than the histogram alone, independent references (Figure 1)",
        "cf_signed",
        (OURS, INDEPENDENT),
        (Row("exemplar", "histogram"), INDEPENDENT),
        "Half of these references are palettes; Table `by kind` tells them from the rest.",
    ),
)


def claims() -> pd.DataFrame:
    """All of `CLAIMS` as `tables.claims`, on scenes or else the first test set."""
    dataset = exemplar.SCENES if exemplar.SCENES in exemplar.test_sets() else exemplar.test_sets()[0]
    asked = [(c.text, c.metric, _side(*c.first), _side(*c.second)) for c in CLAIMS]
    return tables.claims(asked, dataset=dataset)


def _side(row: Row, references: str) -> tuple[str, str, str]:
    return exemplar.run_of(row), references, row.way


def verdicts(table: pd.DataFrame, asked: Sequence[Claim] = CLAIMS) -> str:
    """How many claims hold, and of those that do not, what may be the cause; from `claims`."""
    causes = {claim.text: claim.otherwise for claim in asked}
    lines = []
    for verdict, name in (
        ("holds", "Held"),
        ("does not hold", "Did not hold"),
        ("undecided", "Undecided"),
        ("", "Not measured here"),
    ):
        part = table[table["verdict"] == verdict]
        if len(part):
            lines.append(f"{name}: {len(part)} of {len(table)}.")
        for row in part.to_dict("records") if verdict not in ("holds", "") else ():
            found = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            lines.append(f"{row['claim']}: {found}. {causes[row['claim']]}")
    return listed(lines)

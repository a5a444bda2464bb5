"""What the exemplar paper says of its networks, as differences over the same pairs, and where to look if one does not hold."""

from typing import NamedTuple

import pandas as pd

from colorexp.report import exemplar, tables
from colorexp.report.exemplar import Row
from colorexp.report.phrases import counted

RELATED, INDEPENDENT = exemplar.REFERENCES.values()


class Under(NamedTuple):
    """A row's pictures under references."""

    row: Row
    references: str
    """The pair list."""
    kind: str = ""
    """Of `exemplar.KINDS`; empty for all of the list."""


class Claim(NamedTuple):
    """That a measure of the first is larger than one of the second."""

    text: str
    metric: str | tuple[str, str]
    first: Under
    second: Under
    otherwise: str
    """What may be the cause where it does not hold."""


SHORT = "Where stage 2 is short, its smaller terms are hardly felt: see the curves of all terms."
RANDOM = "Where the list's features are a stand-in's with random weights, a nearest reference shares texture and tone, not things."
NORM = "The norm in the encoder of found colours takes out what is the same everywhere: a picture of one colour tells it little."
NO_WEIGHTS = "It needs the weights of an aesthetic model."


def asked() -> list[Claim]:
    """The claims: of Table 1 and Figure 1 about the run that stands for the paper's own, else about its ablations."""
    ours, full = (Row(name.partition("/")[2]) for name in (exemplar.main(), f"{exemplar.PAPER}/exemplar"))
    matching, palette = Row("histogram_matching"), "palette"
    return [
        *_falls(
            "without the database", "no_database", "his", "Colours of the reference alone have its histogram all by themselves."
        ),
        *_falls("without the prior", "no_prior", "his", SHORT),
        *_falls("without gate and sparse loss", "direct_sum", "his", SHORT),
        *_falls("without the database", "no_database", "aesthetics", NO_WEIGHTS),
        *_falls("without the prior", "no_prior", "aesthetics", NO_WEIGHTS),
        *_falls("without gate and sparse loss", "direct_sum", "aesthetics", NO_WEIGHTS),
        Claim(
            "related references are easier to follow: higher HIS (Table 1)",
            "his",
            Under(ours, RELATED),
            Under(ours, INDEPENDENT),
            RANDOM,
        ),
        Claim(
            "the automatic network ignores the reference: lower HIS, independent references (Table 1)",
            "his",
            Under(ours, INDEPENDENT),
            Under(Row("automatic"), INDEPENDENT),
            SHORT,
        ),
        Claim(
            "palettes are followed too: higher HIS than the automatic network's (Figure 1)",
            "his",
            Under(ours, INDEPENDENT, palette),
            Under(Row("automatic"), INDEPENDENT, palette),
            NORM,
        ),
        Claim(
            "more saturated than the histogram alone under palettes (Figure 1)",
            "cf_signed",
            Under(ours, INDEPENDENT, palette),
            Under(ours._replace(way="histogram"), INDEPENDENT, palette),
            NORM,
        ),
        Claim(
            "where nothing corresponds the gate turns to the database: related references minus palettes (section 3.2.3)",
            "reference_share",
            Under(ours, RELATED),
            Under(ours, INDEPENDENT, palette),
            "The database's colours, which are few, are rarely the nearer ones after so short a training.",
        ),
        Claim(
            "a rival that over-transfers is farther from the true colours, related references (in the place of AS, Figure 5)",
            "ab_error",
            Under(matching, RELATED),
            Under(ours, RELATED),
            SHORT,
        ),
        Claim(
            "and its objects are less of one colour (in the place of AS)",
            "spread",
            Under(matching, RELATED),
            Under(ours, RELATED),
            SHORT,
        ),
        Claim(
            "the sparse loss makes the gate decide: lower entropy (eq. 11)",
            "gate_entropy",
            Under(Row("no_sparse"), RELATED),
            Under(full, RELATED),
            SHORT,
        ),
        Claim(
            "the sparse loss leaves fewer pixels mixed",
            "mixed_share",
            Under(Row("no_sparse"), RELATED),
            Under(full, RELATED),
            SHORT,
        ),
        Claim(
            "without gate and sparse loss colours break inside objects (Figure 8)",
            "spread",
            Under(Row("direct_sum"), RELATED),
            Under(full, RELATED),
            "Spread counts every difference inside an object, the gradual ones too, and paler colours spread less.",
        ),
    ]


def _falls(text: str, without: str, metric: str, cause: str) -> list[Claim]:
    name = {"his": "HIS", "aesthetics": "AS"}[metric]
    return [
        Claim(
            f"{text}: {name} falls, {references} references (Table 3)",
            metric,
            Under(Row("exemplar"), references),
            Under(Row(without), references),
            cause,
        )
        for references in (RELATED, INDEPENDENT)
    ]


def claims() -> pd.DataFrame:
    """All that is `asked` as `tables.claims`, on scenes or else the first test set."""
    dataset = exemplar.SCENES if exemplar.SCENES in exemplar.test_sets() else exemplar.test_sets()[0]
    return tables.claims([(c.text, c.metric, _side(c.first), _side(c.second)) for c in asked()], dataset=dataset)


def _side(under: Under) -> tables.Side:
    return exemplar.run_of(under.row), under.references, under.row.way, under.kind


def verdicts(table: pd.DataFrame) -> str:
    """How many claims hold, and of those that do not, what may be the cause; from `claims`."""
    return counted(table, {claim.text: claim.otherwise for claim in asked()}, decimals=3)

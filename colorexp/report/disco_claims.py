"""What DISCO's paper says of its networks, as differences over the same pictures, and where to look if one does not hold."""

from typing import NamedTuple

import pandas as pd

from colorexp.report import disco, tables
from colorexp.report.disco import Row


class Claim(NamedTuple):
    """That a measure of the first row is larger than one of the second."""

    text: str
    metric: str | tuple[str, str]
    first: Row
    second: Row
    otherwise: str
    """What may be the cause where it does not hold."""


OURS = Row("disco")
FEW = "Either its anchors are paler, or refinement pales what they say: Table 4 without refinement tells which."
ONE_EACH = "There is one training each, and two trainings of one network may differ by as much."
STARTED = "A variant that starts from the trained network, as `init` above tells, has had more epochs than that."
CLAIMS = (
    Claim(
        "two branches are more colourful than no anchor branch (Table 4)",
        "cf_signed",
        OURS,
        Row("disco_no_anchors"),
        "Without anchors the most probable colours are refined, which need not be dull where a picture leaves little doubt.",
    ),
    Claim(
        "the chroma error stays below that of gray",
        ("true_chroma", "ab_error"),
        OURS,
        OURS,
        "A vivid colour that is wrong lies farther from the truth than gray, and of several modes the anchor takes one.",
    ),
    *(
        Claim(
            f"{more} anchors are more colourful than {fewer} (Figure 11)",
            "cf_signed",
            Row("disco", f"anchors_{more}" if more != 8 else ""),
            Row("disco", f"anchors_{fewer}" if fewer != 8 else ""),
            "A picture with few distinct colours has no use for further anchors, which then repeat the colours of others.",
        )
        for fewer, more in ((3, 14), (3, 5), (5, 8), (8, 11), (11, 14))
    ),
    Claim(
        "true anchor colours raise PSNR (Table 3)",
        "psnr",
        Row("disco", "truth_colors"),
        OURS,
        "The generator does not yet follow its anchors.",
    ),
    Claim(
        "true anchor colours lower the chroma error",
        "ab_error",
        OURS,
        Row("disco", "truth_colors"),
        "The generator does not yet follow its anchors.",
    ),
    Claim("more colourful than regression (Tables 1 and 3)", "cf_signed", OURS, Row("ugcolor"), FEW),
    Claim("more colourful than classification (Table 3)", "cf_signed", OURS, Row("cicolor"), FEW),
    Claim(
        "more colourful than autoregression (Table 3)",
        "cf_signed",
        OURS,
        Row("coltran"),
        "Our small ColTran draws every symbol at temperature 1, unlikely ones too, and speckles are colourful.",
    ),
    Claim(
        "classification, sampled, varies more inside objects (Table 1)",
        "spread",
        Row("cicolor", "samples"),
        Row("disco", "samples"),
        ONE_EACH,
    ),
    Claim(
        "autoregression, sampled, varies more inside objects (Table 1)",
        "spread",
        Row("coltran", "samples"),
        Row("disco", "samples"),
        ONE_EACH,
    ),
    Claim(
        "sampled anchors reach more modes than regression (Table 1)",
        "mode_coverage",
        Row("disco", "samples"),
        Row("ugcolor", "samples"),
        FEW,
    ),
    Claim("superpixels are more colourful than mini-patches (Table 4)", "cf_signed", OURS, Row("disco_mini_patches"), STARTED),
    Claim("superpixels have a smaller chroma error than mini-patches", "ab_error", Row("disco_mini_patches"), OURS, STARTED),
    Claim(
        "without refinement it is more colourful (Table 4)",
        "cf_signed",
        Row("disco_no_refinement"),
        OURS,
        "Joint training changes the anchors' colours too, not only what is made of them.",
    ),
    Claim("joint refinement has a smaller chroma error than none", "ab_error", Row("disco_no_refinement"), OURS, STARTED),
    Claim(
        "joint refinement is more colourful than post refinement (Table 4)",
        "cf_signed",
        OURS,
        Row("disco_post_refinement"),
        STARTED,
    ),
    Claim(
        "joint refinement has a smaller chroma error than post refinement",
        "ab_error",
        Row("disco_post_refinement"),
        OURS,
        "Post refinement goes on from the trained network without refinement, and so has had more epochs.",
    ),
    Claim(
        "anchors by true clusters are less colourful than by learned ones, if barely (Table 4)",
        "cf_signed",
        OURS,
        Row("disco", "truth_clusters"),
        "The paper's two numbers differ by less than one percent: it means them to be alike.",
    ),
    Claim("learned clusters have a smaller chroma error than random locations", "ab_error", Row("disco", "random"), OURS, ONE_EACH),
)


def claims() -> pd.DataFrame:
    """All of `CLAIMS` as `tables.claims`, on the pictures of `disco.measured_on`; sides are named by run and way."""
    table = pd.concat([_claim(claim) for claim in CLAIMS], ignore_index=True)
    named = {side: table[side].str.replace(f" at {disco.PROTOCOL}", "", regex=False) for side in ("first", "second")}
    return table.assign(**named)


def _claim(claim: Claim) -> pd.DataFrame:
    asked = (claim.text, claim.metric, _side(claim.first), _side(claim.second))
    return tables.claims([asked], dataset=disco.measured_on(claim.metric))


def _side(row: Row) -> tuple[str, str, str]:
    run, way = disco.row_of(row)
    return run, disco.PROTOCOL, way

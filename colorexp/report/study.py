"""What participants of user studies answered, as the papers' tables."""

from pathlib import Path

import pandas as pd

from colorexp.report import tables
from colorexp.report.tables import Cell
from colorexp.study import POINTS, Answers, Study, read, study_of

NO_ANSWERS = "no answers collected"


def table2(paper: str, folder: str | Path | None = None) -> pd.DataFrame:
    """The paper's Table 2, published beside measured; intervals are bootstraps over participants, from 20 of them on.

    Args:
        paper: Of `STUDIES`.
        folder: Of keys and answers; `answers/<paper>` by default.

    Returns:
        As `tables.comparison`, labelled by method, data set and quantity. Without answers its notes say so.

    Raises:
        ValueError: As `read`.
    """
    study, answers = study_of(paper), read(paper, folder or f"answers/{paper}")
    table = tables.published(paper, "table2")[["method", "dataset", "metric", "value"]]
    printed = {(method, pictures, quantity): value for method, pictures, quantity, value in table.itertuples(index=False)}
    measured = _per_participant(study, answers) if answers else {}
    cells = []
    for method, pictures, quantity in dict.fromkeys([*printed, *measured]):
        row = (method, pictures, quantity)
        labels = {"method": method, "pictures": pictures, "quantity": quantity}
        note = _note(study, answers, measured=row in measured)
        cells.append(Cell(labels, quantity, printed.get(row), measured.get(row), "study" if answers else "", note=note))
    return tables.comparison(cells)


def _note(study: Study, answers: Answers | None, *, measured: bool) -> str:
    if answers is None:
        return NO_ANSWERS
    asked = study.pictures * len(study.subsets)
    return f"{answers.questions} pictures shown, in the paper {asked}" if measured else "not among the pictures shown"


def _per_participant(study: Study, answers: Answers) -> dict[tuple[str, str, str], "pd.Series[float]"]:
    """One value per participant, by method, printed data set and printed quantity.

    Ranks: points and best votes summed over pictures. Scores: means over pictures, of each subset and of all.
    """
    given, found = answers.given, {}
    if study.kind == "rank":
        best = given.assign(value=(given["value"] == POINTS[0]).astype(int))
        for quantity, rows in (("rank_score", given), ("best_rated", best)):
            for (method, subset), group in rows.groupby(["method", "subset"]):
                found[str(method), str(subset), quantity] = group.groupby("participant")["value"].sum().astype(float)
        return found
    for rows in (given, given.assign(subset="all")):
        for (method, subset), group in rows.groupby(["method", "subset"]):
            found[str(method), str(subset), "user_score"] = group.groupby("participant")["value"].mean()
    return found

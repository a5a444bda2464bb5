"""Executed notebooks, tables and figures -> static pages that open from disk. Nothing is computed or fetched."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from colorexp import config, paths
from colorexp.report.site import landing, narrative
from colorexp.report.site.exhibits import Block, Shelf, View

COSTS = "efficiency"
"""The page of what concerns several papers."""
DEVIATIONS = "deviations"
SHARED = {COSTS: "What it costs", DEVIATIONS: "Where we differ from the papers, or chose what they leave open"}
"""Titles of pages that are no paper's."""


def write(
    reports: Path,
    target: Path,
    *,
    titles: Mapping[str, str],
    captions: Mapping[str, str],
    leads: Mapping[str, str],
    openings: Mapping[str, Sequence[str]],
) -> list[str]:
    """Write index.html and site/<paper>.html.

    Args:
        reports: The folder of tables, figures, timings and executed notebooks.
        target: Where the pages are written.
        titles: By paper.
        captions: By stem of an exhibit.
        leads: Stem of the figure by which a paper is introduced on the first page.
        openings: The exhibits by which its own page begins.

    Returns:
        What was written, relative to `target`.
    """
    names = {paper: titles[paper] for paper in config.papers() if paper in titles}
    cards, scores = {}, landing.scorecard(reports)
    params = config.read()
    environment = _environment(names=names | SHARED, profile=params["profile"], seed=params["seed"])
    pages = {}
    shelf = Shelf(reports, captions, [*titles], landing.data_hashes())
    first = {name: [block for file in openings.get(name, ()) for block in shelf.take(file)] for name in [*names, *SHARED]}
    first[DEVIATIONS] = shelf.take("tables/deviations.csv", View(dropped=["module"]))  # its source says the same
    for name, story in _stories(reports, shelf, first).items():
        if name in names:
            cards[name] = landing.card(name, titles[name], story.blocks, leads.get(name))
        about = {"runs": landing.runs(name), "run_columns": landing.RUN_COLUMNS, "claims": landing.claims(scores, name)}
        template = environment.get_template("paper.html")
        pages[f"site/{name}.html"] = template.render(page=name, root="../", **story._asdict(), **about)
    told: dict[str, object] = {"cards": [*cards.values()], "total": landing.total([*cards.values()])}
    told |= {
        "scores": landing.scores(scores, titles, [*names]),
        "verdicts": landing.verdicts(scores),
        "files": landing.files(reports),
    }
    pages["index.html"] = environment.get_template("index.html").render(page="index", root="", **told)
    for file, text in pages.items():
        paths.write_atomically(target / file, text.encode())
    return [*pages]


class _Story(NamedTuple):
    """What a page shows."""

    blocks: list[Block]
    contents: list[tuple[str, str]]
    told: bool
    """Whether the notebook that tells it was there, if one does."""


def _stories(reports: Path, shelf: Shelf, first: Mapping[str, list[Block]]) -> dict[str, _Story]:
    """By page, after what it begins with; an exhibit that no notebook of any page shows stands at the end of its own."""
    read = {name: narrative.read(reports / "notebooks", name, shelf) for name in first}
    whole = {name: first[name] + blocks + _rest(shelf, "" if name == COSTS else name) for name, blocks in read.items()}
    told = {name: name not in (*shelf.papers, COSTS) or bool(read[name]) for name in whole}
    return {name: _Story(blocks, narrative.contents(blocks), told[name]) for name, blocks in whole.items()}


def _rest(shelf: Shelf, paper: str) -> list[Block]:
    """What no notebook shows: all of a paper where its notebook is missing."""
    found: list[Block] = shelf.rest(paper)
    absent: list[Block] = [*map(shelf.missing, shelf.absent(paper))]
    blocks = [narrative.heading("Further exhibits", "further")] if found else []
    return [*blocks, *found, *([narrative.heading("Not run", "absent")] if absent else []), *absent]


def _environment(**shown: object) -> Environment:
    """Templates, with what all pages show."""
    loader = PackageLoader("colorexp.report.site", ".")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    css, script = ((Path(__file__).parent / name).read_text() for name in ("site.css", "site.js"))
    environment.globals |= {"css": Markup(css), "script": Markup(script), "script_hash": _hash(script), **shown}
    return environment


def _hash(script: str) -> str:
    """How the page's content security policy names its one script: nothing that a notebook holds is executed."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

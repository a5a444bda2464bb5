"""Executed notebooks as blocks of a page: prose, what cells showed, and the exhibits that they wrote."""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bleach
from markdown_it import MarkdownIt
from markupsafe import Markup

from colorexp.report.site.exhibits import Block, Code, Html, Shelf, View

EXHIBIT = re.compile(r"\b(figures/\w+\.png|(?:tables|timings)/\w+\.csv)")
TAGS = {"a", "b", "blockquote", "br", "caption", "code", "em", "h3", "h4", "hr", "i", "li", "ol", "p", "pre", "s", "strong"}
TAGS |= {"sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"}
ATTRIBUTES = {"a": ["href", "title"], "td": ["colspan", "rowspan"], "th": ["colspan", "rowspan"]}
WHOLE = re.compile(r"<(script|style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_OPEN, _CLOSE = '<div class="scroll" tabindex="0"><table>', "</table></div>"
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def read(folder: Path, page: str, shelf: Shelf) -> list[Block]:
    """The notebook of a page, then the others that write exhibits of this page's paper alone.

    Args:
        folder: Of executed notebooks; those that are missing are not shown.
        page: The paper, or the name of a notebook.
        shelf: Exhibits, which stand where the notebook wrote or showed them.
    """
    own = folder / f"{page}.ipynb"
    others = [path for path in sorted(folder.glob("*.ipynb")) if path != own and _papers(path, shelf.papers) == {page}]
    chapters = [_untitled(_cells(own))] if own.is_file() else []
    chapters += [_demoted(_cells(path)) for path in others]
    names = [path.stem for path in (own, *others) if path.is_file()]
    return [block for name, cells in zip(names, chapters, strict=True) for block in _story(name, cells, shelf)]


def _untitled(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the heading that the page has anyway."""
    return [cell | {"source": re.sub(r"\A# .*", "", cell["source"])} if n == 0 else cell for n, cell in enumerate(cells)]


def _demoted(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With headings one level lower, as a part of another notebook's page."""
    prose = [cell["cell_type"] == "markdown" for cell in cells]
    return [
        cell | {"source": re.sub(r"(?m)^(?=#+ )", "#", cell["source"])} if is_prose else cell
        for cell, is_prose in zip(cells, prose, strict=True)
    ]


def heading(text: str, anchor: str) -> Html:
    """A heading that the table of contents lists."""
    return Html(Markup('<h2 id="{}">{}</h2>').format(anchor, text), text, anchor)


def contents(blocks: Iterable[Block]) -> list[tuple[str, str]]:
    """Anchors and texts of headings."""
    return [(block.anchor, block.heading) for block in blocks if isinstance(block, Html) and block.heading]


def sanitised(html: str) -> Markup:
    """HTML of an output without scripts, styles, handlers, frames and pictures from elsewhere; tables stay."""
    safe: str = bleach.clean(WHOLE.sub("", html), tags=TAGS, attributes=ATTRIBUTES, protocols=["http", "https"], strip=True)
    if re.findall(r"<tr>\s*<th>([^<]*)</th>\s*<td>", safe) == [str(n) for n in range(safe.count("<tr>") - 1)]:
        safe = re.sub(r"(<tr>\s*)<th>\d*</th>", r"\1", safe)  # pandas' own count of lines
    return Markup(safe.replace("<table>", _OPEN).replace("</table>", _CLOSE))


def _cells(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def _papers(path: Path, papers: Sequence[str]) -> set[str]:
    """Papers whose exhibits a notebook writes."""
    stems = {Path(file).stem for cell in _cells(path) if cell["cell_type"] == "code" for file in EXHIBIT.findall(cell["source"])}
    return {next((paper for paper in papers if stem.startswith(f"{paper}_")), "") for stem in stems}


def _story(name: str, cells: Iterable[Mapping[str, Any]], shelf: Shelf) -> list[Block]:
    blocks: list[Block] = []
    names: dict[str, str] = {}
    for cell in cells:
        if cell["cell_type"] == "markdown":
            blocks += _prose(cell["source"], name)
        elif cell["cell_type"] == "code" and not cell["metadata"].get("tags"):
            written = _written(cell["source"])
            names |= written.names
            blocks += [Code(cell["source"]), *_outputs(cell, written, names, shelf)]
    return blocks


def _prose(source: str, name: str) -> list[Block]:
    """Markdown, cut at its headings."""
    found: list[Block] = []
    for part in filter(str.strip, re.split(r"(?m)^(?=## )", source)):
        first, _, rest = part.partition("\n")
        if first.startswith("## "):
            text = re.sub(r"[`*]", "", first[3:]).strip()
            found.append(heading(text, f"{name}-{re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')}"))
            part = rest
        found.append(Html(_rendered(part)))
    return found


def _rendered(markdown: str) -> Markup:
    html = _MARKDOWN.render(markdown)  # raw HTML is escaped, and javascript: makes no link
    return Markup(html.replace("<table>", _OPEN).replace("</table>", _CLOSE))


class _Written(NamedTuple):
    """What a cell writes, and what it shows last."""

    files: list[str]
    names: dict[str, str]
    """Tables, by the variables that hold them."""
    shown: list[str]
    """Variables of the last expression."""
    view: View | None
    """How it shows a table."""


def _written(source: str) -> _Written:
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic of IPython
        return _Written([], {}, [], None)
    names: dict[str, str] = {}
    for statement in body:
        for call in ast.walk(statement):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "tables.write":
                file = next(iter(EXHIBIT.findall(ast.unparse(call))), "")
                holders = [*(statement.targets if isinstance(statement, ast.Assign) else []), *call.args[:1]]
                names |= {holder.id: file for holder in holders if isinstance(holder, ast.Name) and file}
    last = body[-1] if body else None
    shown = [node.id for node in ast.walk(last) if isinstance(node, ast.Name)] if isinstance(last, ast.Expr) else []
    return _Written(EXHIBIT.findall(source), names, shown, _view(last))


def _view(last: ast.stmt | None) -> View | None:
    """Of `tables.wide(table, rows=..., column=...)` or `table.drop(columns=...)`; None where those are no literals."""
    if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Call)):
        return None
    called = ast.unparse(last.value.func)
    asked = last.value.keywords if called == "tables.wide" or called.endswith(".drop") else []
    try:
        given = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in asked}
    except ValueError:
        return None
    match given:
        case {"columns": list(columns)}:
            return View(dropped=columns)
        case {"rows": list(rows), "column": str(column)}:
            return View(rows, column)
    return None


def _outputs(cell: Mapping[str, Any], written: _Written, names: Mapping[str, str], shelf: Shelf) -> list[Block]:
    """Exhibits from their files, once; other tables and prose sanitised; what cells print is left out."""
    blocks: list[Block] = [block for file in written.files if file.endswith(".png") for block in shelf.take(file)]
    for output in cell["outputs"]:
        data = {kind: "".join(text) for kind, text in output.get("data", {}).items() if not isinstance(text, dict)}
        if "image/png" in data:
            blocks += [] if "figures/" in cell["source"] else [_embedded(data["image/png"])]
        elif "text/html" in data:
            files = [*(file for file in written.files if file.endswith(".csv")), *(names[n] for n in written.shown if n in names)]
            taken = next((found for file in files if (found := shelf.take(file, written.view))), [])
            blocks += taken or [Html(sanitised(data["text/html"]))]
        elif "text/markdown" in data:
            blocks += [Html(_rendered(data["text/markdown"]))]
    return blocks


def _embedded(png: str) -> Html:
    """A small chart that no file holds."""
    code = re.sub(r"[^A-Za-z0-9+/=]", "", png)
    return Html(Markup('<p><img class="chart" alt="chart of the numbers above" src="data:image/png;base64,{}"></p>').format(code))

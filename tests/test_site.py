"""Pages show what exists, say what does not, and let nothing of a notebook run."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import ROOT

from colorexp import config, paths, report
from colorexp.report import pages, scorecard, tables
from colorexp.report.site import narrative

HOSTILE = """<style scoped>td {color: red}</style><script>window.hacked = 1</script>
<img src="https://example.org/x.png" onerror="window.hacked = 1">
<table border="1" class="dataframe"><thead><tr style="text-align: right;"><th></th><th>name</th></tr></thead>
<tbody><tr><th>0</th><td onclick="window.hacked = 1">of the notebook</td></tr></tbody></table><iframe src="https://example.org"></iframe>
<a href="javascript:window.hacked = 1">press</a>"""
PROSE = """# The paper

What it claims.

## Table 1: accuracy

<script>window.hacked = 1</script> [press](javascript:window.hacked=1)"""
LONG = {"published": [0.6, None], "measured": [0.5, 0.25], "low": [0.4, None], "high": [0.55, None], "n": [200, 200]}
ABOUT = {"dataset": "scenes (test)", "profile": "cpu", "seeds": 1, "metric": "accuracy", "note": [None, "cut <b>"]}


def code(source: str, **data: Any) -> dict[str, Any]:
    outputs = [{"output_type": "execute_result", "metadata": {}, "data": {"text/plain": "-", **data}}] if data else []
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": outputs}


def png(width: int = 40, height: int = 30) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 120, 40)).save(file, "PNG")
    return file.getvalue()


def make_site(project: Path) -> Path:
    """A project with two tables, a figure, a scorecard and one executed notebook that somebody has tampered with."""
    config.use_profile("cpu")
    for number in (1, 2):
        rows = {"model": ["ResUNet", "TransUNet"], "split": "test", "quantity": "accuracy", **LONG, **ABOUT}
        tables.write(pd.DataFrame(rows), f"reports/tables/user_guided_table{number}.csv")
    for name in ("user_guided_figure2", "user_guided_figure3"):
        paths.write_atomically(paths.resolve(f"reports/figures/{name}.png"), png())
    embedded = base64.b64encode(png(64)).decode()
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": PROSE},
        code('table1 = tables.write(tables.comparison(cells), f"{out}/tables/user_guided_table1.csv")\nprint("noise")'),
        code('tables.wide(table1, rows=["model"], column="quantity")', **{"text/html": HOSTILE}),
        code('report.save(figure, f"{out}/figures/user_guided_figure2.png")', **{"image/png": embedded}),
        code("pd.DataFrame({})", **{"text/html": HOSTILE}),
        code("charts.dots(table1)", **{"image/png": embedded}),
    ]
    paths.write_atomically(paths.resolve("reports/notebooks/user_guided.ipynb"), json.dumps({"cells": cells}).encode())
    claims = {
        "id": ["a", "b", "c"],
        "paper": ["user_guided", "user_guided", "exemplar"],
        "where": "Table 1",
        "claim": "more & better",
    }
    verdicts = ["reproduced", "not reproduced", "reproduced"]
    card = pd.DataFrame(claims).assign(verdict=verdicts, relation="gt", margin=0.0).reindex(columns=scorecard.COLUMNS)
    card.to_csv(paths.resolve("reports/scorecard.csv"), index=False)
    pages.build("reports")
    return project


@pytest.fixture
def site(project: Path) -> Path:
    return make_site(project) / "reports"


def test_a_page_tells_the_notebook_with_the_files_it_wrote(site: Path) -> None:
    page = (site / "site/user_guided.html").read_text()
    assert [page.count(f'id="{anchor}"') for anchor in ("user_guided_table1-table", "user_guided_figure2")] == [1, 1]
    assert '<a href="#user_guided-table-1-accuracy">Table 1: accuracy</a>' in page
    assert page.index("What it claims.") < page.index('id="user_guided_table1-table"') < page.index('id="user_guided_figure2"')
    assert 'src="../figures/user_guided_figure2.png" width="40" height="30"' in page
    assert page.count("data:image/png") == 1, "of the chart that no file holds"
    assert "noise" not in page.replace("print(&#34;noise&#34;)", "")


def test_measured_numbers_say_where_they_come_from(site: Path) -> None:
    page = (site / "site/user_guided.html").read_text()
    title = "metric: accuracy\ndataset: scenes (test)\nprofile: cpu\nseeds: 1\nn: 200"
    assert f'<td data-value="0.5" title="{title}">0.5 [0.4,\N{NO-BREAK SPACE}0.55] (0.6)</td>' in page
    assert "cut &lt;b&gt;" in page
    assert '<th scope="col">model</th><th scope="col">accuracy</th>' in page, "as the notebook asks for it, without the split"


def test_data_sets_are_named_with_their_hash(project: Path) -> None:
    card = {"provenance": {"data": {"scenes": "d66b"}, "config": "c0", "code": "c1"}, "config": {"profile": "cpu", "seed": 3}}
    file = paths.run("user_guided/res_unet") / "run.json"
    paths.write_atomically(file, json.dumps(card | {"parameters": 1234, "status": "trained"}).encode())
    paths.write_atomically(paths.timings("train/user_guided/res_unet"), json.dumps({"train_seconds": 90.0}).encode())
    make_site(project)
    page = (project / "reports/site/user_guided.html").read_text()
    assert "dataset: scenes (test) d66b" in page
    row = re.search(r"<tr><td>res_unet</td>.*?</tr>", page)
    assert row is not None
    assert all(f">{value}<" in row[0] for value in ("trained", "c0", "c1", "scenes d66b", "1234", "90.0"))
    assert "1 of 14 runs in this profile, 1.5 minutes of training" in (project / "reports/index.html").read_text()


def test_nothing_of_a_notebook_runs_or_is_fetched(site: Path) -> None:
    page = (site / "site/user_guided.html").read_text()
    body = page.partition("<main")[2].partition("</main>")[0]
    assert "of the notebook" in body
    assert "&lt;script&gt;window.hacked" in body, "prose is shown as it was written"
    for bad in ("<script", "<style", "<iframe", "onerror=", "onclick=", 'href="javascript', "example.org/x.png", "color: red"):
        assert bad not in body, bad
    assert "<th>0</th>" not in body


def test_what_no_notebook_shows_stands_at_the_end(site: Path) -> None:
    page = (site / "site/user_guided.html").read_text()
    further = page.index('id="further"')
    assert page.index('id="user_guided_table1-table"') < further < page.index('id="user_guided_table2-table"')
    assert further < page.index('id="user_guided_figure3"') < page.index('id="absent"')


def test_what_is_missing_says_not_run(site: Path) -> None:
    absent = (site / "site/disco.html").read_text()
    assert "<code>dvc repro</code> makes it" in absent
    for stem, caption in pages.CAPTIONS.items():
        if stem.startswith("disco_"):
            assert re.search(rf'<p class="missing" id="{stem}">.*?<b>not run</b>', absent), caption
    assert "no figure of this paper has been made" in (site / "index.html").read_text()
    (site / "scorecard.csv").unlink()
    pages.build("reports")
    assert "there is no <code>reports/scorecard.csv</code>" in (site / "index.html").read_text()


def test_claims_are_counted_and_listed(site: Path) -> None:
    index = (site / "index.html").read_text()
    assert 'href="site/user_guided.html#scorecard">User Guided Image Colorization</a></td><td class="number">1</td>' in index
    assert "Attention" in index, "a paper without runs has claims all the same"
    page = (site / "site/user_guided.html").read_text()
    assert page.partition('id="scorecard"')[2].count("more &amp; better") == 2


def test_other_notebooks_of_a_paper_are_parts_of_its_page(project: Path) -> None:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": "# Ablation: bins\n\n## More"}]
    cells.append(code('tables.write(x, f"{out}/tables/user_guided_bins.csv")'))
    paths.write_atomically(paths.resolve("reports/notebooks/ablation_bins.ipynb"), json.dumps({"cells": cells}).encode())
    make_site(project)
    page = (project / "reports/site/user_guided.html").read_text()
    assert '<h2 id="ablation_bins-ablation-bins">Ablation: bins</h2>' in page
    assert "<h3>More</h3>" in page
    assert page.index("Ablation: bins</h2>") < page.index('id="further"')


@pytest.mark.parametrize(
    "source",
    [
        "tables.wide(t, rows=names, column='quantity')",
        "tables.wide(t, rows=['a'])",
        "t.drop(columns=extra)",
        "t.drop('x', axis=1)",
        "t.drop(columns='x')",
        "tables.write(table=t, out='x.csv')",
    ],
)
def test_a_cell_that_cannot_be_read_literally_breaks_no_page(project: Path, source: str) -> None:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": "# Ablation: bins"}, code(source)]
    cells.append(code('tables.write(x, f"{out}/tables/user_guided_bins.csv")'))
    paths.write_atomically(paths.resolve("reports/notebooks/ablation_bins.ipynb"), json.dumps({"cells": cells}).encode())
    make_site(project)
    assert "Ablation: bins</h2>" in (project / "reports/site/user_guided.html").read_text()


def test_pages_have_stable_bytes(site: Path) -> None:
    before = {path: path.read_bytes() for path in site.rglob("*.html")}
    pages.build("reports")
    assert {path: path.read_bytes() for path in site.rglob("*.html")} == before


def test_tables_of_notebooks_keep_their_index_where_it_says_something() -> None:
    rows = "<table><tbody><tr><th>mean</th><td>1</td></tr></tbody></table>"
    assert "<th>mean</th>" in narrative.sanitised(f"<table><thead><tr><th></th><th>x</th></tr></thead>{rows[7:]}")


def test_figures_of_photographs_stay_small_and_true() -> None:
    from colorexp.viz import pictures

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((400, 400), Image.Resampling.BICUBIC)
    noisy = np.clip(np.asarray(coarse) + rng.normal(0, 6, (400, 400, 3)), 0, 255).astype(np.uint8)
    figure = pictures.grid([[noisy] * 2] * 2, columns=["one", "two"], width=3.0)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    true = Image.open(drawn).convert("RGB")
    assert len(drawn.getvalue()) > report.LIMIT
    saved = report._small(true)
    assert len(saved) <= report.LIMIT
    found = Image.open(io.BytesIO(saved)).resize(true.size, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(found).astype(float) - np.asarray(true)).mean() < 6
    assert found.getpixel((0, 0)) == (255, 255, 255)


# What is committed


COMMITTED = [path for path in sorted((ROOT / "reports").rglob("*")) if path.is_file() and "notebooks" not in path.parts]
SECRETS = "|".join(
    (
        r"/(home|Users|root|tmp)/\w",
        r"[A-Z]:\\Users",
        r"\b(ghp|gho|hf|wandb|xox[bp])_[A-Za-z0-9]{16}",
        r"\bAKIA[A-Z0-9]{16}",
        r"\bsk-[A-Za-z0-9]{20}",
        r"BEGIN [A-Z ]*PRIVATE KEY",
    )
)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_reports_hold_no_paths_of_a_machine_names_of_users_or_tokens(path: Path) -> None:
    content = path.read_bytes()
    if path.suffix == ".png":
        with Image.open(path) as picture:
            content = json.dumps({key: str(value) for key, value in picture.info.items()}).encode()
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", content.decode())
    assert re.search(SECRETS, text) is None
    assert str(Path.home()) not in text or str(Path.home()) == "/"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_reports_are_small(path: Path) -> None:
    assert path.stat().st_size <= (report.LIMIT if path.suffix == ".png" else 1_000_000)


def test_links_of_committed_pages_lead_somewhere() -> None:
    for page in [path for path in COMMITTED if path.suffix == ".html"]:
        text = page.read_text()
        anchors = re.findall(r'\bid="([^"]+)"', text)
        assert len(set(anchors)) == len(anchors), page.name
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            file, _, anchor = link.partition("#")
            if link.startswith(("data:", "http")):
                continue
            target = (page.parent / file) if file else page
            assert target.is_file(), f"{page.name}: {link}"
            if target.suffix == ".py":
                assert re.fullmatch(r"L\d+", anchor), f"{page.name}: {link}"  # test_tags.py: what stands there
                continue
            assert not anchor or f'id="{anchor}"' in target.read_text(), f"{page.name}: {link}"

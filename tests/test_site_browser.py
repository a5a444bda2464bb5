"""The pages in a real browser: nothing is missing, nothing complains, everything can be read and pressed."""

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import browser
import pytest
from test_site import make_site
from tiny import ROOT

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="there is no Chromium on this machine")

CONTRAST = """(() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName) || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const [a, b] = [light(channels(style.color)), light(behind(element))].sort((one, other) => other - one);
    const wanted = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if ((a + 0.05) / (b + 0.05) < wanted) found.push(`${element.tagName} ${node.textContent.trim().slice(0, 40)}`);
  }
  return found;
})()"""
MISSING = "[...document.images].filter(i => i.getAttribute('src') && !i.naturalWidth).map(i => i.src)"
WIDTH = "document.documentElement.scrollWidth"
COMMITTED = sorted((ROOT / "reports").glob("*.html")) + sorted((ROOT / "reports").glob("site/*.html"))
COLUMN = "[...document.querySelectorAll('#user_guided_table1-table tbody tr')].map(r => r.cells[{}].textContent)"


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    with browser.opened() as opened:
        yield opened


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "dvc.yaml").touch()
    shutil.copy(ROOT / "params.yaml", folder)
    with chdir(folder):
        return make_site(folder) / "reports/site/user_guided.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_committed_pages_can_be_read(page: browser.Page, file: Path, width: int, scheme: str) -> None:
    page.show(file, width=width, scheme=scheme)
    assert page.complaints() == []
    assert page.ask(MISSING) == []
    assert page.ask(WIDTH) <= width, "it scrolls sideways"
    assert page.ask(CONTRAST) == []


def test_a_tampered_notebook_does_nothing(page: browser.Page, told: Path) -> None:
    page.show(told)
    assert page.complaints() == []
    assert page.ask("typeof window.hacked") == "undefined"


def test_tables_sort_by_number_with_gaps_last(page: browser.Page, told: Path) -> None:
    page.show(told)
    press = "document.querySelectorAll('#user_guided_table1-table th')[1].querySelector('button').click()"
    before = page.ask(COLUMN.format(1))
    page.ask(press)
    assert page.ask(COLUMN.format(0)) == ["TransUNet", "ResUNet"]
    assert page.ask("document.querySelectorAll('#user_guided_table1-table th')[1].getAttribute('aria-sort')") == "ascending"
    page.ask(press)
    assert page.ask(COLUMN.format(1)) == before
    page.ask("document.querySelectorAll('#user_guided_table1-table tbody tr')[0].cells[1].textContent = '–'")
    page.ask("delete document.querySelectorAll('#user_guided_table1-table tbody tr')[0].cells[1].dataset.value")
    for _ in range(2):
        page.ask(press)
        assert page.ask(COLUMN.format(1))[-1] == "–"


def test_the_theme_is_switched_and_kept(page: browser.Page, told: Path) -> None:
    page.show(told, scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.ask(ground)
    page.ask("document.getElementById('theme').click()")
    dark = page.ask(ground)
    assert dark != light
    page.show(told, scheme="light")
    assert page.ask(ground) == dark
    assert page.ask("document.getElementById('theme').textContent") == "Light"
    page.ask("document.getElementById('theme').click()")
    assert page.ask(ground) == light
    page.ask("localStorage.clear()")


def test_figures_open_in_full_and_close_again(page: browser.Page, told: Path) -> None:
    page.show(told)
    shown = "document.getElementById('box').open"
    page.ask("document.querySelector('#user_guided_figure2 a.zoom').click()")
    assert page.ask(shown)
    assert page.ask("document.querySelector('#box img').src").endswith("figures/user_guided_figure2.png")
    assert page.ask("document.querySelector('#box img').alt").startswith("Figure 2")
    page.ask("document.getElementById('close').click()")
    assert not page.ask(shown)


def test_print_shows_the_content_alone(page: browser.Page, told: Path) -> None:
    page.show(told, scheme="dark", media="print")
    hidden = "['header', '.code', '.contents'].map(s => getComputedStyle(document.querySelector(s)).display)"
    assert page.ask(hidden) == ["none"] * 3
    assert page.ask("getComputedStyle(document.querySelector('#user_guided_figure2 img')).display") == "block"
    assert page.ask("getComputedStyle(document.body).color") == "rgb(34, 34, 34)", "dark ink on paper, whatever the screen has"

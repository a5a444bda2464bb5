"""Every tag of a docstring is found, with its whole text and nothing more."""

import re
from pathlib import Path

import pandas as pd
import pytest
from tiny import ROOT

from colorexp import paths, tags
from colorexp.report import deviations

MODULE = '''"""A module.

Unspecified: the module's own,
on two lines.
"""

LIMIT = 3
"""Pictures.

Deviation: three, not four.
"""


class Net:
    """A network.

    Source: section 1.

    Deviation: wider
        than printed; see Table 4: there.
    Unspecified: its depth.

    More.
    """

    width: int = 2
    """Deviation: a field's."""

    def forward(self):
        """Nothing to tell of a Deviation: here."""
        text = "Deviation: none"
        return text
'''


def test_all_places_are_found(tmp_path: Path) -> None:
    (tmp_path / "pkg" / "inner").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text('"""Deviation: of the package."""\n')
    (tmp_path / "pkg" / "inner" / "net.py").write_text(MODULE)
    found = tags.harvest(tmp_path / "pkg")
    assert found[0] == ("pkg", "", "Deviation", "of the package.", "pkg/__init__.py", 1)
    assert [place[1:4] for place in found[1:]] == [
        ("", "Unspecified", "the module's own, on two lines."),
        ("LIMIT", "Deviation", "three, not four."),
        ("Net", "Deviation", "wider than printed; see Table 4: there."),
        ("Net", "Unspecified", "its depth."),
        ("Net.width", "Deviation", "a field's."),
    ]
    assert {place.module for place in found[1:]} == {"pkg.inner.net"}
    lines = MODULE.splitlines()
    assert all(f"{place.kind}: " in lines[place.line - 1] for place in found[1:])


def test_none_of_the_package_is_left_out() -> None:
    """By another count: lines that begin with a tag."""
    pattern = re.compile(rf'^\s*"*({"|".join(tags.KINDS)}): ', re.MULTILINE)
    lines = [line for file in paths.package().rglob("*.py") for line in pattern.findall(file.read_text())]
    assert len(tags.harvest()) == len(lines) > 50
    assert all(place.text for place in tags.harvest())


def test_the_table_links_files_that_exist(project: Path) -> None:
    table = deviations.write("reports")
    folder = project / "reports" / "tables"
    assert len(pd.read_csv(folder / "deviations.csv")) == len(table) == len(tags.harvest())
    links = re.findall(r"\]\((.*?)\)", (folder / "deviations.md").read_text())
    assert len(links) >= len(table)
    sources = [link.partition("#L") for link in links if ".py" in link]
    assert len(sources) >= len(table)
    for file, _, line in sources:
        told = (ROOT / "reports" / "tables" / file).read_text().splitlines()[int(line) - 1]
        assert re.search(rf"({'|'.join(tags.KINDS)}): ", told), f"{file}, line {line}"


@pytest.mark.parametrize("end", ["", "\n\nmore", "\nReturns:\n    x"])
def test_a_tag_ends_with_its_paragraph(end: str) -> None:
    assert tags.tagged(f"Deviation: one\n    two{end}") == [("Deviation", "one two", 0)]

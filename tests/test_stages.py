"""What stages depend on: notebooks without outputs, fingerprints of code."""

import json
from pathlib import Path

import pytest
from tiny import ROOT

from colorexp import provenance, stages


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_a_run_is_fingerprinted_by_its_own_family_alone() -> None:
    known = stages.executed("train", "user_guided/res_unet")
    assert {"colorexp.models.unet", "colorexp.tasks.classify", "colorexp.runs", "colorexp.config"} <= known
    assert not [name for name in known if name.startswith(("colorexp.models.vit", "colorexp.tasks.point", "colorexp.bench"))]


def test_how_a_notebook_is_started_is_no_part_of_it() -> None:
    assert "colorexp.nb" not in stages.executed("train", "user_guided/res_unet")


def test_files_are_written_for_every_notebook_and_run(tmp_path: Path) -> None:
    stages.write(tmp_path)
    assert {path.name for path in (tmp_path / "nb").iterdir()} == {path.name for path in stages.notebooks()}
    told = json.loads((tmp_path / "code" / "train" / "user_guided" / "res_unet.json").read_text())
    assert told["colorexp.models.unet"] == provenance.module_hash("colorexp.models.unet")
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    stages.write(tmp_path)
    assert first == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("edit", "counts"),
    [
        (lambda text: text + "\n# a remark\n", False),
        (lambda text: text.replace('"""Doc."""', '"""Another."""'), False),
        (lambda text: text.replace("a = 1", "a  =  1"), False),
        (lambda text: text.replace("a = 1", "a = 2"), True),
        (lambda text: text.replace('"text"', '"other"'), True),
    ],
    ids=["comment", "docstring", "layout", "number", "string"],
)
def test_code_counts_and_remarks_do_not(edit: object, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "module.py"
    monkeypatch.setattr(provenance, "_file", lambda _: file)
    text = '"""Doc."""\n\n\ndef f():\n    """Doc."""\n    a = 1\n    return a, "text"\n'
    file.write_text(text)
    before = provenance.module_hash("colorexp.module")
    file.write_text(edit(text))  # type: ignore[operator]
    assert (provenance.module_hash("colorexp.module") != before) is counts

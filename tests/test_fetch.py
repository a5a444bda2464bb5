"""Photographs of installed packages reach data/bundled byte for byte, and every deviation is named."""

import hashlib
import importlib.util
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from colorexp.data import fetch
from colorexp.data.fetch import Photograph
from colorexp.data.images import open_image


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fetched") / "photos"
    fetch.fetch(folder)
    return folder


def original(photo: Photograph) -> Path:
    spec = importlib.util.find_spec(photo.package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / photo.path


def test_twelve_photographs_of_which_four_are_for_testing() -> None:
    photos = fetch.catalogue()
    assert len(photos) == len({photo.file for photo in photos}) == 12
    tested = {photo.file.split(".")[0] for photo in photos if photo.split == "test"}
    assert tested == {"chelsea", "coffee", "china", "grace_hopper"}
    assert {photo.split for photo in photos} == {"train", "test"}
    assert all(photo.licence and photo.source for photo in photos)


def test_no_subject_faces_itself_across_a_split() -> None:
    splits, files = defaultdict(set), defaultdict(set)
    for photo in fetch.catalogue():
        splits[photo.subject].add(photo.split)
        files[photo.subject].add(photo.file)
    assert all(len(found) == 1 for found in splits.values())
    assert files["motorcycle"] == {"motorcycle_left.png", "motorcycle_right.png"}


def test_copies_are_the_packages_bytes_and_nothing_else(photographs: Path) -> None:
    photos = fetch.catalogue()
    assert {path.name for path in photographs.iterdir()} == {photo.file for photo in photos} | {"bundled.csv"}
    for photo in photos:
        content = (photographs / photo.file).read_bytes()
        assert content == original(photo).read_bytes()
        assert hashlib.sha256(content).hexdigest() == photo.sha256
    assert (photographs / "bundled.csv").read_bytes() == fetch.CATALOGUE.read_bytes()


def test_every_photograph_is_in_colour(photographs: Path) -> None:
    """Nothing is learnt from a photograph that the door refuses or that has equal channels."""
    for photo in fetch.catalogue():
        red, green, _ = open_image(photographs / photo.file).rgb.reduce(16).split()
        assert red.tobytes() != green.tobytes()


def test_module_copies_and_says_what_it_leaves_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "colorexp.data.fetch", str(tmp_path / "photos")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "only data/bundled is managed" in done.stdout
    fetch.verify(tmp_path / "photos")


def test_missing_and_altered_photographs_are_all_named(photographs: Path, tmp_path: Path) -> None:
    for path in photographs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    fetch.verify(tmp_path)
    (tmp_path / "china.jpg").unlink()
    content = bytearray((tmp_path / "coffee.png").read_bytes())
    content[-1] ^= 1
    (tmp_path / "coffee.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"coffee\.png is altered; china\.jpg is missing") as caught:
        fetch.verify(tmp_path)
    assert "chelsea" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, r"scikit-image \d+\.\d+\S* has another coffee\.png: sha256 cc02f8ca188b, not 000000000000\."),
        ({"path": "data/tea.png"}, r"scikit-image \d+\.\d+\S* lacks coffee\.png \(skimage/data/tea\.png\)"),
        ({"package": "no_such_package"}, r"no_such_package \(not installed\) lacks coffee\.png"),
    ],
    ids=["another version", "another place", "package not installed"],
)
def test_a_package_without_the_photograph_is_named(
    change: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [p._replace(**change) if p.file == "coffee.png" else p for p in fetch.catalogue()]
    monkeypatch.setattr(fetch, "catalogue", lambda: photos)
    with pytest.raises(ValueError, match=message) as caught:
        fetch.fetch(tmp_path / "photos")
    assert "chelsea" not in str(caught.value)
    assert "`pip install -r requirements.lock`, as `make install` does" in str(caught.value)
    assert not (tmp_path / "photos").exists()

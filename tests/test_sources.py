"""What a dataset consists of, and on which side of a split each picture stands."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colorexp.config import Dataset
from colorexp.data import fetch
from colorexp.data.sources import Listing, listing


def dataset(**values: Any) -> Dataset:
    usual = {"name": "mine", "source": "folder", "root": "photos", "profiles": ["cpu"], "seed": 0}
    return Dataset(**{**usual, **values})


def fill(root: Path, *names: str) -> None:
    """Listing opens nothing, so empty files do."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def splits(found: Listing) -> dict[str, str]:
    return {item.id: item.split for item in found.items}


@pytest.fixture
def photos(project: Path) -> Path:
    folder = project / "photos"
    folder.mkdir()
    return folder


# Which files


def test_pictures_at_any_depth_and_only_they(photos: Path) -> None:
    fill(photos, "b.JPG", "a/x.png", "a/deep/y.webp", "notes.txt", "a/list.csv", ".hidden.png", ".cache/z.png", "c.d.gif")
    found = listing(dataset())
    assert [item.id for item in found.items] == ["a/deep/y", "a/x", "b", "c.d"]
    assert [item.path for item in found.items] == [photos / f for f in ("a/deep/y.webp", "a/x.png", "b.JPG", "c.d.gif")]
    assert [item.subject for item in found.items] == [item.id for item in found.items]
    assert found.skipped == []


def test_equal_stems_keep_their_suffixes(photos: Path) -> None:
    fill(photos, "a.jpg", "a.png", "b.jpg")
    assert [item.id for item in listing(dataset()).items] == ["a.jpg", "a.png", "b"]


def test_no_two_pictures_share_an_id(photos: Path) -> None:
    fill(photos, "a.jpg", "a.png", "a.jpg.png", "a.jpg.png.gif")
    ids = [item.id for item in listing(dataset()).items]
    assert len(set(ids)) == 4


def test_links_are_followed_once(photos: Path, tmp_path: Path) -> None:
    fill(photos, "a/x.png")
    fill(tmp_path, "elsewhere/y.png")
    (photos / "b").symlink_to(photos / "a")
    (photos / "a" / "up").symlink_to(photos)
    (photos / "outside").symlink_to(tmp_path / "elsewhere")
    assert [item.id for item in listing(dataset()).items] == ["a/x", "outside/y"]


def test_pictures_of_formats_that_are_not_opened_are_listed(photos: Path) -> None:
    fill(photos, "a.png", "b.heic", "raw/c.NEF", "notes.txt")
    found = listing(dataset())
    assert [item.id for item in found.items] == ["a"]
    assert dict(found.skipped) == {"b.heic": "the format .heic is not opened", "raw/c.NEF": "the format .nef is not opened"}


def test_a_folder_that_may_not_be_read_is_listed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(photos, "a.png", "locked/b.png")
    real = os.scandir

    def guarded(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = listing(dataset())
    assert [item.id for item in found.items] == ["a"]
    assert found.skipped == [("locked/", "folder: Permission denied")]


def test_an_absolute_root_is_taken_as_it_is(photos: Path, tmp_path: Path) -> None:
    fill(tmp_path, "elsewhere/y.png")
    assert [item.id for item in listing(dataset(root=str(tmp_path / "elsewhere"))).items] == ["y"]


def test_folders_without_pictures_are_refused_by_name(project: Path, photos: Path) -> None:
    fill(photos, "readme.txt", "picture.heic")
    with pytest.raises(ValueError, match=r"no pictures in photos \(looked for .*\.jpg"):
        listing(dataset())
    with pytest.raises(FileNotFoundError, match=r"datasets\.mine\.root = 'nowhere' is no folder"):
        listing(dataset(root="nowhere"))


def test_the_bundled_photographs_are_no_folder_of_ones_own(project: Path) -> None:
    """Otherwise the default root would measure the `folder` rows on the bundled photographs."""
    fill(project, "data/bundled/china.jpg")
    (project / "alias").symlink_to(project / "data" / "bundled")
    for root in ("data/bundled", "alias"):
        with pytest.raises(ValueError, match="point it at a folder of pictures of your own"):
            listing(dataset(root=root))


# Splits by hash


def test_adding_pictures_moves_no_other(photos: Path) -> None:
    fill(photos, *(f"{i:03}.png" for i in range(100)))
    before = splits(listing(dataset()))
    fill(photos, *(f"more/{i:03}.png" for i in range(100)), "0000.png")
    after = splits(listing(dataset()))
    assert len(after) == 201
    assert before.items() <= after.items()


def test_shares_are_about_those_asked_for(photos: Path) -> None:
    fill(photos, *(f"{i:03}.png" for i in range(500)))
    found = list(splits(listing(dataset(val=0.2, test=0.3))).values())
    assert 70 < found.count("val") < 130
    assert 115 < found.count("test") < 185
    assert set(splits(listing(dataset(val=0.0, test=0.0))).values()) == {"train"}
    assert set(splits(listing(dataset(val=0.0, test=1.0))).values()) == {"test"}


def test_another_seed_splits_otherwise(photos: Path) -> None:
    fill(photos, *(f"{i:03}.png" for i in range(100)))
    assert splits(listing(dataset(seed=0))) != splits(listing(dataset(seed=1)))


@pytest.mark.parametrize("named", [{}, {"test": "test"}], ids=["by hash", "by folder"])
def test_a_number_is_no_share(photos: Path, named: dict[str, str]) -> None:
    """`val: 50` is right for scenes; in a folder it would send every picture to validation."""
    fill(photos, "a.png", "test/b.png")
    with pytest.raises(ValueError, match=r"datasets\.mine\.val must be a share in 0\.\.1 for a folder, got 50"):
        listing(dataset(val=50, splits=named))


# Splits by name


@pytest.mark.parametrize("places", [("val", "test"), ("val/", "./test")])
def test_splits_by_folder(photos: Path, places: tuple[str, str]) -> None:
    fill(photos, "train/a.png", "val/b.png", "test/c.png", "test/deep/d.png", "tests/e.png")
    found = listing(dataset(splits={"val": places[0], "test": places[1]}))
    expected = {"train/a": "train", "tests/e": "train", "val/b": "val", "test/c": "test", "test/deep/d": "test"}
    assert splits(found) == expected


def test_splits_by_list(photos: Path) -> None:
    fill(photos, "a.png", "b.png", "c/d.png")
    (photos / "test.txt").write_text("c/d.png\n\n  a.png  \n")
    found = listing(dataset(splits={"test": "test.txt"}, val=0.0))
    assert splits(found) == {"a": "test", "b": "train", "c/d": "test"}


def test_validation_is_taken_from_training_where_it_is_not_named(photos: Path) -> None:
    fill(photos, *(f"{i:03}.png" for i in range(200)), *(f"test/{i:03}.png" for i in range(50)))
    found = splits(listing(dataset(splits={"test": "test"}, val=0.25)))
    assert {split for name, split in found.items() if name.startswith("test/")} == {"test"}
    assert 30 < list(found.values()).count("val") < 70


def test_missing_pictures_of_a_list_are_named(photos: Path) -> None:
    fill(photos, "a.png")
    (photos / "test.txt").write_text("a.png\nz.png\nb.png\n")
    with pytest.raises(ValueError, match=r"test\.txt names 2 missing pictures: b\.png, z\.png"):
        listing(dataset(splits={"test": "test.txt"}))


def test_a_picture_in_two_splits_is_named(photos: Path) -> None:
    fill(photos, "a.png", "test/b.png")
    (photos / "val.txt").write_text("test/b.png\n")
    with pytest.raises(ValueError, match=r"test/b\.png is in the splits val and test"):
        listing(dataset(splits={"val": "val.txt", "test": "test"}))


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("nowhere", FileNotFoundError, r"splits\.test = 'nowhere' is neither folder nor file"),
        ("empty", ValueError, r"splits\.test = 'empty' holds no picture"),
        ("empty.txt", ValueError, r"splits\.test = 'empty\.txt' holds no picture"),
    ],
)
def test_a_split_of_nothing_is_named(photos: Path, where: str, error: type[Exception], message: str) -> None:
    """A test set that silently is empty would train on its pictures."""
    fill(photos, "a.png", "empty.txt")
    (photos / "empty").mkdir()
    with pytest.raises(error, match=message):
        listing(dataset(splits={"test": where}))


# The other sources


def test_bundled_photographs_come_with_splits_and_subjects(project: Path) -> None:
    fetch.fetch(project / "data" / "bundled")
    found = listing(dataset(source="bundled", root="data/bundled"))
    assert splits(found) == {photo.file.split(".")[0]: photo.split for photo in fetch.catalogue()}
    subjects = {item.subject for item in found.items if item.id.startswith("motorcycle")}
    assert subjects == {"motorcycle"}
    assert all(item.path is not None and item.path.is_file() for item in found.items)


def test_scenes_are_numbered_within_their_split(project: Path) -> None:
    found = listing(dataset(source="scenes", root="colorexp/data/scenes", train=2, val=1, test=3))
    assert [item.id for item in found.items] == [
        *("train-00000", "train-00001"),
        "val-00000",
        *("test-00000", "test-00001", "test-00002"),
    ]
    assert [item.index for item in found.items] == [0, 1, 0, 0, 1, 2]


def test_scenes_need_numbers(project: Path) -> None:
    with pytest.raises(ValueError, match=r"datasets\.mine\.val must be a number of scenes, at least 1, got 0\.1"):
        listing(dataset(source="scenes", root="colorexp/data/scenes", train=2))

"""Where everything lies, and that a write is whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from colorexp import paths


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, entered through one of its notebooks' folders."""
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deep")
    return tmp_path


def test_messages_name_paths_as_the_user_does(here: Path) -> None:
    assert paths.shown(here / "data" / "a.png") == "data/a.png"
    assert paths.shown("data/a.png") == "data/a.png"
    assert paths.shown("/elsewhere/a.png") == "/elsewhere/a.png"
    assert paths.shown(here.parent / f"{here.name}2") == str(here.parent / f"{here.name}2")


def test_the_project_is_found_from_any_of_its_folders(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.root() == here
    (here / "notebooks" / "dvc.yaml").touch()
    assert paths.root() == here / "notebooks"  # the nearest
    monkeypatch.chdir(here)
    assert paths.root() == here


def test_without_a_project_the_file_asked_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "colorexp" / "paths.py"))
    with pytest.raises(FileNotFoundError, match=r"dvc\.yaml"):
        paths.root()


def test_a_command_started_elsewhere_finds_its_own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own" / "colorexp").mkdir(parents=True)
    (tmp_path / "own" / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "own" / "colorexp" / "paths.py"))
    assert paths.root() == tmp_path / "own"


def test_no_two_things_share_a_place(here: Path) -> None:
    name = "disco/base"
    places = [
        paths.params(),
        paths.bundled(),
        paths.prepared("photos"),
        paths.run(name),
        paths.results(name),
        paths.features(name),
        paths.samples(name),
        paths.report_metrics(name),
        paths.timings(name),
        paths.scratch(name),
    ]
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to(here) for place in places)


def test_a_dot_in_a_name_stays(here: Path) -> None:
    """`with_suffix` would make one file of two runs."""
    for place in (paths.results, paths.features, paths.samples, paths.report_metrics, paths.timings):
        assert place("disco/T0.38") != place("disco/T0.5")


def test_relative_paths_start_at_the_project(here: Path, tmp_path: Path) -> None:
    assert paths.resolve("reports/x.csv") == here / "reports" / "x.csv"
    assert paths.resolve(tmp_path / "out") == tmp_path / "out"


def test_wandb_keeps_to_its_own_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_DIR", raising=False)
    assert paths.wandb() == here
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    assert paths.wandb() == Path("/elsewhere")


def test_published_numbers_travel_with_the_package() -> None:
    assert paths.published("user_guided").is_file()
    assert paths.published("user_guided").is_relative_to(paths.package())


def test_an_atomic_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    paths.write_atomically(path, b"one")
    paths.write_atomically(path, b"two\r\n\x00")
    assert path.read_bytes() == b"two\r\n\x00"
    assert [file.name for file in path.parent.iterdir()] == ["c.json"]


@pytest.mark.parametrize("step", ["write", "rename"])
@pytest.mark.parametrize("old", [b"the old content", None])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, old: bytes | None) -> None:
    path = tmp_path / "c.json"
    if old is not None:
        path.write_bytes(old)

    def half_written(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def not_renamed(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(Path, "write_bytes", half_written)
        else:
            patch.setattr(os, "replace", not_renamed)
        with pytest.raises(OSError, match="No space left"):
            paths.write_atomically(path, b"new content, twice as long")
    assert [file.name for file in tmp_path.iterdir()] == ([] if old is None else ["c.json"])
    assert old is None or path.read_bytes() == old

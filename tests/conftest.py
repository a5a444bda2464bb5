"""Fixtures that several test modules share."""

import shutil
from pathlib import Path

import pytest

from colorexp import boot  # noqa: F401  before anything heavy


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with our params.yaml, in which the test runs."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "dvc.yaml").touch()
    shutil.copy(Path(__file__).parents[1] / "params.yaml", folder)
    monkeypatch.chdir(folder)
    return folder

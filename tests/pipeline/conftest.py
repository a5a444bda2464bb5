"""One smoke-profile `dvc repro` in a temporary copy of the working tree, shared by all tests of the pipeline."""

import time
from pathlib import Path

import pytest
from project import Project, check_out


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline has run once in the smoke profile. Tests that change it work on a copy."""
    project = check_out(tmp_path_factory.mktemp("smoke") / "colorexp")
    project.run("colorexp profile smoke && rm dvc.lock")  # another profile's: DVC would parse and write it at every stage
    start = time.perf_counter()
    project.run("dvc repro")
    print(f"\ndvc repro in the profile smoke: {time.perf_counter() - start:.0f} s")  # noqa: T201  `make smoke` shows it
    project.run("git add -A && git commit -q -m smoke")
    return project


@pytest.fixture
def changed(smoke: Project, tmp_path: Path) -> Project:
    """A copy that a test may change."""
    return smoke.copy(tmp_path / "colorexp")

"""Fixtures that several test modules share."""

import shutil
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from colorexp import boot  # noqa: F401  before anything heavy

import tiny  # isort: skip  # the tests' own module, which imports torch


PIPELINE = "tests/pipeline/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pipeline first: it takes longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(PIPELINE))


class ByModule(LoadScopeScheduling):
    """Among several processes the pipeline's tests go to one, and a module's tests stay together, for what they share."""

    def _split_scope(self, nodeid: str) -> str:
        return PIPELINE if nodeid.startswith(PIPELINE) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByModule:
    """How `make test` shares tests out."""
    return ByModule(config, log)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with our params.yaml, in which the test runs."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "dvc.yaml").touch()
    shutil.copy(Path(__file__).parents[1] / "params.yaml", folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with prepared data that all tests share and none changes."""
    return tiny.make_project(tmp_path_factory.mktemp("tiny") / "project")


@pytest.fixture
def prepared(tiny_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project with prepared data, in which the test runs; W&B is off."""
    folder = tiny.make_project(tmp_path / "project", prepared=tiny_project)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return folder

"""Weights & Biases: offline unless the user says otherwise, complete enough to be synced later, grouped by paper and run."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, environment, make_project, quick
from wandb.proto.wandb_internal_pb2 import Record

from colorexp import runs
from colorexp.tasks.callbacks import Lines

MAIN = "user_guided/res_unet"


class Logged(NamedTuple):
    """What one folder of W&B holds."""

    folder: Path
    records: list[Record]

    @property
    def run(self) -> Any:
        return next(record.run for record in self.records if record.WhichOneof("record_type") == "run")

    @property
    def config(self) -> dict[str, Any]:
        return {update.key: json.loads(update.value_json) for update in self.run.config.update}

    def curve(self, name: str) -> list[float]:
        items = [item for record in self.records for item in record.history.item]
        return [json.loads(item.value_json) for item in items if [*item.nested_key] == [name] or item.key == name]


def records(path: Path) -> Iterator[Record]:
    """The log that `wandb sync` reads: LevelDB's format, blocks of 32 KiB, a checksum, a length and a kind before every part."""
    content, position, part = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while position + 7 <= len(content):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, size, kind = struct.unpack_from("<IHB", content, position)
        part += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(part)
            part = b""
            yield record


def logged(folder: Path) -> list[Logged]:
    found = sorted(folder.glob("wandb/offline-run-*"), key=lambda path: path.stat().st_ctime_ns)
    return [Logged(path, list(records(next(path.glob("run-*.wandb"))))) for path in found]


@pytest.fixture(scope="module")
def parts(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Logged]]:
    """A training that fails in its second epoch, and its resumption."""
    folder = make_project(tmp_path_factory.mktemp("wandb") / "project", prepared=tiny_project)
    cfg = quick(MAIN, epochs=3)

    class Failing(Lines):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                raise OSError("stop")

    usual = {"WANDB_MODE": "offline", "WANDB_DIR": str(folder / "logs")}
    with chdir(folder), environment(**usual), pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.setattr(runs, "Lines", Failing)
        with pytest.raises(OSError, match="stop"):
            runs.train(runs.build(cfg, out="result"))
        patch.setattr(runs, "Lines", Lines)
        runs.train(runs.build(cfg, out="result"))
        yield logged(folder / "logs")


def test_every_part_of_a_training_is_a_folder_of_its_own(parts: list[Logged]) -> None:
    """Two offline parts under one id would overwrite each other when synced."""
    assert len(parts) == 2
    assert parts[0].run.run_id != parts[1].run.run_id


def test_parts_stand_beside_each_other(parts: list[Logged]) -> None:
    for part in parts:
        assert (part.run.project, part.run.run_group, part.run.display_name) == ("colorexp", MAIN, MAIN)
        assert part.run.job_type == "smoke"
        assert list(part.run.tags) == ["user_guided"]


def test_the_configuration_is_logged(parts: list[Logged]) -> None:
    expected = json.loads(json.dumps(quick(MAIN, epochs=3).as_dict()))
    for part in parts:
        assert {key: part.config[key] for key in expected} == expected


def test_curves_go_on_where_the_first_part_ended(parts: list[Logged]) -> None:
    history = runs.read_history(parts[0].folder.parents[2] / "result")
    for name in ("train/loss", "val/loss", "val/accuracy"):
        values = [value for part in parts for value in part.curve(name)]
        again = name.startswith("val/")  # the second epoch had been validated, but not yet kept, when the first part ended
        assert parts[0].curve(name) == pytest.approx(history[name][: 1 + again].tolist(), rel=1e-6)
        assert parts[1].curve(name) == pytest.approx(history[name][1:].tolist(), rel=1e-6)
        assert len(values) == 3 + again


def test_samples_are_pictures_of_hints_prediction_and_truth(parts: list[Logged]) -> None:
    for part in parts:
        pictures = sorted((part.folder / "files" / "media" / "images").glob("samples_*.png"))
        assert pictures
        for path in pictures:
            grid = np.asarray(Image.open(path).convert("RGB"))
            assert grid.shape == (4 * 32, 3 * 32, 3), "four validation pictures by three columns"
            colourful = [np.ptp(column.astype(int), axis=2).mean() for column in np.split(grid, 3, axis=1)]
            assert colourful[0] < colourful[2], "hints on gray, then the truth"


def test_what_lies_there_can_be_synced(parts: list[Logged]) -> None:
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *(str(part.folder) for part in parts)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "WANDB_SILENT": "false"})
    assert done.returncode == 0, done.stderr
    assert "Would sync 2 run(s)" in done.stdout + done.stderr
    for part in parts:
        assert part.records[-1].WhichOneof("record_type") == "exit", "the log was closed"
        assert f"run-{part.run.run_id}.wandb" in done.stdout + done.stderr


def test_a_user_who_says_nothing_is_offline() -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    show = "import os\nfrom colorexp import boot\nprint(os.environ['WANDB_MODE'], os.environ['WANDB_ERROR_REPORTING'])"
    done = subprocess.run([sys.executable, "-c", show], env=clean, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["offline", "false"]


def test_nothing_is_logged_where_it_is_switched_off(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DIR", str(prepared / "logs"))
    runs.train(runs.build(quick(MAIN), out="result"))
    assert not (prepared / "logs").exists()
    assert not (prepared / "wandb").exists()
    assert list((prepared / "scratch").rglob("metrics.csv")), "the CSV logger always writes"

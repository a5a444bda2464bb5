"""What a stage writes for a run or dataset that the profile leaves out: the same files, saying so. No kernel, no torch."""

import json
import re
from pathlib import Path

from colorexp import paths
from colorexp.data import pairlist

NOT_RUN = "not run in this profile"


def reason(stage: str) -> str | None:
    """Why the profile leaves out a stage, as the stage `sources` found, or None.

    Args:
        stage: `train/<run>`, `evaluate/<run>`, `prepare/<dataset>` or `pairs/<dataset>`.

    Raises:
        ValueError: If it was found in another profile.
    """
    file = paths.reads(stage)
    found = json.loads(file.read_text()) if file.is_file() else {}
    if "absence" not in found:
        return None
    profile = re.search(r"(?m)^profile:\s*(\w+)", paths.params().read_text())  # parsing all of it would take longer than all else
    if profile is None or profile[1] != found["profile"]:
        raise ValueError(f"{paths.shown(file)} is of the profile {found['profile']}, which params.yaml has left: run `dvc repro`")
    return str(found["absence"])


def write(kind: str, name: str, why: str, *, out: str | None) -> None:
    """Write the outputs of one stage.

    Args:
        kind: `prepare`, `pairs`, `train` or `evaluate`.
        name: The dataset or the run.
        why: From `reason`.
        out: What the notebook was asked to write.

    Raises:
        ValueError: If that is not where the stage writes: nothing was computed that could stand there.
    """
    places = {
        "prepare": paths.prepared(name),
        "pairs": paths.pairs(name),
        "train": paths.run(name),
        "evaluate": paths.results(name).parents[1],
    }
    if kind not in places:
        raise ValueError(f"no stage {kind!r} can be left out; choose prepare, pairs, train or evaluate")
    if out is None or paths.resolve(out) != places[kind]:
        raise ValueError(why)
    card = json.dumps({"status": NOT_RUN, "reason": why}, indent=1) + "\n"
    status = json.dumps({"status": NOT_RUN}) + "\n"
    if kind == "prepare":
        _text(paths.prepared(name) / "status.json", card)
    elif kind == "pairs":
        pairlist.write(paths.pairs(name), [])
    elif kind == "train":
        _text(paths.run(name) / "run.json", card)
        _text(paths.run(name) / "history.csv", "epoch,step\n")
        _text(paths.timings(f"train/{name}"), status)
    else:
        _empty_results(name)
        _text(paths.samples(name) / "status.json", card)
        _text(paths.report_metrics(name), status)


def notebook(path: Path, title: str, why: str) -> None:
    """An executed notebook that holds one sentence."""
    cell = {"cell_type": "markdown", "id": "cell-0", "metadata": {}, "source": f"# {title}\n\nNothing was computed: {why}."}
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    _text(path, json.dumps(content, indent=1) + "\n")


def _empty_results(name: str) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = dict.fromkeys(("dataset", "split", "image", "protocol", "way"), pa.string())
    schema = pa.schema([*columns.items(), ("seed", pa.int64()), ("repeat", pa.int64()), ("near_gray", pa.bool_())])
    paths.results(name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_batches([], schema), paths.results(name))  # empty_table() would import pandas
    np.savez(paths.features(name))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

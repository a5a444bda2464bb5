"""What a stage writes for a run or dataset that the profile leaves out: the same files, saying so. No kernel, no torch."""

import json
from pathlib import Path

from colorexp import paths

NOT_RUN = "not run in this profile"


def reason(stage: str) -> str | None:
    """Why the profile leaves out `train/<run>`, `evaluate/<run>` or `prepare/<dataset>`, as the stage `sources` found, or None."""
    file = paths.reads(stage)
    found: str | None = json.loads(file.read_text()).get("absence") if file.is_file() else None
    return found


def write(stage: str, name: str, why: str) -> None:
    """Write the outputs of one stage.

    Args:
        stage: `prepare`, `train` or `evaluate`.
        name: The dataset or the run.
        why: From `reason`.
    """
    card = json.dumps({"status": NOT_RUN, "reason": why}, indent=1) + "\n"
    status = json.dumps({"status": NOT_RUN}) + "\n"
    if stage == "prepare":
        _text(paths.prepared(name) / "status.json", card)
    elif stage == "train":
        _text(paths.run(name) / "run.json", card)
        _text(paths.run(name) / "history.csv", "epoch,step\n")
        _text(paths.timings(f"train/{name}"), status)
    elif stage == "evaluate":
        _empty_results(name)
        _text(paths.samples(name) / "status.json", card)
        _text(paths.report_metrics(name), status)
    else:
        raise ValueError(f"no stage {stage!r} can be left out; choose prepare, train or evaluate")


def notebook(path: Path, title: str, why: str) -> None:
    """An executed notebook that holds one sentence."""
    cell = {"cell_type": "markdown", "id": "cell-0", "metadata": {}, "source": f"# {title}\n\nNothing was computed: {why}."}
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    _text(path, json.dumps(content, indent=1) + "\n")


def _empty_results(name: str) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"dataset": pa.string(), "split": pa.string(), "image": pa.string(), "protocol": pa.string()}
    schema = pa.schema([*columns.items(), ("seed", pa.int64()), ("repeat", pa.int64()), ("near_gray", pa.bool_())])
    paths.results(name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_batches([], schema), paths.results(name))  # empty_table() would import pandas
    np.savez(paths.features(name))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

"""Where everything lies, relative to the project's root, and how it is written; no other module builds a path of its own."""

import os
from pathlib import Path


def root() -> Path:
    """The project's folder: the nearest parent of the working directory, else of this file, that holds dvc.yaml.

    Raises:
        FileNotFoundError: If neither has one.
    """
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "dvc.yaml").is_file():
                return folder
    raise FileNotFoundError("no dvc.yaml above the working directory: start from the project's folder")


def params() -> Path:
    """The one file of parameters."""
    return root() / "params.yaml"


def build(folder: str) -> Path:
    """What the stage `sources` makes: `nb`, stripped notebooks, and `reads`."""
    return root() / "build" / folder


def reads(stage: str) -> Path:
    """What a stage runs and reads."""
    return build("reads") / f"{stage}.json"


def bundled() -> Path:
    """The photographs that `fetch` copies and data.dvc manages; everything else under data/ is the user's."""
    return root() / "data" / "bundled"


def prepared(dataset: str) -> Path:
    """Arrow shards, manifest, quarantine list and statistics of one dataset."""
    return root() / "artifacts" / "prepared" / dataset


def pairs(dataset: str) -> Path:
    """Which reference each picture of one dataset is given."""
    return root() / "artifacts" / "pairs" / f"{dataset}.csv"


def run(name: str) -> Path:
    """Weights, run.json and history.csv of `<paper>/<run>`."""
    return root() / "artifacts" / "runs" / name


def results(name: str) -> Path:
    """Per-image results of `<paper>/<run>`; features and samples lie beside it under the same stem."""
    return root() / "artifacts" / "results" / f"{name}.parquet"


def features(name: str) -> Path:
    """Inception features of `<paper>/<run>` for set metrics."""
    return root() / "artifacts" / "results" / f"{name}.features.npz"


def samples(name: str) -> Path:
    """Some of the colorized pictures of `<paper>/<run>`, as PNG."""
    return root() / "artifacts" / "results" / f"{name}.samples"


def report_metrics(name: str) -> Path:
    """The summary of `<paper>/<run>` that `dvc metrics` shows."""
    return root() / "reports" / "metrics" / f"{name}.json"


def timings(name: str) -> Path:
    """Clocks of one stage; the only place where they are kept."""
    return root() / "reports" / "timings" / f"{name}.json"


def resolve(out: str | Path) -> Path:
    """A path given relative to the project, as notebooks do."""
    return root() / out


def shown(path: str | Path) -> str:
    """A path as messages name it: relative to the project where it lies inside, else as it was given."""
    path = Path(path)
    return path.relative_to(root()).as_posix() if path.is_absolute() and path.is_relative_to(root()) else str(path)


def scratch(key: str) -> Path:
    """Checkpoints and logs of a training in progress; git and DVC ignore it."""
    return root() / "scratch" / key


def wandb() -> Path:
    """The folder in which W&B makes its `wandb/`."""
    return Path(os.environ.get("WANDB_DIR", root()))


def package() -> Path:
    """The folder of the installed package."""
    return Path(__file__).resolve().parent


def published(paper: str) -> Path:
    """The numbers that a paper printed, as tidy CSV."""
    return package() / "published" / f"{paper}.csv"


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename, so that a full disk or a kill leaves the old file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

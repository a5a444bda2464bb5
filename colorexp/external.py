"""Pictures that other programs coloured, checked and measured like those of runs: a row for methods that cannot be rebuilt here.

They lie in `<external>/<method>/<dataset>/<image>.png`; external/README.md says more. A method is named by its folder:
`deoldify`, or `ideepcolor@10` if it was given the hints of a protocol, `he@related` if the references of a list of pairs.
"""

import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from colorexp import boot  # isort: skip  # noqa: F401  before anything that imports torch

import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from colorexp import color, config, evaluation, paths
from colorexp.config import Evaluation, Run
from colorexp.data import store
from colorexp.data.datamodule import View2D
from colorexp.data.images import BadImage, open_image
from colorexp.seeding import generator
from colorexp.tasks.automatic import object_spread
from colorexp.tasks.base import Colorizer, Setting
from colorexp.types import Batch, Prediction

RESULTS = "artifacts/results/external"
"""Below it `<paper>/<method>.parquet` and what else an evaluation writes, at the size at which the paper's runs are measured."""
SUMMARY = "methods.csv"
LUMINANCE_LIMIT = 2.0
"""Mean difference to the input's lightness, in 255ths of its range, above which a picture is flagged.

Unspecified: the mean over pixels, because colours that leave the sRGB gamut move the lightness of single ones in any method.
"""


class Delivered(NamedTuple):
    """What a method delivered for one test picture."""

    dataset: str
    image: str
    file: Path
    luminance_difference: float
    """As `LUMINANCE_LIMIT` counts it, at the stored size."""

    @property
    def flagged(self) -> bool:
        """Whether the method changed more than colours."""
        return self.luminance_difference > LUMINANCE_LIMIT


def folder() -> Path:
    """The folder of all methods that params.yaml names; it need not exist.

    Raises:
        ValueError: If params.yaml names none.
    """
    name = config.read().get("external_methods")
    if not (isinstance(name, str) and name):
        raise ValueError(f"params.yaml: external_methods must name the folder of methods from elsewhere, got {name!r}")
    return paths.resolve(name)


def methods() -> list[str]:
    """Names of the methods that delivered pictures, sorted; none where the folder is absent.

    Raises:
        ValueError: If a folder's name is not `<method>` or `<method>@<amount of hints>`.
    """
    found = sorted(path.name for path in folder().glob("*") if path.is_dir() and not path.name.startswith("."))
    for name in found:
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+(@[A-Za-z0-9.%-]+)?", name):
            where = paths.shown(folder() / name)
            raise ValueError(f"{where}: a method is named by letters, digits and _.+-, then maybe @<protocol>")
    return found


def protocol_of(method: str) -> str:
    """Under which hint protocol, or after which references, a method coloured: what follows `@` in its name, else no hints."""
    return method.partition("@")[2] or "0"


# What is delivered is checked


def check(method: str) -> list[Delivered]:
    """Compare a method's pictures with the test pictures that they should be of, by name, size and lightness.

    Data sets that the profile lacks are passed over.

    Raises:
        ValueError: If there is no such method, a data set is unknown, or pictures are missing, unknown, unreadable or of another
            size than the stored one; all of them are listed.
    """
    if method not in methods():
        raise ValueError(f"no method {method!r} in {paths.shown(folder())}; there are: {', '.join(methods()) or 'none'}")
    names = sorted(path.name for path in (folder() / method).iterdir() if not path.name.startswith("."))
    if unknown := [name for name in names if name not in config.datasets()]:
        raise ValueError(f"{method}: no data set {', '.join(unknown)}; data sets are: {', '.join(config.datasets())}")
    active = config.read()["profile"]
    present = [name for name in names if not config.dataset(name).absence_in(active)]
    items = [item for dataset in present for item in _compared(folder() / method / dataset)]
    if problems := [item for item in items if isinstance(item, str)]:
        raise ValueError(f"{method}: {len(problems)} problems: {'; '.join(problems)}")
    return [item for item in items if isinstance(item, Delivered)]


def _compared(pictures: Path) -> Iterator[Delivered | str]:
    """Each test picture of a data set as delivered, or what is wrong with it; then files that belong to none."""
    dataset = pictures.name
    records = {record.id: record for record in store.Shards(paths.prepared(dataset), "test")}
    files = {path.relative_to(pictures).as_posix(): path for path in sorted(pictures.rglob("*")) if path.is_file()}
    for image, record in records.items():
        file = files.pop(f"{image}.png", None)
        if file is None:
            yield f"{dataset}/{image}.png is missing"
            continue
        try:
            planes = _read(file)
        except BadImage as error:
            yield f"{dataset}/{image}.png: {error}"
            continue
        height, width = record.rgb.shape[:2]
        if tuple(planes.shape[-2:]) != (height, width):
            yield f"{dataset}/{image}.png is {planes.shape[-1]}x{planes.shape[-2]} and not {width}x{height}"
            continue
        difference = _lightness(planes) - _lightness(torch.from_numpy(record.rgb.copy()).movedim(-1, 0))
        yield Delivered(dataset, image, file, float(difference.abs().mean()) * 2.55)
    yield from (f"{dataset}/{name} belongs to no test picture" for name in files if not Path(name).name.startswith("."))


def _read(file: Path) -> Tensor:
    """(3, H, W) uint8."""
    picture = open_image(file).rgb
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3).movedim(-1, 0)


def _lightness(rgb: Tensor) -> Tensor:
    return color.rgb_to_lab(color.from_8bit(rgb)[None])[:, :1]


def write_inputs(dataset: str, out: Path) -> int:
    """Write what other programs are to colour: a data set's test pictures without colours, by the names they must come back under.

    Returns:
        How many there are.
    """
    shards = store.Shards(paths.prepared(dataset), "test")
    for record in shards:
        lightness = _lightness(torch.from_numpy(record.rgb.copy()).movedim(-1, 0))
        gray = color.to_8bit(color.lab_to_rgb(torch.cat([lightness, torch.zeros_like(lightness), torch.zeros_like(lightness)], 1)))
        file = out / dataset / f"{record.id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gray[0].movedim(0, -1).numpy()).save(file)
    return len(shards)


# And measured


class FromFiles(Colorizer):
    """Takes its colours from delivered pictures, so that they are measured as those of networks are.

    Args:
        setting: Of the run that it is measured like.
        pictures: By `<dataset>/<image>`, from `check`.
        view: How the run's pictures are cut.

    Raises:
        ValueError: If the view cuts at random.

    Deviation: the lightness is the input's, as in all colourings; where a method changed it, the flag says so.
    """

    takes_hints = False

    def __init__(self, setting: Setting, *, pictures: Mapping[str, Delivered], view: View2D) -> None:
        super().__init__(nn.Identity(), setting)
        if view.kind not in ("whole", "squash"):
            raise ValueError(f"pictures from elsewhere are measured in the views whole and squash, not {view.kind}")
        self.pictures, self.view = pictures, view

    def inputs(self, batch: Batch) -> Tensor:
        """The lightness, which nothing uses."""
        return batch["L"]

    def loss(self, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        """Raises: there is nothing to train."""
        raise ValueError("pictures cannot be trained")

    def predict(self, batch: Batch) -> Prediction:
        """The delivered colours, brought to the size of the batch as the true picture was."""
        cut = [self.view.apply(_read(self.pictures[name].file), generator("no draw")) for name in batch["id"]]
        return Prediction(color.rgb_to_lab(color.from_8bit(torch.stack(cut)))[:, 1:].to(batch["L"].device))

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """Difference in lightness and whether that is flagged; on scenes the spread of chroma inside objects."""
        seen = [self.pictures[name] for name in batch["id"]]
        return object_spread(batch, prediction.ab) | {
            "luminance_difference": torch.tensor([picture.luminance_difference for picture in seen]),
            "luminance_flagged": torch.tensor([float(picture.flagged) for picture in seen]),
        }


def evaluate(method: str, paper: str, delivered: list[Delivered]) -> evaluation.Results | None:
    """Measure a method as the runs of a paper are: their size, measures and data sets, no repetitions.

    Args:
        method: As in `methods`.
        paper: One that has exhibits.
        delivered: From `check`.

    Returns:
        None where the paper's runs know none of its data sets, or not its protocol.
    """
    cfg = _measured_like(paper)
    if cfg is None or (asked := _shown_as(method, cfg.evaluation)) is None:
        return None
    datasets = [name for name in cfg.evaluation.evaluate_on if name in {picture.dataset for picture in delivered}]
    if not datasets:
        return None
    cfg = replace(cfg, evaluation=replace(asked, evaluate_on=datasets))
    setting = Setting(cfg.fitting, cfg.seed, 1, None)
    pictures = {f"{picture.dataset}/{picture.image}": picture for picture in delivered}
    return evaluation.evaluate(cfg, FromFiles(setting, pictures=pictures, view=View2D(cfg.data.eval_view, cfg.data.size)))


def _shown_as(method: str, like: Evaluation) -> Evaluation | None:
    """What is asked of a method: its protocol alone, or the references that it had; None where runs are not measured so.

    A method that names no references coloured without any and is measured beside those that had some.
    """
    protocol = protocol_of(method)
    if like.pairs:
        pairs = [subset for subset in like.pairs if subset == protocol or "@" not in method]
        return replace(like, pairs=pairs) if pairs else None
    return replace(like, protocols=[protocol]) if protocol in like.protocols else None


def _measured_like(paper: str) -> Run | None:
    """The first run of a paper that the profile has, with the measures and protocols of all of them."""
    present = [run for run in map(config.load, config.runs(paper)) if run.present]
    if not present:
        return None
    metrics = list(dict.fromkeys(name for run in present for name in run.evaluation.metrics))
    protocols = list(dict.fromkeys(name for run in present for name in run.evaluation.protocols))
    asked = replace(present[0].evaluation, metrics=metrics, protocols=protocols, ways=[], repeats=1)
    return replace(present[0], evaluation=asked)


def evaluate_all(*, out: str | Path = RESULTS) -> pd.DataFrame:
    """Check and measure every method for every paper that has exhibits, and write the results, replacing those that were there.

    Args:
        out: Instead of `RESULTS`, relative to the project.

    Returns:
        Method, paper, data set, protocol or list of pairs, number of pictures and of flagged ones; also written, as `methods.csv`.
    """
    shutil.rmtree(paths.resolve(out), ignore_errors=True)
    rows = [row for method in methods() for row in measure(method, out=out)]
    summary = pd.DataFrame(rows, columns=["method", "paper", "dataset", "protocol", "pictures", "flagged"])
    paths.write_atomically(paths.resolve(out) / SUMMARY, summary.to_csv(index=False).encode())
    return summary


def measure(method: str, *, out: str | Path = RESULTS) -> list[dict[str, object]]:
    """Check and measure one method and write its results; returns its lines of the summary, and warns where there are none.

    Raises:
        ValueError: As `check`.
    """
    delivered = check(method)
    lines: list[dict[str, object]] = []
    for paper in config.read()["exhibits"]:
        results = evaluate(method, paper, delivered)
        if results is None:
            continue
        evaluation.save(f"{paper}/{method}", results, out=out)
        for (dataset, protocol), rows in results.rows.groupby(["dataset", "protocol"]):
            about = {"protocol": protocol, "pictures": len(rows), "flagged": int(rows["luminance_flagged"].sum())}
            lines.append({"method": method, "paper": paper, "dataset": dataset, **about})
    if delivered and not lines:
        warnings.warn(f"{method}: measured for no paper, since no run is measured under {protocol_of(method)!r}", stacklevel=2)
    return lines

"""Figures of DISCO that kept sample pictures cannot tell: trained networks are asked again, with other anchors or pictures."""

import importlib.util
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from colorexp import apply, color, metrics, paths, runs, structure
from colorexp.config import Run
from colorexp.data import store
from colorexp.data.datamodule import Draw, Pictures, View2D, collate, to_physical
from colorexp.data.images import open_image
from colorexp.models.disco import Anchor, Coloured, Disco
from colorexp.nn import superpixels
from colorexp.report import disco, tables
from colorexp.report.tables import Cell
from colorexp.tasks.anchors import AnchorColorizer, draws
from colorexp.tasks.automatic import chroma, lightness
from colorexp.tasks.base import Colorizer
from colorexp.types import Batch
from colorexp.viz.marks import Distribution, Star

GRAY = ("camera", "clock_motion", "coins", "moon", "brick", "grass")
"""Gray photographs that scikit-image carries, by the stems of their files."""
GRAY_SIDE = 256
GRAY_NAME = "gray photographs of scikit-image"
HALF_TURN = -1.0
INSIDE = ("spread", "chroma", "spread over chroma")
"""Measures of an object."""
PEAKS = 3
STAR_L = (35.0, 85.0)
"""Lightness of stars: colours show neither in black nor in white."""


class Photographs(NamedTuple):
    """Pictures without a truth in lines, gray first and then as methods colour them."""

    rows: Sequence[Sequence[np.ndarray | None]]
    columns: list[str]
    labels: list[str]
    """Of the lines."""
    cells: list[Cell]
    """Colourfulness per method as cells of Table 3, where that does not have the pictures anyway."""


class Shown(NamedTuple):
    """Pictures in lines, and stars on some of them by line and column."""

    rows: list[list[np.ndarray]]
    stars: dict[tuple[int, int], list[Star]]


@lru_cache
def trained(run: str) -> tuple[Run, Colorizer]:
    """A trained run.

    Raises:
        FileNotFoundError: If it has not been trained.
    """
    loaded = runs.load(paths.run(run))
    torch.set_num_threads(1)  # picture by picture, a second one would be waited for longer than it works
    return loaded


@lru_cache
def network() -> Disco:
    """The trained network that stands for the paper's, in its form for inference."""
    model = trained(disco.main())[1].model
    assert isinstance(model, Disco)
    return model.folded()


def picture(name: str) -> Batch:
    """A test picture `<dataset>/<image>` alone in a batch, cut and seeded as evaluations do.

    Raises:
        ValueError: If the data set has no such test picture.
    """
    dataset, _, image = name.partition("/")
    known, hinting = test_pictures(dataset), trained(disco.main())[0].hinting
    if image not in known:
        raise ValueError(f"{dataset} has no test picture {image!r}; it has, for example, {', '.join(known[:3])}")
    raw = collate([_test_set(dataset)[Draw(known.index(image), ("evaluation", disco.PROTOCOL))]])
    return to_physical(raw, patch=hinting.hint_patch, layout=hinting.hint_layout)


@lru_cache
def _test_set(dataset: str) -> Pictures:
    cfg, _ = trained(disco.main())
    view = View2D(cfg.data.eval_view, cfg.data.size)
    return Pictures([dataset], "test", data=cfg.data, view=view, choose=_no_hints, patch=cfg.hinting.hint_patch)


@lru_cache
def test_pictures(dataset: str) -> list[str]:
    """Names of a data set's test pictures."""
    table = store.manifest(paths.prepared(dataset))
    return [str(name) for name in table.loc[table["split"] == "test", "id"]]


def _no_hints(size: tuple[int, int], rng: torch.Generator, identity: str) -> Tensor:
    return torch.zeros(0, 2, dtype=torch.int64)


def as_rgb(batch: Batch, ab: Tensor) -> np.ndarray:
    """The first picture of a batch in some colours, physical ab (B, 2, H, W). Shape (H, W, 3), uint8."""
    rgb = color.to_8bit(color.lab_to_rgb(torch.cat([batch["L"], ab], 1)))
    return rgb[0].permute(1, 2, 0).numpy()


def _made(batch: Batch, ab_n: Tensor) -> np.ndarray:
    return as_rgb(batch, color.denormalise(batch["L"], ab_n, "disco")[1])


def stars(batch: Batch, anchors: Sequence[Anchor]) -> list[Star]:
    """Anchors of a batch's first picture as stars in their colours."""
    found = []
    for anchor in anchors:
        L = batch["L"][0, 0, anchor.row, anchor.col].clamp(*STAR_L)
        rgb = color.lab_to_rgb(torch.stack([L, *torch.tensor(anchor.ab)]).view(1, 3, 1, 1)).flatten()
        found.append(Star(anchor.row, anchor.col, (float(rgb[0]), float(rgb[1]), float(rgb[2]))))
    return found


# Figures 1 and 6


def rebalanced(*, count: int) -> pd.DataFrame:
    """What class rebalancing does to the colours of anchors, on the first test pictures of every data set.

    A network that is trained with class weights learns probabilities times weights; dividing the weights out again gives those of
    a network that was trained without.

    Returns:
        pictures, n, and the mean chroma in ab units of the most probable colours of the anchors, with and without the weights.
    """
    if tables.absence(disco.main()):
        return pd.DataFrame()
    model, task = network(), runs.load(paths.run(disco.main()), evaluating=True)[1]
    assert isinstance(task, AnchorColorizer)
    centres, rows = color.ab_gamut(), []
    for dataset in disco.test_sets():
        found: dict[str, list[Tensor]] = {"as trained": [], "weights divided out": []}
        names = [f"{dataset}/{image}" for image in test_pictures(dataset)[:count]]
        for name in names:
            batch = picture(name)
            made = model.colorize(lightness(batch), draws(batch))
            assert made.color_logits is not None
            plain = made.color_logits - task.weights.log()[:, None, None]
            for kind, logits in zip(found, (made.color_logits, plain), strict=True):
                found[kind].append(centres[logits.argmax(1)][made.anchor_mask[:, 0]].norm(dim=1))
        means = {kind: round(float(torch.cat(values).mean()), 1) for kind, values in found.items()}
        rows.append({"pictures": dataset, "n": len(names), **means})
    return pd.DataFrame(rows)


# Figure 4


def clusters(names: Sequence[str], *, anchors: int) -> Shown:
    """Truth, clusters of true colours, clusters of learned features; anchors starred (Figure 4).

    Args:
        names: Test pictures.
        anchors: Clusters.
    """
    shown = Shown([], {})
    for line, name in enumerate(names):
        model, batch = network(), picture(name)
        by_truth = model.colorize(lightness(batch), draws(batch), anchors=anchors, locate="truth", ab_n=chroma(batch))
        learned = model.colorize(lightness(batch), draws(batch), anchors=anchors)
        shown.rows.append([as_rgb(batch, batch["ab"]), *(_regions(model, c, anchors) for c in (by_truth, learned))])
        for column, coloured in enumerate((by_truth, learned), start=1):
            shown.stars[line, column] = [s._replace(rgb=(1.0, 1.0, 1.0)) for s in stars(batch, model.anchors_of(coloured)[0])]
    return shown


def _regions(model: Disco, coloured: Coloured, count: int) -> np.ndarray:
    """Every pixel in the colour of its superpixel's cluster."""
    assert coloured.clusters is not None
    owner = superpixels.labels(coloured.affinity, cell=model.cell)[0]
    angle = torch.arange(count) * (2 * torch.pi / count)
    lab = torch.stack([torch.full_like(angle, 60), 45 * angle.cos(), 45 * angle.sin()], 1)
    palette = color.to_8bit(color.lab_to_rgb(lab[..., None, None])).flatten(1)
    return palette[coloured.clusters[0].flatten()[owner]].numpy()


# Figure 5


def anomalies(count: int) -> tuple[Shown, pd.DataFrame]:
    """Anchors that contradict each other within an object, and an object without any, before and after refinement (Figure 5).

    In every scene the largest object that could have several colours either gets two anchors of different modes, before which lie a
    quarter and three quarters of its pixels from the left, or loses its own. Both must lie in superpixels of their own: in one and
    the same only the second would count, and nothing would be contradicted.

    Args:
        count: Test scenes, the first that have such an object; the first of them is shown.

    Returns:
        Per situation the most probable colours of every superpixel alone, the generator's before refinement, the result; and the
        spread of chroma inside the object, its mean chroma and their ratio, since pale colours spread less: before, after and the
        paired difference, as `tables.comparison`.
    """
    shown, found = Shown([], {}), []
    for name in [] if tables.absence(disco.main()) else test_pictures("scenes"):
        model, batch = network(), picture(f"scenes/{name}")
        asked = _situations(model, batch)
        for situation, (anchors, mask) in asked.items():
            coloured = model.colorize_with(lightness(batch), [anchors])
            before, after = (color.denormalise(batch["L"], x, "disco")[1] for x in (model.unrefined(coloured), coloured.ab_n))
            found.append((situation, name, *_inside(before, mask), *_inside(after, mask)))
            if len(shown.rows) < len(asked):
                shown.stars[len(shown.rows), 1] = stars(batch, anchors)
                shown.rows.append([_made(batch, _alone(model, coloured)), as_rgb(batch, before), as_rgb(batch, after)])
        if len(found) == 2 * count:
            break
    columns = ["situation", "image", *(f"{name} {when}" for when in ("before", "after") for name in INSIDE)]
    return shown, _spreads(pd.DataFrame(found, columns=columns).set_index("image"))


def _situations(model: Disco, batch: Batch) -> dict[str, tuple[list[Anchor], Tensor]]:
    """Anchors by situation, and the object's mask; nothing where no object could have several colours, or all are too small."""
    objects = batch["instance_map"] * (batch["mode_map"] > 0)
    modes = structure.scene_modes()
    made = model.colorize(lightness(batch), draws(batch))
    owner = superpixels.labels(made.affinity, cell=model.cell)[0]
    sizes = {n: int((objects == n).sum()) for n in objects.unique().tolist() if n}
    for number in sorted(sizes, key=lambda n: -sizes[n]):
        mask = (objects == number)[0]
        kinds = modes[int(batch["class_map"][0][mask].mode().values) - 1]
        pixels = mask.nonzero()[mask.nonzero()[:, 1].argsort(stable=True)]
        (row, col), (other_row, other_col) = (pixels[len(pixels) * part // 4].tolist() for part in (1, 3))
        apart = bool(owner[row, col] != owner[other_row, other_col])
        if len(kinds) > 1 and sizes[number] >= structure.SMALLEST and apart:
            others = [a for a in model.anchors_of(made)[0] if not mask[a.row, a.col]]
            two = [Anchor(row, col, _nearest(kinds[0])), Anchor(other_row, other_col, _nearest(kinds[1]))]
            return {"conflicting anchors": ([*others, *two], mask[None].byte()), "no anchor": (others, mask[None].byte())}
    return {}


def _nearest(ab: Tensor) -> tuple[float, float]:
    """The bin nearest to a colour, as an anchor takes it."""
    centres = color.ab_gamut()
    a, b = centres[int((centres - ab).norm(dim=1).argmin())].tolist()
    return a, b


def _alone(model: Disco, coloured: Coloured) -> Tensor:
    """Every superpixel in the modeler's most probable colour: what is known before anchors."""
    assert coloured.color_logits is not None
    return superpixels.diffuse(color.decode_mode(coloured.color_logits, model.centres_n), coloured.affinity, cell=model.cell)


def _inside(ab: Tensor, mask: Tensor) -> tuple[float, float, float]:
    """What `INSIDE` names, of one picture."""
    spread, chroma_ = float(structure.chroma_spread(ab, mask)), float(ab[0].norm(dim=0)[mask[0].bool()].mean())
    return spread, chroma_, spread / max(chroma_, 1e-6)


def _spreads(found: pd.DataFrame) -> pd.DataFrame:
    cells, made_by = [], tables.made_by(disco.main())
    for situation, part in found.groupby("situation", sort=False):
        for name in INSIDE:
            before, after = part[f"{name} before"], part[f"{name} after"]
            for when, values in {"before": before, "after": after, "before minus after": before - after}.items():
                labels = {"situation": str(situation), "refinement": when, "quantity": name}
                cells.append(Cell(labels, name, values=values, dataset="scenes (test)", seeds=1, made_by=made_by))
    return tables.comparison(cells)


# Figure 7


def gray_photographs() -> Photographs:
    """Photographs without a truth, coloured by all frameworks of the profile (Figure 7 and rows of Table 3).

    They are kept samples of the paper's legacy photographs, where the profile tests on them; else scikit-image's, coloured now.
    """
    rows = {name: row for name, row in disco.METHODS.items() if row and not row.way}
    if disco.NO_TRUTH in disco.test_sets():
        names = disco.kept(disco.NO_TRUTH)
        lines, columns = disco.side_by_side(rows, names)
        return Photographs([line[:-1] for line in lines], columns[:-1], [n.split("/")[1] for n in names], [])
    found = {name: disco.row_of(row).run for name, row in rows.items()}
    found = {name: run for name, run in found.items() if not tables.absence(run)}
    return _carried(found)


def _carried(found: Mapping[str, str]) -> Photographs:
    """The photographs of `GRAY`, coloured by runs by their methods' names."""
    grays = [_gray(place) for place in gray_files()]
    made = {name: [apply.colorize(gray, trained(run)[1], trained(run)[0]) for gray in grays] for name, run in found.items()}
    cells = []
    for name, coloured in made.items():
        values = pd.Series([float(metrics.cf_signed(rgb[None])) for rgb in coloured], index=GRAY)
        labels = {"method": name, "pictures": GRAY_NAME, "quantity": "colorfulness"}
        made_by = tables.made_by(found[name])
        cells.append(Cell(labels, "cf_signed", values=values, dataset=GRAY_NAME, seeds=1, made_by=made_by))
    rows = [[x.permute(1, 2, 0).numpy() for x in line] for line in zip(grays, *made.values(), strict=True)]
    return Photographs(rows, ["gray", *made], list(GRAY), cells)


def gray_files() -> list[Path]:
    """Where scikit-image keeps the photographs of `GRAY`."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return [Path(spec.origin).parent / "data" / f"{name}.png" for name in GRAY]


def _gray(path: Path) -> Tensor:
    """uint8 (3, H, W), the middle square at `GRAY_SIDE`."""
    rgb = open_image(path).rgb
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.crop((left, top, left + side, top + side)).resize((GRAY_SIDE, GRAY_SIDE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square.convert("L").convert("RGB"))).permute(2, 0, 1)


# Figures 8, 9 and 12


def distributions(name: str, *, count: int) -> tuple[np.ndarray, list[Star], list[Distribution]]:
    """A picture's anchors and the colours that the surest and the least sure of them could have (Figure 8).

    Args:
        name: A test picture.
        count: How many anchors' distributions.
    """
    model, batch = network(), picture(name)
    coloured = model.colorize(lightness(batch), draws(batch))
    anchors = model.anchors_of(coloured)[0]
    assert coloured.color_logits is not None
    owner = superpixels.labels(coloured.affinity, cell=model.cell)[0]
    prob = coloured.color_logits[0].softmax(0).flatten(1)  # (bins, N)
    at = [prob[:, int(owner[a.row, a.col])] for a in anchors]
    order = sorted(range(len(anchors)), key=lambda i: float(torch.special.entr(at[i]).sum()))
    chosen = order if len(order) <= count else order[: count // 2] + order[-(count - count // 2) :]
    shown = []
    for i in chosen:
        L = batch["L"][0, 0, anchors[i].row, anchors[i].col].clamp(*STAR_L).expand(color.GAMUT_BINS, 1)
        rgb = color.lab_to_rgb(torch.cat([L, color.ab_gamut()], 1)[..., None, None]).flatten(1)
        shown.append(Distribution(f"anchor {i + 1}", at[i].numpy(), rgb.numpy(), peaks(at[i])))
    return _made(batch, coloured.ab_n), stars(batch, anchors), shown


def peaks(prob: Tensor) -> list[int]:
    """The most probable bins (at most three) that no bin around them exceeds, of probabilities (313,); the first is the mode."""
    centres = color.ab_gamut()
    near = (centres[:, None] - centres).abs().amax(2) <= color.GAMUT_PITCH
    local = prob >= torch.where(near, prob, 0.0).amax(1)
    return [int(i) for i in torch.where(local, prob, -1.0).topk(min(PEAKS, int(local.sum()))).indices]


def controlled(names: Sequence[str]) -> Shown:
    """Automatic, two further distinct colourings, one anchor recoloured, one anchor moved (Figure 9).

    The most vivid anchor gets the opposite hue; then it is moved to the middle of the picture instead.

    Args:
        names: Test pictures.
    """
    shown = Shown([], {})
    for line, name in enumerate(names):
        model, batch = network(), picture(name)
        made = model.colorize_diverse(lightness(batch), draws(batch))
        listed = model.anchors_of(made[0])[0]
        for changed in (_recoloured(listed), _moved(batch, listed)):
            made = [*made, model.colorize_with(lightness(batch), [changed])]
        shown.rows.append([_made(batch, coloured.ab_n) for coloured in made])
        for column, coloured in enumerate(made):
            shown.stars[line, column] = stars(batch, model.anchors_of(coloured)[0])
    return shown


def _vivid(anchors: Sequence[Anchor]) -> int:
    return max(range(len(anchors)), key=lambda i: anchors[i].ab[0] ** 2 + anchors[i].ab[1] ** 2)


def _recoloured(anchors: Sequence[Anchor]) -> list[Anchor]:
    changed = list(anchors)
    at = _vivid(anchors)
    changed[at] = changed[at]._replace(ab=_nearest(HALF_TURN * torch.tensor(changed[at].ab)))
    return changed


def _moved(batch: Batch, anchors: Sequence[Anchor]) -> list[Anchor]:
    changed = list(anchors)
    anchor = changed.pop(_vivid(anchors))
    height, width = batch["L"].shape[-2:]
    return [*changed, anchor._replace(row=height // 2, col=width // 2)]


def counted(names: Sequence[str]) -> Shown:
    """The same pictures with more and more anchors (Figure 12)."""
    shown = Shown([], {})
    for line, name in enumerate(names):
        model, batch = network(), picture(name)
        made = [model.colorize(lightness(batch), draws(batch), anchors=count) for count in disco.TRIED]
        shown.rows.append([_made(batch, coloured.ab_n) for coloured in made])
        for column, coloured in enumerate(made):
            shown.stars[line, column] = stars(batch, model.anchors_of(coloured)[0])
    return shown


# Figure 14


def failures(count: int) -> Mapping[str, str]:
    """Test pictures by why they are shown: those of the largest chroma error, and the scenes of the most objects (Figure 14).

    Args:
        count: Of each kind.
    """
    if tables.absence(disco.main()):
        return {}
    rows = tables.results(disco.main())
    rows = rows[~rows["near_gray"]]  # what has no chroma cannot be missed
    rows = rows.assign(name=rows["dataset"] + "/" + rows["image"]).sort_values("ab_error", ascending=False)
    worst = rows.drop_duplicates("name").head(count)
    found = {str(r.name): f"error {r.ab_error:.0f}" for r in worst.itertuples(index=False)}
    objects = {name: int(picture(f"scenes/{name}")["instance_map"].unique().ne(0).sum()) for name in test_pictures("scenes")}
    fullest = sorted(objects, key=lambda name: -objects[name])
    return {**{f"scenes/{name}": f"{objects[name]} objects" for name in fullest[:count]}, **found}


def coloured(names: Sequence[str]) -> Shown:
    """Gray, automatic with its anchors, truth."""
    shown = Shown([], {})
    for line, name in enumerate(names):
        model, batch = network(), picture(name)
        made = model.colorize(lightness(batch), draws(batch))
        gray = torch.zeros_like(batch["ab"])
        shown.rows.append([as_rgb(batch, gray), _made(batch, made.ab_n), as_rgb(batch, batch["ab"])])
        shown.stars[line, 1] = stars(batch, model.anchors_of(made)[0])
    return shown

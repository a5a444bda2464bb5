"""Which reference each picture is given: exact neighbours in bounded memory, lists that anyone may write, draws for training."""

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_datamodule import equal, module, stand_at, write_dataset
from tiny import make_project, pictures, rng

from colorexp import backbones, color, config, paths
from colorexp.data import pairlist, pairs, palettes
from colorexp.data.datamodule import to_physical
from colorexp.data.pairlist import Pair
from colorexp.data.references import Drawn, Library, Listed, warped
from colorexp.data.store import Shards
from colorexp.schema import Referencing

# Neighbours


def vectors(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(5, 1, (count, width)).astype(np.float32)


def dense(features: np.ndarray) -> pairs.Neighbours:
    """All differences at once."""
    wide = features.astype(np.float64)
    squared = np.square(wide[:, None] - wide).sum(2)
    np.fill_diagonal(squared, np.inf)
    near = squared.argmin(1)
    np.fill_diagonal(squared, -np.inf)
    far = squared.argmax(1)
    rows = np.arange(len(features))
    return pairs.Neighbours(near, np.sqrt(squared[rows, near]), far, np.sqrt(squared[rows, far]))


def identical(one: pairs.Neighbours, other: pairs.Neighbours) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("block", [1, 7, 40, 97, 1000])
def test_blocks_find_what_all_differences_find(block: int) -> None:
    features = vectors(97, 24)
    assert identical(pairs.neighbours(features, block=block), dense(features))


@pytest.mark.parametrize("block", [1, 3, 5, 64])
def test_ties_go_to_the_first_whatever_the_blocks(block: int) -> None:
    """Doubles of pictures are common; products of vectors round their distance to something that is not zero."""
    features = vectors(4, 33)[np.random.default_rng(1).integers(0, 4, 40)] * np.float32(1e3)
    found = pairs.neighbours(features, block=block)
    assert identical(found, dense(features))
    assert (found.nearest_distance == 0).all()


def test_neighbours_closer_than_rounding_are_told_apart() -> None:
    features = np.full((4, 8), 1e4, np.float32)
    features[1, 0], features[2, 0], features[3, 0] = 1e4 + 0.01, 1e4 + 0.003, 1e4 + 0.02
    found = pairs.neighbours(features)
    assert found.nearest.tolist() == dense(features).nearest.tolist()
    assert found.farthest.tolist() == dense(features).farthest.tolist()


def test_memory_is_that_of_blocks(tmp_path: Path) -> None:
    """A hundred thousand vectors of 4,096 numbers, scaled down: their distances would fill 32 times what is used."""
    count, width, block = 4000, 64, 128
    vectors(count, width).tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", np.float32, "r").reshape(count, width)
    tracemalloc.start()
    found = pairs.neighbours(mapped, block=block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < count**2 * 8 / 32
    some = dense(np.asarray(mapped[:300]))
    assert (found.nearest_distance[:300] <= some.nearest_distance).all()
    assert (found.farthest_distance[:300] >= some.farthest_distance).all()


def test_what_has_no_neighbour_is_named() -> None:
    with pytest.raises(ValueError, match="at least 2 vectors and blocks of at least 1, got 1 and 1024"):
        pairs.neighbours(vectors(1, 4))
    with pytest.raises(ValueError, match="got 3 and 0"):
        pairs.neighbours(vectors(3, 4), block=0)
    broken = vectors(5, 4)
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        pairs.neighbours(broken)


# The stage


@pytest.fixture(scope="module")
def paired(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pair]]:
    """Pairs of a dozen scenes, in whose project the tests run."""
    folder = make_project(tmp_path_factory.mktemp("pairs") / "project", prepared=tiny_project)
    with chdir(folder):
        yield pairlist.read(paths.pairs("scenes"))


def test_every_picture_has_the_references_of_section_4_1(paired: list[Pair]) -> None:
    for split, subsets in {"train": ["related"], "val": ["related"], "test": ["independent", "related"]}.items():
        names = {record.id for record in Shards(paths.prepared("scenes"), split)}
        for subset in subsets:
            assert {p.image for p in paired if (p.split, p.subset) == (split, subset)} == names
    counts = Counter((p.split, p.subset, p.kind) for p in paired)
    assert counts["test", "independent", "farthest"] == counts["test", "independent", "palette"] == 2
    assert counts["test", "related", "nearest"] == 4
    assert sum(counts.values()) == 12 + 4 + 4 + 4


def test_references_are_the_nearest_and_farthest_others_of_the_split(paired: list[Pair]) -> None:
    shards = Shards(paths.prepared("scenes"), "test")
    backbone = backbones.vgg19([pairs.LAYER_OF_STAND_IN])
    expected = dense(np.concatenate(list(pairs.described(shards, [0, 1, 2, 3], backbone))))
    for pair in paired:
        if pair.split == "test" and pair.kind != "palette":
            index = getattr(expected, pair.kind)[int(pair.image[-1])]
            assert pair.reference == f"scenes/{shards[int(index)].id}"
            assert float(pair.distance) == pytest.approx(getattr(expected, f"{pair.kind}_distance")[int(pair.image[-1])], rel=1e-4)
            assert pair.features == f"vgg19_{pairs.LAYER_OF_STAND_IN}_random"


def test_features_are_those_of_single_pictures(paired: list[Pair]) -> None:
    """Whatever the size of their neighbours."""
    shards, backbone = Shards(paths.prepared("photos"), "test"), backbones.vgg19(["relu1_1"])
    together = np.concatenate(list(pairs.described(shards, [2, 0, 1], backbone)))
    alone = np.concatenate(list(pairs.described(shards, [2, 0, 1], backbone, batch=1)))
    assert together.shape == (3, 64 * pairs.GRID**2)
    assert np.allclose(together, alone, rtol=1e-4)


def test_a_list_has_the_same_bytes_every_time(paired: list[Pair], tmp_path: Path) -> None:
    before = paths.pairs("scenes").read_bytes()
    torch.rand(3)
    pairlist.write(tmp_path / "again.csv", reversed(pairs.find(config.dataset("scenes"))))
    assert (tmp_path / "again.csv").read_bytes() == before
    assert before.startswith(b"split,image,subset,kind,reference,distance,features\ntest,test-00000,independent,")


def test_the_seed_says_who_gets_which_palette(paired: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, backbone = config.dataset("scenes"), backbones.vgg19(["relu1_1"])
    monkeypatch.setattr(backbones, "vgg19", lambda layers, folder: backbone)  # making it takes longer than all else

    def palettes_of(seed: int) -> dict[str, str]:
        return {p.image: p.reference for p in pairs.find(replace(cfg, seed=seed)) if p.kind == "palette"}

    usual = {p.image: p.reference for p in paired if p.kind == "palette"}
    assert palettes_of(cfg.seed) == usual
    assert not set(palettes_of(cfg.seed + 1).values()) & set(usual.values())
    assert len({frozenset(palettes_of(seed)) for seed in range(5)}) > 1, "another half"


def test_published_palettes_are_used_where_given(paired: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palettes, "read", lambda folder: [((1, 2, 3),), ((4, 5, 6),)] if folder == tmp_path else [])
    found = {p.reference for p in pairs.find(config.dataset("scenes"), published=tmp_path) if p.kind == "palette"}
    assert found
    assert found <= {"palettes/010203", "palettes/040506"}


def test_one_picture_has_no_neighbours(project: Path) -> None:
    write_dataset("photos", {"train": [(16, 16)], "test": [(16, 16)]})
    (pair,) = pairs.find(config.dataset("photos"))
    assert (pair.split, pair.image, pair.kind) == ("test", "test0", "palette")


# Lists


def write_list(folder: Path, text: str) -> Path:
    path = folder / "mine.csv"
    path.write_text(text)
    return path


def test_a_list_of_ones_own_needs_three_columns(project: Path) -> None:
    (pair,) = pairlist.read(write_list(project, "\ufeffsubset,image,reference\nrelated,a/b,refs/x.png\n"))
    assert pair == Pair("test", "a/b", "related", "given", "refs/x.png")
    written = [pair, Pair("train", "a,b", "related", "nearest", "photos/c", "1.5", "vgg19")]
    pairlist.write(project / "mine.csv", written)
    assert pairlist.read(project / "mine.csv") == written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,subset\na,related\n", r"mine\.csv has the columns image, subset; needed: image, subset, reference"),
        ("image,subset,reference,size\n", "has the columns image, subset, reference, size"),
        ("", "has the columns none"),
        ("image,subset,reference\na,near,x.png\n", r"mine\.csv, line 2: subset is 'near'; choose one of related, independent"),
        ("image,subset,reference,split\na,related,x.png,all\n", "split is 'all'; choose one of train, val, test"),
        ("image,subset,reference\na,related,x.png\na,related,y.png\n", "line 3: a has a reference in the subset related already"),
        ("image,subset,reference\na,related\n", "line 2: reference is empty"),
    ],
)
def test_a_malformed_list_is_named(project: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pairlist.read(write_list(project, text))


def test_a_list_that_is_not_made_says_how(project: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no list of pairs at artifacts/pairs/scenes\.csv; run `dvc repro` or `colorexp pairs"
    ):
        pairlist.read(paths.pairs("scenes"))


# Pictures by name


@pytest.fixture
def photos(project: Path) -> None:
    write_dataset("photos", {"train": [(20, 24)] * 6, "val": [(16, 20)] * 2, "test": [(16, 16)] * 3})


def save(path: Path, mode: str, size: tuple[int, int] = (30, 20)) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, {"L": 90, "RGBA": (250, 0, 0, 255), "P": 3}[mode]).save(path)
    return path


def test_a_reference_is_a_palette_a_prepared_picture_or_a_file(photos: None, project: Path) -> None:
    read = Library()
    stored = Shards(paths.prepared("photos"), "val")[1].rgb
    assert np.array_equal(read("photos/val1").permute(1, 2, 0).numpy(), stored)
    assert len(read("palettes/ff0000-0000ff").flatten(1).unique(dim=1).T) == 2
    save(project / "refs" / "red.png", "RGBA")
    assert read("refs/red.png").shape == (3, 20, 30)
    assert read("refs/red.png")[:, 0, 0].tolist() == [250, 0, 0]
    with pytest.raises(FileNotFoundError, match="no reference photos/val7"):
        read("photos/val7")
    (project / "refs" / "bad.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"refs/bad\.png: not a picture"):
        read("refs/bad.png")


def test_all_that_a_list_misses_is_named_at_once(photos: None) -> None:
    wrong = {"test0": "photos/nobody", "test1": "refs/none.png", "test9": "photos/test1", "test8": "palettes/ffffff"}
    listed = [Pair("test", image, "related", "given", reference) for image, reference in wrong.items()]
    with pytest.raises(FileNotFoundError) as error:
        Listed(listed, "photos", size=32, source="mine.csv")
    told = str(error.value)
    assert told.startswith("mine.csv names 4 missing pictures: ")
    for part in ("test picture photos/test8", "test picture photos/test9", "reference photos/nobody", "reference refs/none.png"):
        assert part in told


def test_a_list_without_pairs_or_with_an_empty_palette_is_refused(photos: None) -> None:
    with pytest.raises(ValueError, match=r"mine\.csv gives no test picture of photos such a reference"):
        Listed([], "photos", size=32, source="mine.csv")
    with pytest.raises(ValueError, match="'palettes/' names an empty palette"):
        Listed([Pair("test", "test0", "related", "given", "palettes/")], "photos", size=32, source="mine.csv")


# Draws for training


def asked(**kinds: float) -> Referencing:
    return Referencing(references=kinds, reference_size=24)  # type: ignore[arg-type]  # its kinds


def batches(**values: Any) -> list[dict[str, Any]]:
    return list(stand_at(module(**values), 0).train_dataloader())


def test_runs_without_references_see_the_same_batches(photos: None) -> None:
    plain, given = batches(), batches(referencing=asked(own=1.0))
    for one, other in zip(plain, given, strict=True):
        assert {key for key in other if key.startswith("reference")} == set(other) - set(one)
        assert equal(one, {key: other[key] for key in one})
    assert list(plain[0]) == ["id", "draw", "hint_mask", "rgb"]


def test_batches_hold_references_of_one_size(photos: None) -> None:
    (raw,) = batches(referencing=asked(own=1.0))
    assert raw["reference_rgb"].shape == (4, 3, 24, 24)
    assert raw["reference_rgb"].dtype == torch.uint8
    batch = to_physical(raw, patch=2, layout="cells")
    assert "reference_rgb" not in batch
    lab = color.rgb_to_lab(raw["reference_rgb"].float() / 255)
    assert torch.equal(torch.cat([batch["reference_L"], batch["reference_ab"]], 1), lab)
    assert batch["reference_own"].dtype == torch.bool
    assert batch["reference_own"].all()
    assert batch["reference_id"] == batch["id"]
    assert batch["reference_kind"] == ["own"] * 4


def test_workers_and_resumption_change_no_reference(photos: None) -> None:
    pairlist.write(paths.pairs("photos"), pairs.find(config.dataset("photos")))
    values = {"referencing": asked(own=1.0, nearest=1.0), "train_on": {"photos": 4}}
    whole = batches(**values)
    assert all(equal(*pair) for pair in zip(whole, batches(workers=2, **values), strict=True))
    later = list(stand_at(module(**values), 4).train_dataloader())
    assert all(equal(*pair) for pair in zip(later, whole[4:], strict=True))
    assert {kind for batch in whole for kind in batch["reference_kind"]} == {"own", "nearest"}


def draws(references: Drawn, identity: str = "photos/train0", count: int = 200) -> list[Any]:
    rgb = pictures(1, 16, 16)[0, :3].abs().mul(255).to(torch.uint8)
    return [references(identity, rgb, (0, "train", epoch, 0)) for epoch in range(count)]


def test_kinds_are_drawn_by_their_weights(photos: None) -> None:
    pairlist.write(paths.pairs("photos"), pairs.find(config.dataset("photos")))
    found = draws(Drawn(["photos"], "train", asked=asked(own=1.0, nearest=3.0)))
    counts = Counter(reference.kind for reference in found)
    assert 30 < counts["own"] < 70
    listed = next(p for p in pairlist.read(paths.pairs("photos")) if (p.split, p.image) == ("train", "train0"))
    assert {reference.name for reference in found if reference.kind == "nearest"} == {listed.reference}
    nearest = next(reference for reference in found if reference.kind == "nearest")
    assert torch.equal(nearest.rgb, Library()(listed.reference))


def test_nearest_references_need_a_list(photos: None) -> None:
    with pytest.raises(FileNotFoundError, match=r"no list of pairs at artifacts/pairs/photos\.csv"):
        module(referencing=asked(nearest=1.0))


def test_pictures_of_a_folder_share_a_class(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset("photos", {"train": [(16, 16)] * 5})
    names = ["cat/0", "cat/1", "dog/2", "cat/3", "alone"]
    classes = {f"photos/{name}": [f"photos/{name.partition('/')[0]}"] if "/" in name else [] for name in names}
    monkeypatch.setattr("colorexp.data.references.classes", lambda dataset, split: classes)
    monkeypatch.setattr(Library, "__call__", lambda self, name: torch.zeros(3, 4, 4, dtype=torch.uint8))
    references = Drawn(["photos"], "train", asked=asked(same_class=1.0))
    assert {r.name for r in draws(references, "photos/cat/0", 40)} == {"photos/cat/1", "photos/cat/3"}
    for name in ("dog/2", "alone"):
        assert {(r.name, r.kind) for r in draws(references, f"photos/{name}", 5)} == {(f"photos/{name}", "own")}


def test_scenes_of_a_class_show_such_an_object(paired: list[Pair]) -> None:
    shards = Shards(paths.prepared("scenes"), "train")
    shown = {f"scenes/{r.id}": set(r.maps["class_map"][r.maps["instance_map"] > 0].tolist()) for r in shards}
    references = Drawn(["scenes"], "train", asked=asked(same_class=1.0))
    for identity, objects in shown.items():
        others = [r for r in draws(references, identity, 10) if r.kind == "same_class"]
        assert all(r.name != identity and objects & shown[r.name] for r in others)
    assert len({r.name for r in draws(references, identity, 30)}) > 2


def test_palettes_of_a_picture_have_its_chroma_at_one_lightness(paired: list[Pair]) -> None:
    references = Drawn(["scenes"], "train", asked=asked(own_palette=1.0))
    record = Shards(paths.prepared("scenes"), "train")[0]
    rgb = torch.tensor(record.rgb).permute(2, 0, 1)
    found = [references(f"scenes/{record.id}", rgb, ("key", n)) for n in range(4)]
    assert {one.kind for one in found} == {"own_palette"}
    assert len({one.name for one in found}) == 4
    assert all(palettes.parse(one.name) for one in found)  # so a picture of it can be made again from its name
    lab = color.rgb_to_lab(color.from_8bit(torch.stack([one.rgb for one in found])))
    assert (lab[:, 0] - palettes.LIGHTNESS).abs().max() < 3  # where the colour cannot be shown so bright it is a little off
    own = color.rgb_to_lab(color.from_8bit(rgb[None]))[0, 1:].flatten(1).T
    shown = lab[:, 1:].permute(0, 2, 3, 1).flatten(0, 2).unique(dim=0)
    assert torch.cdist(shown, own).amin(1).median() < 3


# Copies


def smooth(height: int = 40, width: int = 56) -> torch.Tensor:
    coarse = torch.rand(1, 3, 4, 5, generator=rng(1)) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0].to(torch.uint8)


def test_an_unwarped_copy_is_the_picture() -> None:
    assert torch.equal(warped(smooth(), 0.0, rng()), smooth())


def test_a_warped_copy_is_another_view_with_the_pictures_colours() -> None:
    rgb = smooth()
    copies = [warped(rgb, 1.0, rng(seed)) for seed in range(12)]
    assert all(copy.shape == rgb.shape and copy.dtype == torch.uint8 for copy in copies)
    assert len({copy.numpy().tobytes() for copy in copies}) == 12
    assert torch.equal(copies[3], warped(rgb, 1.0, rng(3)))
    low, high = rgb.amin((1, 2)).int(), rgb.amax((1, 2)).int()
    for copy in copies:
        assert (copy.int() - rgb.int()).abs().float().mean() > 4
        assert (copy.amin((1, 2)).int() >= low).all() and (copy.amax((1, 2)).int() <= high).all()


def test_stronger_warps_move_more() -> None:
    """Of those that are not mirrored: what a picture's columns are, a copy shows in rising order."""
    columns = torch.linspace(0, 255, 64).round().to(torch.uint8).expand(3, 64, 64)

    def moved(strength: float) -> float:
        copies = [warped(columns, strength, rng(seed)).int() for seed in range(40)]
        upright = [copy for copy in copies if copy[0, :, -1].float().mean() > copy[0, :, 0].float().mean()]
        assert 8 < len(upright) < 32
        return float(torch.stack([(copy - columns.int()).abs().float().mean() for copy in upright]).mean())

    weak, strong = moved(0.2), moved(1.0)
    assert 0 < weak < strong / 2

"""Nothing is lost and nothing is silent between a folder of files and the shards that training reads."""

import errno
import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skimage
import torch
from PIL import ExifTags, Image

from colorexp import color, paths
from colorexp.config import Data, Dataset
from colorexp.data import fetch, scenes, store
from colorexp.data.datamodule import training_statistics
from colorexp.data.prepare import prepare
from colorexp.data.store import Shards

RED, GREEN, BLUE, GRAY = (200, 40, 40), (40, 160, 60), (50, 70, 190), (128, 128, 128)


def dataset(**values: Any) -> Dataset:
    usual = {"name": "mine", "source": "folder", "root": "photos", "profiles": ["cpu"], "seed": 0}
    return Dataset(**{**usual, "size": 32, "val": 0.0, "test": 0.0, "shard": 2, "workers": 1, **values})


def flags(seed: int, *, height: int = 40, width: int = 48) -> np.ndarray:
    """Three stripes of flat colours, different for every seed."""
    colours = np.random.default_rng(seed).integers(0, 256, (3, 3), dtype=np.uint8)
    return np.repeat(np.repeat(colours[None], width // 3, 1), height, 0)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels))


def put(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def stored(folder: Path) -> dict[str, np.ndarray]:
    return {record.id: record.rgb for split in store.SPLITS for record in Shards(folder, split)}


def digests(folder: Path) -> dict[str, str]:
    """Every file of a folder, hidden ones too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def photos(project: Path) -> Path:
    """Seven good pictures, one for validation and two for testing."""
    folder = project / "photos"
    put(folder, {f"train/{i}.png": png(flags(i)) for i in range(4)})
    put(folder, {"val/4.png": png(flags(4)), "test/5.png": png(flags(5)), "test/6.png": png(flags(6))})
    return folder


SPLITS = {"val": "val", "test": "test"}


# What is made


def test_manifest_describes_every_picture(photos: Path) -> None:
    made = prepare(dataset(splits=SPLITS, name="named"))
    assert made.folder == paths.prepared("named")
    table = store.manifest(made.folder)
    pd.testing.assert_frame_equal(table, made.manifest)
    assert table["id"].tolist() == [*(f"train/{i}" for i in range(4)), "val/4", "test/5", "test/6"]
    assert table["split"].tolist() == ["train"] * 4 + ["val", "test", "test"]
    assert table["shard"].tolist() == [
        *("train-00000.arrow", "train-00000.arrow", "train-00001.arrow", "train-00001.arrow"),
        *("val-00000.arrow", "test-00000.arrow", "test-00000.arrow"),
    ]
    assert set(zip(table["height"], table["width"], strict=True)) == {(32, 38)}
    assert set(zip(table["original_height"], table["original_width"], strict=True)) == {(40, 48)}
    expected = [hashlib.sha256((photos / f"{name}.png").read_bytes()).hexdigest() for name in table["id"]]
    assert table["sha256"].tolist() == expected
    assert {"subject", "notes", "gray_joint", "gray_a", "gray_b"} <= set(table.columns)
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(
        [*table["shard"].unique(), "manifest.parquet", "quarantine.csv", "stats.json"]
    )


def test_rows_of_the_manifest_are_the_positions_in_the_split(photos: Path) -> None:
    folder = prepare(dataset(splits=SPLITS)).folder
    table = store.manifest(folder)
    for split in store.SPLITS:
        assert [record.id for record in Shards(folder, split)] == table[table["split"] == split]["id"].tolist()


def test_pictures_of_the_stored_size_are_stored_as_they_are(photos: Path) -> None:
    folder = prepare(dataset(size=40, splits=SPLITS)).folder
    assert all(np.array_equal(stored(folder)[name], flags(int(name[-1]))) for name in stored(folder))


@pytest.mark.parametrize(("fit", "size"), [("short", (32, 38)), ("square", (32, 32))])
def test_the_stored_size_is_the_one_asked_for(photos: Path, fit: str, size: tuple[int, int]) -> None:
    assert {rgb.shape[:2] for rgb in stored(prepare(dataset(fit=fit)).folder).values()} == {size}


def test_bytes_do_not_depend_on_the_number_of_workers(photos: Path) -> None:
    put(photos, {"train/bad.png": b"", "train/twin.png": png(flags(2))})
    one, two, three = (digests(prepare(dataset(splits=SPLITS, workers=n)).folder) for n in (1, 2, 3))
    assert len(one) == 4 + 3  # shards, and three files beside them
    assert one == two == three


# What is left out


def rotated() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(Image.fromarray(flags(20)), "JPEG", exif=exif)


def palette(**options: object) -> bytes:
    return encoded(Image.fromarray(flags(21)).quantize(8), "PNG", **options)


def levels(kind: str) -> bytes:
    """16 bits of gray; kept only where gray is kept."""
    return encoded(Image.fromarray(np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)), kind)


USED = {
    "cmyk.jpg": (encoded(Image.fromarray(flags(22)).convert("CMYK"), "JPEG"), "cmyk"),
    "palette.png": (palette(), "palette"),
    "transparent.png": (palette(transparency=1), "palette, alpha on white"),
    "alpha.png": (png(np.dstack([flags(23), flags(24)[..., :1]])), "alpha on white"),
    "rotated.jpg": (rotated(), "rotated"),
    "flat.png": (png(np.full((40, 40, 3), RED, np.uint8)), ""),
}
"""Pictures that need care, and the note they get."""

ONLY_GRAY = {
    "gray.png": (png(np.arange(1600).reshape(40, 40).astype(np.uint8)), ""),
    "equal.png": (png(np.repeat(np.arange(1600).reshape(40, 40, 1).astype(np.uint8), 3, -1)), ""),
    "deep.png": (levels("PNG"), "16-bit"),
    "deep.tif": (levels("TIFF"), "16-bit"),
    "la.png": (png(np.random.default_rng(0).integers(0, 256, (40, 40, 2), dtype=np.uint8)), "alpha on white"),
}
"""Pictures without colour, and the note they get where gray is kept."""

REFUSED = {
    "empty.png": (b"", "empty file"),
    "cut.jpg": (encoded(Image.fromarray(flags(25, height=200, width=201)), "JPEG")[:-300], "truncated"),
    "text.jpg": (b"I am a text", "not a picture, or of a format that is not allowed"),
    "constant.png": (png(np.full((40, 40, 3), GRAY, np.uint8)), "constant: one gray everywhere"),
    "line.png": (png(flags(26, height=1)), "48x1 is smaller than 32 pixels"),
    "holes.tif": (encoded(Image.fromarray(np.full((40, 40), np.nan, np.float32)), "TIFF"), "some pixels are NaN or infinite"),
    "huge.ppm": (b"P6 10000 6000 255\n", "10000x6000 is more than 50000000 pixels"),
}
"""Pictures that cannot be used, and why."""


def test_pictures_that_need_care_are_kept_with_a_note(photos: Path) -> None:
    put(photos, {name: content for name, (content, _) in USED.items()})
    made = prepare(dataset())
    notes = dict(zip(made.manifest["id"], made.manifest["notes"], strict=True))
    assert {name: notes[name.split(".")[0]] for name in USED} == {name: note for name, (_, note) in USED.items()}
    assert made.quarantine.empty
    assert stored(made.folder)["rotated"].shape == (38, 32, 3)


def test_gray_pictures_are_listed_or_kept_as_asked(photos: Path) -> None:
    put(photos, {name: content for name, (content, _) in ONLY_GRAY.items()})
    ids = {"gray", "equal", "deep.png", "deep.tif", "la"}
    made = prepare(dataset())
    assert set(made.quarantine["picture"]) == ids
    assert set(made.quarantine["reason"]) == {"gray: no colour to learn from"}
    made = prepare(dataset(gray="keep"))
    notes = dict(zip(made.manifest["id"], made.manifest["notes"], strict=True))
    assert notes["deep.png"] == notes["deep.tif"] == "16-bit"
    assert notes["la"] == "alpha on white"
    assert ids <= set(notes)
    assert made.quarantine.empty


@pytest.mark.parametrize("name", REFUSED)
def test_a_picture_that_cannot_be_used_is_listed_with_its_reason(name: str, photos: Path) -> None:
    content, reason = REFUSED[name]
    put(photos, {name: content})
    made = prepare(dataset())
    assert made.quarantine.to_numpy().tolist() == [[name.split(".")[0], reason]]
    assert len(made.manifest) == 7


def test_kept_and_quarantined_are_all_that_was_listed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {**USED, **ONLY_GRAY, **REFUSED}
    put(photos, {name: content for name, (content, _) in everything.items()})
    put(photos, {"locked.png": png(flags(30)), "twin.png": png(flags(3)), "empty_too.png": b""})
    (photos / "broken.png").symlink_to("nowhere.png")
    (photos / "alias.png").symlink_to("train/1.png")
    refuse_to_open(monkeypatch, "locked.png")
    made = prepare(dataset())
    written = pd.read_csv(made.folder / "quarantine.csv")
    pd.testing.assert_frame_equal(written, made.quarantine)
    listed = [*made.manifest["id"], *written["picture"]]
    assert len(listed) == len(set(listed)) == 7 + len(everything) + 5
    reasons = dict(zip(written["picture"], written["reason"], strict=True))
    assert reasons["broken"] == "broken link"
    assert reasons["locked"] == "permission denied"
    assert reasons["empty_too"] == "empty file"
    assert reasons["twin"] == "duplicate of train/3"
    assert reasons["train/1"] == "duplicate of alias"


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As in a folder whose names may be listed but whose files may not be touched."""
    real_open, real_stat = Path.open, Path.stat

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Path, *args: object, **kwargs: object) -> object:
            if self.name == name:
                raise PermissionError(errno.EACCES, "Permission denied", str(self))
            return real(self, *args, **kwargs)

        return call

    monkeypatch.setattr(Path, "open", guarded(real_open))
    monkeypatch.setattr(Path, "stat", guarded(real_stat))


def test_a_duplicate_never_stands_on_both_sides_of_a_split(photos: Path) -> None:
    put(photos, {"train/same.png": png(flags(5))})
    made = prepare(dataset(splits=SPLITS))
    assert made.quarantine.to_numpy().tolist() == [["train/same", "duplicate of test/5"]]


def test_a_thread_of_a_picture_is_refused_before_it_is_blown_up(photos: Path) -> None:
    """2000 x 1 pixels at a short side of 8 would be 128,000."""
    put(photos, {"thread.png": png(np.random.default_rng(0).integers(0, 256, (1, 2000, 3), dtype=np.uint8))})
    made = prepare(dataset(size=8, min_side=1, max_pixels=100_000))
    assert made.quarantine.to_numpy().tolist() == [["thread", "2000x1 would be stored with more than 100000 pixels"]]
    made = prepare(dataset(size=8, min_side=1, max_pixels=128_000))
    assert stored(made.folder)["thread"].shape == (8, 16000, 3)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [("max_pixels", 1919, "48x40 is more than 1919 pixels"), ("min_side", 41, "48x40 is smaller than 41 pixels")],
)
def test_limits_are_those_of_the_dataset(photos: Path, key: str, value: int, reason: str) -> None:
    put(photos, {"other.png": png(flags(9, height=41, width=42))})
    made = prepare(dataset(**{key: value}))
    assert made.manifest["id"].tolist() == ["other"]
    assert set(made.quarantine["reason"]) == {reason}


def test_one_picture_is_a_dataset(project: Path) -> None:
    put(project / "photos", {"only.png": png(flags(1))})
    made = prepare(dataset(test=1.0))
    assert made.manifest[["id", "split"]].to_numpy().tolist() == [["only", "test"]]
    assert len(Shards(made.folder, "train")) == 0
    assert store.statistics(made.folder, "none").pixels == 0


# Failures


class FullDisk:
    """A file on a disk that is full after `room` bytes."""

    closed = False

    def __init__(self, path: str, mode: str) -> None:
        self.file, self.room = Path(path).open(mode), 3000  # noqa: SIM115  closed by its user

    def write(self, content: bytes) -> int:
        self.room -= len(content)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(content)

    def tell(self) -> int:
        return self.file.tell()

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.closed = True
        self.file.close()


def fill_the_disk(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.pa, "OSFile", lambda path, mode: pa.PythonFile(FullDisk(path, mode), mode="w"))


def damage_everything(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"damaged")


def lose_one(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "train/0.png").write_bytes(b"")


def stop(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(color, "gamut_prior", interrupt)


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (fill_the_disk, OSError, "No space left on device"),
        (damage_everything, ValueError, r"none of 7 pictures can be used: duplicate of .* \(6\), not a picture"),
        (lose_one, ValueError, r"expected number .*train: 3 instead of 4.* 1 were left out: empty file \(1\)"),
        (stop, KeyboardInterrupt, None),
    ],
)
def test_the_old_dataset_survives_a_failure(
    failure: Callable[..., None],
    error: type[BaseException],
    message: str | None,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cfg = dataset(splits=SPLITS, expect={"train": 4, "val": 1, "test": 2})
    folder = prepare(cfg).folder
    before = digests(folder.parent)
    put(photos, {"val/4.png": png(flags(40))})
    failure(photos, monkeypatch)
    with pytest.raises(error, match=message):
        prepare(cfg)
    assert digests(folder.parent) == before
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_a_new_dataset_replaces_the_old_one_whole(photos: Path) -> None:
    folder = prepare(dataset(splits=SPLITS)).folder
    junk = folder.with_name(".mine.partial")  # left by a killed preparation
    put(junk, {"train-00099.arrow": b"half a shard"})
    for path in (photos / "train").iterdir():
        path.unlink()
    put(photos, {"train/new.png": png(flags(50))})
    prepare(dataset(splits=SPLITS))
    assert set(stored(folder)) == {"train/new", "val/4", "test/5", "test/6"}
    assert sorted(path.name for path in folder.glob("*.arrow")) == [
        *("test-00000.arrow", "train-00000.arrow", "val-00000.arrow"),
    ]
    assert not junk.exists()


def test_the_expected_numbers_pass(photos: Path) -> None:
    made = prepare(dataset(splits=SPLITS, expect={"train": 4, "test": 2}))
    assert len(made.manifest) == 7


def test_an_expected_split_that_is_empty_is_named(photos: Path) -> None:
    with pytest.raises(ValueError, match=r"mine .*\(val: 0 instead of 5\)"):
        prepare(dataset(splits={"test": "test"}, expect={"val": 5}))


def test_empty_folders_are_refused(project: Path) -> None:
    (project / "photos").mkdir()
    with pytest.raises(ValueError, match="no pictures in photos"):
        prepare(dataset())
    assert not paths.prepared("mine").exists()


@pytest.mark.parametrize(("change", "message"), [("unlink", "missing"), ("alter", "altered")])
def test_bundled_photographs_are_checked(project: Path, change: str, message: str) -> None:
    fetch.fetch(project / "data" / "bundled")
    photo = project / "data" / "bundled" / "chelsea.png"
    photo.unlink()
    if change == "alter":
        photo.write_bytes(png(flags(1)))
    with pytest.raises(ValueError, match=rf"chelsea\.png is {message}"):
        prepare(dataset(source="bundled", root="data/bundled"))


# Statistics


def test_statistics_come_from_training_pictures_only(photos: Path) -> None:
    def made() -> bytes:
        return (prepare(dataset(splits=SPLITS)).folder / "stats.json").read_bytes()

    before = made()
    put(photos, {"test/5.png": png(flags(60)), "test/7.png": png(flags(61)), "val/4.png": png(flags(62))})
    assert made() == before
    put(photos, {"train/0.png": png(flags(63))})
    assert made() != before


def test_counts_and_weights_agree_with_numpy(photos: Path) -> None:
    """Against scikit-image's Lab and a plain histogram."""
    folder = prepare(dataset(splits=SPLITS, size=40)).folder
    found = store.statistics(folder, "none")
    pixels = np.concatenate([flags(i).reshape(-1, 3) for i in range(4)])
    ab = skimage.color.rgb2lab(pixels)[:, 1:]
    assert np.abs(ab - ab.round()).min() > 1e-3  # none so near to an edge that the two conversions could differ
    assert (found.images, found.pixels) == (4, len(pixels))
    weights = found.class_weights(32)
    for channel, counts in enumerate((found.a_counts, found.b_counts)):
        expected, _ = np.histogram(ab[:, channel], bins=256, range=(-128, 128))
        assert counts.tolist() == expected.tolist()
        per_bin, _ = np.histogram(ab[:, channel], bins=32, range=(-128, 128))
        inverse = np.where(per_bin > 0, 1 / np.maximum(per_bin, 1), 0)
        assert np.allclose(weights[channel].numpy(), inverse / inverse.sum(), rtol=1e-5)


def test_prior_is_a_distribution_around_the_colours_that_occur(photos: Path) -> None:
    for path in (photos / "train").iterdir():
        path.write_bytes(png(np.full((40, 40, 3), RED, np.uint8)) + path.name.encode())  # no duplicates
    prior = store.statistics(prepare(dataset(splits=SPLITS)).folder, "none").prior
    assert prior.shape == (313,)
    assert float(prior.sum()) == pytest.approx(1, abs=1e-9)
    ab = torch.from_numpy(skimage.color.rgb2lab(np.array(RED) / 255)[1:]).float()
    near = (color.ab_gamut() - ab).norm(dim=1).topk(5, largest=False).indices
    assert float(prior[near].sum()) == pytest.approx(1, abs=1e-9)
    assert int(prior.argmax()) == int(near[0])


def test_statistics_of_several_datasets_count_as_training_sees_them(photos: Path) -> None:
    for name in ("one", "two"):
        prepare(dataset(name=name, root="photos/train" if name == "one" else "photos/test"))
    common = {"validate_on": "one", "size": 32, "train_view": "whole", "eval_view": "whole"}
    both = training_statistics(Data(train_on={"one": 1, "two": 3}, **common))
    one, two = (training_statistics(Data(train_on={name: 1}, **common)) for name in ("one", "two"))
    assert both.pixels == one.pixels + 3 * two.pixels
    assert torch.equal(both.a_counts, one.a_counts + 3 * two.a_counts)
    assert torch.equal(both.b_counts, one.b_counts + 3 * two.b_counts)
    assert float(both.prior.sum()) == pytest.approx(1, abs=1e-9)


# Near-gray pictures


def with_gray_rows(rows: int, rgb: tuple[int, int, int] = RED, gray: tuple[int, int, int] = GRAY) -> bytes:
    picture = np.full((40, 40, 3), rgb, np.uint8)
    picture[:rows] = gray
    return png(picture)


BROWNISH = (184, 139, 122)  # a = 14, b = 15: not gray by |a|, |b| < 10, but inside [-16, 24)
GREENISH = (118, 153, 121)  # a = -18: outside [-16, 24)

FILTERED = {
    "colour": (with_gray_rows(0), {"none", "joint", "marginal"}),
    "gray27": (with_gray_rows(27), {"none", "joint", "marginal"}),
    "gray28": (with_gray_rows(28), {"none", "joint"}),  # exactly 70%: joint wants more, marginal at least
    "gray29": (with_gray_rows(29), {"none"}),
    "brown": (with_gray_rows(40, gray=BROWNISH), {"none", "joint"}),
    "green": (with_gray_rows(40, gray=GREENISH), {"none", "joint", "marginal"}),
}
"""Pictures and the filters that they pass."""


def test_near_gray_filters_drop_what_the_paper_drops(project: Path) -> None:
    put(project / "photos", {f"{name}.png": content for name, (content, _) in FILTERED.items()})
    made = prepare(dataset(size=40))
    table = made.manifest.set_index("id")
    assert table["gray_joint"]["gray28"] == 0.7
    for name in ("none", "joint", "marginal"):
        expected = {picture for picture, (_, passes) in FILTERED.items() if name in passes}
        assert set(table.index[store.kept(table, name)]) == expected
        found = store.statistics(made.folder, name)
        assert (found.images, found.pixels) == (len(expected), 1600 * len(expected))


def test_near_gray_limit_is_the_datasets(project: Path) -> None:
    put(project / "photos", {"brown.png": with_gray_rows(40, gray=BROWNISH)})
    shares = [prepare(dataset(near_gray=limit)).manifest["gray_joint"][0] for limit in (10.0, 20.0)]
    assert shares == [0.0, 1.0]


# Scenes


def test_scenes_are_stored_with_their_truth(project: Path) -> None:
    cfg = dataset(source="scenes", root="colorexp/data/scenes", size=64, train=3, val=1, test=1, seed=5)
    made = prepare(cfg)
    assert made.manifest["split"].tolist() == ["train"] * 3 + ["val", "test"]
    for split, count in (("train", 3), ("val", 1), ("test", 1)):
        records = list(Shards(made.folder, split))
        assert [record.id for record in records] == [f"{split}-{i:05d}" for i in range(count)]
        for i, record in enumerate(records):
            scene = scenes.draw(5, i, split=split, size=64)
            assert np.array_equal(record.rgb, scene.rgb)
            assert set(record.maps) == set(store.MAPS)
            assert all(np.array_equal(plane, getattr(scene, name)) for name, plane in record.maps.items())

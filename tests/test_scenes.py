"""The procedural scenes are a laboratory: meaning is in luminance, colour is not, and the truth is known."""

import hashlib
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from colorexp import color
from colorexp.data import scenes
from colorexp.data.scenes import CLASSES, KINDS, Scene, draw
from colorexp.report import laboratory

SKY, WATER = (1 + next(i for i, kind in enumerate(KINDS) if kind.name == name) for name in ("sky", "water"))


@pytest.fixture(scope="module")
def train() -> list[Scene]:
    return [draw(7, index) for index in range(200)]


@pytest.fixture(scope="module")
def unseen() -> list[Scene]:
    return [draw(7, index, split="test") for index in range(50)]


@pytest.fixture(scope="module")
def redrawn() -> list[Scene]:
    return [draw(7, index, split="test", redraw=1) for index in range(50)]


@pytest.fixture(scope="module")
def objects(train: list[Scene]) -> pd.DataFrame:
    return laboratory.measure_objects(train)


def lab_of(rgb: np.ndarray) -> np.ndarray:
    with scenes.one_thread():
        return color.rgb_to_lab(color.from_8bit(torch.from_numpy(rgb)).movedim(-1, 0)[None])[0].numpy()


def arrays(scene: Scene) -> tuple[np.ndarray, ...]:
    return scene.rgb, scene.class_map, scene.instance_map, scene.mode_map


def digest(scene: Scene) -> str:
    return hashlib.sha256(scene.rgb.tobytes()).hexdigest()


def separation(kind: scenes.ObjectClass) -> float:
    pairs = itertools.combinations(kind.modes, 2)
    return min((math.dist((p.a, p.b), (q.a, q.b)) for p, q in pairs), default=math.inf)


def test_there_are_sixteen_classes_of_one_two_or_four_modes() -> None:
    assert len({kind.name for kind in CLASSES}) == 16
    assert {len(kind.modes) for kind in CLASSES} == {1, 2, 4}
    assert {kind.name for kind in CLASSES if len(kind.modes) == 4} == {"car", "shirt", "umbrella", "balloon", "wall"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_modes_are_far_apart_and_their_probabilities_sum_to_one(kind: scenes.ObjectClass) -> None:
    assert separation(kind) >= (40 if kind in CLASSES else 35)
    assert sum(mode.probability for mode in kind.modes) == pytest.approx(1)


def test_same_arguments_give_the_same_bytes_in_any_order(unseen: list[Scene]) -> None:
    for index in (31, 4, 17):
        again = draw(7, index, split="test")
        assert all(np.array_equal(*pair) for pair in zip(arrays(again), arrays(unseen[index]), strict=True))
        assert again.objects == unseen[index].objects


def test_no_two_scenes_are_alike(train: list[Scene], unseen: list[Scene]) -> None:
    """Seeds, splits and indices that could be confused with one another must not meet."""
    others = [draw(8, index, split=split) for index in range(10) for split in ("train", "val", "test")]
    everything = [*train, *unseen, *others]
    assert len({digest(scene) for scene in everything}) == len(everything)
    same_layout = [np.array_equal(a.instance_map, b.instance_map) for a, b in zip(train, unseen, strict=False)]
    assert not any(same_layout)


def test_global_generators_are_left_alone() -> None:
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    some = [draw(0, index) for index in range(6)]
    laboratory.class_from_network(some, some, epochs=1)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_maps_are_coded_as_documented(train: list[Scene]) -> None:
    for scene in train[:50]:
        assert all(array.dtype == np.uint8 for array in arrays(scene))
        assert scene.class_map.min() >= 1 and scene.class_map.max() <= len(KINDS)
        assert np.array_equal(scene.class_map > len(CLASSES), scene.instance_map == 0)
        for thing in scene.objects:
            own = scene.instance_map == thing.instance
            assert own.sum() == thing.visible_pixels
            assert set(np.unique(scene.class_map[own])) <= {thing.class_index + 1}
            assert set(np.unique(scene.mode_map[own])) <= {0, thing.mode_index + 1}


def test_three_to_nine_objects_at_several_scales(train: list[Scene], objects: pd.DataFrame) -> None:
    assert {len(scene.objects) for scene in train} == set(range(3, 10))
    assert objects.groupby("scene").size().min() >= 3
    assert (objects.pixels >= 30).mean() > 0.99
    assert objects.pixels.quantile(0.9) > 5 * objects.pixels.quantile(0.1)


def test_instances_are_numbered_from_near_to_far(train: list[Scene]) -> None:
    assert all(near.depth >= far.depth for scene in train for near, far in itertools.pairwise(scene.objects))


def test_redraw_changes_colours_and_nothing_else(unseen: list[Scene], redrawn: list[Scene]) -> None:
    effect = laboratory.redraw_effect(unseen, redrawn)
    assert effect.L_change.max() < 0.5
    assert effect.modes_changed.mean() > 0.25
    assert effect.ab_change.mean() > 5
    for one, other in zip(unseen, redrawn, strict=True):
        assert np.array_equal(one.class_map, other.class_map)
        assert np.array_equal(one.instance_map, other.instance_map)
        assert np.array_equal(one.mode_map > 0, other.mode_map > 0)
        assert one.light == other.light


def test_redraw_changes_exactly_the_objects_whose_mode_changed(unseen: list[Scene], redrawn: list[Scene]) -> None:
    before, after = laboratory.measure_objects(unseen), laboratory.measure_objects(redrawn)
    moved = np.hypot(before.a - after.a, before.b - after.b)
    judged = before.mode_pixels > 50
    changed = before.mode_index != after.mode_index
    assert moved[judged & changed].min() > 15
    assert moved[judged & ~changed].max() < 15
    assert not changed[before["class"].isin(["grass", "orange", "tyre", "sunflower", "basket"])].any()


def test_every_object_shows_its_own_mode(objects: pd.DataFrame) -> None:
    seen = objects[objects.mode_pixels >= 30]
    assert (seen.nearest_mode == seen.mode_index).mean() > 0.99
    assert seen.mode_distance.median() < 8


def test_far_parts_of_an_object_agree(train: list[Scene]) -> None:
    """Left and right parts of anything, such as both ends of a flag, show one draw."""
    apart = []
    for scene in train[:80]:
        ab = lab_of(scene.rgb)[1:]
        for thing in scene.objects:
            rows, columns = np.nonzero((scene.instance_map == thing.instance) & (scene.mode_map > 0))
            if len(rows) >= 150:
                left, right = columns < np.quantile(columns, 0.4), columns > np.quantile(columns, 0.6)
                left_ab, right_ab = (ab[:, rows[side], columns[side]].mean(1) for side in (left, right))
                apart.append(np.linalg.norm(left_ab - right_ab))
    assert len(apart) > 100
    assert np.quantile(apart, 0.95) < 10 and max(apart) < 20


def test_water_takes_the_mode_of_the_sky(train: list[Scene]) -> None:
    sky, water = KINDS[SKY - 1].modes, KINDS[WATER - 1].modes
    assert [mode.probability for mode in sky] == [mode.probability for mode in water]
    modes = set()
    for scene in train:
        of_sky, of_water = (set(np.unique(scene.mode_map[scene.class_map == code])) - {0} for code in (SKY, WATER))
        if of_sky and of_water:
            assert of_sky == of_water
            modes |= of_water
    assert modes == {1, 2}


def test_modes_are_drawn_with_the_known_probabilities(train: list[Scene]) -> None:
    frequencies = laboratory.mode_frequencies(train)
    assert frequencies.observed.sum() == sum(len(scene.objects) for scene in train)
    assert frequencies.p.min() > 0.001
    skewed = [scene._replace(objects=tuple(o._replace(mode_index=0) for o in scene.objects)) for scene in train]
    assert laboratory.mode_frequencies(skewed).p.min() < 1e-6


def test_mean_luminance_betrays_neither_class_nor_colour(objects: pd.DataFrame) -> None:
    assert laboratory.class_from_mean_luminance(objects).accuracy < 0.11
    assert laboratory.luminance_by_colour(objects).p.min() > 0.001
    betrayed = objects.assign(mean_L=objects.mean_L + 30 * objects.class_index + 10 * objects.mode_index)
    assert laboratory.class_from_mean_luminance(betrayed).accuracy > 0.8
    assert laboratory.luminance_by_colour(betrayed).p.max() < 0.001


def test_recorded_luminance_is_that_of_the_picture(train: list[Scene], objects: pd.DataFrame) -> None:
    recorded = [o.mean_L for scene in train for o in scene.objects if o.visible_pixels]
    assert np.abs(objects.mean_L - recorded).quantile(0.99) < 1.5


def test_a_small_network_reads_the_class_from_gray(train: list[Scene], unseen: list[Scene]) -> None:
    crops, _ = laboratory.gray_crops(unseen)
    assert crops.mean((1, 2, 3)).abs().max() < 1e-4
    read = laboratory.class_from_network(train, unseen, epochs=6)
    assert read.accuracy > 0.7 > 4 * read.chance


def test_knowing_the_mode_is_worth_more_than_knowing_the_class(unseen: list[Scene]) -> None:
    psnr = laboratory.oracle_psnr(unseen)
    assert (psnr.true_mode > psnr.class_mean + 3).all()
    assert psnr.class_mean.mean() > psnr.gray.mean() + 1
    assert psnr.true_mode.mean() > 30


def test_oracle_colours_follow_the_maps(unseen: list[Scene]) -> None:
    scene = next(s for s in unseen if any(len(CLASSES[o.class_index].modes) == 4 and o.visible_pixels > 50 for o in s.objects))
    thing = next(o for o in scene.objects if len(CLASSES[o.class_index].modes) == 4 and o.visible_pixels > 50)
    kind, oracle = CLASSES[thing.class_index], scenes.true_mode_ab(scene)
    own = scene.instance_map == thing.instance
    mode, painted, trim = kind.modes[thing.mode_index], own & (scene.mode_map > 0), own & (scene.mode_map == 0)
    assert np.allclose(oracle.mode_ab[painted], np.array([mode.a, mode.b]) + scene.light, atol=1e-4)
    mean = np.sum([np.array([m.a, m.b]) * m.probability for m in kind.modes], axis=0)
    assert np.allclose(oracle.class_mean_ab[painted], mean + scene.light, atol=1e-4)
    assert np.allclose(oracle.mode_ab[trim], np.array(kind.trim) + scene.light, atol=1e-4)


def test_pictures_are_colourful_but_in_gamut(train: list[Scene]) -> None:
    assert 30 < laboratory.colourfulness(train).mean() < 60
    assert laboratory.gamut_share(train) < 0.005
    clipped = train[0]._replace(rgb=np.where(train[0].rgb > 128, 255, train[0].rgb).astype(np.uint8))
    assert laboratory.gamut_share([clipped]) > 0.1


def test_colourfulness_by_hand(unseen: list[Scene]) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :, 0] = picture[2:, :, 2] = 255  # rg is 255 or 0, yb is 127.5 or -255
    expected = math.hypot(127.5, 191.25) + 0.3 * math.hypot(127.5, 63.75)
    gray = np.full((4, 4, 3), 90, np.uint8)
    values = laboratory.colourfulness([unseen[0]._replace(rgb=picture), unseen[0]._replace(rgb=gray)])
    assert values.tolist() == pytest.approx([expected, 0.0])


def test_limit_to_gamut_keeps_hue_and_what_already_fits() -> None:
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False, dtype=np.float32)
    L = np.linspace(15, 92, 200, dtype=np.float32)
    wild = 140 * np.stack([np.cos(angle), np.sin(angle)], -1)
    tame = scenes.limit_to_gamut(L, wild)
    assert np.allclose(np.arctan2(tame[:, 1], tame[:, 0]), np.arctan2(wild[:, 1], wild[:, 0]), atol=1e-4)
    lab = torch.from_numpy(np.stack([L, *tame.T])[None, :, :, None])
    assert torch.allclose(color.rgb_to_lab(color.lab_to_rgb(lab)), lab, atol=1)
    assert np.allclose(scenes.limit_to_gamut(L, 0.9 * tame), 0.9 * tame, atol=1e-3)


def test_palette_strip_shows_the_modes(unseen: list[Scene]) -> None:
    for scene in unseen[:10]:
        strip = scenes.palette_strip(scene, height=5, width=90)
        assert strip.shape == (5, 90, 3) and strip.dtype == np.uint8
        assert (strip == strip[:1]).all()
        lab = lab_of(strip)[:, 0]
        for number, thing in enumerate(scene.objects):
            mode = CLASSES[thing.class_index].modes[thing.mode_index]
            stripe = lab[:, -(-number * 90 // len(scene.objects))]
            target = scenes.limit_to_gamut(np.float32(thing.mean_L), np.array([mode.a, mode.b], np.float32) + scene.light)
            assert np.allclose(stripe, [thing.mean_L, *target], atol=1)


@pytest.mark.parametrize("size", [64, 101, 256])
def test_another_size_shows_the_same_scene(size: int) -> None:
    for index in range(3):
        usual, other = draw(5, index), draw(5, index, size=size)
        assert other.rgb.shape == (size, size, 3)
        assert [o[:4] for o in usual.objects] == [o[:4] for o in other.objects]
        at = (np.arange(128) * size + size // 2) // 128
        assert (usual.instance_map == other.instance_map[np.ix_(at, at)]).mean() > 0.94
        assert (usual.class_map == other.class_map[np.ix_(at, at)]).mean() > 0.94
        coarse = [F.adaptive_avg_pool2d(torch.from_numpy(lab_of(scene.rgb)), 16) for scene in (usual, other)]
        assert (coarse[0] - coarse[1]).abs().mean() < 1.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 63}, "64 to 512.*63"),
        ({"size": 513}, "64 to 512.*513"),
        ({"split": "dev"}, "train, val, test.*dev"),
        ({"seed": -1}, "seed.*-1"),
        ({"index": -2}, "index.*-2"),
        ({"redraw": -3}, "redraw.*-3"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(**{"seed": 0, "index": 0, **arguments})


@pytest.mark.parametrize("shape", [{"height": 0}, {"width": 2}])
def test_a_strip_too_small_is_refused(unseen: list[Scene], shape: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        scenes.palette_strip(unseen[0], **shape)


def test_contact_sheet_shows_scenes_above_their_gray(unseen: list[Scene]) -> None:
    sheet = laboratory.contact_sheet(unseen[:5], columns=3, gap=2)
    assert sheet.shape == (4 * 130 + 2, 3 * 130 + 2, 3)
    assert np.array_equal(sheet[2:130, 132:260], unseen[1].rgb)
    gray = sheet[132:260, 132:260].astype(int)
    assert np.ptp(gray, axis=-1).max() <= 1
    assert np.abs(lab_of(sheet[132:260, 132:260])[0] - lab_of(unseen[1].rgb)[0]).max() < 0.5
    with pytest.raises(ValueError, match="at least one"):
        laboratory.contact_sheet([])

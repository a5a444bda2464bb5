"""What is measured of objects: of one piece or not, and which of their colours are reached."""

import math

import pytest
import torch
from torch import Tensor

from colorexp import structure
from colorexp.data.scenes import CLASSES, KINDS, draw

MODES = [
    torch.tensor([[0.0, 30.0], [60.0, 0.0], [-40.0, 0.0]]),
    torch.tensor([[0.0, 50.0]]),
    torch.tensor([[50.0, 0.0], [-50.0, 0.0]]),
]


def maps(codes: tuple[int, ...] = (1, 3)) -> tuple[Tensor, Tensor]:
    """One object per code, 6 x 8 pixels each, side by side above a strip of background."""
    instance_map = torch.zeros(1, 8, 8 * len(codes), dtype=torch.uint8)
    class_map = torch.full_like(instance_map, 2)
    for number, code in enumerate(codes):
        at = slice(8 * number, 8 * number + 8)
        instance_map[0, :6, at], class_map[0, :6, at] = number + 1, code
    return instance_map, class_map


def painted(instance_map: Tensor, *colours: tuple[float, float]) -> Tensor:
    """Every object in one colour, background first. Shape (1, 2, H, W)."""
    return torch.tensor(colours, dtype=torch.float32)[instance_map.long()].movedim(-1, 1)


def coverage(*pictures: Tensor, codes: tuple[int, ...] = (1, 3), **options) -> float:
    instance_map, class_map = maps(codes)
    return structure.mode_coverage(torch.stack(pictures), class_map, instance_map, MODES, **options).item()


class TestSpread:
    def test_one_colour_per_object_is_no_spread(self) -> None:
        instance_map, _ = maps()
        ab = painted(instance_map, (0, 0), (40, -20), (-30, 60))
        assert structure.chroma_spread(ab, instance_map).item() == pytest.approx(0, abs=1e-4)

    def test_it_is_the_root_mean_squared_distance_from_an_objects_own_mean(self) -> None:
        instance_map, _ = maps()
        ab = painted(instance_map, (90, 90), (40, -20), (-30, 60))
        ab[:, 0, :6, 4:8] += 20  # half of the first object
        assert structure.chroma_spread(ab, instance_map).item() == pytest.approx((10 + 0) / 2, rel=1e-5)
        ab[:, 0, :6, 0:8:2] += 6
        ab[:, 1, :6, 8:16:2] += 8
        assert structure.chroma_spread(ab, instance_map).item() == pytest.approx((math.hypot(10, 3) + 4) / 2, rel=1e-5)

    def test_small_objects_are_left_out_and_nothing_is_no_number(self) -> None:
        instance_map, _ = maps()
        ab = torch.zeros(1, 2, 8, 16)
        ab[:, 0, 0, :2] = torch.tensor([0.0, 50.0])
        instance_map[0, :, :8] = 0
        instance_map[0, 0, :2] = 1
        assert structure.chroma_spread(ab, instance_map, smallest=3).item() == 0
        assert structure.chroma_spread(ab, instance_map, smallest=2).item() == pytest.approx(12.5)
        assert structure.chroma_spread(ab, torch.zeros_like(instance_map)).isnan().all()

    def test_pictures_are_measured_apart(self) -> None:
        instance_map, _ = maps()
        noise = 10 * torch.randn(1, 2, 8, 16, generator=torch.Generator().manual_seed(0))
        pair = torch.cat([noise, torch.zeros_like(noise)])
        spread = structure.chroma_spread(pair, instance_map.expand(2, -1, -1))
        assert spread[0] == structure.chroma_spread(noise, instance_map)
        assert spread[1] == 0

    def test_the_truth_stands_beside_the_prediction(self) -> None:
        instance_map, _ = maps()
        truth = painted(instance_map, (0, 0), (40, -20), (-30, 60))
        smudged = truth.clone()
        smudged[..., 7:9] = 0  # colours bleed over the border
        found = structure.structural_consistency(smudged, truth, instance_map)
        assert found.true.item() == pytest.approx(0, abs=1e-4)
        assert found.predicted.item() > 5


class TestCoverage:
    FIRST = painted(maps()[0], (0, 0), (0, 30), (50, 0))
    SECOND = painted(maps()[0], (0, 0), (60, 0), (-50, 0))

    def test_one_colouring_reaches_one_mode_of_every_object_and_that_is_all_it_can(self) -> None:
        assert coverage(self.FIRST) == 1

    def test_the_same_colouring_twice_reaches_half_of_what_two_could(self) -> None:
        assert coverage(self.FIRST, self.FIRST) == pytest.approx(0.5)

    def test_swapped_modes_reach_everything(self) -> None:
        third = painted(maps()[0], (0, 0), (-40, 0), (50, 0))
        assert coverage(self.FIRST, self.SECOND) == 1
        assert coverage(self.FIRST, self.SECOND, self.FIRST) == pytest.approx((2 / 3 + 1) / 2)
        assert coverage(self.FIRST, self.SECOND, third) == 1

    def test_gray_reaches_nothing(self) -> None:
        assert coverage(torch.zeros(1, 2, 8, 16)) == 0

    def test_a_mode_is_reached_within_the_radius_alone(self) -> None:
        near = painted(maps()[0], (0, 0), (0, 49), (50, 0))  # 19 units off
        assert coverage(near) == 1
        assert coverage(near, radius=18) == 0.5

    def test_only_the_nearest_mode_is_reached(self) -> None:
        between = painted(maps()[0], (0, 0), (9, 0), (20, 0))
        assert coverage(between, between, radius=100) == pytest.approx(0.5)

    def test_classes_with_one_mode_and_small_objects_do_not_count(self) -> None:
        one = painted(maps((1, 2))[0], (0, 0), (0, 30), (-90, -90))
        assert coverage(one, codes=(1, 2)) == 1
        assert math.isnan(coverage(one, codes=(2, 2)))
        assert math.isnan(coverage(one, codes=(1, 2), smallest=49))

    def test_another_shape_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(K, B, 2, H, W\), got \(1, 2, 8, 16\)"):
            structure.mode_coverage(self.FIRST, *maps()[::-1], MODES)


class TestDiversity:
    def test_it_is_the_mean_distance_of_pairs(self) -> None:
        flat = torch.zeros(3, 2, 2, 4, 4)
        flat[1, 0, 0], flat[2, 0, 1] = 3.0, 4.0  # 3, 4 and 5 units apart
        assert structure.diversity(flat).tolist() == [4.0, 0.0]

    def test_one_colouring_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 2 colourings, got 1"):
            structure.diversity(torch.zeros(1, 1, 2, 4, 4))


class TestScenes:
    @staticmethod
    def scene_lab(redraw: int) -> tuple[Tensor, Tensor, Tensor]:
        from colorexp import color

        scene = draw(0, 3, size=64, redraw=redraw)
        lab = color.rgb_to_lab(color.from_8bit(torch.from_numpy(scene.rgb).movedim(-1, 0)[None]))
        objects = torch.from_numpy(scene.instance_map * (scene.mode_map > 0))[None]
        return lab[:, 1:], torch.from_numpy(scene.class_map)[None], objects

    def test_codes_of_class_maps_name_the_modes(self) -> None:
        modes = structure.scene_modes()
        assert len(modes) == len(KINDS)
        car = next(i for i, kind in enumerate(CLASSES) if kind.name == "car")
        assert modes[car].tolist() == [[m.a, m.b] for m in CLASSES[car].modes]

    def test_the_truth_reaches_its_own_modes(self) -> None:
        ab, class_map, objects = self.scene_lab(0)
        found = structure.mode_coverage(ab[None], class_map, objects, structure.scene_modes())
        assert found.item() >= 0.9

    def test_true_redraws_reach_more_than_the_truth_alone(self) -> None:
        ab, class_map, objects = self.scene_lab(0)
        redraws = torch.stack([ab, *(self.scene_lab(k)[0] for k in range(1, 8))])
        known = structure.scene_modes()
        same = structure.mode_coverage(ab.expand_as(redraws), class_map, objects, known)
        assert structure.mode_coverage(redraws, class_map, objects, known) > same + 0.3
        assert structure.diversity(redraws).item() > 5

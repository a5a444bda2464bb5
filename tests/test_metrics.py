"""Measures agree with the papers' code, with independent computations and with what their names promise."""

import math

import numpy as np
import pytest
import torch
from golden_rule import golden
from scipy.ndimage import uniform_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from colorexp import backbones, color, metrics

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torchvision.models._utils")  # how lpips asks for AlexNet


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(*, batch: int = 3, size: int = 40, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=rng(seed))


def noisy(rgb: Tensor, strength: float = 0.1, seed: int = 1) -> Tensor:
    return (rgb + strength * torch.randn(rgb.shape, generator=rng(seed))).clamp(0, 1)


def classes(*shape: int, bins: int, seed: int = 0) -> Tensor:
    return torch.randint(bins, shape, generator=rng(seed))


@pytest.fixture(scope="module")
def alex() -> backbones.Backbone:
    return backbones.lpips("alex")


PAIRWISE = {
    "psnr": metrics.psnr,
    "boundary_psnr": metrics.boundary_psnr,
    "patch_error_variance": metrics.patch_error_variance,
    "ssim": metrics.ssim,
}
SINGLE = {"cf_signed": metrics.cf_signed, "cf_abs": metrics.cf_abs}


def test_psnr_of_the_released_code() -> None:
    g = golden("color_and_metrics")
    assert metrics.psnr(g["rgb_b"], g["rgb"]).mean().item() == pytest.approx(g["psnr"].item(), rel=1e-5)


def test_boundary_psnr_of_the_released_code() -> None:
    g = golden("color_and_metrics")
    value = metrics.boundary_psnr(g["rgb_b"], g["rgb"]).mean().item()
    assert value == pytest.approx(g["boundary_psnr"].item(), rel=1e-5)


def test_patch_error_variance_of_the_released_code() -> None:
    g = golden("color_and_metrics")
    value = metrics.patch_error_variance(g["rgb_b"], g["rgb"]).mean().item()
    assert value == pytest.approx(g["patch_error_variance"].item(), rel=1e-3)


def test_psnr_agrees_with_scikit_image_on_bytes() -> None:
    target = color.to_8bit(picture())
    rgb = color.to_8bit(noisy(picture()))
    expected = [peak_signal_noise_ratio(t.numpy(), p.numpy()) for t, p in zip(target, rgb, strict=True)]
    assert metrics.psnr(rgb, target).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.boundary_psnr])
def test_psnr_is_capped_at_50_db(measure) -> None:
    rgb = picture() * 0.9
    assert measure(rgb, rgb).tolist() == [50, 50, 50]
    assert measure(rgb + 0.003, rgb).tolist() == [50, 50, 50]
    assert measure(rgb + 0.01, rgb).tolist() == pytest.approx([40, 40, 40], abs=0.01)


def test_boundary_psnr_sees_the_borders_alone() -> None:
    target = torch.zeros(1, 3, 48, 48)
    beside = [15, 16, 31, 32]
    inside, across = target.clone(), target.clone()
    away = [i for i in range(48) if i not in beside]
    inside[:, :, torch.tensor(away)[:, None], torch.tensor(away)] = 1
    assert metrics.boundary_psnr(inside, target).item() == 50
    across[:, :, 31] = 0.1  # 48 of 48^2 - 44^2 pixels
    expected = -10 * math.log10(0.01 * 48 / (48**2 - 44**2))
    assert metrics.boundary_psnr(across, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(16, 64), (64, 16), (8, 8)])
def test_boundary_psnr_needs_a_border(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}"):
        metrics.boundary_psnr(torch.zeros(1, 3, *size), torch.zeros(1, 3, *size))


def test_patch_error_variance_is_zero_for_even_errors() -> None:
    target = picture(size=48) * 0.5
    even = metrics.patch_error_variance(target + 0.1, target)
    assert even.abs().max() < 1e-3
    one_patch = target.clone()
    one_patch[:, :, :16, :16] += 0.1  # RMSE 25.5 in one of nine patches, 0 elsewhere
    assert metrics.patch_error_variance(one_patch, target).tolist() == pytest.approx([25.5**2 / 9] * 3, rel=1e-4)


def test_patch_error_variance_leaves_out_what_fills_no_patch() -> None:
    target = picture(size=50)
    ragged = noisy(target)
    whole = metrics.patch_error_variance(ragged[..., :48, :48], target[..., :48, :48])
    assert torch.equal(metrics.patch_error_variance(ragged, target), whole)


def test_ssim_agrees_with_its_formula() -> None:
    """Wang et al. 2004 over 7x7 windows, with sample covariances, on bytes."""
    pair = color.to_8bit(picture(batch=1)), color.to_8bit(noisy(picture(batch=1)))
    x, y = (one[0].double().numpy() for one in pair)

    def mean(z: np.ndarray) -> np.ndarray:
        return uniform_filter(z, size=(1, 7, 7))[:, 3:-3, 3:-3]

    c1, c2, sample = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 49 / 48
    x_mean, y_mean = mean(x), mean(y)
    x_var, y_var = sample * (mean(x * x) - x_mean**2), sample * (mean(y * y) - y_mean**2)
    covariance = sample * (mean(x * y) - x_mean * y_mean)
    index = (2 * x_mean * y_mean + c1) * (2 * covariance + c2)
    index /= (x_mean**2 + y_mean**2 + c1) * (x_var + y_var + c2)
    assert metrics.ssim(*pair).item() == pytest.approx(index.mean(), abs=1e-5)


def test_ssim_agrees_with_scikit_image_on_floats() -> None:
    target = picture()
    pairs = zip(target.numpy(), noisy(target).numpy(), strict=True)
    expected = [structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs]
    assert metrics.ssim(target, noisy(target)).tolist() == pytest.approx(expected, abs=2e-3)
    assert metrics.ssim(target, target).tolist() == [1, 1, 1]


def hasler(rgb: np.ndarray, *, absolute: bool) -> float:
    red, green, blue = rgb.astype(np.float64)
    red_green, yellow_blue = red - green, 0.5 * (red + green) - blue
    if absolute:
        red_green, yellow_blue = np.abs(red_green), np.abs(yellow_blue)
    spread = math.hypot(red_green.std(), yellow_blue.std())
    return spread + 0.3 * math.hypot(red_green.mean(), yellow_blue.mean())


@pytest.mark.parametrize(("measure", "absolute"), [(metrics.cf_signed, False), (metrics.cf_abs, True)])
def test_colourfulness_agrees_with_numpy(measure, absolute: bool) -> None:
    rgb = color.to_8bit(picture())
    expected = [hasler(one.numpy(), absolute=absolute) for one in rgb]
    assert measure(rgb).tolist() == pytest.approx(expected, rel=1e-4)


def test_both_colourfulnesses_tell_opponent_colours_apart() -> None:
    halves = torch.zeros(1, 3, 8, 8)
    halves[:, 0, :4], halves[:, 1, 4:] = 1, 1  # red above, green below: R - G is +255 and -255
    red_green, yellow_blue = 255.0, 127.5
    assert metrics.cf_signed(halves).item() == pytest.approx(red_green + 0.3 * yellow_blue, rel=1e-5)
    assert metrics.cf_abs(halves).item() == pytest.approx(0.3 * math.hypot(red_green, yellow_blue), rel=1e-5)


@pytest.mark.parametrize("measure", SINGLE.values(), ids=SINGLE)
def test_gray_has_no_colour(measure) -> None:
    gray = torch.rand(2, 1, 9, 9, generator=rng()).expand(2, 3, 9, 9)
    assert measure(gray).abs().max() < 1e-4
    assert (measure(picture()) > 10).all()


def test_chroma_and_error_are_euclidean() -> None:
    ab = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(2, 2, 4, 4).clone()
    ab[1] = 0
    assert metrics.chroma(ab).tolist() == [5, 0]
    target = ab.clone()
    target[0, 0, :2] += 6
    assert metrics.ab_error(target, ab).tolist() == [3, 0]
    assert metrics.ab_error(ab, target).tolist() == [3, 0]


def looped_accuracy(index: Tensor, target: Tensor) -> list[float]:
    pairs = zip(index.flatten(1).tolist(), target.flatten(1).tolist(), strict=True)
    return [sum(i == t for i, t in zip(*pair, strict=True)) / len(pair[0]) for pair in pairs]


def test_ab_error_of_a_part_counts_only_that_part() -> None:
    ab = torch.zeros(2, 2, 4, 4)
    target = ab.clone()
    target[:, 0, :2], target[:, 1, :2], target[:, 0, 2:] = 3.0, 4.0, 1.0
    upper = torch.zeros(2, 4, 4, dtype=torch.bool)
    upper[0, :2] = True
    assert metrics.ab_error(ab, target, mask=upper)[0] == 5
    assert metrics.ab_error(ab, target, mask=~upper)[0] == 1
    assert metrics.ab_error(ab, target, mask=upper)[1].isnan()
    assert torch.equal(metrics.ab_error(ab, target, mask=torch.ones_like(upper)), metrics.ab_error(ab, target))


def test_accuracy_counts_matching_classes() -> None:
    index, target = classes(3, 2, 6, 5, bins=3), classes(3, 2, 6, 5, bins=3, seed=1)
    assert metrics.accuracy(index, target).tolist() == pytest.approx(looped_accuracy(index, target))
    assert metrics.accuracy(target, target).tolist() == [1, 1, 1]


def test_accuracy_under_a_mask_sees_nothing_else() -> None:
    index, target = classes(2, 2, 6, 5, bins=3), classes(2, 2, 6, 5, bins=3, seed=1)
    mask = torch.zeros(2, 1, 6, 5, dtype=torch.bool)
    mask[0, :, 2:5, 1:3] = True
    inside = metrics.accuracy(index[:1, :, 2:5, 1:3], target[:1, :, 2:5, 1:3]).item()
    masked = metrics.accuracy(index, target, mask=mask)
    assert masked[0].item() == pytest.approx(inside)
    assert masked[1].isnan()
    every = metrics.accuracy(index, target, mask=torch.ones_like(mask))
    assert torch.allclose(every, metrics.accuracy(index, target))


def test_balanced_accuracy_is_the_mean_recall() -> None:
    index, target = classes(2, 2, 9, 9, bins=4), classes(2, 2, 9, 9, bins=4, seed=1)
    target[target == 2] = 3  # a class that never occurs
    expected = []
    for i, t in zip(index, target, strict=True):
        recalls = [[(i[c] == k)[t[c] == k].float().mean() for k in t[c].unique()] for c in (0, 1)]
        expected.append(float(np.mean([np.mean(channel) for channel in recalls])))
    assert metrics.balanced_accuracy(index, target, bins=4).tolist() == pytest.approx(expected)


def test_balanced_accuracy_does_not_reward_the_common_class() -> None:
    target = torch.zeros(1, 2, 10, 10, dtype=torch.int64)
    target[..., 0, 0] = 7
    assert metrics.accuracy(torch.zeros_like(target), target).item() == pytest.approx(0.99)
    assert metrics.balanced_accuracy(torch.zeros_like(target), target, bins=32).item() == 0.5


def test_top1_is_the_accuracy_of_the_most_probable_class() -> None:
    logits, target = torch.randn(3, 2, 4, 6, 5, generator=rng()), classes(3, 2, 6, 5, bins=4)
    index = logits.argmax(2)
    assert torch.equal(metrics.top1(logits, target), metrics.accuracy(index, target))
    assert metrics.top1(logits, target).tolist() == pytest.approx(looped_accuracy(index, target))
    assert metrics.top1(logits, index).tolist() == [1, 1, 1]


def test_accuracy_by_size_averages_over_objects() -> None:
    side = 100
    instance_map = torch.zeros(2, side, side, dtype=torch.uint8)
    areas = {1: (2, 5), 2: (5, 4), 3: (15, 20), 200: (50, 50)}  # 0.1 %, 0.2 %, 3 %, 25 % of the picture
    for label, (height, width) in areas.items():
        top = {1: 0, 2: 5, 3: 15, 200: 40}[label]
        instance_map[0, top : top + height, :width] = label
    target = classes(2, 2, side, side, bins=5)
    index = classes(2, 2, side, side, bins=5, seed=1)
    match = (index == target).float().mean(1)[0]
    own = {label: match[instance_map[0] == label].mean().item() for label in (0, *areas)}
    expected = {"background": own[0], "small": (own[1] + own[2]) / 2, "medium": own[3], "large": own[200]}
    result = metrics.accuracy_by_size(index, target, instance_map)
    assert set(result) == {"background", *metrics.OBJECT_SIZES}
    assert {name: values[0].item() for name, values in result.items()} == pytest.approx(expected, rel=1e-5)
    assert {name for name, values in result.items() if values[1].isnan()} == {"small", "medium", "large"}


def test_object_sizes_leave_no_gap() -> None:
    assert [low for low, _ in metrics.OBJECT_SIZES.values()] == [0, *[h for _, h in metrics.OBJECT_SIZES.values()][:-1]]
    filled = torch.ones(1, 4, 4, dtype=torch.uint8)  # one object everywhere has no background
    same = torch.zeros(1, 2, 4, 4, dtype=torch.int64)
    result = metrics.accuracy_by_size(same, same, filled)
    assert result["background"].isnan().all()


def test_his_is_the_shared_share_of_pixels() -> None:
    red, blue = (torch.tensor(at).view(1, 2, 1, 1) for at in ([66.0, 55.0], [22.0, -88.0]))
    half = torch.cat([red, blue], 3)
    assert metrics.his(red, red).item() == 1
    assert metrics.his(red, blue).item() == 0
    assert metrics.his(half.expand(1, 2, 3, 2), red.expand(1, 2, 5, 7)).item() == pytest.approx(0.5)
    some, other = (torch.randn(2, 2, 9, 9, generator=rng(seed)) * 30 for seed in (0, 1))
    assert torch.allclose(metrics.his(some, other), metrics.his(other, some))
    assert torch.allclose(metrics.his(some, some), torch.ones(2), atol=1e-4)


@pytest.mark.parametrize("measure", PAIRWISE.values(), ids=PAIRWISE)
def test_every_picture_has_its_own_value(measure) -> None:
    target = picture()
    rgb = torch.cat([noisy(target[:1], 0.02), noisy(target[1:2], 0.1), noisy(target[2:], 0.4)])
    together = measure(rgb, target)
    assert together.shape == (3,)
    alone = torch.cat([measure(rgb[i : i + 1], target[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, rtol=1e-5)
    assert len(together.unique()) == 3


@pytest.mark.parametrize("measure", PAIRWISE.values(), ids=PAIRWISE)
def test_bytes_and_their_floats_measure_alike(measure) -> None:
    target, rgb = color.to_8bit(picture()), color.to_8bit(noisy(picture()))
    floats = measure(color.from_8bit(rgb), color.from_8bit(target))
    assert torch.allclose(measure(rgb, target), floats, rtol=1e-5)


@pytest.mark.parametrize("measure", SINGLE.values(), ids=SINGLE)
def test_colourfulness_of_bytes_and_of_their_floats_is_alike(measure) -> None:
    rgb = color.to_8bit(picture())
    assert measure(rgb).shape == (3,)
    assert torch.allclose(measure(rgb), measure(color.from_8bit(rgb)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 32, 32, 3)])
@pytest.mark.parametrize("measure", PAIRWISE.values(), ids=PAIRWISE)
def test_wrong_shapes_are_named(measure, shape: tuple[int, ...]) -> None:
    good = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match=rf"got \({', '.join(map(str, shape))}\)"):
        measure(torch.zeros(shape), good)
    with pytest.raises(ValueError, match=r"got \("):
        measure(good, torch.zeros(shape))


@pytest.mark.parametrize("measure", SINGLE.values(), ids=SINGLE)
def test_wrong_shapes_have_no_colourfulness(measure) -> None:
    with pytest.raises(ValueError, match=r"got \(3, 32, 32\)"):
        measure(torch.zeros(3, 32, 32))


@pytest.mark.parametrize("measure", PAIRWISE.values(), ids=PAIRWISE)
def test_pictures_of_two_sizes_are_refused(measure) -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"dimension|size"):
        measure(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 40))


def test_lpips_is_zero_for_identical_pictures_alone(alex: backbones.Backbone) -> None:
    target = picture(size=64)
    assert metrics.lpips(target, target, alex.network).tolist() == [0, 0, 0]
    little, much = (metrics.lpips(noisy(target, strength), target, alex.network) for strength in (0.02, 0.3))
    assert little.shape == (3,)
    assert (little > 0).all()
    assert (much > little).all()


def test_lpips_feeds_the_range_it_is_asked_for(alex: backbones.Backbone) -> None:
    target, rgb = color.to_8bit(picture(size=64)), color.to_8bit(noisy(picture(size=64)))
    for signed, low in ((True, -1), (False, 0)):
        seen: list[Tensor] = []
        metrics.lpips(rgb, target, lambda a, b, seen=seen: seen.extend((a, b)) or torch.zeros(3), signed=signed)
        expected = [low + (1 - low) * color.from_8bit(one) for one in (rgb, target)]
        assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(seen, expected, strict=True))
    assert not torch.allclose(*(metrics.lpips(rgb, target, alex.network, signed=signed) for signed in (True, False)))


def test_fid_of_too_few_pictures_is_not_a_number() -> None:
    few, enough = torch.randn(2047, 3, generator=rng()), torch.randn(2048, 3, generator=rng())
    assert math.isnan(metrics.fid(few, enough))
    assert math.isnan(metrics.fid(enough, few))


def test_fid_of_two_normal_clouds_is_known() -> None:
    cloud = torch.randn(4000, 2, generator=rng())
    cloud = (cloud - cloud.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(cloud.T.cov())).T
    assert metrics.fid(cloud, cloud) == pytest.approx(0, abs=1e-3)
    # |mean difference|^2 + trace(1 + S - 2 S^(1/2))
    moved = cloud * torch.tensor([2.0, 3.0]) + torch.tensor([0.0, 5.0])
    assert metrics.fid(cloud, moved) == pytest.approx(25 + 1 + 4, rel=1e-3)


def test_kid_orders_small_sets() -> None:
    target = torch.randn(60, 16, generator=rng())
    same = metrics.kid(torch.randn(60, 16, generator=rng(1)), target)
    near = metrics.kid(torch.randn(60, 16, generator=rng(2)) + 0.5, target)
    far = metrics.kid(torch.randn(40, 16, generator=rng(3)) + 1.5, target)
    assert same < near < far
    assert abs(same) < 0.2 * near
    assert metrics.kid(torch.randn(60, 16, generator=rng(1)), target) == same


def test_inception_score_lies_between_one_and_the_number_of_classes() -> None:
    unsure = torch.zeros(100, 5)
    assert metrics.inception_score(unsure) == pytest.approx(1)
    sure_of_all = 50 * torch.eye(5).repeat(20, 1)
    assert metrics.inception_score(sure_of_all, splits=1) == pytest.approx(5, rel=1e-4)
    sure_of_one = 50 * torch.eye(5)[:1].repeat(100, 1)
    assert metrics.inception_score(sure_of_one) == pytest.approx(1)
    assert 1 < metrics.inception_score(torch.randn(100, 5, generator=rng())) < 5

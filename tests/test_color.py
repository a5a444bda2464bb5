"""Colour conventions: scales, bins, codes and histograms agree with the papers' code, scikit-image and one another."""

import itertools

import numpy as np
import pytest
import torch
from golden_rule import golden
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from colorexp import color


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_ab(*shape: int, limit: float = 100.0, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=rng(seed)) * 2 - 1) * limit


def extreme_rgb() -> Tensor:
    """Every corner of the cube, and values on both sides of sRGB's linear toe."""
    levels = torch.tensor([0.0, 1 / 255, 0.04, 0.041, 0.5, 254 / 255, 1.0])
    return torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 7, 49)


PICTURES = {"random": torch.rand(2, 3, 20, 31, generator=rng()), "extreme": extreme_rgb()}


@pytest.mark.parametrize("rgb", PICTURES.values(), ids=PICTURES)
class TestLab:
    def test_agrees_with_scikit_image(self, rgb: Tensor) -> None:
        expected = rgb2lab(rgb.double().numpy(), channel_axis=1)
        assert np.allclose(color.rgb_to_lab(rgb.double()).numpy(), expected, atol=1e-3)
        assert np.allclose(color.rgb_to_lab(rgb).numpy(), expected, atol=1e-3)

    def test_back_agrees_with_scikit_image(self, rgb: Tensor) -> None:
        lab = color.rgb_to_lab(rgb)
        expected = lab2rgb(lab.double().numpy(), channel_axis=1)
        assert np.allclose(color.lab_to_rgb(lab).numpy(), expected, atol=1e-3)

    def test_there_and_back_changes_nothing(self, rgb: Tensor) -> None:
        assert torch.allclose(color.lab_to_rgb(color.rgb_to_lab(rgb)), rgb, atol=2e-4)
        levels = color.to_8bit(rgb)
        again = color.to_8bit(color.lab_to_rgb(color.rgb_to_lab(color.from_8bit(levels))))
        assert torch.equal(again, levels)


def test_lab_of_the_released_code() -> None:
    g = golden("color_and_metrics")
    lab = color.rgb_to_lab(g["rgb"])
    lab_n = torch.cat(color.normalise(lab[:, :1], lab[:, 1:], "icolorit"), 1)
    assert torch.allclose(lab_n, g["lab_normalised"], atol=1e-5)
    L, ab = color.denormalise(g["lab_normalised"][:, :1], g["lab_normalised"][:, 1:], "icolorit")
    assert torch.allclose(color.lab_to_rgb(torch.cat([L, ab], 1)), g["rgb_back"], atol=1e-5)


def test_gray_has_no_chroma_and_lightness_spans_0_to_100() -> None:
    gray = torch.linspace(0, 1, 11).expand(1, 3, 1, 11)
    lab = color.rgb_to_lab(gray)
    assert lab[:, 1:].abs().max() < 0.01
    assert lab[0, 0, 0, [0, -1]].tolist() == pytest.approx([0, color.L_MAX], abs=0.01)
    assert (lab[0, 0, 0].diff() > 0).all()


def test_chroma_of_srgb_fits_the_bins() -> None:
    steps = torch.linspace(0, 1, 18)
    lab = color.rgb_to_lab(torch.cartesian_prod(steps, steps, steps).T[None, :, None])
    assert lab[:, 1:].amin() >= -color.AB_LIMIT
    assert lab[:, 1:].amax() < color.AB_LIMIT


def test_colours_outside_the_gamut_are_clipped() -> None:
    lab = torch.tensor([[50.0, 120.0, 120.0], [100.0, -100.0, 90.0], [0.0, 60.0, -60.0]]).T[None, :, None]
    rgb = color.lab_to_rgb(lab)
    assert rgb.amin() == 0
    assert rgb.amax() <= 1
    assert torch.isfinite(rgb).all()


@pytest.mark.parametrize("convert", [color.rgb_to_lab, color.lab_to_rgb])
@pytest.mark.parametrize(
    ("picture", "named"),
    [
        (torch.zeros(3, 4, 4), r"\(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), r"\(1, 1, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "uint8"),
    ],
)
def test_what_is_no_picture_is_refused(convert, picture: Tensor, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        convert(picture)


def test_bytes_are_clipped_and_rounded_to_nearest() -> None:
    rgb = torch.tensor([-1.0, 0.0, 0.49 / 255, 0.51 / 255, 127.4 / 255, 127.6 / 255, 1.0, 7.0])
    assert color.to_8bit(rgb).tolist() == [0, 0, 0, 1, 127, 128, 255, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(color.to_8bit(color.from_8bit(levels)), levels)
    assert color.from_8bit(levels).dtype == torch.float32
    assert color.from_8bit(levels)[[0, -1]].tolist() == [0, 1]


# What one paper's networks see of black, white and a = 55, b = -110
@pytest.mark.parametrize(
    ("scale", "L_n", "ab_n"),
    [
        ("icolorit", [-0.5, 0.5], [0.5, -1.0]),
        ("disco", [-1.0, 1.0], [0.5, -1.0]),
        ("user_guided", [0.0, 1.0], [55.0, -110.0]),
    ],
)
def test_every_paper_has_its_scale(scale: str, L_n: list[float], ab_n: list[float]) -> None:
    L, ab = torch.tensor([0.0, 100.0]).view(1, 1, 1, 2), torch.tensor([55.0, -110.0]).view(1, 2, 1, 1)
    got_L, got_ab = color.normalise(L, ab, scale)
    assert got_L.flatten().tolist() == pytest.approx(L_n)
    assert got_ab.flatten().tolist() == pytest.approx(ab_n)


@pytest.mark.parametrize("scale", color.NORMALISATIONS)
def test_denormalise_undoes_normalise(scale: str) -> None:
    L, ab = torch.rand(1, 1, 8, 8, generator=rng()) * 100, random_ab(1, 2, 8, 8)
    again = color.denormalise(*color.normalise(L, ab, scale), scale)
    assert torch.allclose(again[0], L, atol=1e-4)
    assert torch.allclose(again[1], ab, atol=1e-4)


@pytest.mark.parametrize("turn", [color.normalise, color.denormalise])
def test_an_unknown_scale_is_named_beside_the_known(turn) -> None:
    with pytest.raises(ValueError, match=r"'exemplar'.*icolorit, disco, user_guided"):
        turn(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2), "exemplar")


@pytest.mark.parametrize("bins", [2, 10, 32, 256])
def test_bins_are_half_open_and_cover_the_range(bins: int) -> None:
    below = float(np.nextafter(np.float32(128), np.float32(0)))
    ab = torch.tensor([-128.0, below]).view(1, 2, 1, 1)
    assert color.bin_ab(ab, bins=bins).flatten().tolist() == [0, bins - 1]


def test_bins_of_the_paper_are_eight_units_wide() -> None:
    ab = torch.tensor([-8.001, -8.0, -0.001, 0.0, 7.999, 8.0]).expand(1, 2, 1, 6)
    assert color.bin_ab(ab, bins=32)[0, 0, 0].tolist() == [14, 15, 15, 16, 16, 17]
    assert color.bin_ab(ab, bins=32).dtype == torch.int64


@pytest.mark.parametrize("bins", [2, 7, 32])
def test_a_centre_is_at_most_half_a_class_away(bins: int) -> None:
    ab = random_ab(2, 2, 30, 30, limit=127.9)
    index = color.bin_ab(ab, bins=bins)
    back = color.unbin_ab(index, bins=bins)
    assert (back - ab).abs().max() <= 128 / bins + 1e-4
    assert torch.equal(color.bin_ab(back, bins=bins), index)


def test_centres_are_evenly_spaced_about_zero() -> None:
    centres = color.bin_centres(32)
    assert centres[0] == -124
    assert (centres.diff() == 8).all()
    assert torch.equal(centres, -centres.flip(0))


@pytest.mark.parametrize("value", [128.0, -128.01, float("nan"), float("inf")])
def test_chroma_beyond_the_bins_is_refused(value: float) -> None:
    ab = torch.zeros(1, 2, 3, 3)
    ab[0, 1, 2, 2] = value
    with pytest.raises(ValueError, match=r"\[-128, 128\)"):
        color.bin_ab(ab, bins=32)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: color.bin_ab(torch.zeros(2, 8, 8), bins=32), r"\(2, 8, 8\)"),
        (lambda: color.bin_ab(torch.zeros(1, 3, 8, 8), bins=32), r"\(1, 3, 8, 8\)"),
        (lambda: color.bin_ab(torch.zeros(1, 2, 8, 8, dtype=torch.int64), bins=32), "int64"),
        (lambda: color.bin_ab(torch.zeros(1, 2, 8, 8), bins=1), "at least 2, got 1"),
        (lambda: color.bin_centres(0), "at least 2, got 0"),
        (lambda: color.unbin_ab(torch.zeros(1, dtype=torch.int64), bins=-3), "at least 2, got -3"),
        (lambda: color.nearest_bin(torch.zeros(2, 8, 8), torch.zeros(5, 2)), r"\(2, 8, 8\)"),
        (lambda: color.soft_encode_ab(torch.zeros(1, 1, 8, 8), torch.zeros(5, 2)), r"\(1, 1, 8, 8\)"),
        (lambda: color.soft_histogram(torch.zeros(1, 3, 8, 8)), r"\(1, 3, 8, 8\)"),
        (lambda: color.hard_histogram(torch.zeros(1, 3, 8, 8), torch.zeros(5, 2)), r"\(1, 3, 8, 8\)"),
        (lambda: color.count_ab(torch.full((1, 2, 2, 2), 200.0)), "200"),
    ],
)
def test_unusable_arguments_are_named(call, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()


def test_rare_classes_weigh_more_in_exact_proportion() -> None:
    weights = color.inverse_frequency_weights(torch.tensor([[1, 2, 4], [10, 10, 10]]))
    assert weights.tolist() == [pytest.approx([4 / 7, 2 / 7, 1 / 7]), pytest.approx([1 / 3] * 3)]
    assert weights.dtype == torch.float32


def test_a_class_that_never_occurs_weighs_nothing_and_changes_nothing() -> None:
    weights = color.inverse_frequency_weights(torch.tensor([5, 0, 20, 0]))
    assert weights.tolist() == pytest.approx([0.8, 0, 0.2, 0])


def test_counts_beyond_float32_keep_their_weights() -> None:
    weights = color.inverse_frequency_weights(torch.tensor([1, 10**12]))
    assert weights[1].item() == pytest.approx(1e-12, rel=1e-5)


def test_weights_need_a_class_that_occurs() -> None:
    with pytest.raises(ValueError, match="at least one class"):
        color.inverse_frequency_weights(torch.tensor([[1, 2], [0, 0]]))


def test_gamut_bins_are_those_of_the_released_code() -> None:
    """Networks trained with them put logits in that very order."""
    assert len(color.ab_gamut()) == color.GAMUT_BINS
    assert torch.equal(color.ab_gamut(), golden("ab_gamut")["q_to_ab"])


def test_rebalancing_weights_of_the_released_code() -> None:
    g = golden("ab_gamut")
    assert torch.allclose(color.rebalancing_weights(g["prior"], smoothing=0.5), g["class_weights"], rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_rebalancing_weights_have_mean_one_under_the_prior(smoothing: float) -> None:
    prior = golden("ab_gamut")["prior"].double()
    prior = prior / prior.sum()
    weights = color.rebalancing_weights(prior, smoothing=smoothing)
    assert (weights * prior).sum().item() == pytest.approx(1)
    assert (weights.argsort() == (-prior).argsort()).all() or smoothing == 1
    assert smoothing < 1 or torch.allclose(weights, torch.ones_like(weights))


def test_soft_codes_of_the_released_code() -> None:
    g = golden("ab_soft_encoding")
    assert torch.allclose(color.soft_encode_ab(g["ab"] * 110, color.ab_gamut()), g["soft"], atol=1e-4)


def test_decoding_of_the_released_code() -> None:
    g, centres = golden("ab_soft_encoding"), color.ab_gamut()
    assert torch.equal(color.decode_mode(g["logits"], centres), g["decoded_mode"] * 110)
    # the released decoder is handed probabilities and applies softmax to them once more
    twice = color.decode_annealed_mean(g["logits"].softmax(1), centres)
    assert torch.allclose(twice, g["decoded_annealed"] * 110, atol=1e-3)


def test_soft_codes_share_a_colour_among_its_nearest_bins() -> None:
    centres = color.ab_gamut()
    ab = random_ab(1, 2, 6, 6, limit=60)
    codes = color.soft_encode_ab(ab, centres, neighbours=3)
    assert torch.allclose(codes.sum(1), torch.ones(1, 6, 6))
    assert ((codes > 0).sum(1) <= 3).all()
    distance = torch.cdist(ab.flatten(2)[0].T, centres)
    assert torch.equal(codes.argmax(1).flatten(), distance.argmin(1))
    assert torch.equal(color.nearest_bin(ab, centres).flatten(), distance.argmin(1))
    near, far = distance.topk(2, largest=False).values.T
    first, second = codes.flatten(2)[0].topk(2, dim=0).values
    assert torch.allclose((first / second).log(), (far**2 - near**2) / (2 * 5.0**2), atol=1e-3)


def test_a_lower_temperature_moves_from_the_mean_to_the_mode() -> None:
    logits, centres = torch.randn(2, 313, 4, 4, generator=rng()), color.ab_gamut()
    mean = torch.einsum("bnhw,nc->bchw", logits.softmax(1), centres)
    assert torch.allclose(color.decode_annealed_mean(logits, centres, temperature=1), mean, atol=1e-4)
    cold = color.decode_annealed_mean(logits * 100, centres, temperature=1e-3)
    assert torch.allclose(cold, color.decode_mode(logits, centres), atol=1e-3)


def test_soft_codes_survive_decoding() -> None:
    ab, centres = random_ab(1, 2, 8, 8, limit=40), color.ab_gamut()
    code = color.soft_encode_ab(ab, centres).clamp(min=1e-30).log()
    assert (color.decode_annealed_mean(code, centres, temperature=1) - ab).norm(dim=1).max() < 4
    assert (color.decode_mode(code, centres) - ab).abs().max() <= color.GAMUT_PITCH / 2 + 1e-3


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1.01, float("nan")])
def test_temperature_beyond_0_to_1_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        color.decode_annealed_mean(torch.zeros(1, 5, 2, 2), torch.zeros(5, 2), temperature=temperature)


def test_database_colours_are_198_cells_in_order() -> None:
    cells = color.ab_database() / color.HISTOGRAM_PITCH
    assert cells.shape == (198, 2)
    assert torch.equal(cells, cells.round())
    flat = cells[:, 0] * color.HISTOGRAM_GRID + cells[:, 1]
    assert (flat.diff() > 0).all()
    assert cells.abs().max() <= color.HISTOGRAM_GRID // 2
    assert cells[[0, -1]].tolist() == [[-7, 5], [8, -4]]


def test_database_colours_of_the_released_code() -> None:
    g, half = golden("exemplar_bins"), color.HISTOGRAM_GRID // 2
    assert torch.allclose(color.ab_database().double(), g["bin_centres"] * 110, atol=1e-4)
    row, col = (color.ab_database() / color.HISTOGRAM_PITCH + half).long().T
    assert torch.equal(row * color.HISTOGRAM_GRID + col, g["bin_index"])


def test_soft_histogram_sums_to_one_and_counts_centres_whole() -> None:
    ab = random_ab(3, 2, 9, 7, limit=110)
    assert torch.allclose(color.soft_histogram(ab).sum(1), torch.ones(3), atol=1e-5)
    at = torch.tensor([-77.0, 55.0]).view(1, 2, 1, 1)
    histogram = color.soft_histogram(at)[0]
    assert histogram[golden("exemplar_bins")["bin_index"][0]] == 1  # a-major, as the database is numbered
    assert histogram.sum() == 1


def test_soft_histogram_splits_a_colour_among_four_bins() -> None:
    ab = torch.tensor([2.75, -5.5]).view(1, 2, 1, 1)
    histogram = color.soft_histogram(ab)[0].view(21, 21)
    assert histogram[10:12, 9:11].tolist() == [[0.375, 0.375], [0.125, 0.125]]
    assert histogram.sum() == 1


def test_soft_histogram_leaves_out_what_lies_beyond_its_grid() -> None:
    ab = torch.tensor([[0.0, 0.0], [125.0, 0.0]]).T.view(1, 2, 1, 2)
    assert color.soft_histogram(ab).sum().item() == pytest.approx(0.5)


def test_soft_histogram_has_the_gradient_of_its_values() -> None:
    ab = random_ab(1, 2, 2, 2, limit=60).double().requires_grad_()
    assert torch.autograd.gradcheck(color.soft_histogram, ab)
    target = color.soft_histogram(torch.full((1, 2, 1, 1), 22.0))
    (color.soft_histogram(ab := torch.full((1, 2, 1, 1), 20.0, requires_grad=True)) - target).square().sum().backward()
    assert (ab.grad < 0).all()  # towards the target's larger values


def test_hard_histogram_counts_nearest_bins() -> None:
    centres = color.ab_database()
    ab = random_ab(2, 2, 12, 12, limit=80)
    expected = torch.stack([
        torch.bincount(torch.cdist(one.flatten(1).T, centres).argmin(1), minlength=198) / 144 for one in ab
    ])  # fmt: skip
    assert torch.allclose(color.hard_histogram(ab, centres), expected)
    own = color.hard_histogram(centres.T.reshape(1, 2, 1, 198), centres)
    assert torch.allclose(own, torch.full((1, 198), 1 / 198))


def test_count_ab_agrees_with_numpy() -> None:
    ab = random_ab(3, 2, 20, 20, limit=127.5)
    edges = np.arange(-128, 129)
    expected, *_ = np.histogram2d(*ab.double().movedim(1, 0).flatten(1).numpy(), bins=(edges, edges))
    counts = color.count_ab(ab)
    assert counts.dtype == torch.int64
    assert np.array_equal(counts.numpy(), expected)
    assert torch.equal(sum(color.count_ab(one[None]) for one in ab), counts)


@pytest.mark.parametrize("bins", [2, 32, 256])
def test_rebinned_counts_are_those_of_the_bins(bins: int) -> None:
    ab = random_ab(2, 2, 20, 20, limit=127)
    of_a, of_b = color.count_ab(ab).sum(1), color.count_ab(ab).sum(0)
    expected = torch.stack([
        torch.bincount(index.flatten(), minlength=bins) for index in color.bin_ab(ab, bins=bins).unbind(1)
    ])  # fmt: skip
    assert torch.equal(color.rebin(torch.stack([of_a, of_b]), bins=bins), expected)


@pytest.mark.parametrize("bins", [0, 1, -4, 31, 512])
def test_bins_that_one_unit_cells_do_not_fill_are_refused(bins: int) -> None:
    with pytest.raises(ValueError, match=f"got {bins}$"):
        color.rebin(torch.zeros(256, dtype=torch.int64), bins=bins)


def test_gamut_prior_is_the_mean_soft_code() -> None:
    ab = random_ab(1, 2, 10, 10, limit=70).round() + 0.5  # at the centres of one-unit cells, where nothing is lost
    expected = color.soft_encode_ab(ab.double(), color.ab_gamut()).mean((0, 2, 3))
    prior = color.gamut_prior(color.count_ab(ab))
    assert prior.dtype == torch.float64
    assert prior.sum().item() == pytest.approx(1)
    assert torch.allclose(prior, expected, atol=1e-9)


def test_gamut_holds_every_rgb_and_little_else() -> None:
    levels = torch.linspace(0, 1, 256)
    edges = [torch.stack(torch.broadcast_tensors(*one), 0) for low in (0.0, 1.0) for mid in (0.0, 1.0)
             for one in itertools.permutations([torch.tensor(low), torch.tensor(mid), levels])]  # fmt: skip
    rgb = torch.cat([*edges, torch.rand(3, 1000, generator=rng())], 1)[None, :, None]
    assert color.in_gamut(color.rgb_to_lab(rgb)[0, 1:, 0].T).all()
    assert not color.in_gamut(torch.tensor([[100.0, 100.0], [-90.0, -60.0], [0.0, -115.0], [0.0, 100.0]])).any()


def test_every_gamut_bin_touches_the_gamut() -> None:
    step = torch.linspace(-10, 10, 21)
    square = torch.cartesian_prod(step, step)
    touched = color.in_gamut((color.ab_gamut()[:, None] + square).flatten(0, 1)).view(313, -1).any(1)
    assert touched.sum() >= 311  # a corner may meet the hull between two steps
    inside = color.in_gamut(color.ab_gamut())
    assert 200 < inside.sum() < 313

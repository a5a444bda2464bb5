"""RGB and CIELAB, the papers' normalisations, colour bins, soft codes and histograms.

The only home of the constants 50, 110, 128 and 313. Tensors are NCHW; `rgb` is in 0..1, `lab`, `L` and `ab` are physical
(L in 0..100, ab in CIELAB units), the suffix `_n` means normalised for a network.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from kornia.color.lab import lab_to_rgb as kornia_lab_to_rgb
from kornia.color.lab import rgb_to_lab as kornia_rgb_to_lab
from scipy.spatial import ConvexHull
from torch import Tensor

AB_LIMIT = 128.0
"""The sRGB gamut stays inside [-128, 128) in a and in b; the uniform bins divide that range."""
L_MAX = 100.0
GRAY_CHROMA = 2.3
"""Below this distance from gray, in CIELAB units, nobody notices a colour."""
GAMUT_PITCH = 10.0
GAMUT_BINS = 313
HISTOGRAM_GRID = 21
"""Histograms of Yin et al. have 21 x 21 = 441 bins, 11 ab units apart."""
HISTOGRAM_PITCH = 11.0
NEAR_GRAY_BINS = (-16.0, 24.0)
"""The released user-guided code calls bins 14..18 of 32 near gray: [-16, 24), which is not symmetric about 0."""


class Normalisation(NamedTuple):
    """How one paper scales Lab for its network: `L_n = (L - L_offset) / L_scale`, `ab_n = ab / ab_scale`."""

    L_offset: float
    L_scale: float
    ab_scale: float


NORMALISATIONS: Mapping[str, Normalisation] = MappingProxyType(
    {
        "icolorit": Normalisation(50.0, 100.0, 110.0),
        "disco": Normalisation(50.0, 50.0, 110.0),
        "user_guided": Normalisation(0.0, 100.0, 1.0),
    }
)
"""`icolorit` also serves AdaColViT, `disco` also serves Yin et al.; `user_guided` leaves ab physical."""


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB to CIELAB (D65, 2 degree observer).

    Args:
        rgb: sRGB in 0..1. Shape (B, 3, H, W).

    Returns:
        L in 0..100, a and b in CIELAB units. Shape (B, 3, H, W).

    Raises:
        ValueError: If `rgb` is not a floating (B, 3, H, W).
    """
    _check_image(rgb, 3, "rgb")
    return kornia_rgb_to_lab(rgb)


def lab_to_rgb(lab: Tensor, *, clip: bool = True) -> Tensor:
    """Convert CIELAB (D65) to sRGB.

    Args:
        lab: L in 0..100, ab in CIELAB units. Shape (B, 3, H, W).
        clip: Bring colours outside the gamut to 0..1, where they have no gradient.

    Returns:
        sRGB, in 0..1 if clipped. Shape (B, 3, H, W).

    Raises:
        ValueError: If `lab` is not a floating (B, 3, H, W).
    """
    _check_image(lab, 3, "lab")
    return kornia_lab_to_rgb(lab, clip=clip)


def to_8bit(rgb: Tensor) -> Tensor:
    """Clip to 0..1 and round to 0..255: the one place where pictures become bytes. Any shape, uint8."""
    return (rgb.detach().clamp(0, 1) * 255).round().to(torch.uint8)


def from_8bit(rgb: Tensor) -> Tensor:
    """Bytes to float32 sRGB in 0..1. Any shape."""
    return rgb.to(torch.float32) / 255


def normalise(L: Tensor, ab: Tensor, scale: str) -> tuple[Tensor, Tensor]:
    """Scale physical L (B, 1, H, W) and ab (B, 2, H, W) the way the paper named by `scale` does.

    Raises:
        ValueError: If `scale` is not a key of `NORMALISATIONS`.
    """
    n = _normalisation(scale)
    return (L - n.L_offset) / n.L_scale, ab / n.ab_scale


def denormalise(L_n: Tensor, ab_n: Tensor, scale: str) -> tuple[Tensor, Tensor]:
    """Undo `normalise`.

    Raises:
        ValueError: If `scale` is not a key of `NORMALISATIONS`.
    """
    n = _normalisation(scale)
    return L_n * n.L_scale + n.L_offset, ab_n * n.ab_scale


# Uniform bins per channel


def is_gray(ab: Tensor) -> Tensor:
    """Which pictures have no visible colour anywhere, of their chroma (B, 2, H, W). Bool, shape (B,)."""
    return ab.norm(dim=1).amax((1, 2)) < GRAY_CHROMA


def bin_ab(ab: Tensor, *, bins: int) -> Tensor:
    """Assign every a and b value to one of `bins` equal-width classes.

    Args:
        ab: CIELAB chroma in physical units, in [-128, 128). Shape (B, 2, H, W).
        bins: Number of classes K over that range; 32 gives classes 8 units wide.

    Returns:
        Class index per channel, int64 in [0, K). Shape (B, 2, H, W).

    Raises:
        ValueError: If `ab` is not (B, 2, H, W) or leaves [-128, 128), or `bins` is below 2.

    Source: User Guided Image Colorization, section 4.1.
    """
    _check_image(ab, 2, "ab")
    _check_bins(bins)
    low, high = ab.aminmax()
    if not (low >= -AB_LIMIT and high < AB_LIMIT):
        raise ValueError(f"ab must lie in [{-AB_LIMIT:g}, {AB_LIMIT:g}), got [{low.item():g}, {high.item():g}]")
    index = ((ab + AB_LIMIT) * (bins / (2 * AB_LIMIT))).floor()
    return index.clamp(max=bins - 1).to(torch.int64)  # the sum rounds to 256 just below 128


def bin_centres(bins: int) -> Tensor:
    """Centres of the uniform classes in ab units, float32. Shape (K,).

    Raises:
        ValueError: If `bins` is below 2.
    """
    _check_bins(bins)
    width = 2 * AB_LIMIT / bins
    return torch.arange(bins, dtype=torch.float32) * width + (width / 2 - AB_LIMIT)


def unbin_ab(index: Tensor, *, bins: int) -> Tensor:
    """Class indices (any shape, in [0, K)) to the ab value at the centre of their class, same shape.

    Source: User Guided Image Colorization, section 4.1.
    """
    return bin_centres(bins).to(index.device)[index]


def inverse_frequency_weights(counts: Tensor) -> Tensor:
    """Class weights that fall with frequency and sum to one.

    Args:
        counts: How often each class occurs, at least one of them positive. Shape (..., K).

    Returns:
        Weights, float32; a class that never occurs weighs zero. Shape (..., K).

    Raises:
        ValueError: If a row has no positive count.

    Source: User Guided Image Colorization, section 4.3, eq. 1.

    Unspecified: the weight of a class that never occurs (1/0 in eq. 1); we give it 0, so that it neither changes the other
        weights nor, were it to turn up, dominates the loss.
    """
    counts = counts.to(torch.float64)
    if not bool((counts > 0).any(-1).all()):
        raise ValueError("every channel needs at least one class that occurs; are there training images?")
    inverse = torch.where(counts > 0, counts.clamp(min=1).reciprocal(), torch.zeros_like(counts))
    return (inverse / inverse.sum(-1, keepdim=True)).to(torch.float32)


# The 313 bins of the ab gamut


@lru_cache(maxsize=1)
def _gamut_hull() -> ConvexHull:
    steps = torch.linspace(0, 1, 17, dtype=torch.float64)
    cube = torch.cartesian_prod(steps, steps, steps).T[None, :, :, None]
    return ConvexHull(rgb_to_lab(cube)[0, 1:, :, 0].T.numpy())


def _inside(points: np.ndarray, hull: ConvexHull, slack: float = 1e-6) -> np.ndarray:
    return (points @ hull.equations[:, :2].T + hull.equations[:, 2] <= slack).all(1)


@lru_cache(maxsize=1)
def _gamut_centres() -> np.ndarray:
    hull = _gamut_hull()
    # A square of half-width 10 meets the hull exactly when its centre lies in the hull grown by that square.
    corners = GAMUT_PITCH * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    grown = ConvexHull((hull.points[hull.vertices, None] + corners).reshape(-1, 2))
    axis = np.arange(-AB_LIMIT // GAMUT_PITCH * GAMUT_PITCH, AB_LIMIT, GAMUT_PITCH)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return grid[_inside(grid, grown)]


def in_gamut(ab: Tensor) -> Tensor:
    """Whether colours (N, 2), in ab units, lie in the convex hull of the sRGB gamut's chroma; bool, shape (N,)."""
    # between the 17 steps of the hull real colours bulge out by up to 0.038 units
    return torch.from_numpy(_inside(ab.double().cpu().numpy(), _gamut_hull(), slack=0.05))


def ab_gamut() -> Tensor:
    """The 313 bin centres that cover the sRGB gamut, computed, a-major. Shape (313, 2), float32, ab units.

    Source: Colorful Image Colorization (Zhang et al. 2016), as used by DISCO section 3.2 and exemplar section 3.2.2.
        The set: multiples of 10 whose square of half-width 10 meets the convex hull of the gamut.
    """
    return torch.from_numpy(_gamut_centres()).to(torch.float32)


_REACHED_198 = (
    (-7, 5, 7), (-6, 2, 7), (-5, -1, 8), (-4, -2, 8), (-3, -3, 8), (-2, -4, 9), (-1, -5, 8), (0, -5, 8),
    (1, -6, 8), (2, -7, 7), (3, -8, 7), (4, -8, 7), (5, -9, 7), (6, -9, 6), (7, -10, 6), (8, -5, -4),
)  # fmt: skip


def ab_database() -> Tensor:
    """The 198 database colours of Yin et al.: cells of the 441-bin grid, a-major. Shape (198, 2), float32, ab units.

    Source: the released code of "Yes, Attention Is All You Need, for Exemplar based Colorization"; rows (a, first b, last b)
        in units of 11.
    """
    cells = [(a, b) for a, first, last in _REACHED_198 for b in range(first, last + 1)]
    return torch.tensor(cells, dtype=torch.float32) * HISTOGRAM_PITCH


def nearest_bin(ab: Tensor, centres: Tensor) -> Tensor:
    """Index of the nearest of `centres` (N, 2) for every ab (B, 2, H, W); int64, shape (B, H, W)."""
    return _distances(ab, centres).argmin(1)


def soft_encode_ab(ab: Tensor, centres: Tensor, *, neighbours: int = 5, sigma: float = 5.0) -> Tensor:
    """Encode colours as weights over their nearest bins.

    Args:
        ab: Chroma in ab units. Shape (B, 2, H, W).
        centres: Bin centres. Shape (N, 2).
        neighbours: How many of the nearest bins share a colour.
        sigma: Width of the Gaussian over distance, in ab units.

    Returns:
        Weights that sum to one over N. Shape (B, N, H, W).

    Source: Colorful Image Colorization (Zhang et al. 2016), section 2.2; DISCO takes the arg-max of it.
    """
    squared = _distances(ab, centres)
    nearest, index = squared.topk(neighbours, dim=1, largest=False)
    weight = torch.softmax(-nearest / (2 * sigma**2), dim=1)
    return torch.zeros_like(squared).scatter(1, index, weight)


def decode_mode(logits: Tensor, centres: Tensor) -> Tensor:
    """The centre (N, 2) of the most probable bin of `logits` (B, N, H, W); shape (B, 2, H, W), ab units."""
    return centres[logits.argmax(1)].movedim(-1, 1)


def decode_annealed_mean(logits: Tensor, centres: Tensor, *, temperature: float = 0.38) -> Tensor:
    """The mean of the bins after sharpening by `temperature` in (0, 1]; towards 0 it becomes the mode.

    Args:
        logits: Shape (B, N, H, W).
        centres: Shape (N, C), ab units; C is 2 for joint bins and 1 for bins of a or b alone.
        temperature: Divides the logits.

    Returns:
        Chroma in ab units. Shape (B, C, H, W).

    Raises:
        ValueError: If `temperature` is not in (0, 1].

    Source: Colorful Image Colorization (Zhang et al. 2016), section 2.3, eq. 5.
    """
    if not 0 < temperature <= 1:
        raise ValueError(f"temperature must be in (0, 1], got {temperature}")
    return torch.einsum("bnhw,nc->bchw", (logits / temperature).softmax(1), centres)


def rebalancing_weights(prior: Tensor, *, smoothing: float = 0.5) -> Tensor:
    """Class weights from a colour prior mixed with the uniform distribution.

    Args:
        prior: Probability of every bin, sums to one. Shape (N,).
        smoothing: lambda, the share of the uniform distribution in 0..1; 1 gives equal weights.

    Returns:
        Weights whose mean under `prior` is one. Shape (N,).

    Source: Colorful Image Colorization (Zhang et al. 2016), section 2.2, eq. 4; DISCO's released code uses 0.5.
    """
    inverse = 1 / ((1 - smoothing) * prior + smoothing / prior.numel())
    return inverse / (prior * inverse).sum()


# Histograms


def count_ab(ab: Tensor) -> Tensor:
    """Joint histogram of ab in cells of one unit: exact, so that sums over images never depend on their order.

    Args:
        ab: Chroma in [-128, 128). Shape (B, 2, H, W).

    Returns:
        Pixel counts, int64, first axis a, second b. Shape (256, 256).
    """
    index = bin_ab(ab, bins=256).movedim(1, 0).flatten(1)
    return torch.bincount(index[0] * 256 + index[1], minlength=65536).view(256, 256)


def rebin(counts: Tensor, *, bins: int) -> Tensor:
    """Counts of one-unit cells (..., 256) summed into `bins` uniform classes (..., K).

    Raises:
        ValueError: If `bins` does not divide 256.
    """
    check_whole_bins(bins)
    return counts.unflatten(-1, (bins, 256 // bins)).sum(-1)


def check_whole_bins(bins: int) -> None:
    """Raise a ValueError unless uniform classes hold whole one-unit cells, from which alone they can be counted."""
    if bins < 2 or 256 % bins:
        raise ValueError(f"bins must be 2, 4, ... 128 or 256 to be counted from one-unit cells, got {bins}")


def gamut_prior(joint: Tensor) -> Tensor:
    """Prior over the 313 gamut bins: the mean soft code of all pixels of `count_ab`. Shape (313,), float64, sums to one.

    Deviation: Zhang et al. encode every pixel and smooth the result; we encode the centres of one-unit cells, weighted by their
        counts (at most 0.71 units from the pixel), and do not smooth, so that the prior is that of the training images alone.
    """
    centres = bin_centres(256).double()
    cells = torch.cartesian_prod(centres, centres)
    used = joint.flatten() > 0
    codes = soft_encode_ab(cells[used].T[None, :, :, None], ab_gamut().double())[0, :, :, 0]
    counts = joint.flatten()[used].double()
    return (codes * counts).sum(1) / counts.sum()


def soft_histogram(ab: Tensor) -> Tensor:
    """Differentiable 441-bin colour histogram of every image.

    Args:
        ab: Chroma in ab units; values beyond +-110 fall into no bin. Shape (B, 2, H, W).

    Returns:
        Share of pixels per bin, triangular kernels of half-width 11. Shape (B, 441), sums to one for in-range ab.

    Source: Exemplar attention (Yin et al. 2021), sections 3.3.5 (histogram loss) and 4.3.2 (HIS).
    """
    _check_image(ab, 2, "ab")
    half = HISTOGRAM_GRID // 2
    grid = torch.arange(-half, half + 1, device=ab.device, dtype=ab.dtype) * HISTOGRAM_PITCH
    kernel = (1 - (ab.flatten(2).unsqueeze(2) - grid[:, None]).abs() / HISTOGRAM_PITCH).clamp(min=0)  # (B, 2, 21, HW)
    return (kernel[:, 0] @ kernel[:, 1].transpose(1, 2)).flatten(1) / kernel.shape[-1]


def hard_histogram(ab: Tensor, centres: Tensor) -> Tensor:
    """Share of pixels of every image whose nearest bin is each of `centres` (N, 2). Shape (B, N), sums to one.

    Source: Exemplar attention (Yin et al. 2021), section 3.2.2, the reference histogram R_H.
    """
    index = nearest_bin(ab, centres).flatten(1)
    ones = torch.ones_like(index, dtype=ab.dtype)
    return torch.zeros(len(index), len(centres), dtype=ab.dtype, device=ab.device).scatter_add(1, index, ones) / index.shape[1]


def _distances(ab: Tensor, centres: Tensor) -> Tensor:
    _check_image(ab, 2, "ab")
    centres = centres.to(ab)
    dot = torch.einsum("bchw,nc->bnhw", ab, centres)
    return (ab.square().sum(1, keepdim=True) - 2 * dot + centres.square().sum(1)[:, None, None]).clamp(min=0)


def _normalisation(scale: str) -> Normalisation:
    if scale not in NORMALISATIONS:
        raise ValueError(f"unknown normalisation {scale!r}; choose one of {', '.join(NORMALISATIONS)}")
    return NORMALISATIONS[scale]


def _check_bins(bins: int) -> None:
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}")


def _check_image(x: Tensor, channels: int, name: str) -> None:
    if x.ndim != 4 or x.shape[1] != channels or not x.is_floating_point():
        raise ValueError(f"{name} must be a floating (B, {channels}, H, W), got {x.dtype} {tuple(x.shape)}")

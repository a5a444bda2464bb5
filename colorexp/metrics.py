"""Image-quality measures: pure functions, one value per image; set measures take features.

Pictures are sRGB (B, 3, H, W), either float in 0..1 or uint8; evaluation hands over uint8 (`color.to_8bit`), so that every measure
sees the file a reader would see.
"""

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from colorexp import color

PSNR_CAP = 50.0
FID_MINIMUM = 2048
"""Below as many images as Inception has features the covariance is singular and FID says more about n than about colour."""


def psnr(rgb: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, capped at 50 dB. Shape (B,).

    Source: AdaColViT section 4.1 and iColoriT: per image, mean squared error floored at 1e-5.
    """
    return _decibel((_unit(rgb) - _unit(target)).square().flatten(1).mean(1))


def boundary_psnr(rgb: Tensor, target: Tensor, *, patch: int = 16) -> Tensor:
    """PSNR over the one-pixel lines on both sides of every inner patch border. Shape (B,).

    Raises:
        ValueError: If the picture is no larger than one patch.

    Source: iColoriT, boundary PSNR.
    """
    error = (_unit(rgb) - _unit(target)).square()
    height, width = error.shape[-2:]
    if min(height, width) <= patch:
        raise ValueError(f"no inner border of {patch} pixel patches in {height}x{width}")
    edge = torch.zeros(height, width, dtype=torch.bool, device=error.device)
    for side in (0, 1):
        edge[patch - side : height - side : patch] = True
        edge[:, patch - side : width - side : patch] = True
    return _decibel(error[..., edge].flatten(1).mean(1))


def patch_error_variance(rgb: Tensor, target: Tensor, *, patch: int = 16) -> Tensor:
    """Variance over patches of the patch's root mean squared error on 0..255; what does not fill a patch is left out. Shape (B,).

    Source: iColoriT, patch error variance.
    """
    error = (255 * (_unit(rgb) - _unit(target))).square()
    height, width = (side // patch * patch for side in error.shape[-2:])
    patches = rearrange(error[..., :height, :width], "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)
    return patches.mean(2).sqrt().var(1, unbiased=True)


def ssim(rgb: Tensor, target: Tensor) -> Tensor:
    """Structural similarity as scikit-image computes it (7x7 windows, mean over channels). Shape (B,)."""
    from skimage.metrics import structural_similarity

    pairs = zip(_bytes_hwc(rgb), _bytes_hwc(target), strict=True)
    return torch.tensor([structural_similarity(a, b, channel_axis=2, data_range=255) for a, b in pairs])


def lpips(rgb: Tensor, target: Tensor, network: Callable[[Tensor, Tensor], Tensor], *, signed: bool = True) -> Tensor:
    """Learned perceptual distance. Shape (B,).

    Args:
        rgb: Prediction.
        target: Ground truth.
        network: From `backbones.lpips`.
        signed: Feed -1..1 as the library expects; False feeds 0..1, as iColoriT's evaluation does.

    Source: Zhang et al. 2018; FACTS of iColoriT's script: inputs are not rescaled.
    """
    pair = [_unit(picture) * 2 - 1 if signed else _unit(picture) for picture in (rgb, target)]
    return network(*pair).flatten()


def cf_signed(rgb: Tensor) -> Tensor:
    """Colourfulness M3 of Hasler and Suesstrunk (2003), on 0..255: 15 is slight, 45 average, 82 high. Shape (B,)."""
    red, green, blue = (255 * _unit(rgb)).flatten(2).unbind(1)
    return _colourfulness(red - green, (red + green) / 2 - blue)


def cf_abs(rgb: Tensor) -> Tensor:
    """Colourfulness as CT2 and DDColor compute it: opponent channels enter by their absolute value. Shape (B,)."""
    red, green, blue = (255 * _unit(rgb)).flatten(2).unbind(1)
    return _colourfulness((red - green).abs(), ((red + green) / 2 - blue).abs())


def chroma(ab: Tensor) -> Tensor:
    """Mean chroma (distance from gray) in ab units. Shape (B,)."""
    return _length(ab).flatten(1).mean(1)


def ab_error(ab: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Mean Euclidean distance between chroma (B, 2, H, W), in ab units.

    Args:
        ab: Predicted chroma.
        target: True chroma.
        mask: Pixels that count, True = counts; all of them if None. Shape (B, H, W).

    Returns:
        Shape (B,); NaN where no pixel counts.
    """
    error = _length(ab - target).flatten(1)
    return error.mean(1) if mask is None else (error * mask.flatten(1)).sum(1) / mask.flatten(1).sum(1)


def accuracy(index: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Share of exactly matching colour classes over pixels and both channels.

    Args:
        index: Predicted classes. Shape (B, 2, H, W).
        target: True classes. Shape (B, 2, H, W).
        mask: Pixels that count, True = counts; all of them if None. Shape (B, 1, H, W).

    Returns:
        Shape (B,); NaN where no pixel counts.

    Source: User Guided Image Colorization, Table 1.
    """
    match = (index == target).flatten(1).float()
    if mask is None:
        return match.mean(1)
    counts = mask.expand_as(index).flatten(1).float()
    return (match * counts).sum(1) / counts.sum(1)


def balanced_accuracy(index: Tensor, target: Tensor, *, bins: int) -> Tensor:
    """Accuracy in which every class that occurs in a picture counts alike, however few pixels it has; mean of a and b.

    Args:
        index: Predicted classes. Shape (B, 2, H, W).
        target: True classes. Shape (B, 2, H, W).
        bins: Number of classes K.

    Returns:
        Shape (B,).
    """
    target, match = target.flatten(2), (index == target).flatten(2).float()
    pixels, right = (
        torch.zeros(*target.shape[:2], bins, device=match.device).scatter_add(2, target, values)
        for values in (torch.ones_like(match), match)
    )
    return (right / pixels).nanmean(2).mean(1)  # 0/0 where a class does not occur


def top1(logits: Tensor, index: Tensor) -> Tensor:
    """`accuracy` of the most probable class of `logits` (B, 2, K, H, W), ties counted as right. Shape (B,).

    The largest logit is compared with the true class's, which costs a quarter of finding where it is.
    """
    own = logits.gather(2, index.unsqueeze(2)).squeeze(2)
    return (own >= logits.amax(2)).flatten(1).float().mean(1)


OBJECT_SIZES = {"small": (0.0, 0.015), "medium": (0.015, 0.04), "large": (0.04, 1.0)}
"""Shares of the picture; an object belongs where low <= share < high."""


def accuracy_by_size(index: Tensor, target: Tensor, instance_map: Tensor) -> dict[str, Tensor]:
    """`accuracy` inside objects, averaged over the objects of each size of `OBJECT_SIZES`.

    Args:
        index: Predicted classes. Shape (B, 2, H, W).
        target: True classes. Shape (B, 2, H, W).
        instance_map: 0 = background. Shape (B, H, W), uint8.

    Returns:
        Per size a tensor (B,), NaN where an image has no such object; besides `background`.

    Source: User Guided Image Colorization, section 5.3 (smudging of extremely small objects).
    """
    match = (index == target).float().mean(1).flatten(1)
    labels = instance_map.flatten(1).long()
    pixels = torch.zeros(len(labels), 256, device=match.device).scatter_add(1, labels, torch.ones_like(match))
    per_object = torch.zeros_like(pixels).scatter_add(1, labels, match) / pixels  # NaN where an instance is absent
    share = pixels / labels.shape[1]
    result = {"background": per_object[:, 0]}
    for name, (low, high) in OBJECT_SIZES.items():
        chosen = (pixels > 0) & (share >= low) & (share < high)
        chosen[:, 0] = False
        result[name] = torch.where(chosen, per_object, torch.nan).nanmean(1)
    return result


def his(ab: Tensor, reference_ab: Tensor) -> Tensor:
    """Histogram intersection similarity with the reference, 0..1. Both (B, 2, ...), sizes may differ. Shape (B,).

    Source: Exemplar attention (Yin et al. 2021), section 4.3.2.

    Deviation: the released script compares with the target's own histogram; the text, and we, with the reference's.
    """
    return torch.minimum(color.soft_histogram(ab), color.soft_histogram(reference_ab)).sum(1)


# Set measures, from features


def fid(features: Tensor, target: Tensor) -> float:
    """Frechet distance between two sets of features (N, D) and (M, D); NaN below 2,048 images.

    Source: Heusel et al. 2017, as torch-fidelity computes it.
    """
    from torch_fidelity import metric_fid

    if min(len(features), len(target)) < FID_MINIMUM:
        return float("nan")
    statistics = [metric_fid.fid_features_to_statistics(f.double()) for f in (features, target)]
    return float(metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID])


def kid(features: Tensor, target: Tensor) -> float:
    """Kernel distance between two sets of features (N, D): unbiased for small sets, so it may orders runs where FID may not.

    Source: Binkowski et al. 2018, cubic kernel, 100 subsets of at most 1,000, as torch-fidelity computes it.
    """
    from torch_fidelity import metric_kid

    size = min(1000, len(features), len(target))
    result = metric_kid.kid_features_to_metric(
        features.double(), target.double(), kid_subsets=100, kid_subset_size=size, rng_seed=0, verbose=False
    )
    return float(result[metric_kid.KEY_METRIC_KID_MEAN])


def inception_score(logits: Tensor, *, splits: int = 10) -> float:
    """Exponential of the mean divergence of class predictions (N, classes) from their mean, averaged over splits.

    Source: Salimans et al. 2016, as torch-fidelity computes it.
    """
    from torch_fidelity import metric_isc

    return float(metric_isc.isc_features_to_metric(logits, splits=splits, rng_seed=0)[metric_isc.KEY_METRIC_ISC_MEAN])


def _check_picture(rgb: Tensor) -> None:
    if rgb.ndim != 4 or rgb.shape[1] != 3:
        raise ValueError(f"rgb must be (B, 3, H, W), got {tuple(rgb.shape)}")


def _length(ab: Tensor) -> Tensor:
    return ab.square().sum(1).sqrt()  # ten times faster on the CPU than Tensor.norm over the channels


def _unit(rgb: Tensor) -> Tensor:
    _check_picture(rgb)
    return color.from_8bit(rgb) if rgb.dtype == torch.uint8 else rgb


def _decibel(mse: Tensor) -> Tensor:
    return -10 * mse.clamp(min=10 ** (-PSNR_CAP / 10)).log10()


def _colourfulness(red_green: Tensor, yellow_blue: Tensor) -> Tensor:
    opponents = torch.stack([red_green, yellow_blue])
    spread = opponents.var(2, unbiased=False).sum(0).sqrt()
    return spread + 0.3 * opponents.mean(2).square().sum(0).sqrt()


def _bytes_hwc(rgb: Tensor) -> list[np.ndarray]:
    _check_picture(rgb)
    rgb = rgb if rgb.dtype == torch.uint8 else color.to_8bit(rgb)
    return [picture.permute(1, 2, 0).cpu().numpy() for picture in rgb]

"""Training losses of the four papers: pure functions that return a scalar."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def bin_entropy(logits: Tensor, index: Tensor) -> Tensor:
    """Cross-entropy of every pixel over the colour bins.

    Args:
        logits: Shape (B, 2, K, H, W).
        index: True classes, int64. Shape (B, 2, H, W).

    Returns:
        Nats. Shape (B, 2, H, W).
    """
    # Classes last, which costs nothing where the network runs in channels-last memory; log-softmax and gather are there ten times
    # faster than F.cross_entropy, and deterministic on CUDA.
    log_prob = logits.permute(0, 3, 4, 1, 2).log_softmax(-1)  # (B, H, W, 2, K)
    return -log_prob.gather(-1, index.permute(0, 2, 3, 1).unsqueeze(-1)).squeeze(-1).permute(0, 3, 1, 2)


def weighted_mean(entropy: Tensor, index: Tensor, weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Class-weighted mean over pixels, a plus b: with `bin_entropy` the weighted cross-entropy of the paper.

    Args:
        entropy: From `bin_entropy`. Shape (B, 2, H, W).
        index: True classes, int64. Shape (B, 2, H, W).
        weights: Class weights per channel. Shape (2, K).
        mask: Pixels that count, True = counts; all of them if None. Shape (B, 1, H, W).

    Returns:
        Weighted mean per channel, summed over the two channels; zero where no weight remains.

    Source: User Guided Image Colorization, section 4.3, eq. 2; eq. 3 with the hinted pixels as mask.
    """
    channel = torch.arange(2, device=index.device).view(1, 2, 1, 1)
    weight = weights[channel, index]
    if mask is not None:
        weight = weight * mask
    total = weight.sum((0, 2, 3))
    total = torch.where(total > 0, total, torch.ones_like(total))  # a tiny divisor would have an infinite gradient
    return ((entropy * weight).sum((0, 2, 3)) / total).sum()


def rebalanced_cross_entropy(logits: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over the 313 gamut bins, every position weighted by its true bin.

    Args:
        logits: Shape (B, N, H, W).
        index: True bins, int64. Shape (B, H, W).
        weights: From `color.rebalancing_weights`, mean one under the prior; None leaves positions equal. Shape (N,).

    Returns:
        Sum of weighted entropies over the number of positions (not over the sum of weights).

    Source: DISCO, section 4.4, eq. 4 and 5.

    Deviation: the paper prints no weights; its released code scales the gradient by them, which is this loss's gradient.
    """
    entropy = -logits.log_softmax(1).gather(1, index.unsqueeze(1)).squeeze(1)
    return (entropy if weights is None else entropy * weights[index]).mean()


def huber(ab_n: Tensor, target: Tensor, *, delta: float) -> Tensor:
    """Huber loss scaled by 1/delta, so that its tails have slope one: summed over a and b, mean over pixels.

    Args:
        ab_n: Normalised chroma. Shape (B, 2, H, W).
        target: The same of the ground truth.
        delta: Where the parabola becomes a line.

    Source: AdaColViT, eq. 12 (delta 1); iColoriT's released code uses 0.01 with the 1/delta scale.
    """
    return ab_n.shape[1] * F.huber_loss(ab_n, target, delta=delta) / delta


def target_ratio(decisions: Tensor, target: float) -> Tensor:
    """Squared distance between the share of positive decisions (any shape, 0..1) and the target share.

    Source: AdaColViT, eq. 13.
    """
    return (decisions.mean() - target).square()


def perceptual(features: Sequence[Tensor], target: Sequence[Tensor], weights: Sequence[float], *, power: int) -> Tensor:
    """Weighted distance between feature maps, mean per layer.

    Args:
        features: Feature maps of the prediction, gradient flows into them.
        target: The same of the ground truth; detached here.
        weights: One per layer.
        power: 1 for absolute (DISCO), 2 for squared differences (Yin et al.).

    Source: DISCO, section 4.4; exemplar attention, eq. 8.
    """
    terms = zip(features, target, weights, strict=True)
    return torch.stack([w * (f - t.detach()).abs().pow(power).mean() for f, t, w in terms]).sum()


def lsgan_generator(fake: Tensor) -> Tensor:
    """Least-squares loss that pulls the critic's scores of generated pictures (any shape) to one.

    Source: Exemplar attention (Yin et al. 2021), eq. 9.

    Deviation: eq. 9 prints (D^2 - 1), whose minimum lies at D = 0, the discriminator's own target; LSGAN's (D - 1)^2 is meant.
    """
    return 0.5 * (fake - 1).square().mean()


def lsgan_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Least-squares loss that pulls scores of real pictures to one and of generated ones to zero.

    Source: Exemplar attention (Yin et al. 2021), eq. 10.
    """
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def histogram_distance(histogram: Tensor, reference: Tensor) -> Tensor:
    """Symmetric chi-square distance between histograms (B, N) that sum to one, mean over the batch; 0..4.

    Source: Exemplar attention (Yin et al. 2021), histogram loss.

    Unspecified: the distance; we take the chi-square form of the lineage of its code.
    """
    return 2 * ((histogram - reference).square() / (histogram + reference + 1e-16)).sum(1).mean()


def gate_entropy(alpha: Tensor) -> Tensor:
    """Mean entropy in nats of gates that sum to one over axis 1. Shape (B, sources, H, W) to a scalar.

    Source: Exemplar attention (Yin et al. 2021), eq. 11 (sparse loss).
    """
    log_alpha = alpha.clamp(min=torch.finfo(alpha.dtype).tiny).log()  # a softmax that is sure underflows to zero
    return -(alpha * log_alpha).sum(1).mean()


def superpixel_reconstruction(target: Tensor, reconstruction: Tensor, *, cell: int, position_weight: float) -> Tensor:
    """How well superpixels carry chroma and stay compact: mean Euclidean distances.

    Args:
        target: Normalised ab, then x and y in pixels. Shape (B, 4, H, W).
        reconstruction: The same after pooling into superpixels and diffusing back.
        cell: Superpixel side S in pixels.
        position_weight: alpha, divided by S.

    Source: DISCO, section 4.4, eq. 3 (alpha 3e-4).
    """
    difference = target - reconstruction
    chroma, position = difference[:, :2].norm(dim=1).mean(), difference[:, 2:].norm(dim=1).mean()
    return chroma + position_weight / cell * position

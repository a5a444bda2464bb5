"""K-means of many small point sets at once, each with its own randomness."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


class Clusters(NamedTuple):
    """Which points belong together."""

    labels: Tensor
    """The nearest centre of every point, int64 in [0, k); the first of equally near ones. Shape (B, N)."""
    centres: Tensor
    """float32. Shape (B, k, D)."""


@torch.no_grad()
def kmeans(points: Tensor, k: int, generators: Sequence[Generator], *, iterations: int = 20, tolerance: float = 1e-4) -> Clusters:
    """Cluster the points of every picture by Lloyd's algorithm.

    The pictures of a batch are iterated together without asking the device how far they are: those that have converged stay as
    they are. A picture's result depends on its points and the state of its generator alone.

    Args:
        points: Any units. Shape (B, N, D).
        k: Clusters; at least 1.
        generators: One per picture; each draws the k points to begin with and the points that replace empty clusters.
        iterations: At most so many steps.
        tolerance: A picture has converged when the squared sum of its centres' shifts is below this, in squared units of points.

    Returns:
        Labels and centres. With fewer distinct points than k some clusters stay empty: equal points never part, so that a constant
        picture is one cluster.

    Raises:
        ValueError: If `points` is not a floating (B, N, D) with points in it, or `k` or the number of generators does not fit.

    Source: DISCO, section 4.2; stop, start and what becomes of an empty cluster are its released code's.

    Unspecified: the paper names K-means alone. It starts from distinct random points (each as often as needed if there are fewer
        than k), and the centre of an empty cluster jumps to a random point.
    """
    _check(points, k, generators)
    points = points.float()
    count = points.shape[1]
    first, jumps = _draws(count, k, iterations, generators)
    first, jumps = first.to(points.device), jumps.to(points.device)  # (B, k), (B, iterations, k)
    centres = _at(points, first)
    active = torch.ones(len(points), 1, 1, dtype=torch.bool, device=points.device)
    for step in range(iterations):
        members = F.one_hot(_nearest(points, centres), k).transpose(1, 2).to(points.dtype)  # (B, k, N)
        size = members.sum(-1, keepdim=True)
        # sums of products, not matrix products: their rounding would depend on how many pictures are multiplied at once
        mean = (members[..., None] * points[:, None]).sum(2) / size.clamp(min=1)
        moved = torch.where(size > 0, mean, _at(points, jumps[:, step]))
        shift = (moved - centres).norm(dim=2).sum(1).square()[:, None, None]
        centres = torch.where(active, moved, centres)
        active = active & (shift >= tolerance)
    return Clusters(_nearest(points, centres), centres)


def _check(points: Tensor, k: int, generators: Sequence[Generator]) -> None:
    if points.ndim != 3 or 0 in points.shape or not points.is_floating_point():
        raise ValueError(f"points must be a floating (B, N, D) with points in it, got {points.dtype} {tuple(points.shape)}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if len(generators) != len(points):
        raise ValueError(f"every picture needs its own generator: {len(points)} pictures, got {len(generators)} generators")


def _draws(count: int, k: int, iterations: int, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
    """Everything that chance decides, drawn beforehand. Shapes (B, k) and (B, iterations, k)."""
    cycle = torch.arange(k) % count
    first = [torch.randperm(count, generator=g, device=g.device).cpu()[cycle] for g in generators]
    jumps = [torch.randint(count, (iterations, k), generator=g, device=g.device).cpu() for g in generators]
    return torch.stack(first), torch.stack(jumps)


def _at(points: Tensor, index: Tensor) -> Tensor:
    return points.gather(1, index[..., None].expand(-1, -1, points.shape[-1]))


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    # differences, not |p|^2 - 2pc + |c|^2: equal points must be equally far, whatever the rounding
    return (points[:, :, None] - centres[:, None]).square().sum(-1).argmin(-1)

"""No network at all: hints spread over the picture by distance. The baseline that every interactive model must beat."""

import torch
from torch import Tensor, nn

PIXELS_AT_ONCE = 2**24


class InverseDistance(nn.Module):
    """Every pixel takes the mean of all hinted pixels, weighted by 1 / distance^power.

    Args:
        power: Larger values follow the nearest hint more closely.

    Unspecified: the papers have no such baseline; it shows what hints are worth without looking at the picture (Shepard 1968).
    """

    def __init__(self, *, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, hint_ab: Tensor, hint_mask: Tensor) -> Tensor:
        """Spread hint colours.

        Args:
            hint_ab: Colours where hinted, ab units. Shape (B, 2, H, W).
            hint_mask: True = hinted. Shape (B, 1, H, W).

        Returns:
            Chroma, ab units; gray for a picture without hints, unchanged where hinted. Shape (B, 2, H, W).
        """
        return torch.stack([self._spread(ab, mask[0]) for ab, mask in zip(hint_ab, hint_mask, strict=True)])

    def _spread(self, ab: Tensor, mask: Tensor) -> Tensor:
        if not bool(mask.any()):
            return torch.zeros_like(ab)
        points, colours = mask.nonzero().to(ab.dtype), ab[:, mask]  # (N, 2), (2, N)
        height, width = mask.shape
        rows, cols = torch.arange(height, device=ab.device), torch.arange(width, device=ab.device)
        spread = []
        for some in rows.split(max(1, PIXELS_AT_ONCE // (width * len(points)))):  # bounds the memory
            pixels = torch.cartesian_prod(some, cols).to(ab.dtype)
            squared = (pixels[:, None] - points).square().sum(2).clamp(min=1e-6)
            weight = squared ** (-self.power / 2)
            spread.append((colours @ (weight / weight.sum(1, keepdim=True)).T).view(2, len(some), width))
        return torch.where(mask, ab, torch.cat(spread, 1))

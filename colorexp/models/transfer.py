"""No network at all: a reference's colours laid over a gray picture by lightness. What exemplar colorization must beat."""

import torch
from torch import Tensor, nn

FLAT = 1e-4
"""Spread of L, in its own units, below which a picture has one lightness."""


class MeanStdTransfer(nn.Module):
    """Chroma rises or falls with lightness as it does in the reference, with the reference's mean and spread.

    Source: Color Transfer between Images (Reinhard et al. 2001), which moves the mean and the spread of every channel.

    Unspecified: a gray picture has no chroma whose mean and spread could be moved, so its lightness takes that place: L,
        standardised, with the sign of the correlation of L and the channel in the reference.
    """

    def forward(self, L: Tensor, reference_L: Tensor, reference_ab: Tensor) -> Tensor:
        """Transfer.

        Args:
            L: Of the gray picture, 0..100. Shape (B, 1, H, W).
            reference_L: Shape (B, 1, h, w).
            reference_ab: ab units. Shape (B, 2, h, w).

        Returns:
            Chroma in ab units, whose mean and standard deviation per channel are the reference's; a picture of one lightness takes
            the mean alone. Shape (B, 2, H, W).
        """
        mean, std = _moments(reference_ab)
        rising = (_standardised(reference_L) * (reference_ab - mean)).mean((2, 3), keepdim=True) >= 0
        return mean + torch.where(rising, std, -std) * _standardised(L)


class HistogramMatching(nn.Module):
    """Every pixel takes the chroma of the reference's pixel of the same rank in lightness.

    The histogram of the result is the reference's, whatever the pictures show: the example of colours that are transferred too
    faithfully.

    Unspecified: the paper shows such results of other methods (Figure 5); this is the plainest way to them. Pixels of one lightness
        are ranked in reading order.
    """

    def forward(self, L: Tensor, reference_L: Tensor, reference_ab: Tensor) -> Tensor:
        """Match.

        Args:
            L: Of the gray picture. Shape (B, 1, H, W).
            reference_L: Shape (B, 1, h, w).
            reference_ab: ab units. Shape (B, 2, h, w).

        Returns:
            Chroma in ab units. Shape (B, 2, H, W).
        """
        rank = L.flatten(2).argsort(stable=True, dim=2).argsort(stable=True, dim=2)  # (B, 1, HW)
        order = reference_L.flatten(2).argsort(stable=True, dim=2)  # (B, 1, hw)
        same = (2 * rank + 1) * order.shape[2] // (2 * rank.shape[2])
        pixel = order.gather(2, same).expand(-1, 2, -1)
        return reference_ab.flatten(2).gather(2, pixel).view(-1, 2, *L.shape[2:])


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True, correction=0)


def _standardised(L: Tensor) -> Tensor:
    mean, std = _moments(L)
    return (L - mean) / std.clamp(min=FLAT) * (std >= FLAT)

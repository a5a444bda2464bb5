"""The database colour module: every position of the target is classified into one of a fixed set of colours.

Source: Yes, Attention Is All You Need, for Exemplar based Colorization, sections 3.1 and 3.2.2.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorexp import color
from colorexp.models.exemplar.blocks import block, conv, relu, up

SCALE = "disco"
"""Of normalised lightness and chroma, see `color.NORMALISATIONS`."""
TEMPERATURE = 0.01
FLOOR = 1e-4
"""Share of the uniform distribution in the prior: colours that the reference lacks keep a gradient."""

Bins = Literal[198, 313]


class Assigned(NamedTuple):
    """Colours from the database."""

    ab_n: Tensor
    """c^d. Shape (B, 2, h, w), twice the size of the distributions."""
    likelihood: Tensor
    """Given the target alone. Shape (B, bins, h / 2, w / 2)."""
    posterior: Tensor
    """Given the reference's histogram too. Shape (B, bins, h / 2, w / 2)."""


class Database(nn.Module):
    """Queries of the target's deepest features, identity keys, colours as values and the reference's histogram as prior.

    With identity keys the similarity of a query and the key of a colour is one channel of the query: a classifier's logit.

    Args:
        width: Channels of the network at full resolution.
        bins: Colours of the database, `color.ab_database` or `color.ab_gamut`.
        prior: `multiply` makes a posterior of the likelihood (eq. 4), `gate` lets the histogram gate the features' channels, None
            leaves the reference out.

    Raises:
        ValueError: If there is no set of `bins` colours.

    Source: section 3.2.2, eq. 2 to 4.

    Deviation: `gate` is the released code's, where eq. 4 multiplies attention by the histogram. `multiply` mixes 1e-4 of the
        uniform distribution into the histogram, without which an absent colour could never be learned.
    """

    centres_n: Tensor
    cells: Tensor

    def __init__(self, *, width: int, bins: Bins, prior: Literal["multiply", "gate"] | None) -> None:
        super().__init__()
        sets = {198: (color.ab_database, color.HISTOGRAM_PITCH), 313: (color.ab_gamut, color.GAMUT_PITCH)}
        if bins not in sets:
            raise ValueError(f"bins must be 198 or 313, got {bins}")
        self.bins, self.prior = bins, prior
        deep = 16 * width
        self.gate = _gate(bins, deep) if prior == "gate" else None
        self.query = nn.Sequential(
            block(deep, deep, convs=3),
            up(deep, 8 * width),
            relu(),
            conv(8 * width, 8 * width),
            relu(),
            conv(8 * width, 8 * width),
            relu(),
            nn.Conv2d(8 * width, bins, 1),
        )
        make, self.pitch = sets[bins]
        with torch.device("cpu"):  # computed, also where the network is built without memory
            centres = make()
            centres_n, cells = color.normalise(torch.zeros(()), centres, SCALE)[1], _cells(centres, self.pitch)
        self.register_buffer("centres_n", centres_n, persistent=False)
        self.register_buffer("cells", cells, persistent=False)

    def extra_repr(self) -> str:
        return f"prior={self.prior}"

    @torch.no_grad()
    def histogram(self, ab_n: Tensor, gray: Tensor) -> Tensor:
        """R_H, the share of a reference's pixels in every colour of the database.

        Colours whose cell is not in the database count nowhere; a gray reference, or one of such colours alone, says nothing and
        gets the uniform distribution.

        Args:
            ab_n: Chroma of the reference. Shape (B, 2, h, w).
            gray: Bool, which references have no colour. Shape (B,).

        Returns:
            Sums to one over the colours. Shape (B, bins).

        Source: section 3.2.2.

        Unspecified: the histogram of a reference without colour.
        """
        reach = len(self.cells) // 2
        row, col = (physical(ab_n) / self.pitch).round().long().clamp(-reach, reach).add(reach).flatten(2).unbind(1)
        index = self.cells[row, col]  # (B, h w)
        counts = torch.zeros(len(index), self.bins + 1, device=ab_n.device).scatter_add_(1, index, torch.ones_like(index).float())
        counts = counts[:, : self.bins]
        counts[gray | (counts.sum(1) == 0)] = 1
        return counts / counts.sum(1, keepdim=True)

    def forward(self, features: Tensor, histogram: Tensor) -> Assigned:
        """Choose colours.

        Args:
            features: The target's deepest map. Shape (B, 16W, h, w).
            histogram: Of the reference. Shape (B, bins).

        Returns:
            Colours at four times the features' size, and their distributions at twice that size.
        """
        if self.gate is not None:
            features = features * self.gate(histogram[:, :, None, None])
        logits = self.query(features) / TEMPERATURE
        likelihood = posterior = logits.softmax(1)
        if self.prior == "multiply":
            prior = (1 - FLOOR) * histogram + FLOOR / self.bins
            posterior = (logits + prior.log()[:, :, None, None]).softmax(1)  # prior x likelihood, renormalised
        ab_n = torch.einsum("bkhw,kc->bchw", posterior, self.centres_n.to(posterior.dtype))
        return Assigned(F.interpolate(ab_n, scale_factor=2.0, mode="bilinear"), likelihood, posterior)


def _gate(bins: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(bins, channels, 1), relu()]
    for last in (relu(), relu(), nn.Sigmoid()):
        layers += [nn.Conv2d(channels, channels, 1), last]
    return nn.Sequential(*layers)


def _cells(centres: Tensor, pitch: float) -> Tensor:
    """Which colour stands in which cell of a grid around gray; the number of colours where none does, as on all borders."""
    steps = (centres / pitch).round().long()
    reach = int(steps.abs().max()) + 1
    cells = torch.full((2 * reach + 1, 2 * reach + 1), len(centres))
    cells[steps[:, 0] + reach, steps[:, 1] + reach] = torch.arange(len(centres))
    return cells


def physical(ab_n: Tensor) -> Tensor:
    """ab of normalised ab, in float32."""
    return color.denormalise(torch.zeros((), device=ab_n.device), ab_n.float(), SCALE)[1]

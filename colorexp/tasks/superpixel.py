"""Superpixels as a colorization whose colours are given: how much chroma survives one value per superpixel.

Source: DISCO, sections 4.1 and 4.4.
"""

import torch
from torch import Tensor, nn

from colorexp import color, losses, metrics
from colorexp.nn import superpixels
from colorexp.tasks.base import Colorizer, Setting
from colorexp.types import Batch, Prediction

EDGE = 255


class SuperpixelReconstructor(Colorizer):
    """Pools the true chroma into superpixels, diffuses it back, and pulls the result to the truth.

    With SPixNet this is its training; with mini-patches, which have nothing to train, the same measurement of the baseline. What is
    evaluated is the reconstruction: no colour is guessed.

    Args:
        model: Predicts an affinity (B, 9, H, W) from lightness; its `cell` is the side of a cell in pixels.
        setting: What the run prescribes.
        position_weight: alpha, by which position counts beside chroma; larger values keep superpixels compact.

    Raises:
        ValueError: If `position_weight` is negative.

    Source: section 4.4, eq. 3 (alpha 3e-4).

    Deviation: the released code multiplies the loss by ten, which Adam does not notice.
    """

    logged = ("loss", "chroma", "position")
    takes_hints = False

    def __init__(self, model: nn.Module, setting: Setting, *, position_weight: float = 3e-4) -> None:
        super().__init__(model, setting)
        if position_weight < 0:
            raise ValueError(f"position_weight must not be negative, got {position_weight}")
        self.cell, self.position_weight = int(model.cell), position_weight  # type: ignore[arg-type]  # a number, no submodule

    def inputs(self, batch: Batch) -> Tensor:
        """Lightness alone, (L - 50) / 50."""
        return color.normalise(batch["L"], batch["ab"], "disco")[0]

    def loss(self, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        """Eq. 3, and its two distances: of chroma as ab / 110, of position in pixels."""
        _, ab_n = color.normalise(batch["L"], batch["ab"], "disco")
        target = torch.cat([ab_n, _positions(ab_n)], 1)
        back = self.reconstruct(target, output)
        loss = losses.superpixel_reconstruction(target, back, cell=self.cell, position_weight=self.position_weight)
        chroma, position = (metrics.ab_error(back[:, part], target[:, part]).mean() for part in (slice(2), slice(2, 4)))
        return {"loss": loss, "chroma": chroma, "position": position}

    def predict(self, batch: Batch) -> Prediction:
        """The reconstructed chroma; the borders of superpixels are shown as a plane, 255 where two meet."""
        affinity = self(batch)
        edges = _edges(superpixels.labels(affinity, cell=self.cell))
        return Prediction(self.reconstruct(batch["ab"], affinity), {"shown_superpixels": edges})

    def reconstruct(self, x: Tensor, affinity: Tensor) -> Tensor:
        """A pixel map (B, C, H, W) after pooling into superpixels and diffusing back."""
        tokens = superpixels.pool(x, affinity, cell=self.cell).values
        return superpixels.diffuse(tokens, affinity, cell=self.cell)


def _positions(like: Tensor) -> Tensor:
    """x, then y of every pixel. Shape (B, 2, H, W)."""
    height, width = like.shape[-2:]
    y, x = (torch.arange(n, device=like.device, dtype=like.dtype) for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).expand(len(like), -1, -1, -1)


def _edges(labels: Tensor) -> Tensor:
    """Pixels whose right or lower neighbour has another label. Shape (B, H, W) uint8."""
    right, below = labels.diff(dim=2, append=labels[:, :, -1:]), labels.diff(dim=1, append=labels[:, -1:])
    return ((right != 0) | (below != 0)).to(torch.uint8) * EDGE

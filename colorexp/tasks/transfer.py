"""Transfer without learning as a task, so that it is evaluated like everybody else."""

from torch import Tensor

from colorexp.tasks.automatic import object_spread
from colorexp.tasks.base import Colorizer
from colorexp.types import Batch, Prediction


class ReferenceTransfer(Colorizer):
    """Applies a model without parameters to a picture and its reference; there is nothing to train."""

    takes_hints = False
    takes_reference = True

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Lightness of the picture; lightness and chroma of its reference."""
        return batch["L"], batch["reference_L"], batch["reference_ab"]

    def loss(self, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        """Raises: there is nothing to train."""
        raise ValueError("a transfer without parameters cannot be trained")

    def predict(self, batch: Batch) -> Prediction:
        """The reference's colours."""
        return Prediction(self(batch))

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """On scenes the spread of chroma inside objects."""
        return object_spread(batch, prediction.ab)

"""The no-network baseline as a task, so that it is evaluated like everybody else."""

from torch import Tensor

from colorexp.tasks.base import Colorizer
from colorexp.tasks.classify import colour_scores
from colorexp.types import Batch, Prediction


class HintSpreader(Colorizer):
    """Applies a model without parameters to the hints; there is nothing to train."""

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hint colours and their mask."""
        return batch["hint_ab"], batch["hint_mask"]

    def loss(self, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        """Raises: there is nothing to train."""
        raise ValueError("a baseline without parameters cannot be trained")

    def predict(self, batch: Batch) -> Prediction:
        """The spread hints."""
        return Prediction(self(batch))

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """Accuracies, as of the classifiers."""
        return colour_scores(batch, prediction.ab)

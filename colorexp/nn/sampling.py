"""Draws from predicted distributions as functions of uniform numbers, so that whoever makes the numbers owns the randomness."""

from torch import Tensor


def pick(logits: Tensor, uniform: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Draw an index from every distribution by inverting its cumulative sum.

    Args:
        logits: Distributions along axis 1. Shape (B, N, ...).
        uniform: One number in [0, 1) per distribution. Shape (B, ...).
        temperature: Divides the logits; below 1 the probable become more so.

    Returns:
        Index in [0, N), int64. Shape (B, ...).

    Raises:
        ValueError: If `temperature` is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    total = ((logits - logits.amax(1, keepdim=True)) / temperature).softmax(1).cumsum(1)  # the largest stays 0, however cold
    passed = total <= (uniform * total[:, -1]).unsqueeze(1)  # the sum may round to a little less than one
    return passed.sum(1).clamp(max=logits.shape[1] - 1)

"""Hard yes-or-no decisions that a network can learn."""

from torch import Tensor


def probability(logits: Tensor, uniform: Tensor | None = None, *, temperature: float) -> Tensor:
    """How likely a yes is, or with noise how far a draw leans to it.

    The difference of two Gumbel draws is logistic, so one uniform number per decision is enough noise.

    Args:
        logits: Any shape.
        uniform: Numbers in [0, 1) that the noise is made of, of the same shape; None is without noise.
        temperature: Above 0; divides noisy logits. Large ones flatten the gradient.

    Returns:
        In [0, 1], of the shape of `logits`.

    Source: Real-Time User-guided Adaptive Colorization with Vision Transformer, section 3.2 (the Gumbel-softmax trick).
    """
    if uniform is None:
        return logits.sigmoid()
    inside = uniform.clamp(1e-7, 1 - 1e-7)  # a draw of exactly 0 would be endless noise
    return ((logits + (inside / (1 - inside)).log()) / temperature).sigmoid()


def straight_through(soft: Tensor, threshold: float) -> Tensor:
    """Exactly 1 above the threshold and 0 elsewhere, with the gradient of `soft`. Any shape."""
    return (soft > threshold).to(soft.dtype) + (soft - soft.detach())

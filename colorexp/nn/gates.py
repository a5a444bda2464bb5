"""Hard yes-or-no decisions that a network can learn."""

from torch import Tensor


def gate(logits: Tensor, uniform: Tensor | None = None, *, temperature: float, threshold: float) -> Tensor:
    """Decide yes or no, with the gradient of the probability (straight-through).

    The difference of two Gumbel draws is logistic, so one uniform number per decision is enough noise.

    Args:
        logits: Any shape.
        uniform: Numbers in [0, 1) that the noise is made of, of the same shape; None decides without noise, from the logit alone.
        temperature: Above 0; divides noisy logits. Large ones flatten the gradient.
        threshold: Probability above which the answer is yes, in (0, 1).

    Returns:
        Exactly 0 or 1, of the shape and type of `logits`.

    Source: Real-Time User-guided Adaptive Colorization with Vision Transformer, section 3.2 (the Gumbel-softmax trick).
    """
    if uniform is None:
        probability = logits.sigmoid()
    else:
        inside = uniform.clamp(1e-7, 1 - 1e-7)  # a draw of exactly 0 would be endless noise
        probability = ((logits + (inside / (1 - inside)).log()) / temperature).sigmoid()
    hard = (probability > threshold).to(logits.dtype)
    if not probability.requires_grad:
        return hard
    return hard + (probability - probability.detach())

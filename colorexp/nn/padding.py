"""Any image size for networks that need multiples."""

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Extend a picture to the right and below by repeating its border, so that both sides divide.

    Args:
        x: Shape (B, C, H, W).
        multiple: What H and W should be multiples of.

    Returns:
        `x` itself where nothing is missing, else a larger copy; `[..., :H, :W]` undoes it. Shape (B, C, H', W').
    """
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x

"""A linear layer that trains faster on processors."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def onednn_at_hand() -> bool:
    """Whether torch can be asked for oneDNN's linear layer by name."""
    names = ("_linear_pointwise", "_reorder_linear_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, training: bool) -> Tensor:
    """`F.linear`, which while training in float32 on a processor asks oneDNN itself for the products.

    `F.linear` asks MKL there, which on an AMD processor took twice as long for the same sums; they differ by rounding alone.
    Operation counters do not see oneDNN's calls, so what is not training goes the usual way.

    Args:
        x: Shape (..., in).
        weight: Shape (out, in).
        bias: Shape (out,).
        training: Whether gradients are wanted.

    Returns:
        Shape (..., out).
    """
    usual = x.device.type != "cpu" or {x.dtype, weight.dtype} != {torch.float32} or torch.is_autocast_enabled("cpu")
    if usual or not training or not torch.is_grad_enabled() or not onednn_at_hand():
        return F.linear(x, weight, bias)
    y: Tensor = _DirectLinear.apply(x.flatten(0, -2), weight, bias)
    return y.unflatten(0, x.shape[:-1])


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a @ b.T + bias of matrices."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(a.contiguous(), b.contiguous(), bias, "none", [], "none")
    return product


class _DirectLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401  autograd's context
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  autograd's context
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        for_x = _product(gradient, weight.t()) if of_x else None
        for_weight = for_bias = None
        if of_weight or of_bias:  # this takes half as long as `_product`, whose transposed operands would be copied
            parts = torch.ops.aten.mkldnn_linear_backward_weights(gradient.to_mkldnn(), x.to_mkldnn(), weight, of_bias)
            for_weight, for_bias = parts[0].to_dense(), parts[1].to_dense() if of_bias else None
        return for_x, for_weight, for_bias


class Linear(nn.Linear):
    """`nn.Linear`, see `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., in) to (..., out)."""
        return linear(x, self.weight, self.bias, training=self.training)

"""The layer that trains faster must be the layer that everybody knows."""

import pytest
import torch
from torch import Tensor
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from colorexp.nn.linear import Linear, onednn_at_hand

ONEDNN = "mkldnn::_linear_pointwise"


def _layer(*, bias: bool = True, device: str = "cpu") -> Linear:
    torch.manual_seed(0)
    return Linear(24, 40, bias=bias, device=device)


def _operations(layer: Linear, x: Tensor) -> set[str]:
    with profile() as seen:
        layer(x)
    return {event.key for event in seen.key_averages()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (2, 3, 5, 24)])
def test_results_and_gradients_are_those_of_torch(bias: bool, shape: tuple[int, ...]) -> None:
    results = []
    for training in (True, False):  # outside training the layer is torch's own
        layer = _layer(bias=bias).train(training)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).transpose(0, -2).requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        results.append([y, x.grad, *(parameter.grad for parameter in layer.parameters())])
    for ours, theirs in zip(*results, strict=True):
        assert ours is not None and theirs is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_training_asks_onednn_where_torch_has_it_and_the_rest_what_counters_see() -> None:
    x = torch.randn(7, 24)
    assert (ONEDNN in _operations(_layer(), x)) == onednn_at_hand()
    assert ONEDNN not in _operations(_layer().eval(), x)
    with torch.no_grad():
        assert ONEDNN not in _operations(_layer(), x)
    with FlopCounterMode(display=False) as counter:
        _layer().eval()(x)
    assert counter.get_total_flops() == 2 * 7 * 24 * 40


def test_other_numbers_and_devices_go_the_usual_way() -> None:
    assert _layer().double()(torch.randn(7, 24, dtype=torch.float64)).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert _layer()(torch.randn(7, 24)).dtype == torch.bfloat16
    assert _layer(device="meta")(torch.empty(7, 24, device="meta")).shape == (7, 40)


def test_frozen_weights_get_no_gradient() -> None:
    layer = _layer().requires_grad_(False)
    x = torch.randn(7, 24, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None and all(parameter.grad is None for parameter in layer.parameters())


def test_a_bias_trains_without_its_weights() -> None:
    layer = _layer()
    layer.weight.requires_grad_(False)
    layer(torch.randn(7, 24)).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is not None
    torch.testing.assert_close(layer.bias.grad, torch.full((40,), 7.0))

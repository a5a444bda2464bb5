"""Released checkpoints load whole and give the released numbers."""

import pytest
import torch
from golden_rule import filled_state, golden, golden_input

from colorexp import interop
from colorexp.models.unet import ResUNet, SimpleUNet, TransUNet

SMALL = {"simple_unet": SimpleUNet, "res_unet": ResUNet}


@pytest.mark.parametrize("family", [*SMALL, "trans_unet"])
def test_released_weights_give_the_released_logits(family: str) -> None:
    module, g = interop.from_released(family, filled_state(family)), golden(family)
    assert isinstance(module, {**SMALL, "trans_unet": TransUNet}[family])
    assert not any(part.training for part in module.modules())
    assert torch.equal(golden_input(f"ug:{family}", (1, 3, 64, 64), low=-1, high=1), g["x"])
    with torch.no_grad():
        logits = module(g["x"])[..., ::2, ::2]  # every second pixel is stored
    assert logits.shape == g["logits"].shape
    assert (logits - g["logits"]).abs().max() <= 1e-4 * g["logits"].abs().max()


@pytest.mark.parametrize("family", SMALL)
def test_every_released_tensor_matters(family: str) -> None:
    """A name mapped to the wrong place would load, and change nothing or the wrong thing."""
    released = filled_state(family)
    ours = interop.from_released(family, released).state_dict()
    assert len(ours) == len(released)
    assert sorted(t.double().sum().item() for t in ours.values()) == sorted(t.double().sum().item() for t in released.values())


@pytest.mark.parametrize(
    ("family", "name", "shape", "message"),
    [
        ("simple_unet", "encoder.1.0.weight", None, r"missing encoder\.1\.conv\.weight"),
        ("simple_unet", "encoder.9.0.weight", (1,), r"unexpected encoder\.9\.conv\.weight"),
        ("simple_unet", "encoder.0.0.bias", (9,), r"encoder\.0\.conv\.bias is \(9,\), not \(8,\)"),
        ("res_unet", "out.conv2.bias", None, r"missing head_b\.bias"),
        ("res_unet", "surprise", (1,), r"unexpected surprise"),
        ("res_unet", "out.conv1.weight", None, r"no res_unet checkpoint: it lacks 'out\.conv1\.weight'"),
    ],
)
def test_what_does_not_fit_is_named(family: str, name: str, shape: tuple[int] | None, message: str) -> None:
    state = filled_state(family)
    state.pop(name, None)
    if shape:
        state[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message) as raised:
        interop.from_released(family, state)
    assert family in str(raised.value)


def test_every_misfit_is_listed() -> None:
    state = filled_state("simple_unet")
    for name in ("encoder.1.0.weight", "decoder.3.2.running_mean", "botNeck.4.bias"):
        state.pop(name)
    with pytest.raises(ValueError, match="checkpoint does not fit SimpleUNet") as raised:
        interop.from_released("simple_unet", state)
    assert str(raised.value).count("missing") == 3


def test_a_checkpoint_of_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="the simple_unet checkpoint does not fit"):
        interop.from_released("simple_unet", filled_state("res_unet"))
    with pytest.raises(ValueError, match="no trans_unet checkpoint: it lacks"):
        interop.from_released("trans_unet", filled_state("res_unet"))


def test_another_number_of_bins_is_read_from_the_checkpoint() -> None:
    state = filled_state("simple_unet")
    for head in ("conv1", "conv2"):
        state[f"out.{head}.weight"], state[f"out.{head}.bias"] = torch.zeros(7, 3, 1, 1), torch.zeros(7)
    module = interop.from_released("simple_unet", state)
    assert module(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 7, 16, 16)


def test_an_unknown_family_is_named_beside_the_known() -> None:
    with pytest.raises(ValueError, match=r"'disco'; choose one of simple_unet, res_unet, trans_unet"):
        interop.from_released("disco", {})

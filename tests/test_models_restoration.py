"""SwinIR and Uformer: the sizes of the published comparison, any picture, and where the two differ from a plain stack of layers."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from colorexp.models.restoration import SwinIR, Uformer
from colorexp.nn.padding import pad_to_multiple

TINY = {
    SwinIR: {"width": 12, "depths": (2, 2), "heads": 2, "window": 4, "patch": 4},
    Uformer: {"width": 4, "depths": (2, 1, 2, 1, 2), "heads": (1, 2, 4, 4, 2), "window": 4, "shift": True},
}
FAMILIES = pytest.mark.parametrize("family", TINY)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(family: type[nn.Module], **options) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return family(**{**TINY[family], **options}).eval()


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape[0], 4, *shape[1:], generator=rng(seed)) * 2 - 1


@pytest.mark.parametrize(
    ("build", "giga", "millions"),
    [
        (lambda: SwinIR(width=180), 1.953, 9.60),
        (lambda: SwinIR(width=108), 0.812, 3.93),
        (lambda: Uformer(width=8), 2.41, 1.37),
        (lambda: Uformer(width=4), 0.76, 0.38),
    ],
    ids=["SwinIR-S", "SwinIR-T", "Uformer-S", "Uformer-T"],
)
def test_published_sizes_have_their_multiply_adds_and_parameters(build, giga: float, millions: float) -> None:
    with torch.device("meta"):
        network = build().eval()
        # the counter does not know the fused attention of CPUs and would leave it out
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 4, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga, rel=0.01)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@FAMILIES
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 40), (7, 5), (1, 1)])
@torch.no_grad()
def test_any_size_gets_bounded_colours(family: type[nn.Module], size: tuple[int, int]) -> None:
    x = picture(2, *size)
    before = x.clone()
    ab_n = tiny(family)(x)
    assert ab_n.shape == (2, 2, *size)
    assert ab_n.abs().max() <= 1
    assert torch.equal(x, before)


@FAMILIES
@torch.no_grad()
def test_colours_stay_bounded_however_loud_the_network(family: type[nn.Module]) -> None:
    network = tiny(family)
    for parameter in network.parameters():
        parameter.mul_(20)
    assert network(picture(1, 32, 32)).abs().max() == 1


@FAMILIES
@torch.no_grad()
def test_a_ragged_picture_is_the_crop_of_its_extension(family: type[nn.Module]) -> None:
    network, x = tiny(family), picture(1, 21, 35)
    whole = network(pad_to_multiple(x, 16))
    assert torch.equal(network(x), whole[..., :21, :35])


@FAMILIES
@torch.no_grad()
def test_a_picture_is_coloured_alike_alone_and_in_a_batch(family: type[nn.Module]) -> None:
    network, x = tiny(family), picture(3, 32, 48)
    together = network(x)
    for i in range(3):
        assert torch.allclose(network(x[i : i + 1])[0], together[i], atol=1e-5)


@FAMILIES
def test_training_and_evaluation_agree(family: type[nn.Module]) -> None:
    """Attention takes another path where its bias is trained."""
    network, x = tiny(family), picture(2, 32, 48)
    trained = network.train()(x)
    with torch.no_grad():
        assert torch.allclose(network.eval()(x), trained, atol=1e-5)


@FAMILIES
@pytest.mark.parametrize("size", [(32, 32), (16, 16)])
def test_training_reaches_every_parameter(family: type[nn.Module], size: tuple[int, int]) -> None:
    network = tiny(family).train()
    network(picture(2, *size)).square().mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any() or not p.grad.isfinite().all()]
    assert dead == []


@pytest.mark.parametrize(
    "network",
    [
        lambda: SwinIR(width=8, depths=(1,), heads=2, window=4, patch=2),
        lambda: Uformer(width=4, depths=(1, 1, 1), heads=(1, 2, 2), window=4),
    ],
    ids=["SwinIR", "Uformer"],
)
@torch.no_grad()
def test_colours_move_with_the_picture_by_whole_windows(network) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = network().eval()
    x = picture(1, 16, 96)
    inner = slice(32, 64)  # out of reach of the borders, which stay where they are
    still = network(x)[..., inner]
    assert torch.allclose(network(x.roll(8, 3)).roll(-8, 3)[..., inner], still, atol=1e-6)
    assert not torch.allclose(network(x.roll(1, 3)).roll(-1, 3)[..., inner], still, atol=1e-4)


@FAMILIES
@pytest.mark.parametrize("channel", range(4))
@torch.no_grad()
def test_every_input_channel_is_read(family: type[nn.Module], channel: int) -> None:
    network, x = tiny(family), picture(1, 32, 32)
    other = x.clone()
    other[:, channel] *= -1
    assert not torch.allclose(network(other), network(x), atol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: SwinIR(width=60, depths=(2, 2), patch=8, window=4),
        lambda: Uformer(width=8, depths=(1,) * 7, heads=(1, 2, 4, 8, 8, 4, 2), window=4),
        lambda: Uformer(width=8, depths=(2,) * 5, heads=(1, 2, 4, 4, 2), window=8),
    ],
    ids=["SwinIR", "Uformer-window-4", "Uformer-window-8"],
)
def test_reduced_networks_learn_to_spread_hints(build) -> None:
    """Two pictures of one colour each, shown at one pixel in twenty."""
    ab_n = torch.tensor([[0.4, -0.2], [-0.3, 0.3]])[:, :, None, None].expand(2, 2, 32, 32)
    mask = (torch.rand(2, 1, 32, 32, generator=rng()) < 0.05).float()
    x = torch.cat([torch.rand(2, 1, 32, 32, generator=rng(1)) - 0.5, ab_n * mask, mask], 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        loss = (network(x) - ab_n).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gray = ab_n.square().mean()
    assert loss < gray / 5


class TestSwinIR:
    @torch.no_grad()
    def test_patches_go_around_the_layers_too(self) -> None:
        network, x = tiny(SwinIR), picture(1, 32, 32)
        nn.init.zeros_(network.after.weight)
        first = network(x)
        for parameter in network.groups.parameters():
            parameter.zero_()
        assert torch.equal(network(x), first)
        assert not torch.allclose(network(-x), first, atol=1e-4)

    @torch.no_grad()
    def test_a_group_adds_to_what_it_is_given(self) -> None:
        network, tokens = tiny(SwinIR), torch.rand(1, 8, 8, 12, generator=rng())
        for group in network.groups:
            nn.init.zeros_(group.conv.weight)
            nn.init.zeros_(group.conv.bias)
            assert torch.equal(group(tokens), tokens)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"width": 13}, "multiple of heads, got width 13 with heads 2"),
            ({"depths": ()}, r"positive numbers of layers, got \(\)"),
            ({"depths": (2, 0)}, r"positive numbers of layers, got \(2, 0\)"),
            ({"patch": 0}, "patch must be at least 1, got 0"),
            ({"window": 0}, "window must be at least 1, got 0"),
            ({"mlp_ratio": 0.01}, "at least one hidden channel, got 0.01 at width 12"),
        ],
    )
    def test_sizes_that_do_not_fit_are_named(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            tiny(SwinIR, **options)


class TestUformer:
    @pytest.mark.parametrize(("stages", "sides"), [(3, [32, 16, 32]), (5, [32, 16, 8, 16, 32]), (7, [32, 16, 8, 4, 8, 16, 32])])
    @torch.no_grad()
    def test_there_are_as_many_levels_as_stages_ask_for(self, stages: int, sides: list[int]) -> None:
        network, seen = Uformer(width=4, depths=(1,) * stages, heads=(2,) * stages, window=4), []
        for stage in (*network.encoder, network.bottleneck, *network.decoder):
            stage.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0].shape[1:]))
        network(picture(1, 32, 32))
        assert [tuple(shape[:2]) for shape in seen] == [(side, side) for side in sides]
        middle = stages // 2
        assert [shape[2] for shape in seen[: middle + 1]] == [4 * 2**level for level in range(middle + 1)]
        assert [shape[2] for shape in seen[middle + 1 :]] == [8 * 2**level for level in reversed(range(middle))]

    @torch.no_grad()
    def test_every_level_hands_its_own_map_to_its_mirror(self) -> None:
        network, made, read = tiny(Uformer), [], []
        for stage in network.encoder:
            stage.register_forward_hook(lambda _module, _inputs, out: made.append(out))
        for stage in network.decoder:
            stage.register_forward_hook(lambda _module, inputs, _out: read.append(inputs[0].chunk(2, dim=-1)[1]))
        network(picture(1, 32, 32))
        assert len(made) == 2
        assert all(torch.equal(given, taken) for given, taken in zip(reversed(made), read, strict=True))

    @torch.no_grad()
    def test_the_first_convolution_is_followed_by_a_leaky_relu(self) -> None:
        network, x = tiny(Uformer), picture(1, 16, 16)
        nn.init.zeros_(network.embed[0].bias)
        up, down = network.embed(x), network.embed(-x)
        assert torch.allclose(torch.maximum(up, down) * -0.01, torch.minimum(up, down), atol=1e-7)

    def test_modulators_are_the_decoders(self) -> None:
        with torch.device("meta"):
            counts = [sum(p.numel() for p in Uformer(modulator=on).parameters()) for on in (True, False)]
        assert counts[0] - counts[1] == 2 * 49 * (128 + 64 + 32 + 16)

    @torch.no_grad()
    def test_shifting_counts_where_there_are_several_windows(self) -> None:
        shifted, straight = tiny(Uformer, shift=True), tiny(Uformer, shift=False)
        straight.load_state_dict(shifted.state_dict())
        assert not torch.allclose(shifted(picture(1, 32, 32)), straight(picture(1, 32, 32)), atol=1e-5)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"heads": (1, 3, 4, 4, 2)}, "multiple of heads, got width 8 with heads 3"),
            ({"depths": (1, 1, 1, 1), "heads": (1, 1, 1, 1)}, r"odd number of stages, at least 3, got 4: \(1, 1, 1, 1\)"),
            ({"depths": (1,), "heads": (1,)}, r"odd number of stages, at least 3, got 1: \(1,\)"),
            ({"depths": (1, 0, 1)}, r"positive numbers of layers, got \(1, 0, 1\)"),
            ({"heads": (1, 2, 4)}, r"as many as depths, 5, got 3: \(1, 2, 4\)"),
            ({"window": 0}, "window must be at least 1, got 0"),
            ({"mlp_ratio": 0.1}, "at least one hidden channel, got 0.1 at width 4"),
        ],
    )
    def test_sizes_that_do_not_fit_are_named(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            tiny(Uformer, **options)

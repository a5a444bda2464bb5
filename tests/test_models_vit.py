"""iColoriT and AdaColViT: sizes, costs, positions, decisions, and an inference form that computes less and says the same."""

from collections.abc import Callable

import pytest
import torch
from reference_icolorit import ReferenceIColoriT
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from colorexp.models.vit import IColoriT
from colorexp.nn.positions import relative_bias, resample, sinusoid

SMALL = {"size": 32, "patch": 8, "width": 24, "depth": 2, "heads": 3}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 1, height: int = 32, width: int = 32, *, seed: int = 0) -> Tensor:
    """Inputs as a task makes them."""
    x = torch.rand(count, 4, height, width, generator=rng(seed)) - 0.5
    hinted = (torch.rand(count, 1, height, width, generator=rng(seed + 1)) < 0.1).float()
    return torch.cat([x[:, :1], x[:, 1:3] * hinted, hinted], 1)


def built(family: Callable[..., nn.Module], **options) -> nn.Module:
    """A network from a seed whose biases, norms and tables are no special values."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = family(**{**SMALL, **options}).eval()
        for parameter in network.parameters():
            if parameter.ndim == 1 or parameter.std() < 0.1:
                parameter.data += 0.2 * torch.randn_like(parameter)
    return network


def multiply_adds(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


class TestIColoriT:
    @pytest.mark.parametrize(
        ("options", "macs_g", "parameters_m"),
        [
            ({"depth": 6}, 0.82, 3.76),
            ({}, 1.43, 6.44),
            ({"depth": 24}, 2.65, 11.8),
            ({"width": 384, "heads": 6, "depth": 6}, 2.68, None),
            ({"width": 384, "heads": 6}, 4.94, 23.5),
            ({"width": 384, "heads": 6, "depth": 24}, 9.46, 44.9),
            ({"width": 768, "heads": 12}, 18.2, 89.5),
        ],
        ids=["T-d6", "T", "T-d24", "S-d6", "S", "S-d24", "B"],
    )
    def test_published_sizes_cost_what_was_published(self, options: dict, macs_g: float, parameters_m: float | None) -> None:
        with torch.device("meta"):
            network, x = IColoriT(**options), torch.zeros(1, 4, 224, 224)
            counted = multiply_adds(lambda: network(x)) / 1e9
        assert counted == pytest.approx(macs_g, rel=5e-3)
        if parameters_m:
            assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(parameters_m, rel=5e-3)

    def test_it_is_the_reference(self) -> None:
        network, x = built(IColoriT), pictures(3)
        with torch.no_grad():
            ours, reference = network(x), ReferenceIColoriT(network.state_dict(), size=32)(x)
        assert ours.std() > 0.1
        assert torch.allclose(ours, reference, atol=1e-5)

    @pytest.mark.parametrize("size", [(7, 5), (33, 47), (96, 40), (8, 32), (64, 64)])
    @pytest.mark.parametrize("relative", [True, False])
    def test_a_ragged_picture_is_the_crop_of_its_extension(self, size: tuple[int, int], relative: bool) -> None:
        network, x = built(IColoriT, relative_positions=relative), pictures(2, *size)
        rows, cols = (torch.arange(-(-side // 8) * 8).clamp(max=side - 1) for side in size)
        with torch.no_grad():
            ab, whole = network(x), network(x[:, :, rows[:, None], cols])
        assert ab.shape == (2, 2, *size)
        assert ab.abs().max() <= 1
        assert torch.equal(ab, whole[..., : size[0], : size[1]])

    def test_relative_positions_matter(self) -> None:
        network, x = built(IColoriT), pictures()
        with torch.no_grad():
            before = network(x)
            for block in network.blocks:
                block.attention.table.zero_()
            assert (network(x) - before).abs().max() > 1e-3

    def test_a_token_is_coloured_where_it_lies(self) -> None:
        """A head of ones shows which pixels a token's channels reach."""
        network = built(IColoriT)
        with torch.no_grad():
            network.head.conv.weight.zero_()
            network.head.conv.bias.copy_(torch.linspace(-1, 1, 128))
            ab = network(pictures())[0].atanh()
        values = torch.linspace(-1, 1, 128).view(8, 8, 2).permute(2, 0, 1)
        assert torch.allclose(ab, values.repeat(1, 4, 4), atol=1e-5)

    def test_every_parameter_is_trained(self) -> None:
        network = built(IColoriT).train()
        network(pictures(2)).square().mean().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_linear_layers_begin_as_xavier_and_without_bias(self) -> None:
        network = IColoriT(**{**SMALL, "width": 96})
        block = network.blocks[0]
        for layer in (block.attention.qkv, block.attention.proj, block.feedforward.fc1, block.feedforward.fc2):
            limit = (6 / sum(layer.weight.shape)) ** 0.5
            assert 0.98 * limit < layer.weight.abs().max() <= limit
        for bias in (block.attention.q_bias, block.attention.v_bias, block.attention.proj.bias, block.feedforward.fc1.bias):
            assert not bias.any()
        assert 0.015 < block.attention.table.std() < 0.025

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 30}, "size 30 and patch 8"),
            ({"size": 0}, "size 0 and patch 8"),
            ({"patch": 0}, "patch 0"),
            ({"heads": 5}, "divide the width 24, got 5"),
            ({"heads": 0}, "divide the width 24, got 0"),
            ({"width": 9}, "even, got 9"),
        ],
    )
    def test_numbers_that_do_not_fit_are_named(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            IColoriT(**{**SMALL, **options})

    @pytest.mark.parametrize("shape", [(1, 3, 32, 32), (4, 32, 32), (1, 4, 0, 32)])
    def test_something_else_than_a_hinted_picture_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"floating \(B, 4, H, W\)"):
            built(IColoriT)(torch.zeros(shape))


class TestPositions:
    def test_sines_and_cosines_take_turns(self) -> None:
        table = sinusoid(5, 6)
        assert torch.allclose(table[3, 0], torch.tensor(3.0).sin())
        assert torch.allclose(table[3, 1], torch.tensor(3.0).cos())
        assert torch.allclose(table[4, 4], torch.tensor(4 / 10000 ** (4 / 6)).sin())

    def test_resampling_keeps_corners_and_centre(self) -> None:
        table = torch.rand(3, 5, 2, generator=rng())
        larger = resample(table, (7, 9))
        assert torch.allclose(larger[::6, ::8], table[::2, ::4])
        assert torch.allclose(larger[3, 4], table[1, 2])
        assert torch.allclose(larger[1, 2], (2 * table[0, 1] + table[1, 1]) / 3)
        assert torch.allclose(resample(table, (1, 1))[0, 0], table[1, 2])
        assert resample(table, (3, 5)) is table

    @pytest.mark.parametrize("grid", [(3, 3), (2, 5), (1, 4)])
    def test_a_bias_depends_on_the_offset_alone(self, grid: tuple[int, int]) -> None:
        table = torch.rand(25, 2, generator=rng())
        bias = relative_bias(table, 3, grid)
        offsets = resample(table.view(5, 5, 2), (2 * grid[0] - 1, 2 * grid[1] - 1))
        for query in range(grid[0] * grid[1]):
            for key in range(grid[0] * grid[1]):
                (r, c), (s, d) = divmod(query, grid[1]), divmod(key, grid[1])
                assert torch.equal(bias[:, query, key], offsets[r - s + grid[0] - 1, c - d + grid[1] - 1])
        assert torch.allclose(bias[:, 0, 0], table[12])

"""The three frameworks that DISCO is compared with, as networks."""

import itertools

import pytest
import torch
from tiny import multiply_adds, rng, seeded
from torch import Tensor, nn

from colorexp.models.automatic import CIColor, ColTran, UGColor

SMALL = {"width": 16, "encoder_depth": 1, "depth": 2, "heads": 2, "mlp_ratio": 2, "symbols": 7}
CLASSIFICATION_HEAD = 256 * 529 + 529
"""Of UGColor, for its display of suggestions."""


def lightness(count: int = 1, height: int = 24, width: int = 32, *, channels: int = 1, seed: int = 0) -> Tensor:
    return 2 * torch.rand(count, channels, height, width, generator=rng(seed)) - 1


def symbols(count: int, rows: int, cols: int) -> Tensor:
    return torch.randint(7, (count, rows, cols), generator=rng(1))


def coarse(index: Tensor) -> Tensor:
    return torch.stack([index / 7, -index / 7], 1)


@pytest.fixture
def coltran() -> ColTran:
    network = seeded(ColTran, **SMALL)
    assert isinstance(network, ColTran)
    return network


@pytest.mark.parametrize(
    ("family", "channels", "parameters", "multiplied", "printed"),
    [
        (CIColor, 1, 32_235_385, 41_772_122_112, (32.24e6, 41.78e9)),
        (UGColor, 4, 34_187_027 - CLASSIFICATION_HEAD, 75_195_482_112, (34.19e6, 75.22e9)),
    ],
)
def test_paper_sizes_are_those_of_table_5(
    family: type[nn.Module], channels: int, parameters: int, multiplied: int, printed: tuple[float, float]
) -> None:
    with torch.device("meta"):
        network, x = family(), torch.zeros(1, channels, 256, 256)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert multiply_adds(lambda: network(x)) == multiplied
    assert (parameters, multiplied) == pytest.approx(printed, rel=0.02)


def test_parameters_of_ugcolor_with_its_second_head_are_the_printed_ones() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in UGColor().parameters())
    assert round((count + CLASSIFICATION_HEAD) / 1e6, 2) == 34.19


def test_deep_blocks_look_twice_as_far() -> None:
    dilated = [
        number
        for number, block in enumerate(CIColor(width=1).trunk, start=1)
        if any(isinstance(layer, nn.Conv2d) and layer.dilation == (2, 2) for layer in block)
    ]
    assert dilated == [5, 6]


@pytest.mark.parametrize("family", [CIColor, UGColor])
def test_a_width_of_nothing_is_refused(family: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        family(width=0)


@pytest.mark.parametrize("size", [(32, 40), (33, 41), (1, 1), (7, 60)])
def test_the_classifier_speaks_for_every_begun_square(size: tuple[int, int]) -> None:
    network = seeded(CIColor, width=2, bins=5)
    rows, cols = (-(-side // 4) for side in size)
    assert network(lightness(2, *size)).shape == (2, 5, rows, cols)


def test_a_ragged_picture_is_the_corner_of_its_extension() -> None:
    classifier, regressor = seeded(CIColor, width=2, bins=5), seeded(UGColor, width=2)
    whole = lightness(height=24, width=32, channels=4)
    whole[..., 21:, :], whole[..., 27:] = whole[..., 20:21, :], whole[..., 26:27]
    cut = whole[..., :21, :27]
    assert torch.equal(regressor(cut), regressor(whole)[..., :21, :27])
    assert torch.equal(classifier(cut[:, :1]), classifier(whole[:, :1])[..., :6, :7])


def test_shortcuts_join_the_block_of_their_own_resolution() -> None:
    network, made, read = seeded(UGColor, width=2), [], []
    for block in network.trunk[:3]:
        block.register_forward_hook(lambda _module, _inputs, out: made.append(out))
    for shortcut in network.shortcuts:
        shortcut.register_forward_hook(lambda _module, inputs, _out: read.append(inputs[0]))
    network(lightness(channels=4))
    assert [x.shape[-1] for x in made] == [32, 16, 8]
    assert all(given is taken for given, taken in zip(reversed(made), read, strict=True))


def test_regressed_chroma_is_bounded() -> None:
    network = seeded(UGColor, width=2)
    network.head.weight.data *= 1e4
    ab_n = network(lightness(channels=4))
    assert 0.99 < ab_n.abs().max() <= 1


class TestColTran:
    def test_a_symbol_is_predicted_from_those_before_it_alone(self, coltran: ColTran) -> None:
        L_n, index = lightness(), symbols(1, 3, 4)
        before = coltran(L_n, index, coarse(index)).logits.flatten(2)
        for place in (0, 5, 11):
            changed = index.flatten(1).clone()
            changed[0, place] = (changed[0, place] + 1) % 7
            changed = changed.view(1, 3, 4)
            after = coltran(L_n, changed, coarse(changed)).logits.flatten(2)
            differs = (after - before).abs().amax(1)[0] > 1e-6
            assert not differs[: place + 1].any()
            assert differs[place + 1 :].all()

    def test_every_symbol_knows_all_lightness(self, coltran: ColTran) -> None:
        L_n, index = lightness(), symbols(1, 3, 4)
        changed = L_n.clone()
        changed[..., -8:, -8:] *= -1  # the last cell
        pair = [coltran(x, index, coarse(index)).logits for x in (L_n, changed)]
        assert ((pair[0] - pair[1]).abs().amax(1) > 1e-7).all()

    @pytest.mark.parametrize("size", [(24, 32), (17, 25), (1, 1)])
    def test_one_by_one_is_what_teacher_forcing_says(self, coltran: ColTran, size: tuple[int, int]) -> None:
        L_n = lightness(2, *size)
        index = coltran.most_probable(L_n)
        assert index.shape == (2, *coltran.grid(size))
        forced = coltran(L_n, index, coarse(index))
        assert torch.equal(forced.logits.argmax(1), index)
        assert forced.ab_n.shape == (2, 2, *size)

    def test_a_draw_is_the_inverse_of_the_forced_distributions(self, coltran: ColTran) -> None:
        L_n, uniform = lightness(3), torch.rand(3, 3, 4, generator=rng(5))
        index = coltran.sample(L_n, uniform, temperature=0.7)
        total = (coltran(L_n, index, coarse(index)).logits / 0.7).softmax(1).cumsum(1)
        above = total.gather(1, index[:, None])[:, 0]
        below = above - (coltran(L_n, index, coarse(index)).logits / 0.7).softmax(1).gather(1, index[:, None])[:, 0]
        assert ((below - 1e-5 <= uniform) & (uniform <= above + 1e-5)).all()

    def test_a_picture_is_drawn_alone_as_in_a_batch(self, coltran: ColTran) -> None:
        L_n, uniform = lightness(3), torch.rand(3, 3, 4, generator=rng(5))
        together = coltran.sample(L_n, uniform)
        assert torch.equal(coltran.sample(L_n[1:2], uniform[1:2]), together[1:2])

    def test_a_cold_draw_is_the_most_probable(self, coltran: ColTran) -> None:
        L_n, uniform = lightness(2), torch.rand(2, 3, 4, generator=rng(5))
        greedy = coltran.most_probable(L_n)
        assert torch.equal(coltran.sample(L_n, uniform, temperature=1e-3), greedy)
        assert not torch.equal(coltran.sample(L_n, uniform, temperature=10.0), greedy)

    @pytest.mark.parametrize("cell", [2, 4, 16])
    def test_cells_may_have_other_sizes(self, cell: int) -> None:
        network = seeded(ColTran, **SMALL, cell=cell)
        assert network.most_probable(lightness(1, 32, 48)).shape == (1, 32 // cell, 48 // cell)

    def test_upsampling_starts_from_the_colours_given(self, coltran: ColTran) -> None:
        for parameter in coltran.refine[-1].parameters():
            parameter.data.zero_()
        flat = torch.tensor([0.4, -0.3]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
        assert torch.allclose(coltran.upsample(lightness(), flat), torch.tensor([0.4, -0.3]).view(1, 2, 1, 1))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"cell": 6}, "cell must be a power of 2 of at least 2, got 6"),
            ({"cell": 1}, "at least 2, got 1"),
            ({"width": 18}, "multiple of 4, got 18"),
            ({"heads": 3}, "heads must divide the width 16, got 3"),
        ],
    )
    def test_sizes_that_do_not_fit_are_named(self, options: dict[str, int], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ColTran(**{**SMALL, **options})

    def test_symbols_of_another_grid_are_refused(self, coltran: ColTran) -> None:
        index = symbols(1, 4, 3)
        with pytest.raises(ValueError, match=r"\(24, 32\) has \(3, 4\) symbols, got \(4, 3\)"):
            coltran(lightness(), index, coarse(index))

    def test_a_temperature_of_zero_is_refused(self, coltran: ColTran) -> None:
        with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
            coltran.sample(lightness(), torch.rand(1, 3, 4, generator=rng()), temperature=0.0)


def networks() -> list[tuple[nn.Module, tuple[Tensor, ...]]]:
    index = symbols(2, 3, 4)
    return [
        (seeded(CIColor, width=2, bins=5), (lightness(2),)),
        (seeded(UGColor, width=2), (lightness(2, channels=4),)),
        (seeded(ColTran, **SMALL), (lightness(2), index, coarse(index))),
    ]


@pytest.mark.parametrize(("network", "inputs"), networks(), ids=["classification", "regression", "autoregression"])
def test_a_pass_changes_nothing_and_every_parameter_learns(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    copies, state = [x.clone() for x in inputs], torch.get_rng_state()
    output = network(*inputs)
    assert all(torch.equal(*pair) for pair in zip(inputs, copies, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    parts = output if isinstance(output, tuple) else (output,)
    again = network(*inputs)
    assert all(torch.equal(*pair) for pair in zip(parts, again if isinstance(again, tuple) else (again,), strict=True))
    torch.stack([part.square().sum() for part in parts]).sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_draws_follow_their_distribution() -> None:
    from colorexp.nn.sampling import pick

    logits = torch.tensor([0.1, 0.0, 0.6, 0.3]).log().view(1, 4, 1)
    even = ((torch.arange(1000) + 0.5) / 1000)[None]
    shares = pick(logits.expand(1, 4, 1000), even)[0].bincount(minlength=4) / 1000
    assert shares.tolist() == pytest.approx([0.1, 0.0, 0.6, 0.3], abs=2e-3)
    ends = torch.tensor([[0.0, 1 - 2**-24]])
    assert pick(logits.expand(1, 4, 2), ends).tolist() == [[0, 3]]
    sharp = [pick(logits.expand(1, 4, 1000), even, temperature=t)[0].eq(2).float().mean().item() for t in (1.0, 0.5, 0.1)]
    assert all(low < high for low, high in itertools.pairwise(sharp))

"""iColoriT and AdaColViT: sizes, costs, positions, decisions, and an inference form that computes less and says the same."""

from collections.abc import Callable

import pytest
import torch
from tiny import multiply_adds, pictures, rng, seeded
from torch import Tensor, nn
from torch.profiler import profile

from colorexp.models.vit import AdaColViT, Decisions, IColoriT
from colorexp.nn.gates import probability, straight_through
from colorexp.nn.positions import relative_bias, resample, sinusoid
from colorexp.reference import ReferenceIColoriT

SMALL = {"size": 32, "patch": 8, "width": 24, "depth": 2, "heads": 3}


def built(family: Callable[..., nn.Module], **options) -> nn.Module:
    return seeded(family, **{**SMALL, **options})


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


class TestPrepared:
    """The frozen copies answer like the networks they were made of."""

    @pytest.mark.parametrize("size", [None, (19, 45)])
    @pytest.mark.parametrize("relative", [True, False])
    def test_dense(self, size: tuple[int, int] | None, relative: bool) -> None:
        network, x = built(IColoriT, relative_positions=relative), pictures(3, *(size or (32, 32)))
        prepared = network.prepared(size)
        with torch.no_grad():
            expected = network(x)
        assert torch.allclose(prepared(x), expected, atol=1e-5)
        assert torch.allclose(prepared(x[:1]), expected[:1], atol=1e-5)

    @pytest.mark.parametrize("groups", [1, 2, 4, 8])
    @pytest.mark.parametrize("size", [None, (19, 45)])
    def test_adaptive(self, groups: int, size: tuple[int, int] | None) -> None:
        network, x = ada(groups=groups, depth=3), pictures(6, *(size or (32, 32)))
        decisions, prepared = varied(network, size or (32, 32)), network.prepared(size)
        with torch.no_grad():
            expected = network(x, decisions=decisions).ab_n
        assert torch.allclose(prepared(x, decisions=decisions).ab_n, expected, atol=1e-5)
        for i in range(6):
            one = Decisions(*(part[i : i + 1] for part in decisions))
            assert torch.allclose(prepared(x[i : i + 1], decisions=one).ab_n[0], expected[i], atol=1e-5)

    @pytest.mark.parametrize("kept", range(17))
    def test_any_number_of_tokens(self, kept: int) -> None:
        """Padding of the heavy part is never attended to."""
        network, x = ada(depth=1), pictures()
        decisions = some_decisions(network, 1, share=1.0)
        decisions.patches[0, :, :, kept:] = 0
        with torch.no_grad():
            expected = network(x, decisions=decisions).ab_n
        assert torch.allclose(network.prepared()(x, decisions=decisions).ab_n, expected, atol=1e-5)

    @pytest.mark.parametrize("family", [IColoriT, AdaColViT])
    def test_half_the_bits_are_right_to_a_hundredth(self, family: type[nn.Module]) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network, x = family(**{**SMALL, "width": 96}), pictures(4)
        given = {"decisions": some_decisions(network, 4)} if family is AdaColViT else {}
        colours = [form(x, **given) for form in (network, network.prepared(dtype=torch.bfloat16))]
        expected, half = (c if isinstance(c, Tensor) else c.ab_n for c in colours)
        assert half.dtype == torch.float32
        assert (half - expected).abs().mean() < 1e-2 * expected.abs().max()

    def test_own_decisions_are_those_of_inference(self) -> None:
        network, x = ada(), pictures(5)
        uniform = Decisions.stack([network.draw((32, 32), rng(i)) for i in range(5)])
        for given in (None, uniform):
            expected, made = network.infer(x, given), network.prepared()(x, given)
            assert all(torch.equal(a, b) for a, b in zip(made.decisions, expected.decisions, strict=True))
            assert torch.allclose(made.ab_n, expected.ab_n, atol=1e-5)

    @pytest.mark.parametrize("family", [IColoriT, AdaColViT])
    def test_later_changes_do_not_reach_the_copy(self, family: type[nn.Module]) -> None:
        network, x = built(family), pictures()
        prepared = network.prepared()
        before = prepared(x)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.5)
        after = prepared(x)
        assert torch.equal(*(c if isinstance(c, Tensor) else c.ab_n for c in (before, after)))
        assert next(network.parameters()).requires_grad

    @pytest.mark.parametrize("family", [IColoriT, AdaColViT])
    def test_another_size_is_refused(self, family: type[nn.Module]) -> None:
        with pytest.raises(ValueError, match="pictures of 32x32, got 24x32"):
            built(family).prepared()(pictures(1, 24, 32))


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


def ada(**options) -> AdaColViT:
    return built(AdaColViT, **{"groups": 2, **options})


RANDOM = {"decide": "random", "patch_ratio": 0.6, "layer_ratio": 0.6}


def some_decisions(
    network: AdaColViT, count: int, size: tuple[int, int] = (32, 32), *, seed: int = 5, share: float = 0.6
) -> Decisions:
    uniform = Decisions.stack([network.draw(size, rng(100 * seed + i)) for i in range(count)])
    return Decisions((uniform.patches < share).float(), (uniform.layers < share).float())


def varied(network: AdaColViT, size: tuple[int, int] = (32, 32)) -> Decisions:
    """Six pictures: three of chance, one that keeps all, one whose layers keep no patch, one without layers."""
    decisions = some_decisions(network, 6, size)
    decisions.patches[3], decisions.layers[3] = 1, 1
    decisions.patches[4], decisions.layers[4] = 0, 1
    decisions.layers[5] = 0
    return decisions


class TestAdaColViT:
    def test_the_temperature_divides_noisy_logits(self) -> None:
        decisions = AdaColViT(size=32, patch=8, width=24, depth=1, heads=1, groups=1, temperature=4.0).decisions
        logits, even = torch.tensor([2.0]), torch.tensor([0.5])  # half is no noise
        assert decisions.soft(logits, even).item() == pytest.approx(torch.tensor(0.5).sigmoid().item())

    @pytest.mark.parametrize("groups", [1, 2, 4, 8])
    @pytest.mark.parametrize("size", [(32, 32), (19, 45)])
    def test_what_is_not_computed_does_not_matter(self, groups: int, size: tuple[int, int]) -> None:
        network = ada(groups=groups, depth=3)
        x, decisions = pictures(6, *size), varied(network, size)
        with torch.no_grad():
            masked, lean = network(x, decisions=decisions), network.infer(x, decisions=decisions)
        assert masked.ab_n.shape == lean.ab_n.shape == (6, 2, *size)
        assert masked.ab_n.std() > 0.1
        assert torch.allclose(masked.ab_n, lean.ab_n, atol=1e-5)

    @pytest.mark.parametrize("prune", ["patches+layers", "patches", "layers"])
    @pytest.mark.parametrize("options", [{}, {"decide": "random"}], ids=["learned", "random"])
    def test_both_forms_decide_alike(self, prune: str, options: dict) -> None:
        ratios = {f"{kind}_ratio": 0.5 for kind in ("patch", "layer") if kind in prune and options}
        network, x = ada(prune=prune, **options, **ratios), pictures(5)
        uniform = Decisions.stack([network.draw((32, 32), rng(i)) for i in range(5)])
        with torch.no_grad():
            masked, lean = network(x, uniform), network.infer(x, uniform)
        assert torch.equal(masked.decisions.patches, lean.decisions.patches)
        assert torch.equal(masked.decisions.layers, lean.decisions.layers)
        assert torch.allclose(masked.ab_n, lean.ab_n, atol=1e-5)
        assert ("patches" in prune) == bool((masked.decisions.patches == 0).any())
        assert ("layers" in prune) == bool((masked.decisions.layers == 0).any())
        if options:
            assert torch.equal(masked.decisions.patches == 1, (uniform.patches < 0.5) | ("patches" not in prune))

    @pytest.mark.parametrize("groups", [1, 2, 8])
    def test_a_picture_is_inferred_alike_alone_and_in_a_batch(self, groups: int) -> None:
        network, x = ada(groups=groups), pictures(6)
        decisions = varied(network)
        together = network.infer(x, decisions=decisions).ab_n
        for i in range(6):
            alone = network.infer(x[i : i + 1], decisions=Decisions(*(part[i : i + 1] for part in decisions)))
            assert torch.allclose(alone.ab_n[0], together[i], atol=1e-5)

    def test_patches_that_are_removed_are_not_looked_at(self) -> None:
        """Plain removal, one group: whatever a dropped patch holds, the others are the same."""
        network, x = ada(groups=1, depth=1), pictures()
        decisions = some_decisions(network, 1, share=1.0)
        decisions.patches[0, :, :, 15] = 0
        other = x.clone()
        other[..., 24:, 24:] += 1
        with torch.no_grad():
            change = (network(x, decisions=decisions).ab_n - network(other, decisions=decisions).ab_n).abs()
            network.head.conv.weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
            alone = (network(x, decisions=decisions).ab_n - network(other, decisions=decisions).ab_n).abs()
        assert change[..., 24:, 24:].max() > 1e-3
        assert alone[..., :24, :].max() == alone[..., :, :24].max() == 0

    @pytest.mark.parametrize("groups", [2, 4])
    def test_less_informative_patches_still_take_part(self, groups: int) -> None:
        network, x = ada(groups=groups), pictures()
        decisions = some_decisions(network, 1, share=1.0)
        decisions.patches[:] = 0
        other = x.clone()
        other[..., 24:, 24:] += 1
        change = network.infer(x, decisions=decisions).ab_n - network.infer(other, decisions=decisions).ab_n
        assert change[..., :8, :8].abs().max() > 1e-4

    def test_where_a_layer_is_skipped_nobody_looks_for_patches(self) -> None:
        network = ada()
        with torch.no_grad():
            for linear in network.decisions.layers:
                linear.bias.fill_(-100.0)
        with profile() as seen:
            made = network.infer(torch.randn(1, 4, 32, 32)).decisions
        assert not made.layers.any() and made.patches.any()
        assert "aten::nonzero" not in {event.key for event in seen.key_averages()}

    def test_skipped_layers_leave_only_embedding_and_head(self) -> None:
        network, x = ada(), pictures()
        decisions = some_decisions(network, 1, share=0.0)
        with torch.no_grad():
            before = [form(x, decisions=decisions).ab_n for form in (network, network.infer)]
            for parameter in network.blocks.parameters():
                parameter.mul_(3)
            after = [form(x, decisions=decisions).ab_n for form in (network, network.infer)]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))

    @pytest.mark.parametrize("options", [{}, {"prune": "patches", "groups": 4}, {"prune": "layers", "groups": 1}, RANDOM])
    def test_counted_multiply_adds_are_those_of_inference(self, options: dict) -> None:
        network, x = ada(**options), pictures(4, 24, 40)
        uniform = Decisions.stack([network.draw((24, 40), rng(i)) for i in range(4)])
        decisions = network.infer(x, uniform).decisions
        claimed = network.multiply_adds(decisions, (24, 40))
        assert claimed.unique().numel() > 1
        for i in range(4):
            one = Decisions(*(part[i : i + 1] for part in uniform))
            assert claimed[i] == multiply_adds(lambda i=i, one=one: network.infer(x[i : i + 1], one))

    def test_the_most_and_the_least_are_counted_too(self) -> None:
        network, x = ada(**RANDOM), pictures(6)
        claimed = network.multiply_adds(varied(network), (32, 32))
        for i in range(6):
            one = Decisions(*(part[i : i + 1] for part in varied(network)))
            assert claimed[i] == multiply_adds(lambda i=i, one=one: network.infer(x[i : i + 1], decisions=one))
        assert claimed[5] < claimed[4] < claimed[3]

    @pytest.mark.parametrize(
        ("options", "target_g", "ratio"),
        [
            ({}, 0.78, 0.594),
            ({"depth": 24}, 1.18, 0.528),
            ({}, 0.74, 0.563),
            ({"groups": 4}, 0.74, 0.622),
            ({"groups": 8}, 0.75, 0.654),
        ],
    )
    def test_ratios_reach_the_published_costs(self, options: dict, target_g: float, ratio: float) -> None:
        with torch.device("meta"):
            network = AdaColViT(**options)
        assert network.ratio_for(target_g * 1e9) == pytest.approx(ratio, abs=1.5e-3)
        assert network.expected_multiply_adds(patch_ratio=1, layer_ratio=1) / 1e9 == pytest.approx(
            2.65 if options.get("depth") else 1.437, rel=5e-3
        )

    def test_expected_multiply_adds_are_the_mean_of_draws(self) -> None:
        network = ada(**RANDOM)
        claimed = network.multiply_adds(some_decisions(network, 4000), (32, 32)).double()
        expected = network.expected_multiply_adds(patch_ratio=0.6, layer_ratio=0.6)
        assert claimed.mean().item() == pytest.approx(expected, abs=4 * claimed.std().item() / 4000**0.5)

    @pytest.mark.parametrize(("prune", "share"), [("patches", "layer_ratio"), ("layers", "patch_ratio")])
    def test_what_is_not_pruned_is_kept_when_a_ratio_is_sought(self, prune: str, share: str) -> None:
        network = ada(prune=prune)
        other = "patch_ratio" if share == "layer_ratio" else "layer_ratio"
        target = network.expected_multiply_adds(**{share: 1.0, other: 0.4})
        assert network.ratio_for(target) == pytest.approx(0.4)

    def test_a_cost_out_of_reach_is_refused(self) -> None:
        with pytest.raises(ValueError, match="multiply-adds, got 1e"):
            ada().ratio_for(1e12)

    @pytest.mark.parametrize("prune", ["patches+layers", "patches", "layers"])
    def test_every_parameter_is_trained(self, prune: str) -> None:
        network = ada(prune=prune).train()
        uniform = Decisions.stack([network.draw((32, 32), rng(i)) for i in range(16)])
        network(pictures(16), uniform).ab_n.square().mean().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
        asked = {name.split(".")[1] for name, _ in network.named_parameters() if name.startswith("decisions.")}
        assert asked == set(prune.split("+"))

    def test_a_cost_alone_trains_the_decisions(self) -> None:
        network = ada().train()
        decisions = network(pictures(4)).decisions
        (decisions.patches.mean() + decisions.layers.mean()).backward()
        gradients = [linear.bias.grad for linear in (*network.decisions.patches, *network.decisions.layers)]
        assert all((gradient > 0).all() for gradient in gradients)

    def test_the_first_bias_sets_how_much_is_kept(self) -> None:
        network = AdaColViT(**SMALL, keep_bias=20.0)
        assert all((part == 1).all() for part in network(pictures(3)).decisions)
        assert all((part == 0).all() for part in AdaColViT(**SMALL, keep_bias=-20.0).infer(pictures(3)).decisions)

    def test_inference_is_frozen_and_follows_the_weights(self) -> None:
        network, x = ada(), pictures()
        before = network.infer(x)
        assert not any(part.requires_grad for part in (before.ab_n, *before.decisions))
        with torch.no_grad():
            network.head.conv.bias.add_(1)
        assert not torch.allclose(network.infer(x).ab_n, before.ab_n, atol=1e-2)

    def test_a_dense_network_is_a_start(self) -> None:
        dense = built(IColoriT)
        network = ada()
        own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.start_from(dense.state_dict())
        state = network.state_dict()
        for name, tensor in dense.state_dict().items():
            assert name.endswith("attention.table") or torch.equal(state[name], tensor)
        mine = [name for name in state if name not in dense.state_dict()]
        assert {name.split(".")[0] for name in mine} == {"policy", "decisions"}
        assert all(torch.equal(state[name], own[name]) for name in mine)

    def test_with_everything_kept_in_one_group_it_is_dense(self) -> None:
        """Dense over one token more, that is."""
        dense, network = built(IColoriT, relative_positions=False), ada(groups=1)
        network.start_from(dense.state_dict())
        x, everything = pictures(2), some_decisions(network, 2, share=1.0)
        with torch.no_grad():
            tokens = network.embed(x) + network.positions_of((4, 4))
            policy = (network.policy + network.positions[:1]).expand(2, -1, -1)
            both = torch.cat([policy, tokens], 1)
            for block in dense.blocks:
                both = block(both)
            expected = dense.head(dense.norm(both[:, 1:]), (4, 4), (32, 32))
            assert torch.allclose(network(x, decisions=everything).ab_n, expected, atol=1e-5)

    @pytest.mark.parametrize("groups", [1, 2, 8])
    def test_a_feed_forward_that_keeps_everything_is_the_dense_one(self, groups: int) -> None:
        dense, network = built(IColoriT), ada(groups=groups)
        network.start_from(dense.state_dict())
        x, decisions = pictures(2), some_decisions(network, 2, share=1.0)
        decisions.layers[..., 0] = 0
        with torch.no_grad():
            tokens = network.embed(x) + network.positions_of((4, 4))
            for block in dense.blocks:
                tokens = tokens + block.feedforward(block.norm2(tokens))
            expected = dense.head(dense.norm(tokens), (4, 4), (32, 32))
            assert torch.allclose(network(x, decisions=decisions).ab_n, expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"norm.weight": None}, r"missing norm\.weight"),
            ({"head.extra": torch.zeros(1)}, r"unexpected head\.extra"),
            ({"policy": torch.zeros(1, 1, 24)}, "unexpected policy"),
            ({"norm.bias": torch.zeros(3)}, r"norm\.bias is \(3,\), not \(24,\)"),
        ],
    )
    def test_a_start_that_does_not_fit_is_named(self, change: dict, message: str) -> None:
        state = {**built(IColoriT).state_dict(), **change}
        with pytest.raises(ValueError, match=message):
            ada().start_from({name: tensor for name, tensor in state.items() if tensor is not None})

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [
            ({"depth": 6}, r"holds 6 blocks, this network has 2$"),
            ({"width": 48}, r"holds 48 channels per token \(width\), this network has 24$"),
            ({"patch": 4}, r"holds 4 pixels along a patch, this network has 8$"),
            ({"heads": 6}, r"holds 6 heads, this network has 3$"),
            ({"depth": 1, "width": 12}, r"holds 1 blocks, this network has 2; it holds 12 channels"),
        ],
    )
    def test_a_start_of_other_sizes_is_named_with_both(self, sizes: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ada().start_from(built(IColoriT, **sizes).state_dict())

    def test_draws_depend_on_the_generator_alone(self) -> None:
        network = ada()
        one, two = network.draw((19, 45), rng(4)), network.draw((19, 45), rng(4))
        assert one.patches.shape == (2, 2, 18)
        assert one.layers.shape == (2, 2)
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        assert all(((part >= 0) & (part < 1)).all() for part in one)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"groups": 3}, "channels of a head .* 1, 2, 4, 8; got 3"),
            ({"groups": 0}, "1, 2, 4, 8; got 0"),
            ({"groups": 8, "width": 36}, "the 12 channels of a head and 144 hidden ones: 1, 2, 4; got 8"),
            ({"prune": "heads"}, "'patches' or 'layers', got 'heads'"),
            ({"decide": "never"}, "'learned' or 'random', got 'never'"),
            ({**RANDOM, "patch_ratio": None}, "patch_ratio between 0 and 1, got None"),
            ({**RANDOM, "layer_ratio": 1.5}, "layer_ratio between 0 and 1, got 1.5"),
            ({"patch_ratio": 0.5}, "patch_ratio is for random decisions .* got 0.5"),
            ({**RANDOM, "prune": "patches"}, "layer_ratio is for random decisions .* got 0.6"),
            ({"temperature": 0.0}, "above 0, got 0"),
            ({"threshold": 1.0}, "between 0 and 1, got 1"),
            ({"depth": 0}, "1 or more, got 0"),
        ],
    )
    def test_options_that_do_not_fit_are_named(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            AdaColViT(**{**SMALL, **options})

    @pytest.mark.parametrize("call", ["__call__", "infer"])
    def test_decisions_that_do_not_fit_are_named(self, call: str) -> None:
        network, x = ada(), pictures(2)
        good = some_decisions(network, 2)
        run = getattr(network, call)
        with pytest.raises(ValueError, match=r"decisions must be patches \(2, 2, 2, 16\) .* got patches \(1, 2, 2, 16\)"):
            run(x, decisions=some_decisions(network, 1))
        with pytest.raises(ValueError, match=r"uniform must be .* got patches \(2, 2, 2, 12\)"):
            run(x, some_decisions(network, 2, (24, 32)))
        with pytest.raises(ValueError, match="leave out one"):
            run(x, good, good)
        with pytest.raises(ValueError, match="need uniform numbers"):
            getattr(ada(**RANDOM), call)(x)


class TestGates:
    def test_noise_makes_choices_as_likely_as_their_logits_say(self) -> None:
        logits = torch.tensor([-2.0, 0.0, 1.0]).expand(20_000, 3)
        soft = probability(logits, torch.rand(20_000, 3, generator=rng()), temperature=5.0)
        chosen = straight_through(soft, 0.5)
        assert torch.equal(chosen.unique(), torch.tensor([0.0, 1.0]))
        assert torch.allclose(chosen.mean(0), logits[0].sigmoid(), atol=0.015)

    def test_without_noise_the_probability_decides(self) -> None:
        soft = probability(torch.tensor([-0.1, 0.1, 0.5, 3.0]), temperature=5.0)
        assert straight_through(soft, 0.5).tolist() == [0, 1, 1, 1]
        assert straight_through(soft, 0.9).tolist() == [0, 0, 0, 1]

    def test_the_gradient_is_that_of_the_probability(self) -> None:
        logits = torch.tensor([-1.0, 0.3], requires_grad=True)
        straight_through(probability(logits, torch.tensor([0.5, 0.5]), temperature=2.0), 0.5).sum().backward()
        p = (logits.detach() / 2).sigmoid()
        assert torch.allclose(logits.grad, p * (1 - p) / 2)

    def test_the_ends_of_the_range_are_finite(self) -> None:
        logits = torch.zeros(2, requires_grad=True)
        probability(logits, torch.tensor([0.0, 1.0]), temperature=1.0).sum().backward()
        assert torch.isfinite(logits.grad).all()

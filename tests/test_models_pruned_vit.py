"""DynamicViT, AdaViT and A-ViT on iColoriT: what is removed leaves no trace, is not computed, and is counted as such."""

from collections.abc import Callable

import pytest
import torch
from tiny import multiply_adds, pictures, rng, seeded
from torch import Tensor, nn

from colorexp.models.pruned_vit import AdaViT, AViT, DynamicViT, HeadDecisions
from colorexp.models.pruned_vit.body import Body, among, hiding
from colorexp.models.vit import IColoriT
from colorexp.nn.positions import sinusoid

SMALL = {"size": 32, "patch": 8, "width": 24, "depth": 4, "heads": 3}
METHODS: list[type[Body]] = [DynamicViT, AdaViT, AViT]
PERMANENT: list[type[Body]] = [DynamicViT, AViT]
OPTIONS: dict[type, dict] = {AViT: {"halting_scale": 2.0, "halting_center": 1.0}}
"""What makes a network decide one thing here and another there."""
ENDLESS: dict[type, dict] = {AViT: {"halting_center": 1e4}}
"""What makes a network add nothing to the last state of a patch."""


def built(family: Callable[..., nn.Module], **options) -> nn.Module:
    return seeded(family, **{**SMALL, **OPTIONS.get(family, {}), **options})


def drawn(network: Body, count: int, size: tuple[int, int] = (32, 32), *, seed: int = 5) -> tuple[Tensor, ...]:
    draws = [network.draw(size, rng(100 * seed + i)) for i in range(count)]
    return type(draws[0]).stack(draws)


def varied(network: Body, size: tuple[int, int] = (32, 32)) -> tuple[Tensor, ...]:
    """Five pictures: three of chance, one that keeps all, one that keeps nothing, so far as the method decides."""
    generator = rng(7)
    shapes = drawn(network, 5, size)
    decisions = type(shapes)(*((torch.rand(part.shape, generator=generator) < 0.7).float() for part in shapes))
    for part in decisions:
        part[3], part[4] = 1, 0
    if not network.decides_layers:
        decisions.layers.fill_(1)
    return decisions


def one(parts: tuple[Tensor, ...], i: int) -> tuple[Tensor, ...]:
    return type(parts)(*(part[i : i + 1] for part in parts))


def everything(network: Body, count: int, size: tuple[int, int] = (32, 32)) -> tuple[Tensor, ...]:
    uniform = drawn(network, count, size)
    return type(uniform)(*(torch.ones_like(part) for part in uniform))


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    @pytest.mark.parametrize("size", [(32, 32), (19, 45), (7, 5)])
    def test_what_is_not_computed_does_not_matter(self, method: type[Body], size: tuple[int, int]) -> None:
        network = built(method)
        x, decisions = pictures(5, *size), varied(network, size)
        with torch.no_grad():
            masked, lean = network(x, decisions=decisions), network.infer(x, decisions=decisions)
        assert masked.ab_n.shape == lean.ab_n.shape == (5, 2, *size)
        assert masked.ab_n.std() > 0.05
        assert torch.allclose(masked.ab_n, lean.ab_n, atol=1e-5)
        assert all(torch.equal(a, b) for a, b in zip(masked.decisions, lean.decisions, strict=True))

    @pytest.mark.parametrize("noise", [True, False])
    def test_both_forms_decide_alike(self, method: type[Body], noise: bool) -> None:
        network, x = built(method), pictures(5)
        uniform = drawn(network, 5) if noise else None
        with torch.no_grad():
            masked, lean = network(x, uniform), network.infer(x, uniform)
        assert all(torch.equal(a, b) for a, b in zip(masked.decisions, lean.decisions, strict=True))
        assert all(((part == 0) | (part == 1)).all() for part in masked.decisions)
        assert torch.allclose(masked.ab_n, lean.ab_n, atol=1e-5)
        assert 0.1 < masked.decisions.patches.mean() < 0.95
        assert not torch.equal(masked.decisions.patches[0], masked.decisions.patches[1])

    def test_own_decisions_given_back_change_nothing(self, method: type[Body]) -> None:
        network, x = built(method), pictures(3)
        with torch.no_grad():
            own = network(x, drawn(network, 3))
            again = network(x, decisions=own.decisions)
        assert torch.allclose(own.ab_n, again.ab_n, atol=1e-6)

    def test_a_picture_is_inferred_alike_alone_and_in_a_batch(self, method: type[Body]) -> None:
        network, x = built(method), pictures(4, 24, 40)
        uniform = drawn(network, 4, (24, 40))
        together = network.infer(x, uniform)
        for i in range(4):
            alone = network.infer(x[i : i + 1], one(uniform, i))
            assert torch.allclose(alone.ab_n[0], together.ab_n[i], atol=1e-5)
            assert torch.equal(alone.decisions.patches[0], together.decisions.patches[i])

    @pytest.mark.parametrize("noise", [True, False])
    def test_counted_multiply_adds_are_those_of_inference(self, method: type[Body], noise: bool) -> None:
        network, x = built(method), pictures(3, 24, 40)
        uniform = drawn(network, 3, (24, 40)) if noise else None
        claimed = network.multiply_adds(network.infer(x, uniform).decisions, (24, 40))
        for i in range(3):
            given = None if uniform is None else one(uniform, i)
            assert claimed[i] == multiply_adds(lambda i=i, given=given: network.infer(x[i : i + 1], given))

    def test_the_most_and_the_least_are_counted_too(self, method: type[Body]) -> None:
        """Given decisions are not asked for, which costs the same little for every picture that keeps all before its stages."""
        network, x = built(method), pictures(5)
        decisions = varied(network)
        claimed = network.multiply_adds(decisions, (32, 32))
        counted = [multiply_adds(lambda i=i: network.infer(x[i : i + 1], decisions=one(decisions, i))) for i in range(5)]
        asking = claimed - torch.tensor(counted)
        assert (asking >= 0).all() and (asking < 0.05 * claimed[3]).all()
        assert claimed[4] < claimed[:3].min() and claimed[:3].max() < claimed[3]

    def test_every_parameter_is_trained(self, method: type[Body]) -> None:
        network = built(method).train()
        network(pictures(16), drawn(network, 16)).ab_n.square().mean().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
        assert all(torch.isfinite(p.grad).all() for p in network.parameters())

    def test_inference_is_frozen_and_forward_pure(self, method: type[Body]) -> None:
        network, x = built(method), pictures(2)
        before, state = x.clone(), torch.get_rng_state()
        result = network.infer(x, drawn(network, 2))
        network(x, drawn(network, 2))
        assert not any(part.requires_grad for part in (result.ab_n, *result.decisions))
        assert torch.equal(x, before)
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_dense_network_is_a_start(self, method: type[Body]) -> None:
        dense, network = built(IColoriT), built(method)
        own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.start_from(dense.state_dict())
        for name, tensor in network.state_dict().items():
            mine = name.split(".")[0] in network.own_parts
            assert torch.equal(tensor, own[name] if mine else dense.state_dict()[name])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"norm.weight": None}, r"missing norm\.weight"),
            ({"head.extra": torch.zeros(1)}, r"unexpected head\.extra"),
            ({"norm.bias": torch.zeros(3)}, r"norm\.bias is \(3,\), not \(24,\)"),
        ],
    )
    def test_a_start_that_does_not_fit_is_named(self, method: type[Body], change: dict, message: str) -> None:
        state = {**built(IColoriT).state_dict(), **change}
        with pytest.raises(ValueError, match=message):
            built(method).start_from({name: tensor for name, tensor in state.items() if tensor is not None})

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [
            ({"depth": 6}, r"holds 6 blocks, this network has 4$"),
            ({"width": 48}, r"holds 48 channels per token \(width\), this network has 24$"),
            ({"patch": 4}, r"holds 4 pixels along a patch, this network has 8$"),
            ({"heads": 6}, r"holds 6 heads, this network has 3$"),
            ({"depth": 1, "width": 12}, r"holds 1 blocks, this network has 4; it holds 12 channels"),
        ],
    )
    def test_a_start_of_other_sizes_is_named_with_both(self, method: type[Body], sizes: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            built(method).start_from(built(IColoriT, **sizes).state_dict())

    def test_draws_depend_on_the_generator_alone(self, method: type[Body]) -> None:
        network = built(method)
        first, second = network.draw((19, 45), rng(4)), network.draw((19, 45), rng(4))
        assert first.patches.shape == (4, 1, 18)
        assert first.layers.shape == (4, 2)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert all(((part >= 0) & (part < 1)).all() for part in first)

    @pytest.mark.parametrize("call", ["__call__", "infer"])
    def test_decisions_that_do_not_fit_are_named(self, method: type[Body], call: str) -> None:
        network, x = built(method), pictures(2)
        run = getattr(network, call)
        with pytest.raises(ValueError, match=r"decisions must be patches \(2, 4, 1, 16\) .* got patches \(1, 4, 1, 16\)"):
            run(x, decisions=everything(network, 1))
        with pytest.raises(ValueError, match=r"uniform must be .* got patches \(2, 4, 1, 12\)"):
            run(x, drawn(network, 2, (24, 32)))
        with pytest.raises(ValueError, match="leave out one"):
            run(x, drawn(network, 2), everything(network, 2))
        with pytest.raises(ValueError, match=r"floating \(B, 4, H, W\)"):
            run(torch.zeros(1, 3, 32, 32))
        with pytest.raises(ValueError, match=r"decisions must be .* got patches \(2, 4, 1, 16\)"):
            network.multiply_adds(everything(network, 2), (24, 32))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 30}, "size 30 and patch 8"),
            ({"patch": 0}, "patch 0"),
            ({"heads": 5}, "divide the width 24, got 5"),
            ({"depth": 0}, "1 or more, got 0"),
        ],
    )
    def test_sizes_that_do_not_fit_are_named(self, method: type[Body], options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            method(**{**SMALL, **options})


@pytest.mark.parametrize("method", PERMANENT)
class TestPermanentRemoval:
    def test_with_everything_kept_it_is_dense(self, method: type[Body]) -> None:
        dense, network, x = built(IColoriT), built(method, **ENDLESS.get(method, {})), pictures(2, 24, 40)
        network.start_from(dense.state_dict())
        with torch.no_grad():
            expected = dense(x)
            assert expected.std() > 0.1
            assert torch.allclose(network(x, decisions=everything(network, 2, (24, 40))).ab_n, expected, atol=1e-5)

    @pytest.mark.parametrize("first", [0, 2])
    def test_removed_patches_are_not_looked_at_any_more(self, method: type[Body], first: int) -> None:
        """Whatever the last patch holds when it is dropped, patches that its head's window does not reach are the same."""
        network, x = built(method), pictures()
        decisions = everything(network, 1)
        decisions.patches[:, first:, :, 15] = 0
        other = x.clone()
        other[..., 24:, 24:] += 1
        with torch.no_grad():
            change = (network(x, decisions=decisions).ab_n - network(other, decisions=decisions).ab_n).abs()
        assert change[..., 24:, 24:].max() > 1e-3
        assert (change[..., :16, :].max() == 0) == (first == 0)

    def test_removed_patches_keep_their_last_state_or_none(self, method: type[Body]) -> None:
        """A head that looks at the centre alone shows what it finds there."""
        network = built(method)
        with torch.no_grad():
            network.head.conv.weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        zeros = built(method, removed="zeros")
        zeros.load_state_dict(network.state_dict())
        decisions = everything(network, 1)
        decisions.patches[:, 1:, :, 15] = 0
        x = pictures()
        for call in ("__call__", "infer"):
            with torch.no_grad():
                frozen = getattr(network, call)(x, decisions=decisions).ab_n
                empty = getattr(zeros, call)(x, decisions=decisions).ab_n
            assert torch.allclose(frozen[..., :24, :], empty[..., :24, :], atol=1e-6)
            bias = network.head.conv.bias.tanh().view(8, 8, 2).permute(2, 0, 1)
            assert torch.allclose(empty[0, :, 24:, 24:], bias, atol=1e-6)
            assert not torch.allclose(frozen[0, :, 24:, 24:], bias, atol=1e-2)

    def test_a_removed_patch_does_not_return(self, method: type[Body]) -> None:
        network, x = built(method), pictures()
        decisions, back = everything(network, 1), everything(network, 1)
        decisions.patches[:, 1:, :, 3] = 0
        back.patches[:, 1, :, 3] = 0
        with torch.no_grad():
            expected = network(x, decisions=decisions)
            for call in ("__call__", "infer"):
                result = getattr(network, call)(x, decisions=back)
                assert torch.equal(result.decisions.patches, decisions.patches)
                assert torch.allclose(result.ab_n, expected.ab_n, atol=1e-5)
        assert torch.equal(network.multiply_adds(back, (32, 32)), network.multiply_adds(decisions, (32, 32)))

    def test_decisions_that_leave_out_layers_are_refused(self, method: type[Body]) -> None:
        network = built(method)
        decisions = everything(network, 1)
        decisions.layers[0, 2, 1] = 0
        with pytest.raises(ValueError, match=r"runs every layer.* got 0"):
            network(pictures(), decisions=decisions)

    def test_an_unknown_fate_is_refused(self, method: type[Body]) -> None:
        with pytest.raises(ValueError, match="'frozen' or 'zeros', got 'gone'"):
            built(method, removed="gone")

    def test_a_dense_network_without_relative_positions_is_a_start_too(self, method: type[Body]) -> None:
        without = built(IColoriT, relative_positions=False)
        built(method, relative_positions=False).start_from(without.state_dict())
        built(method, relative_positions=False).start_from(built(IColoriT).state_dict())
        with pytest.raises(ValueError, match=r"missing blocks\.0\.attention\.table"):
            built(method).start_from(without.state_dict())


class TestDynamicViT:
    @pytest.mark.parametrize(("depth", "ratio"), [(12, 0.88), (24, 0.45)])
    def test_ratios_reach_the_published_cost(self, depth: int, ratio: float) -> None:
        with torch.device("meta"):
            network = DynamicViT(depth=depth, keep_ratio=ratio)
        assert network.expected_multiply_adds(keep_ratio=ratio) / 1e9 == pytest.approx(1.24, rel=0.01)
        assert network.stages == (depth // 4, depth // 2, 3 * depth // 4)

    def test_the_highest_scores_stay(self) -> None:
        network, x = built(DynamicViT, stages=(0, 2), keep_ratio=0.6), pictures(3)
        with torch.no_grad():
            decisions = network.infer(x).decisions
            tokens = network.embed(x) + network.positions_of((4, 4))
            scores = network.predictors[0](tokens, torch.ones(3, 16))
        kept = decisions.patches[:, :, 0]
        assert kept.sum(-1).tolist() == [[9, 9, 5, 5]] * 3
        for picture in range(3):
            assert scores[picture][kept[picture, 0] == 1].min() > scores[picture][kept[picture, 0] == 0].max()
        assert network.expected_multiply_adds(keep_ratio=0.6) == pytest.approx(
            network.multiply_adds(decisions, (32, 32))[0].item(), rel=0.05
        )

    def test_chance_follows_the_scores(self) -> None:
        network, x = built(DynamicViT, stages=(0,)), pictures()
        with torch.no_grad():
            network.predictors[0].score[-1].weight.mul_(20)
            logits = network.predictors[0](network.embed(x) + network.positions_of((4, 4)), torch.ones(1, 16))
            kept = network(x.expand(800, -1, -1, -1), drawn(network, 800)).decisions.patches[:, 0, 0]
        assert logits.std() > 0.1
        assert torch.allclose(kept.mean(0), logits[0].sigmoid(), atol=0.07)

    def test_training_begins_with_about_half(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = DynamicViT(**{**SMALL, "width": 96})
        kept = network(pictures(50), drawn(network, 50)).decisions.patches[:, :, 0].mean((0, 2))
        assert torch.allclose(kept, torch.tensor([1.0, 0.5, 0.25, 0.125]), atol=0.1)

    def test_a_predictor_listens_to_kept_patches_alone(self) -> None:
        predictor = built(DynamicViT).predictors[0]
        tokens, kept = torch.randn(1, 6, 24, generator=rng()), torch.tensor([[1.0, 1, 0, 1, 0, 1]])
        other = tokens.clone()
        other[:, 2] = torch.randn(24, generator=rng(1))
        with torch.no_grad():
            before, after = predictor(tokens, kept), predictor(other, kept)
            assert torch.equal(before[kept == 1], after[kept == 1])
            assert torch.allclose(before[kept == 1], predictor(tokens[:, [0, 1, 3, 5]], torch.ones(1, 4))[0], atol=1e-6)
            assert not torch.equal(predictor(other, torch.ones(1, 6))[0, 0], predictor(tokens, torch.ones(1, 6))[0, 0])

    def test_a_share_alone_trains_every_predictor(self) -> None:
        network = built(DynamicViT).train()
        network(pictures(4), drawn(network, 4)).decisions.patches.mean().backward()
        assert all((predictor.score[-1].bias.grad != 0).all() for predictor in network.predictors)

    def test_far_apart_logits_are_finite(self) -> None:
        network, x = built(DynamicViT).train(), pictures(2)
        with torch.no_grad():
            for block in network.blocks:
                block.attention.qkv.weight.mul_(200)
        result = network(x, drawn(network, 2))
        result.ab_n.square().mean().backward()
        assert torch.isfinite(result.ab_n).all()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters())
        assert torch.allclose(result.ab_n, network.infer(x, decisions=result.decisions).ab_n, atol=1e-3)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"keep_ratio": 0.0}, "above 0 and be at most 1, got 0"),
            ({"keep_ratio": 1.1}, "at most 1, got 1.1"),
            ({"depth": 3}, "depth 4 or more; got None"),
            ({"stages": (2, 1)}, r"from 0 to 3, .* got \(2, 1\)"),
            ({"stages": (1, 4)}, r"from 0 to 3, .* got \(1, 4\)"),
            ({"stages": (-1, 2)}, r"from 0 to 3, .* got \(-1, 2\)"),
            ({"stages": ()}, r"got \(\)"),
            ({"width": 18}, "multiple of 4, got 18"),
        ],
    )
    def test_options_that_do_not_fit_are_named(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            DynamicViT(**{**SMALL, **options})


class TestAdaViT:
    @pytest.mark.parametrize(("depth", "ratio"), [(12, 0.915), (24, 0.69)])
    def test_ratios_reach_the_published_cost(self, depth: int, ratio: float) -> None:
        with torch.device("meta"):
            network = AdaViT(depth=depth)
        cost = network.expected_multiply_adds(patch_ratio=ratio, layer_ratio=ratio, head_ratio=ratio)
        assert cost / 1e9 == pytest.approx(1.20, rel=0.01)

    def test_expected_multiply_adds_are_the_mean_of_draws(self) -> None:
        network = built(AdaViT)
        uniform = drawn(network, 2000)
        decisions = HeadDecisions(*((part < share).float() for part, share in zip(uniform, (0.5, 0.6, 0.8), strict=True)))
        decisions.layers[:, 0] = 1
        claimed = network.multiply_adds(decisions, (32, 32)).double()
        expected = network.expected_multiply_adds(patch_ratio=0.5, layer_ratio=0.6, head_ratio=0.8)
        assert claimed.mean().item() == pytest.approx(expected, abs=4 * claimed.std().item() / 2000**0.5)

    def test_with_everything_kept_it_is_dense_over_one_token_more(self) -> None:
        dense, network, x = built(IColoriT, relative_positions=False), built(AdaViT), pictures(2)
        network.start_from(dense.state_dict())
        with torch.no_grad():
            patches = network.embed(x) + network.positions_of((4, 4))
            tokens = torch.cat([(network.policy + network.positions[0]).expand(2, 1, -1), patches], 1)
            for block in dense.blocks:
                tokens = block(tokens)
            expected = dense.head(dense.norm(tokens[:, 1:]), (4, 4), (32, 32))
            assert torch.allclose(network(x, decisions=everything(network, 2)).ab_n, expected, atol=1e-5)

    def test_the_policy_token_has_the_first_position(self) -> None:
        network = built(AdaViT)
        assert torch.equal(network.positions_of((4, 4)), sinusoid(17, 24)[1:])
        assert torch.equal(network.positions[0], sinusoid(1, 24)[0])
        assert network.positions_of((3, 5)).shape == (15, 24)

    def test_a_patch_may_return(self) -> None:
        """What a patch holds is seen by others as soon as it takes part again, and not before."""
        network, x = built(AdaViT, depth=2), pictures()
        never, later = everything(network, 1), everything(network, 1)
        never.patches[:, :, :, 15] = 0
        later.patches[:, 0, :, 15] = 0
        other = x.clone()
        other[..., 24:, 24:] += 1
        for decisions, seen in ((never, False), (later, True)):
            change = (network.infer(x, decisions=decisions).ab_n - network.infer(other, decisions=decisions).ab_n).abs()
            assert (change[..., :16, :].max() > 1e-5) == seen

    def test_a_head_that_is_left_out_adds_nothing(self) -> None:
        network, x = built(AdaViT, depth=1), pictures()
        decisions = everything(network, 1)
        decisions.heads[:, 0, 1] = 0
        without = network.infer(x, decisions=decisions).ab_n
        with torch.no_grad():
            network.blocks[0].attention.proj.weight[:, 8:16] = 0
        assert torch.allclose(network.infer(x, decisions=everything(network, 1)).ab_n, without, atol=1e-5)
        assert torch.allclose(network.infer(x, decisions=decisions._replace(heads=None)).ab_n, without, atol=1e-5)

    def test_without_layers_only_embedding_and_head_are_left(self) -> None:
        network, x = built(AdaViT), pictures()
        decisions = everything(network, 1)._replace(layers=torch.zeros(1, 4, 2))
        before = network.infer(x, decisions=decisions).ab_n
        with torch.no_grad():
            for parameter in network.blocks.parameters():
                parameter.mul_(3)
            assert torch.allclose(network(x, decisions=decisions).ab_n, before, atol=1e-6)

    def test_patches_need_a_higher_probability_than_layers_and_heads(self) -> None:
        """The sigmoid of 0.2 lies between the thresholds."""
        network = built(AdaViT)
        for kind in (network.patch_decisions, network.layer_decisions, network.head_decisions):
            for linear in kind:
                linear.weight.data.zero_()
                linear.bias.data.fill_(0.2)
        decisions = network.infer(pictures()).decisions
        assert (decisions.patches == 0).all() and (decisions.layers == 1).all() and (decisions.heads == 1).all()

    def test_the_first_bias_sets_how_much_is_kept_but_for_the_first_block(self) -> None:
        most, least = (AdaViT(**SMALL, keep_bias=bias).infer(pictures(2)).decisions for bias in (20.0, -20.0))
        assert all((part == 1).all() for part in most)
        assert (least.layers[:, 0] == 1).all() and (least.layers[:, 1:] == 0).all()
        assert (least.patches == 0).all() and (least.heads == 0).all()

    def test_a_cost_alone_trains_the_decisions(self) -> None:
        network = built(AdaViT).train()
        decisions = network(pictures(4)).decisions
        sum(part.mean() for part in decisions).backward()
        linears = (*network.patch_decisions, *network.layer_decisions, *network.head_decisions)
        assert all((linear.bias.grad != 0).all() for linear in linears)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"temperature": 0.0}, "above 0, got 0"),
            ({"threshold": 1.0}, "threshold must lie between 0 and 1, got 1"),
            ({"patch_threshold": 0.0}, "patch_threshold must lie between 0 and 1, got 0"),
        ],
    )
    def test_options_that_do_not_fit_are_named(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            AdaViT(**{**SMALL, **options})


class TestAViT:
    @pytest.mark.parametrize(("depth", "active"), [(12, 0.85), (24, 0.455)])
    def test_shares_reach_the_published_cost(self, depth: int, active: float) -> None:
        with torch.device("meta"):
            network = AViT(depth=depth)
        assert network.expected_multiply_adds(active=active) / 1e9 == pytest.approx(1.23, rel=0.01)

    def test_expected_multiply_adds_are_those_of_equal_shares(self) -> None:
        network = built(AViT)
        decisions = everything(network, 1)
        decisions.patches[..., 12:] = 0
        assert network.multiply_adds(decisions, (32, 32)).item() == network.expected_multiply_adds(active=0.75)

    def still(self, **options) -> AViT:
        """A network whose blocks change nothing, so that scores are the same in every block."""
        network = built(AViT, depth=6, halting_scale=1.0, halting_center=1.0, **options)
        with torch.no_grad():
            for block in network.blocks:
                for layer in (block.attention.proj, block.feedforward.fc2):
                    layer.weight.zero_()
                    layer.bias.zero_()
        return network

    @pytest.mark.parametrize("epsilon", [0.01, 0.4])
    def test_patches_stop_when_their_scores_add_up_to_one(self, epsilon: float) -> None:
        network, x = self.still(epsilon=epsilon), pictures(2)
        with torch.no_grad():
            score = (network.embed(x) + network.positions_of((4, 4)))[..., 0].sub(1).sigmoid()
            output = network(x)
        blocks = ((1 - epsilon) / score).ceil().clamp(max=6)
        assert blocks.unique().numel() > 2
        assert torch.equal(output.decisions.patches.sum((1, 2)), blocks)
        assert torch.allclose(output.ponder, blocks + 1 - (blocks - 1) * score, atol=1e-5)
        assert torch.allclose(output.halting[:, 0], score, atol=1e-6)
        assert torch.equal(output.halting[:, 5], (blocks == 6).float())

    def test_weights_add_up_to_one(self) -> None:
        """Where all states are alike, their mean is one of them, wherever patches stop."""
        network, x = self.still(), pictures(2)
        with torch.no_grad():
            expected = network.head(network.norm(network.embed(x) + network.positions_of((4, 4))), (4, 4), (32, 32))
            assert torch.allclose(network(x).ab_n, expected, atol=1e-5)
            assert torch.allclose(network.infer(x).ab_n, expected, atol=1e-5)

    def test_states_are_weighted_by_their_scores(self) -> None:
        """Two blocks: the first state by its score, the second by the rest; what scores little shows the second alone."""
        network, x = built(AViT, depth=2, halting_scale=1.0, halting_center=1.0), pictures()
        with torch.no_grad():
            states = [network.embed(x) + network.positions_of((4, 4))]
            for block in network.blocks:
                states.append(block(states[-1], block.attention.bias((4, 4))))
            weight = states[1][..., :1].sub(1).sigmoid()
            assert (weight < 0.99).all() and weight.max() > 0.3
            expected = network.norm(weight * states[1] + (1 - weight) * states[2])
            assert torch.allclose(network(x).ab_n, network.head(expected, (4, 4), (32, 32)), atol=1e-5)

    def test_scores_count_until_they_add_up_to_one(self) -> None:
        """Decisions that make patches go on after they were sure change nothing."""
        network, x = built(AViT, depth=3, halting_center=-1e3), pictures(2)
        with torch.no_grad():
            own, longer = network(x), network(x, decisions=everything(network, 2))
        assert (own.decisions.patches[:, 1:] == 0).all()
        assert torch.allclose(own.ab_n, longer.ab_n, atol=1e-5)

    def test_ponder_and_halting_carry_gradients(self) -> None:
        for part in ("ponder", "halting"):
            network = built(AViT).train()
            getattr(network(pictures(3)), part).mean().backward()
            assert network.embed.proj.weight.grad[0].any()
            assert torch.isfinite(network.embed.proj.weight.grad).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"halting_scale": 0.0}, "above 0, got 0"), ({"epsilon": 1.0}, "epsilon must lie between 0 and 1, got 1")],
    )
    def test_options_that_do_not_fit_are_named(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            AViT(**{**SMALL, **options})


class TestHiding:
    def test_a_removed_token_sees_and_is_seen_by_itself_alone(self) -> None:
        seen = hiding(torch.tensor([[1.0, 0.0, 1.0]]))[0, 0] == 0
        assert seen.tolist() == [[True, False, True], [True, True, True], [True, False, True]]

    def test_a_bias_between_some(self) -> None:
        bias = torch.rand(2, 5, 5, generator=rng())
        some = among(bias, torch.tensor([1, 4]))
        assert torch.equal(some[:, 0, 1], bias[:, 1, 4]) and torch.equal(some[:, 1, 0], bias[:, 4, 1])

"""DISCO: its sizes, what every option changes, and every way to colour a picture."""

import math
from typing import Any

import pytest
import torch
from golden_rule import golden
from tiny import multiply_adds
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from colorexp import color
from colorexp.models.disco import Anchor, Coloured, Disco
from colorexp.models.disco.anchors import distinct_colours, draw_colours, locate_at_random, locate_by_clusters
from colorexp.models.disco.transformer import sine_positions
from colorexp.models.spixnet import SPixNet
from colorexp.nn import superpixels

TINY: dict[str, Any] = {
    "width": 4,
    "token_width": 16,
    "heads": 2,
    "layers": 1,
    "feedforward": 16,
    "cell": 8,
    "superpixel_width": 4,
    "anchors": 3,
}


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


def tiny(**options: Any) -> Disco:
    """A network that has seen some pictures, so that its norms are no special values."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Disco(**{**TINY, **options})
        if network.refine != "post":
            network.train()(*pictures(4, seed=9), generators(4))
        return network.eval()


def pictures(count: int = 2, height: int = 32, width: int = 40, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Lightness and chroma that change from cell to cell."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 6, generator=rng)
    lab = color.rgb_to_lab(nn.functional.interpolate(coarse, (height, width), mode="bilinear"))
    L_n, ab_n = color.normalise(lab[:, :1], lab[:, 1:], "disco")
    return (L_n + 0.05 * torch.randn(L_n.shape, generator=rng)).clamp(-1, 1), ab_n


def parameters(*modules: nn.Module | None) -> int:
    return sum(p.numel() for module in modules if module is not None for p in module.parameters())


def loss(out: Coloured, ab_n: Tensor) -> Tensor:
    """Something of every output that can be trained."""
    total = out.generator_logits.log_softmax(1).gather(1, out.target[:, None]).mean()
    if out.color_logits is not None:
        total = total + out.color_logits.log_softmax(1).gather(1, out.target[:, None]).mean()
    return total + (out.ab_n - ab_n).abs().mean()


class TestPaperSize:
    @pytest.fixture(scope="class")
    def network(self) -> Disco:
        with torch.device("meta"):
            return Disco().eval()

    def test_parameters_are_the_published_ones(self, network: Disco) -> None:
        extraction = parameters(network.superpixels, network.backbone)
        construction = parameters(network.modeler, network.generator, network.embed)
        assert parameters(network) == 43_063_739
        assert (extraction, construction, parameters(network.refiner)) == (34_798_713, 664_064, 7_600_962)

    def test_multiply_adds_are_the_published_ones(self, network: Disco) -> None:
        L_n = torch.empty(1, 1, 256, 256, device="meta")
        tokens, hints = torch.empty(1, 256, 64, device="meta"), torch.empty(1, 256, 378, device="meta")

        def transform() -> None:
            for transformer in (network.modeler, network.generator):
                transformer(tokens, tokens[0])
            network.embed(hints)

        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # whose products the counter sees
            extraction = multiply_adds(lambda: (network.superpixels(L_n), network.backbone(L_n)))
            construction = multiply_adds(transform)
            refinement = multiply_adds(lambda: network.refiner(torch.empty(1, 64, 256, 256, device="meta"), L_n))
        assert extraction / 1e9 == pytest.approx(71.79, abs=0.005)
        assert construction / 1e9 == pytest.approx(0.268, abs=0.0005)
        assert refinement / 1e9 == pytest.approx(55.68, abs=0.005)
        assert (extraction + construction + refinement) / 1e9 == pytest.approx(127.74, abs=0.005)


class TestConstructor:
    @pytest.mark.parametrize(
        "options",
        [
            {"width": 6},
            {"token_width": 8},
            {"layers": 2},
            {"feedforward": 8},
            {"superpixel_width": 6},
            {"anchors": 0},
            {"primitives": "patches"},
            {"refine": "none"},
        ],
        ids=str,
    )
    def test_an_option_changes_what_is_built(self, options: dict[str, Any]) -> None:
        built = {name: tensor.shape for name, tensor in Disco(**{**TINY, **options}).state_dict().items()}
        assert built != {name: tensor.shape for name, tensor in Disco(**TINY).state_dict().items()}

    @pytest.mark.parametrize(
        "options", [{"heads": 4}, {"cell": 16}, {"anchors": 5}, {"locate": "random"}, {"locate": "truth"}], ids=str
    )
    def test_an_option_changes_what_is_computed(self, options: dict[str, Any]) -> None:
        (L_n, ab_n), network = pictures(), tiny()
        varied = Disco(**{**TINY, **options}).eval()
        varied.load_state_dict(network.state_dict())
        truth = {"ab_n": ab_n} if varied.locate == "truth" else {}
        assert not torch.allclose(network.colorize(L_n, generators(2)).ab_n, varied.colorize(L_n, generators(2), **truth).ab_n)

    def test_dropout_is_the_share_of_dropped_values(self) -> None:
        (L_n, ab_n), kept, dropped = pictures(), tiny(dropout=0.0), tiny(dropout=0.5)
        dropped.load_state_dict(kept.state_dict())

        def spread(network: Disco) -> float:
            with torch.no_grad():
                network.generator.train()
                first, second = (network(L_n, ab_n, generators(2)).generator_logits for _ in range(2))
            return (first - second).abs().max().item()

        assert spread(kept) == 0
        assert spread(dropped) > 0.01

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"width": 0}, "width must be positive, got 0"),
            ({"token_width": 18}, "multiple of 4, got 18"),
            ({"heads": 3}, "heads must divide the 16 features, got 3"),
            ({"layers": 0}, "layers must be at least 1, got 0"),
            ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1"),
            ({"cell": 0}, "cell must be positive, got 0|positive, got width 4 and cell 0"),
            ({"anchors": -1}, "anchors must be 0 or more, got -1"),
            ({"locate": "corners"}, "locate must be one of 'features', 'truth', 'random', got 'corners'"),
            ({"primitives": "pixels"}, "primitives must be one of 'superpixels', 'patches', got 'pixels'"),
            ({"refine": "twice"}, "refine must be one of 'joint', 'none', 'post', got 'twice'"),
            ({"anchors": 0, "locate": "random"}, "nothing to locate: leave locate at 'features', got 'random'"),
        ],
        ids=str,
    )
    def test_what_does_not_fit_is_named(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Disco(**{**TINY, **options})

    def test_all_weights_begin_as_xaviers(self) -> None:
        """Biases and norms keep torch's start; SPixNet, which is loaded, its own."""
        network = Disco(**{**TINY, "width": 16, "token_width": 32, "heads": 4})
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and not name.startswith("superpixels"):
                fans = weight[0].numel() + weight[:, 0].numel()
                bound = math.sqrt(6 / fans)
                assert weight.abs().max() <= bound
                assert weight.detach().std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2), name


class TestTraining:
    @pytest.mark.parametrize(
        "options", [{}, {"anchors": 0}, {"primitives": "patches"}, {"locate": "random"}, {"refine": "post"}], ids=str
    )
    def test_gradients_reach_every_trained_parameter(self, options: dict[str, Any]) -> None:
        L_n, ab_n = pictures()
        network = tiny(**options).train()
        loss(network(L_n, ab_n, generators(2)), ab_n).backward()
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        assert [name for name, p in trained.items() if p.grad is None or not p.grad.any()] == []
        assert {name.split(".")[0] for name in trained} == (
            {"refiner"}
            if options.get("refine") == "post"
            else {n for n, m in network.named_children() if parameters(m)} - {"superpixels"}
        )

    def test_without_refinement_the_colours_carry_no_gradient(self) -> None:
        L_n, ab_n = pictures()
        out = tiny(refine="none").train()(L_n, ab_n, generators(2))
        assert not out.ab_n.requires_grad
        assert out.generator_logits.requires_grad

    @pytest.mark.parametrize(
        ("refine", "frozen"), [("joint", {"superpixels"}), ("post", {"superpixels", "backbone", "modeler", "embed", "generator"})]
    )
    def test_frozen_parts_stay_as_they_are(self, refine: str, frozen: set[str]) -> None:
        (L_n, ab_n), network = pictures(), tiny(refine=refine)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.train()(L_n, ab_n, generators(2))
        moved = {name.split(".")[0] for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
        assert not moved & frozen
        assert "refiner" in moved
        assert {name for name, part in network.named_children() if part.training} == {
            n for n, _ in network.named_children()
        } - frozen

    def test_anchors_are_largest_of_their_clusters_and_carry_true_bins(self) -> None:
        (L_n, ab_n), network = pictures(3, 64, 64), tiny()
        out = network(L_n, ab_n, generators(3))
        true_n = superpixels.pool(ab_n, out.affinity, cell=8).values
        apart = (true_n.movedim(1, -1)[:, :, :, None] - network.centres_n).norm(dim=-1)
        assert torch.equal(out.target, apart.argmin(-1))
        assert torch.equal(out.anchor_index, out.target)
        size = superpixels.sizes(out.affinity, cell=8)
        for mask, cluster, own in zip(out.anchor_mask[:, 0], out.clusters, size[:, 0], strict=True):
            assert mask.sum() == 3
            for label in range(3):
                chosen = own[mask & (cluster == label)]
                assert chosen.tolist() == [own[cluster == label].max().item()]

    def test_clusters_are_of_true_colour(self) -> None:
        """A picture of two colours: the superpixels of one colour are together."""
        network = tiny(primitives="patches", anchors=2)
        ab_n = torch.zeros(1, 2, 32, 32)
        ab_n[..., 16:] = 0.6
        clusters = network(pictures(1, 32, 32)[0], ab_n, generators(1)).clusters[0]
        assert (clusters[:, :2] == clusters[0, 0]).all()
        assert (clusters[:, 2:] == clusters[0, 3]).all()
        assert clusters[0, 0] != clusters[0, 3]

    def test_the_generator_sees_true_colours_at_anchors_alone(self) -> None:
        (L_n, ab_n), network = pictures(), tiny()
        out = network(L_n, ab_n, generators(2))
        seen = network.look(L_n)
        located = network._located(seen, network.truth(ab_n, seen)[0], 3, generators(2))
        elsewhere = torch.where(out.anchor_mask[:, 0], out.target, 7)
        assert torch.equal(network.generate(seen, None, located, elsewhere).ab_n, out.ab_n)
        here = torch.where(out.anchor_mask[:, 0], 7, out.target)
        assert not torch.allclose(network.generate(seen, None, located, here).ab_n, out.ab_n)

    def test_bins_are_found_in_full_precision(self) -> None:
        (L_n, ab_n), network = pictures(), tiny(primitives="patches")
        with torch.autocast("cpu", torch.bfloat16):
            half = network(L_n, ab_n, generators(2))
        assert torch.equal(half.target, network(L_n, ab_n, generators(2)).target)
        loss(half, ab_n).backward()
        assert torch.isfinite(half.ab_n).all()


class TestInference:
    @pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 8), (1, 1), (1, 50), (50, 1), (7, 5)], ids=str)
    @pytest.mark.parametrize(
        "options", [{}, {"anchors": 0}, {"primitives": "patches"}, {"refine": "none"}, {"locate": "random"}], ids=str
    )
    def test_every_size_is_coloured(self, size: tuple[int, int], options: dict[str, Any]) -> None:
        out = tiny(**options).colorize(pictures(2, *size)[0], generators(2))
        assert out.ab_n.shape == (2, 2, *size)
        assert torch.isfinite(out.ab_n).all()
        assert out.ab_n.abs().max() <= 1

    @pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
    def test_a_constant_picture_is_coloured(self, value: float) -> None:
        out = tiny(anchors=8).colorize(torch.full((1, 1, 32, 32), value), generators(1))
        assert torch.isfinite(out.ab_n).all()

    def test_more_anchors_than_superpixels_are_one_each(self) -> None:
        network = tiny(primitives="patches")
        assert network.colorize(pictures(1, 16, 16)[0], generators(1), anchors=50).anchor_mask.all()

    @pytest.mark.parametrize("count", [1, 2, 6])
    def test_the_number_of_anchors_can_be_another(self, count: int) -> None:
        out = tiny().colorize(pictures(2, 64, 64)[0], generators(2), anchors=count)
        assert out.anchor_mask.sum((1, 2, 3)).tolist() == [count, count]

    @pytest.mark.parametrize("locate", ["features", "random"])
    def test_a_picture_depends_on_itself_and_its_generator_alone(self, locate: str) -> None:
        (L_n, _), network = pictures(4), tiny(locate=locate)
        together = network.colorize(L_n, generators(4))
        for i in range(4):
            alone = network.colorize(L_n[i : i + 1], generators(1, i))
            assert torch.equal(alone.anchor_mask[0], together.anchor_mask[i])
            assert torch.allclose(alone.ab_n[0], together.ab_n[i], atol=1e-5)
        assert not torch.equal(network.colorize(L_n, generators(4, 10)).anchor_mask, together.anchor_mask)

    @pytest.mark.parametrize("locate", ["truth", "random"])
    def test_anchors_can_be_looked_for_elsewhere(self, locate: str) -> None:
        (L_n, ab_n), network = pictures(), tiny()
        other = tiny(locate=locate)
        other.load_state_dict(network.state_dict())
        truth_n = ab_n if locate == "truth" else None
        asked = network.colorize(L_n, generators(2), locate=locate, ab_n=truth_n)
        assert torch.equal(asked.anchor_mask, other.colorize(L_n, generators(2), ab_n=truth_n).anchor_mask)
        assert not torch.equal(asked.anchor_mask, network.colorize(L_n, generators(2)).anchor_mask)

    def test_several_samples_have_the_same_anchors_and_other_colours(self) -> None:
        (L_n, _), network = pictures(), tiny()
        first, second = network.sample(L_n, generators(2), count=2)
        assert torch.equal(first.anchor_mask, second.anchor_mask)
        assert not torch.equal(first.anchor_index, second.anchor_index)
        assert torch.equal(first.anchor_index, network.sample(L_n, generators(2))[0].anchor_index)

    def test_nothing_is_drawn_or_changed(self) -> None:
        (L_n, ab_n), network = pictures(), tiny()
        state, given = torch.get_rng_state(), (L_n.clone(), ab_n.clone())
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.colorize(L_n, generators(2))
        network.sample(L_n, generators(2))
        network(L_n, ab_n, generators(2))
        assert torch.equal(state, torch.get_rng_state())
        assert torch.equal(given[0], L_n) and torch.equal(given[1], ab_n)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    def test_anchors_get_their_most_probable_colours(self) -> None:
        out = tiny().colorize(pictures()[0], generators(2))
        assert torch.equal(out.anchor_index, out.color_logits.argmax(1))

    def test_clusters_are_of_the_modelers_features(self) -> None:
        (L_n, _), network = pictures(2, 64, 64), tiny()
        seen = network.look(L_n)
        features = network.model(seen).features.transpose(1, 2).unflatten(2, (8, 8))
        located = locate_by_clusters(features, superpixels.sizes(seen.affinity, cell=8), 3, generators(2))
        assert torch.equal(network.colorize(L_n, generators(2)).clusters, located.clusters)

    def test_clusters_may_be_of_the_truth(self) -> None:
        (L_n, ab_n), network = pictures(), tiny(locate="truth")
        out = network.colorize(L_n, generators(2), ab_n=ab_n)
        trained = network(L_n, ab_n, generators(2))
        assert torch.equal(out.clusters, trained.clusters)
        assert torch.equal(out.anchor_index, out.color_logits.argmax(1))

    def test_true_colours_stand_where_the_network_wants_them(self) -> None:
        (L_n, ab_n), network = pictures(), tiny()
        out, own = network.colorize_from_truth(L_n, ab_n, generators(2)), network.colorize(L_n, generators(2))
        assert torch.equal(out.anchor_mask, own.anchor_mask)
        assert torch.equal(out.anchor_index, out.target)
        assert not torch.allclose(out.ab_n, own.ab_n)

    def test_without_refinement_pixels_have_the_generators_colours(self) -> None:
        (L_n, _), network = pictures(1, 32, 32), tiny(refine="none", primitives="patches")
        out = network.colorize(L_n, generators(1))
        colours = network.centres_n[out.generator_logits.argmax(1)].movedim(-1, 1)
        assert torch.allclose(out.ab_n, colours.repeat_interleave(8, 2).repeat_interleave(8, 3))
        assert torch.equal(out.ab_n, network.unrefined(out))

    def test_folding_changes_nothing_but_the_names(self) -> None:
        (L_n, _), network = pictures(), tiny()
        folded = network.folded()
        assert torch.allclose(folded.colorize(L_n, generators(2)).ab_n, network.colorize(L_n, generators(2)).ab_n, atol=1e-5)
        assert not any(p.requires_grad for p in folded.parameters())
        assert any("parametrizations" in name for name in network.state_dict())
        assert not any("parametrizations" in name for name in folded.state_dict())

    def test_half_precision_gives_nearly_the_same_colours(self) -> None:
        (L_n, _), network = pictures(), tiny(anchors=0)
        with torch.autocast("cpu", torch.bfloat16):
            half = network.colorize(L_n, generators(2)).ab_n
        assert (half.float() - network.colorize(L_n, generators(2)).ab_n).abs().max() < 0.05

    def test_half_precision_weights_work_too(self) -> None:
        (L_n, _), network = pictures(), tiny(anchors=3)
        out = network.folded().to(torch.bfloat16).colorize(L_n.bfloat16(), generators(2))
        assert out.ab_n.dtype == torch.bfloat16
        assert torch.isfinite(out.ab_n).all()
        assert out.anchor_mask.sum((1, 2, 3)).tolist() == [3, 3]

    def test_channels_last_gives_the_same_colours(self) -> None:
        (L_n, _), network = pictures(), tiny()
        before = network.colorize(L_n, generators(2)).ab_n
        after = network.to(memory_format=torch.channels_last).colorize(L_n, generators(2)).ab_n
        assert torch.allclose(before, after, atol=1e-5)


class TestDiversity:
    def test_the_three_colours_are_the_released_ones(self) -> None:
        g = golden("anchor_sampling")
        _, centres_n = color.normalise(torch.zeros(()), color.ab_gamut(), "disco")
        for i, index in enumerate(distinct_colours(g["prob"], centres_n)):
            assert torch.allclose(centres_n[index].movedim(-1, 1), g[f"top{i}"])

    def test_the_first_of_three_colorings_is_the_automatic_one(self) -> None:
        (L_n, _), network = pictures(), tiny()
        three = network.colorize_diverse(L_n, generators(2))
        assert torch.equal(three[0].ab_n, network.colorize(L_n, generators(2)).ab_n)
        assert all(torch.equal(one.anchor_mask, three[0].anchor_mask) for one in three)
        at = three[0].anchor_mask[:, 0]
        assert all((three[i].anchor_index[at] != three[j].anchor_index[at]).all() for i, j in ((0, 1), (0, 2), (1, 2)))

    def test_draws_follow_the_distribution(self) -> None:
        logits = torch.zeros(1, 313, 60, 60)
        logits[:, 5], logits[:, 9] = 8.0, 8.0 + math.log(3)
        drawn = draw_colours(logits, 1.0, generators(1))
        rest = 311 / (311 + 4 * math.exp(8))
        for bin_, share in ((5, 0.25), (9, 0.75)):
            assert (drawn == bin_).float().mean().item() == pytest.approx(share * (1 - rest), abs=0.03)
        warm = draw_colours(logits, 2.0, generators(1))
        ratio = (warm == 9).sum() / (warm == 5).sum()
        assert ratio.item() == pytest.approx(math.sqrt(3), rel=0.15)

    def test_a_sample_is_its_generators_and_cold_ones_are_automatic(self) -> None:
        (L_n, _), network = pictures(), tiny()
        first, again, other = (network.sample(L_n, generators(2, seed))[0].anchor_index for seed in (0, 0, 5))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        alone = network.sample(L_n[1:], generators(1, 1))[0].anchor_index
        assert torch.equal(alone[0], first[1])
        cold = network.sample(L_n, generators(2), temperature=1e-4)[0]
        assert torch.equal(cold.anchor_index, network.colorize(L_n, generators(2)).anchor_index)

    @pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
    def test_a_temperature_is_above_zero(self, temperature: float) -> None:
        with pytest.raises(ValueError, match="temperature must be above 0, got"):
            tiny().sample(pictures()[0], generators(2), temperature=temperature)


class TestControl:
    @pytest.fixture
    def network(self) -> Disco:
        return tiny(primitives="patches")

    def test_written_anchors_give_the_same_picture(self, network: Disco) -> None:
        L_n = pictures(2, 37, 45)[0]
        out = network.colorize(L_n, generators(2))
        listed = network.anchors_of(out)
        assert [len(anchors) for anchors in listed] == [3, 3]
        again = network.colorize_with(L_n, listed)
        assert torch.equal(again.anchor_mask, out.anchor_mask)
        assert torch.equal(again.ab_n, out.ab_n)

    def test_an_anchor_can_be_moved_recoloured_removed_and_added(self, network: Disco) -> None:
        L_n = pictures(1, 32, 32)[0]
        first, *others = network.anchors_of(network.colorize(L_n, generators(1)))[0]
        corner = Anchor(31, 31, (60.0, -40.0))
        changed = {
            "moved": [first._replace(row=(first.row + 8) % 32), *others],
            "recoloured": [first._replace(ab=(-50.0, 50.0)), *others],
            "removed": others,
            "added": [first, *others, corner],
            "none": [],
        }
        before = network.colorize_with(L_n, [[first, *others]]).ab_n
        for how, anchors in changed.items():
            out = network.colorize_with(L_n, [anchors])
            assert not torch.allclose(out.ab_n, before), how
            assert out.anchor_mask.sum() == len({(a.row // 8, a.col // 8) for a in anchors}), how
        told = network.colorize_with(L_n, [changed["added"]])
        assert told.anchor_mask[0, 0, 3, 3]
        assert color.ab_gamut()[told.anchor_index[0, 3, 3]].tolist() == [60, -40]

    def test_an_anchor_colours_the_superpixel_under_its_pixel(self) -> None:
        (L_n, _), network = pictures(1, 32, 32), tiny()
        affinity = network.look(L_n).affinity
        for row, col in ((0, 0), (12, 20), (31, 3)):
            out = network.colorize_with(L_n, [[Anchor(row, col, (0.0, 0.0))]])
            token = superpixels.labels(affinity, cell=8)[0, row, col]
            assert out.anchor_mask.flatten().nonzero().flatten().tolist() == [token.item()]

    def test_of_two_anchors_in_one_superpixel_the_later_counts(self, network: Disco) -> None:
        L_n = pictures(1, 32, 32)[0]
        late, early = Anchor(4, 4, (60.0, 0.0)), Anchor(5, 5, (-60.0, 0.0))
        assert torch.equal(network.colorize_with(L_n, [[early, late]]).ab_n, network.colorize_with(L_n, [[late]]).ab_n)

    @pytest.mark.parametrize("ab", [(0.0, 0.0), (80.1, 67.2), (98.2, -60.8), (-86.1, 83.1), (79.2, -107.8), (-4.9, 5.0)])
    def test_every_colour_of_the_gamut_is_taken(self, network: Disco, ab: tuple[float, float]) -> None:
        out = network.colorize_with(pictures(1)[0], [[Anchor(0, 0, ab)]])
        told = color.ab_gamut()[out.anchor_index[0, 0, 0]]
        assert (told - torch.tensor(ab)).abs().max() <= 5.001

    @pytest.mark.parametrize(
        ("anchor", "message"),
        [
            (Anchor(32, 0, (0.0, 0.0)), r"picture 1: Anchor\(row=32, .* outside of its 32x40 pixels"),
            (Anchor(0, -1, (0.0, 0.0)), "outside of its 32x40 pixels"),
            (Anchor(0, 40, (0.0, 0.0)), "outside of its 32x40 pixels"),
            (Anchor(0, 0, (120.0, 0.0)), r"picture 1: the colour of Anchor\(.*120.0.* outside of the gamut"),
            (Anchor(0, 0, (-80.0, -80.0)), "outside of the gamut"),
            (Anchor(0, 0, (math.nan, 0.0)), "outside of the gamut"),
        ],
        ids=str,
    )
    def test_an_anchor_that_cannot_be_is_named(self, network: Disco, anchor: Anchor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            network.colorize_with(pictures()[0], [[], [anchor]])

    def test_every_picture_has_its_list(self, network: Disco) -> None:
        with pytest.raises(ValueError, match="2 pictures, got 1 lists"):
            network.colorize_with(pictures()[0], [[]])


class TestBadInput:
    @pytest.mark.parametrize(
        "L_n", [torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8), torch.zeros(1, 1, 0, 8), torch.zeros(1, 1, 8, 8, dtype=torch.int64)]
    )
    def test_pictures_are_one_channel_of_floats(self, L_n: Tensor) -> None:
        with pytest.raises(ValueError, match=r"L_n must be a floating \(B, 1, H, W\), got"):
            tiny().colorize(L_n, generators(1))

    def test_the_truth_fits_the_pictures(self) -> None:
        with pytest.raises(ValueError, match=r"ab_n must be \(2, 2, 32, 40\) as L_n is .* got \(1, 2, 32, 40\)"):
            tiny()(pictures()[0], torch.zeros(1, 2, 32, 40), generators(2))

    @pytest.mark.parametrize("locate", ["features", "random"])
    def test_every_picture_has_its_generator(self, locate: str) -> None:
        with pytest.raises(ValueError, match="2 pictures, got 3 generators"):
            tiny(locate=locate).colorize(pictures()[0], generators(3))

    @pytest.mark.parametrize(("locate", "given"), [("features", True), ("truth", False)])
    def test_the_truth_is_for_those_who_need_it(self, locate: str, given: bool) -> None:
        L_n, ab_n = pictures()
        with pytest.raises(ValueError, match=f"needed there; they are by '{locate}'"):
            tiny(locate=locate).colorize(L_n, generators(2), ab_n=ab_n if given else None)

    @pytest.mark.parametrize("count", [0, -1, 2.5])
    def test_anchors_that_cannot_be_asked_for(self, count: float) -> None:
        with pytest.raises(ValueError, match=rf"anchors must be a whole number, at least 1, got {count}"):
            tiny().colorize(pictures()[0], generators(2), anchors=count)

    def test_another_way_to_locate_is_named(self) -> None:
        with pytest.raises(ValueError, match="locate must be one of 'features', 'truth', 'random', got 'bogus'"):
            tiny().colorize(pictures()[0], generators(2), locate="bogus")

    def test_without_the_branch_there_are_no_anchors(self) -> None:
        (L_n, ab_n), network = pictures(), tiny(anchors=0)
        out = network.colorize(L_n, generators(2))
        assert out.color_logits is None
        assert not out.anchor_mask.any()
        for call in (
            lambda: network.colorize(L_n, generators(2), anchors=3),
            lambda: network.colorize_diverse(L_n, generators(2)),
            lambda: network.sample(L_n, generators(2)),
            lambda: network.colorize_with(L_n, [[], []]),
            lambda: network.colorize_from_truth(L_n, ab_n, generators(2)),
        ):
            with pytest.raises(ValueError, match="no anchor branch"):
                call()


class TestStart:
    def test_from_superpixels(self) -> None:
        trained, network = SPixNet(width=4, cell=8), Disco(**TINY)
        nn.init.constant_(trained.head.bias, 0.7)
        others = {name: tensor.clone() for name, tensor in network.state_dict().items() if not name.startswith("superpixels")}
        network.start_from(trained.state_dict())
        assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in network.superpixels.state_dict().items())
        assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in others.items())

    @pytest.mark.parametrize(
        ("parent", "child", "left"),
        [
            ({}, {}, []),
            ({}, {"locate": "random"}, []),
            ({}, {"refine": "none"}, []),
            ({}, {"anchors": 0}, []),
            ({}, {"primitives": "patches"}, []),
            ({"refine": "none"}, {"refine": "post"}, ["refiner"]),
            ({"anchors": 0}, {}, ["embed", "modeler"]),
        ],
        ids=str,
    )
    def test_from_a_variant(self, parent: dict[str, Any], child: dict[str, Any], left: list[str]) -> None:
        given, network = tiny(**parent).state_dict(), Disco(**{**TINY, **child})
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.start_from(given)
        for name, tensor in network.state_dict().items():
            kept = name.split(".")[0] in left
            assert torch.equal(tensor, before[name] if kept else given[name]), name

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            (
                lambda: SPixNet(width=6, cell=8).state_dict(),
                r"no SPixNet to start from: superpixels\.decoder\.0\.merge\.0\.weight is \(6,",
            ),
            (lambda: {}, r"no SPixNet to start from: missing superpixels\.decoder"),
            (lambda: Disco(**{**TINY, "layers": 2}).state_dict(), r"no Disco to start from: unexpected generator\.layers\.1\."),
            (
                lambda: Disco(**{**TINY, "width": 6}).state_dict(),
                r"no Disco to start from: backbone\.block1\.0\.bias is \(6,\), not \(4,\)",
            ),
            (lambda: Disco(**{**TINY, "primitives": "patches"}).state_dict(), r"no Disco to start from: missing superpixels\."),
            (
                lambda: {**Disco(**TINY).state_dict(), "extra.weight": torch.zeros(1)},
                r"Disco to start from: unexpected extra\.weight$",
            ),
        ],
    )
    def test_what_does_not_fit_is_named(self, state: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Disco(**TINY).start_from(state())

    def test_what_shapes_do_not_tell_is_compared_by_name(self) -> None:
        """A SPixNet of another cell size would load and segment wrongly; runs compare these arguments."""
        assert set(Disco.alike) == {"cell", "heads"}
        for name in Disco.alike:
            shapes = [{n: t.shape for n, t in Disco(**{**TINY, name: value}).state_dict().items()} for value in (4, 8)]
            assert shapes[0] == shapes[1]


def test_positions_tell_rows_then_columns() -> None:
    codes = sine_positions((3, 5), 8).view(3, 5, 8)
    for row, col in ((0, 0), (2, 1), (1, 4)):
        y, x = (row + 1) / 3 * 2 * math.pi, (col + 1) / 5 * 2 * math.pi
        expected = [f(angle / scale) for angle in (y, x) for scale in (1, 100) for f in (math.sin, math.cos)]
        assert torch.allclose(codes[row, col], torch.tensor(expected), atol=1e-5)


def test_random_anchors_are_distinct_and_anywhere() -> None:
    masks = locate_at_random(torch.ones(200, 1, 4, 4), 3, generators(200)).mask
    assert (masks.sum((1, 2, 3)) == 3).all()
    assert (masks.sum(0) > 15).all()

"""The exemplar network: sizes, the two colour modules, the gate, and what every option changes."""

import math
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from tiny import multiply_adds, rng
from torch import Tensor, nn

from colorexp import color
from colorexp.models.exemplar import Colored, Exemplar, correspondence
from colorexp.models.exemplar.correspondence import Correspondence, attention
from colorexp.models.exemplar.database import FLOOR, Database
from colorexp.workload_exemplar import Peak

TINY: dict[str, Any] = {"width": 4, "reference_side": 32}
VARIANTS = ("released", "paper")
COMBINATIONS = [
    {"variant": variant, "sources": sources, "fuse": fuse}
    for variant, (sources, fuse) in product(
        VARIANTS, [("none", "gate"), ("reference", "gate"), ("database", "gate"), ("both", "gate"), ("both", "sum")]
    )
]


def tiny(**options: Any) -> Exemplar:
    """A network whose confidences are no halves and whose database prefers some colours."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Exemplar(**{**TINY, **options}).eval()
        for name, parameter in network.named_parameters():
            if name.startswith(("correspondence", "database_confidence")):
                nn.init.normal_(parameter)
            elif name.endswith("bias"):
                nn.init.normal_(parameter, std=0.1)
    return network


def pictures(count: int = 2, height: int = 32, width: int = 48, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Lightness and chroma that change from place to place."""
    coarse = torch.rand(count, 3, 5, 6, generator=rng(seed))
    lab = color.rgb_to_lab(nn.functional.interpolate(coarse, (height, width), mode="bilinear"))
    L_n, ab_n = color.normalise(lab[:, :1], lab[:, 1:], "disco")
    return (L_n + 0.05 * torch.randn(L_n.shape, generator=rng(seed))).clamp(-1, 1), ab_n


def colored(network: Exemplar, L_n: Tensor, reference: tuple[Tensor, Tensor]) -> Colored:
    with torch.no_grad():
        return network(L_n, *reference)


def tensors(out: Colored) -> list[Tensor]:
    return [*out.ab_n, *(x for x in out[1:] if x is not None)]


def squared(out: Colored) -> Tensor:
    return torch.stack([ab_n.square().mean() for ab_n in out.ab_n]).sum()


class TestPaperSize:
    def test_multiply_adds_are_the_released_ones_less_a_pass_of_the_extractor(self) -> None:
        """The released code runs its extractor three times per pair of pictures."""
        network, (L_n, ab_n) = Exemplar().eval(), pictures(1, 256, 256)
        with torch.no_grad():
            ours = multiply_adds(lambda: network(L_n, L_n, ab_n)) / 1e9
            one_pass = multiply_adds(lambda: network.extractor(L_n)) / 1e9
        assert ours == pytest.approx(115.08, abs=0.005)
        assert ours + one_pass == pytest.approx(123.6, abs=0.05)

    @pytest.mark.parametrize(
        ("options", "count"),
        [
            ({}, 72_316_686),
            ({"variant": "paper"}, 67_435_278),
            ({"sources": "none"}, 43_256_646),
            ({"fuse": "sum"}, 63_923_980),
        ],
        ids=str,
    )
    def test_parameters(self, options: dict[str, Any], count: int) -> None:
        with torch.device("meta"):
            assert sum(p.numel() for p in Exemplar(**options).parameters()) == count


class TestConstructor:
    @pytest.mark.parametrize(
        "options",
        [
            {"width": 6},
            {"variant": "paper"},
            {"bins": 313},
            {"sources": "none"},
            {"sources": "reference"},
            {"sources": "database"},
            {"fuse": "sum"},
            {"prior": False},
            {"reference_side": 48},
        ],
        ids=str,
    )
    def test_an_option_changes_what_is_built(self, options: dict[str, Any]) -> None:
        built = {name: tensor.shape for name, tensor in Exemplar(**{**TINY, **options}).state_dict().items()}
        assert built != {name: tensor.shape for name, tensor in Exemplar(**TINY).state_dict().items()}

    @pytest.mark.parametrize("options", [{"sources": "reference"}, {"sources": "database", "prior": False}], ids=str)
    def test_the_paper_and_its_code_share_what_they_agree_on(self, options: dict[str, Any]) -> None:
        """Such variants differ by lightness in queries and keys alone, which no weight shows."""
        (L_n, _), reference = pictures(), pictures(seed=1)
        code, paper = tiny(**options), tiny(**options, variant="paper")
        paper.load_state_dict(code.state_dict())
        same = torch.allclose(colored(code, L_n, reference).ab_n[2], colored(paper, L_n, reference).ab_n[2])
        assert same == (options["sources"] == "database")

    def test_the_prior_of_the_paper_has_no_weights_and_an_effect(self) -> None:
        (L_n, _), reference = pictures(), pictures(seed=1)
        with_prior, without = (tiny(variant="paper", sources="database", prior=prior) for prior in (True, False))
        without.load_state_dict(with_prior.state_dict())
        assert not torch.allclose(colored(with_prior, L_n, reference).ab_n[2], colored(without, L_n, reference).ab_n[2])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"width": 0}, "width must be positive, got 0"),
            ({"reference_side": 40}, "reference_side must be a positive multiple of 16, got 40"),
            ({"reference_side": 0}, "multiple of 16, got 0"),
            ({"variant": "code"}, "variant must be one of 'released', 'paper', got 'code'"),
            ({"sources": "all"}, "sources must be one of 'none', 'reference', 'database', 'both', got 'all'"),
            ({"fuse": "mean"}, "fuse must be one of 'gate', 'sum', got 'mean'"),
            ({"bins": 441}, "bins must be 198 or 313, got 441"),
            ({"sources": "none", "fuse": "sum"}, "sources 'none' there is nothing to fuse: leave fuse at 'gate', got 'sum'"),
            ({"sources": "reference", "prior": False}, "sources 'reference' there is no database to constrain"),
        ],
    )
    def test_what_cannot_be_built_is_named(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Exemplar(**{**TINY, **options})

    def test_first_activations_are_as_large_in_a_narrow_network(self) -> None:
        """Its hundredfold logits would else say nothing at first, or one colour for sure."""
        deviations = []
        for width in (4, 32):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = Exemplar(width=width, reference_side=32, sources="database", prior=False).eval()
            L_n, ab_n = pictures(1, 64, 64)
            deviations.append(colored(network, L_n, (L_n, ab_n)).posterior.log().std(1).mean().item())
        assert deviations[0] == pytest.approx(deviations[1], rel=0.5)


class TestForward:
    @pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(o.values()))
    def test_gradients_reach_every_parameter(self, options: dict[str, Any]) -> None:
        network, (L_n, _), reference = tiny(**options).train(), pictures(height=64, width=64), pictures(seed=1, height=64, width=64)
        squared(network(L_n, *reference)).backward()
        dead = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9]
        cancelled = r"decoder\.stages\.\d\.refine\..*bias"  # by the norm behind it, as in the released network
        assert [name for name in dead if not re.fullmatch(cancelled, name)] == []
        assert all(torch.isfinite(p.grad).all() for p in network.parameters())

    @pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(o.values()))
    def test_what_a_variant_lacks_is_none(self, options: dict[str, Any]) -> None:
        (L_n, _), reference = pictures(), pictures(seed=1)
        out = colored(tiny(**options), L_n, reference)
        looks, knows = options["sources"] in ("reference", "both"), options["sources"] in ("database", "both")
        assert (out.gate is not None) == (looks and knows and options["fuse"] == "gate")
        assert (out.reference_ab_n is not None) == looks
        assert {x is not None for x in (out.database_ab_n, out.likelihood, out.posterior)} == {knows}

    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 5), (16, 16), (1, 70)])
    @pytest.mark.parametrize("reference_size", [(32, 32), (19, 50), (3, 3), (80, 16)])
    def test_every_size_of_target_and_reference(self, variant: str, size: tuple[int, int], reference_size: tuple[int, int]) -> None:
        (L_n, _), reference = pictures(2, *size), pictures(2, *reference_size, seed=1)
        out = colored(tiny(variant=variant), L_n, reference)
        quarter, half, full = ((math.ceil(size[0] / step), math.ceil(size[1] / step)) for step in (4, 2, 1))
        assert [tuple(ab_n.shape) for ab_n in out.ab_n] == [(2, 2, *s) for s in (quarter, half, full)]
        assert {tuple(x.shape) for x in (out.gate, out.reference_ab_n, out.database_ab_n)} == {(2, 2, *quarter)}
        assert out.posterior.shape == (2, 198, math.ceil(size[0] / 8), math.ceil(size[1] / 8))
        assert all(torch.isfinite(x).all() for x in tensors(out))

    def test_a_ragged_target_is_the_crop_of_its_extension(self) -> None:
        network, (L_n, _), reference = tiny(), pictures(2, 21, 35), pictures(seed=1)
        padded = nn.functional.pad(L_n, (0, 13, 0, 11), mode="replicate")
        whole, cropped = (colored(network, x, reference) for x in (padded, L_n))
        assert torch.equal(whole.ab_n[2][..., :21, :35], cropped.ab_n[2])
        assert torch.equal(whole.gate[..., :6, :9], cropped.gate)

    @pytest.mark.parametrize(("sources", "count"), [("none", 1), ("database", 1), ("reference", 2), ("both", 2)])
    def test_the_extractor_runs_once_per_picture(self, sources: str, count: int) -> None:
        network, (L_n, _), reference = tiny(sources=sources), pictures(), pictures(seed=1, height=32, width=32)
        seen: list[Tensor] = []
        network.extractor.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
        colored(network, L_n, reference)
        assert len(seen) == count
        assert all(torch.equal(given, wanted) for given, wanted in zip(seen, (L_n, reference[0]), strict=False))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_nothing_is_changed_or_drawn(self, variant: str) -> None:
        network, (L_n, _), reference = tiny(variant=variant), pictures(), pictures(seed=1)
        given, state = [x.clone() for x in (L_n, *reference)], torch.get_rng_state()
        attributes = {name: set(vars(module)) for name, module in network.named_modules()}
        first, second = (colored(network, L_n, reference) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(given, (L_n, *reference), strict=True))
        assert torch.equal(state, torch.get_rng_state())
        assert attributes == {name: set(vars(module)) for name, module in network.named_modules()}

    def test_pictures_do_not_see_each_other(self) -> None:
        network, (L_n, _), reference = tiny(), pictures(3), pictures(3, seed=1)
        together = colored(network, L_n, reference)
        alone = colored(network, L_n[1:2], (reference[0][1:2], reference[1][1:2]))
        assert all(torch.allclose(a[1:2], b, atol=1e-3) for a, b in zip(tensors(together), tensors(alone), strict=True))

    def test_half_precision_gives_nearly_the_same_colours(self) -> None:
        network, (L_n, _), reference = tiny(), pictures(), pictures(seed=1)
        with torch.autocast("cpu", torch.bfloat16):
            half = colored(network, L_n, reference)
        whole = colored(network, L_n, reference)
        assert (half.reference_ab_n.float() - whole.reference_ab_n).abs().mean() < 0.02
        assert (half.ab_n[2].float() - whole.ab_n[2]).abs().mean() < 0.02

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda L_n, r_L, r_ab: (L_n[:, 0], r_L, r_ab), r"L_n must be a floating \(B, 1, H, W\)"),
            (lambda L_n, r_L, r_ab: (L_n.long(), r_L, r_ab), "got torch.int64"),
            (lambda L_n, r_L, r_ab: (L_n,), "reference_L_n and reference_ab_n are needed, got None"),
            (lambda L_n, r_L, r_ab: (L_n, r_L), "are needed, got None"),
            (lambda L_n, r_L, r_ab: (L_n, r_ab, r_ab), r"reference_L_n must be a floating \(B, 1, H, W\)"),
            (lambda L_n, r_L, r_ab: (L_n, r_L[:1], r_ab[:1]), "2 targets, got 1 references"),
            (lambda L_n, r_L, r_ab: (L_n, r_L, r_ab[..., 1:]), r"reference_ab_n must be \(2, 2, 32, 48\), got \(2, 2, 32, 47\)"),
        ],
    )
    def test_what_does_not_fit_is_named(self, change: Callable[..., tuple[Tensor, ...]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            tiny()(*change(pictures()[0], *pictures(seed=1)))

    def test_the_first_stage_needs_no_reference(self) -> None:
        network, (L_n, _) = tiny(sources="none"), pictures()
        with torch.no_grad():
            assert torch.equal(network(L_n).ab_n[2], network(L_n, *pictures(seed=1)).ab_n[2])


def matching(side: int, *, depth: int = 6, judges: int = 1, hidden: int = 4) -> tuple[Correspondence, list[Tensor]]:
    module = Correspondence(lightness=False, judges=judges, grid=side, hidden=hidden).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=rng(5))
    query, key, ab_n = (torch.randn(2, channels, side, side, generator=rng(i)) for i, channels in enumerate((depth, depth, 2)))
    given = [nn.functional.normalize(query, dim=1), nn.functional.normalize(key, dim=1), ab_n]
    return module, [x.requires_grad_() for x in given]


class TestCorrespondence:
    def test_chunks_change_neither_colours_nor_gradients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        results = []
        for pairs in (2**30, 7 * 64, 1):
            monkeypatch.setattr(correspondence, "PAIRS_AT_ONCE", pairs)
            module, given = matching(8, judges=2)
            found = module(*given)
            (found.ab_n.square().sum() + found.confidence.sin().sum()).backward()
            results.append([*found, *(x.grad for x in (*given, *module.parameters()))])
        for chunked in results[1:]:
            assert all((a - b).abs().max() <= 1e-5 * b.abs().max() for a, b in zip(chunked, results[0], strict=True))

    def test_it_is_the_softmax_of_hundredfold_cosines(self) -> None:
        module, (query, key, ab_n) = matching(8)
        cosines = nn.functional.cosine_similarity(query.flatten(2)[:, :, :, None], key.flatten(2)[:, :, None], dim=1)
        weights = (cosines / 0.01).softmax(2)
        found = module(query, key, ab_n)
        assert torch.allclose(found.ab_n.flatten(2), ab_n.flatten(2) @ weights.transpose(1, 2), atol=1e-4)
        assert torch.allclose(found.confidence.flatten(1), module.judges[0](weights)[..., 0], atol=1e-4)

    def test_dropped_values_are_the_same_when_chunks_are_made_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(correspondence, "PAIRS_AT_ONCE", 16 * 64)
        gradients = []
        for call in (correspondence.checkpoint, lambda look, some, **_: look(some)):
            monkeypatch.setattr(correspondence, "checkpoint", call)
            module, given = matching(8, hidden=32)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                module.train()(*given).confidence.sum().backward()
            gradients.append(given[0].grad)
        assert torch.allclose(*gradients, atol=1e-5)

    @pytest.mark.parametrize("training", [False, True])
    def test_memory_is_at_most_a_quarter_of_all_pairs(self, training: bool) -> None:
        module, given = matching(64)
        all_pairs = 2 * 4096 * 4096 * 4
        with Peak() as peak, torch.set_grad_enabled(training):
            found = module(*given)
            if training:
                (found.ab_n.sum() + found.confidence.sum()).backward()
        assert peak.most <= all_pairs / 4
        with Peak() as dense:
            attention(given[0].detach().flatten(2).transpose(1, 2), given[1].detach().flatten(2))
        assert dense.most >= all_pairs  # or the measure is blind

    def test_colours_are_mixed_from_the_references(self) -> None:
        module, (query, key, ab_n) = matching(8)
        found = module(query, key, ab_n).ab_n
        for angle in range(0, 360, 15):
            direction = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            mixed, given = (torch.einsum("bchw,c->bhw", x, direction).flatten(1).amax(1) for x in (found, ab_n))
            assert (mixed <= given + 1e-5).all()

    def test_a_judge_sees_a_larger_reference_as_the_square_it_knows(self) -> None:
        module, (query, key, ab_n) = matching(8)
        fine = [x.repeat_interleave(3, 2).repeat_interleave(2, 3) for x in (key, ab_n)]
        assert torch.allclose(module(query, *fine).confidence, module(query, key, ab_n).confidence, atol=1e-4)
        coarse = module(query, key[..., :3, :5], ab_n[..., :3, :5])
        assert torch.isfinite(coarse.confidence).all()

    def test_matches_are_the_attention_that_makes_the_colours(self) -> None:
        network, (L_n, _), reference = tiny(), pictures(), pictures(seed=1, height=32, width=32)
        weights = network.matches(L_n, reference[0], [0, 13, 31], [47, 22, 5])
        assert weights.shape == (2, 3, 8, 8)
        assert torch.allclose(weights.sum((2, 3)), torch.ones(2, 3))
        mixed = torch.einsum("bnhw,bchw->bcn", weights, nn.functional.avg_pool2d(reference[1], 4))
        found = colored(network, L_n, reference).reference_ab_n
        assert torch.allclose(mixed, found[:, :, [0, 3, 7], [11, 5, 1]], atol=1e-5)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_a_picture_finds_itself(self, variant: str) -> None:
        network, (L_n, ab_n) = tiny(variant=variant), pictures(height=32, width=32)
        rows, cols = [2, 10, 30], [1, 21, 14]
        at = network.matches(L_n, L_n, rows, cols).flatten(2).argmax(2)
        assert (at == torch.tensor([r // 4 * 8 + c // 4 for r, c in zip(rows, cols, strict=True)])).all()
        assert all(torch.isfinite(x).all() for x in tensors(colored(network, L_n, (L_n, ab_n))))

    def test_only_the_papers_keys_hold_lightness(self) -> None:
        L_n, networks = pictures()[0], [tiny(variant=variant) for variant in VARIANTS]
        networks[1].extractor.load_state_dict(networks[0].extractor.state_dict())
        with torch.no_grad():
            code, paper = (n.correspondence.features(n.extractor(L_n), L_n) for n in networks)
        assert [x.shape[1:] for x in (code, paper)] == [(62 * 4, 8, 12), (62 * 4 + 1, 8, 12)]
        assert torch.allclose(paper.norm(dim=1), torch.ones(2, 8, 12))
        assert torch.allclose(nn.functional.normalize(paper[:, :-1], dim=1), code, atol=1e-5)
        assert (paper[:, -1].sign() == nn.functional.avg_pool2d(L_n, 4)[:, 0].sign()).all()

    def test_matches_need_a_reference_and_pixels_of_the_target(self) -> None:
        L_n = pictures()[0]
        with pytest.raises(ValueError, match="sources 'database' matches nothing"):
            tiny(sources="database").matches(L_n, L_n, [0], [0])
        with pytest.raises(ValueError, match=r"in the 32x48 of the target, got \[\(32, 0\), \(0, -1\)\]"):
            tiny().matches(L_n, L_n, [32, 1, 0], [0, 1, -1])


class TestDatabase:
    @pytest.mark.parametrize(("bins", "centres"), [(198, color.ab_database()), (313, color.ab_gamut())])
    def test_the_histogram_counts_nearest_colours(self, bins: int, centres: Tensor) -> None:
        module = Database(width=1, bins=bins, prior=None)
        index = torch.randint(bins, (2, 12, 12), generator=rng())
        jitter = (torch.rand(2, 2, 12, 12, generator=rng(1)) - 0.5) * 9.9
        ab = centres[index].movedim(-1, 1) + jitter
        histogram = module.histogram(ab / 110, torch.tensor([False, False]))
        assert torch.allclose(histogram, color.hard_histogram(ab, centres))
        assert torch.allclose(histogram, nn.functional.one_hot(index, bins).float().mean((1, 2)))

    def test_colours_outside_of_the_database_count_nowhere(self) -> None:
        module, ab = Database(width=1, bins=198, prior=None), torch.zeros(2, 2, 2, 2)
        ab[0, :, 0, 0] = torch.tensor([22.0, 33.0])
        ab[:, 1, 1] = -120.0
        ab[1] = -120.0
        known, unknown = module.histogram(ab / 110, torch.tensor([False, False]))
        assert known[(color.ab_database() == torch.tensor([22.0, 33.0])).all(1)].item() == pytest.approx(1 / 2)
        assert torch.allclose(unknown, torch.full((198,), 1 / 198))

    @pytest.mark.parametrize("bins", [198, 313])
    def test_the_posterior_is_prior_times_likelihood(self, bins: int) -> None:
        network, (L_n, _), reference = tiny(variant="paper", bins=bins), pictures(), pictures(seed=1, height=32)
        out = colored(network, L_n, reference)
        prior = network.database.histogram(reference[1], torch.tensor([False, False]))
        prior = ((1 - FLOOR) * prior + FLOOR / bins)[:, :, None, None]
        product = prior * out.likelihood
        assert torch.allclose(out.posterior, product / product.sum(1, keepdim=True), atol=1e-6)
        for distribution in (out.likelihood, out.posterior):
            assert torch.allclose(distribution.sum(1), torch.ones(2, 4, 6), atol=1e-5)

    def test_the_prior_removes_absent_colours(self) -> None:
        network, (L_n, _), reference = tiny(variant="paper"), pictures(), pictures(seed=1)
        red = torch.tensor([55.0, 33.0]).view(1, 2, 1, 1) / 110
        blue = torch.tensor([11.0, -44.0]).view(1, 2, 1, 1) / 110
        ab_n = torch.where(torch.arange(48) < 24, red, blue).expand(2, 2, 32, 48)
        nn.init.zeros_(network.database.query[-1].bias)
        nn.init.normal_(network.database.query[-1].weight, std=1e-3, generator=rng())  # no colour is far likelier than all others
        out = colored(network, L_n, (reference[0], ab_n))
        absent = network.database.histogram(ab_n, torch.tensor([False, False]))[0] == 0
        assert absent.sum() == 196
        assert (out.likelihood[:, absent].sum(1) > 0.5).all()
        assert (out.posterior[:, absent].sum(1) < 0.05).all()

    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("prior", [True, False])
    def test_the_histogram_reaches_the_database_with_a_prior_alone(self, variant: str, prior: bool) -> None:
        network, (L_n, _), reference = tiny(variant=variant, sources="database", prior=prior), pictures(), pictures(seed=1)
        one, other = (colored(network, L_n, (reference[0], ab_n)) for ab_n in (reference[1], -reference[1]))
        assert torch.equal(one.posterior, other.posterior) != prior
        assert torch.equal(one.likelihood, other.likelihood) != (prior and variant == "released")  # whose features it gates

    def test_the_released_likelihood_is_its_posterior(self) -> None:
        (L_n, _), reference = pictures(), pictures(seed=1)
        out = colored(tiny(), L_n, reference)
        assert torch.equal(out.likelihood, out.posterior)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_colours_are_mixed_from_the_database(self, variant: str) -> None:
        (L_n, _), reference = pictures(), pictures(seed=1)
        network = tiny(variant=variant)
        out = colored(network, L_n, reference)
        expected = torch.einsum("bkhw,kc->bchw", out.posterior, color.ab_database() / 110)
        assert torch.allclose(out.database_ab_n, nn.functional.interpolate(expected, scale_factor=2, mode="bilinear"), atol=1e-5)


class TestGate:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_it_weights_both_sources(self, variant: str) -> None:
        (L_n, _), reference = pictures(), pictures(seed=1)
        gate = colored(tiny(variant=variant), L_n, reference).gate
        assert torch.allclose(gate.sum(1), torch.ones(2, 8, 12))
        assert (gate >= 0).all()
        assert gate.std() > 0.01

    @pytest.mark.parametrize(("variant", "least"), [("released", 0.0402), ("paper", 0.0)])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_how_sure_it_can_be(self, variant: str, least: float, sign: int) -> None:
        network, (L_n, _), reference = tiny(variant=variant), pictures(), pictures(seed=1)
        with torch.no_grad():
            network.correspondence.judges[0][-1].bias += sign * 1e4
            (network.database_confidence or network.correspondence.judges[1])[-1].bias -= sign * 1e4
        gate = colored(network, L_n, reference).gate
        entropy = -(gate * gate.clamp(min=1e-30).log()).sum(1)
        assert torch.allclose(entropy, torch.full_like(entropy, least), atol=2e-4)
        surest = 0.9933 if variant == "released" else 1.0
        assert torch.allclose(gate[:, 0], torch.full_like(entropy, surest if sign > 0 else 1 - surest), atol=1e-4)

    def test_a_sure_gate_leaves_the_other_source_out(self) -> None:
        network, (L_n, _), reference = tiny(variant="paper"), pictures(), pictures(seed=1)
        with torch.no_grad():
            network.correspondence.judges[0][-1].bias += 1e4
            before = network(L_n, *reference).ab_n[2]
            network.database.centres_n.neg_()
            assert torch.equal(network(L_n, *reference).ab_n[2], before)

    def test_confidence_in_the_database_is_read_from_where_the_variant_says(self) -> None:
        """From the reference's correspondence as released, from the database's own in the paper."""
        (L_n, _), reference = pictures(), pictures(seed=1)
        for variant, moved in (("released", False), ("paper", True)):
            network = tiny(variant=variant)
            before = colored(network, L_n, reference).gate
            with torch.no_grad():
                network.database.query[-1].bias += torch.randn(198, generator=rng())
            assert torch.equal(before, colored(network, L_n, reference).gate) != moved

    @pytest.mark.parametrize("fuse", ["gate", "sum"])
    def test_the_sum_is_twice_an_even_gate(self, fuse: str) -> None:
        network, (L_n, _), reference = tiny(fuse=fuse), pictures(), pictures(seed=1)
        if fuse == "gate":
            for judge in network.correspondence.judges:
                nn.init.zeros_(judge[-1].weight)
                nn.init.zeros_(judge[-1].bias)
        added: list[Tensor] = []
        network.decoder.register_forward_hook(lambda _module, inputs, _out: added.extend(inputs[1]))
        out = colored(network, L_n, reference)
        with torch.no_grad():
            parts = zip(network.reference_encoder(out.reference_ab_n), network.database_encoder(out.database_ab_n), strict=True)
        share = 0.5 if fuse == "gate" else 1.0
        assert all(torch.allclose(a, share * (r + d), atol=1e-5) for a, (r, d) in zip(added, parts, strict=True))


class TestGrayReference:
    @pytest.mark.parametrize(("chroma", "gray"), [(0.0, True), (1.5, True), (10.0, False)])
    def test_a_reference_is_gray_where_nobody_sees_colour(self, chroma: float, gray: bool) -> None:
        ab = torch.zeros(2, 2, 9, 9)
        ab[1, 0, 3, 3] = chroma
        assert color.is_gray(ab).tolist() == [True, gray]

    @pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(o.values()))
    def test_all_is_finite(self, options: dict[str, Any]) -> None:
        network, (L_n, _), (reference_L_n, _) = tiny(**options).train(), pictures(), pictures(seed=1)
        out = network(L_n, reference_L_n, torch.zeros(2, 2, 32, 48))
        squared(out).backward()
        assert all(torch.isfinite(x).all() for x in tensors(out))
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_its_picture_is_coloured_from_the_database_alone(self, variant: str) -> None:
        network, (L_n, _), (reference_L_n, ab_n) = tiny(variant=variant), pictures(), pictures(seed=1)
        half_gray = torch.stack([torch.zeros_like(ab_n[0]), ab_n[1]])
        out, usual = (colored(network, L_n, (reference_L_n, x)) for x in (half_gray, ab_n))
        assert (out.gate[0, 0] == 0).all()
        assert (out.gate[0, 1] == 1).all()
        assert torch.equal(out.gate[1], usual.gate[1])
        assert torch.allclose(out.ab_n[2][1], usual.ab_n[2][1], atol=1e-6)
        if variant == "paper":
            assert torch.allclose(out.posterior[0], out.likelihood[0], atol=1e-6)

    @pytest.mark.parametrize("fuse", ["gate", "sum"])
    def test_its_content_does_not_matter(self, fuse: str) -> None:
        network, (L_n, _), gray = tiny(fuse=fuse), pictures(), torch.zeros(2, 2, 32, 32)
        one, other = (colored(network, L_n, (pictures(seed=s, height=32, width=32)[0], gray)).ab_n[2] for s in (1, 2))
        assert torch.equal(one, other)


class TestStart:
    @pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(o.values()))
    def test_from_the_first_stage(self, options: dict[str, Any]) -> None:
        given, network = tiny(sources="none").state_dict(), Exemplar(**{**TINY, **options})
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.start_from(given)
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, given.get(name, before[name])), name
        assert {name.split(".")[0] for name in given} == {"extractor", "decoder"}

    def test_from_a_network_of_all_sources(self) -> None:
        given, network = tiny().state_dict(), Exemplar(**{**TINY, "prior": False, "fuse": "sum"})
        network.start_from(given)
        assert all(torch.equal(tensor, given[name]) for name, tensor in network.state_dict().items())

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            (lambda: {}, r"no Exemplar to start from: missing decoder\.stages\.0\."),
            (lambda: tiny(width=6).state_dict(), r"extractor\.head\.0\.bias is \(6,\), not \(4,\)"),
            (lambda: tiny(bins=313).state_dict(), r"from: database\.gate\.0\.weight is \(64, 313, 1, 1\), not \(64, 198, 1, 1\)"),
            (lambda: {**tiny().state_dict(), "refiner.bias": torch.zeros(1)}, r"start from: unexpected refiner\.bias$"),
            (lambda: {**tiny().state_dict(), "decoder.bias": torch.zeros(1)}, r"start from: unexpected decoder\.bias$"),
        ],
    )
    def test_what_does_not_fit_is_named(self, state: Callable[[], dict[str, Tensor]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Exemplar(**TINY).start_from(state())

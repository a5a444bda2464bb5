"""What DISCO is trained for, and the ways in which its task colours."""

from typing import Any

import pytest
import torch
from tiny import clone, make_batch, same, seeded
from torch import Tensor

from colorexp import color
from colorexp.data.store import Statistics
from colorexp.models.disco import Disco
from colorexp.tasks.anchors import COUNTS, LAYERS, AnchorColorizer
from colorexp.tasks.automatic import SAMPLES
from colorexp.tasks.base import Setting

SIZES: dict[str, Any] = {"width": 4, "token_width": 8, "heads": 2, "layers": 1, "feedforward": 16, "cell": 8, "superpixel_width": 4}


def colorizer(prior: Tensor | None = None, *, anchors: int = 4, refine: str = "joint", **options: Any) -> AnchorColorizer:
    counts = torch.ones(256, dtype=torch.int64)
    known = None if prior is None else Statistics(1, 256, counts, counts, prior)
    setting = Setting(fitting=None, seed=0, steps_per_epoch=1, statistics=known)  # type: ignore[arg-type]  # nothing is fitted here
    model = seeded(Disco, **SIZES, dropout=0.0, anchors=anchors, refine=refine)
    return AnchorColorizer(model, setting, **{"perceptual_layers": 1, **options}).eval()


def unhinted(**values: Any) -> Any:
    batch = make_batch(**values)
    return {**batch, "hint_mask": torch.zeros_like(batch["hint_mask"]), "hint_ab": torch.zeros_like(batch["hint_ab"])}


class TestLoss:
    def test_it_is_the_sum_of_its_terms(self) -> None:
        task, batch = colorizer(perceptual_weight=3.0), make_batch()
        terms = task.loss(batch, task(batch))
        assert terms.keys() == set(task.logged)
        total = terms["modeler"] + terms["generator"] + 3 * terms["perceptual"]
        assert torch.allclose(terms["loss"], total)
        assert all(terms[name] > 0 for name in ("modeler", "generator", "perceptual"))

    def test_perceptual_gradients_reach_the_prediction(self) -> None:
        """The released code's last version detaches the prediction: its RefineNet learns nothing from this term."""
        task, batch = colorizer(perceptual_layers=5), make_batch()
        coloured = task(batch)
        ab_n = coloured.ab_n.detach().requires_grad_()
        task.loss(batch, coloured._replace(ab_n=ab_n))["perceptual"].backward()
        assert ab_n.grad is not None
        assert (ab_n.grad.abs().sum(1) > 0).float().mean() > 0.9

    def test_colours_above_white_still_have_a_gradient(self) -> None:
        task, batch = colorizer(), make_batch()
        batch["L"] = torch.full_like(batch["L"], 99.0)
        coloured = task(batch)
        ab_n = torch.full_like(coloured.ab_n, 0.5).requires_grad_()
        task.loss(batch, coloured._replace(ab_n=ab_n))["perceptual"].backward()
        assert ab_n.grad is not None
        assert ab_n.grad.any()

    def test_the_truth_has_no_perceptual_loss(self) -> None:
        task, batch = colorizer(), make_batch()
        coloured = task(batch)._replace(ab_n=batch["ab"] / 110)
        assert float(task.loss(batch, coloured)["perceptual"]) == pytest.approx(0, abs=1e-5)

    def test_rebalancing_weighs_superpixels_by_their_true_bins(self) -> None:
        batch = make_batch()
        plain = colorizer(rebalance=None)
        found = plain(batch)
        usual = torch.bincount(found.target.flatten(), minlength=color.GAMUT_BINS).double() + 1e-3
        entropy = -found.generator_logits.log_softmax(1).gather(1, found.target[:, None])[:, 0]
        assert torch.allclose(plain.loss(batch, found)["generator"], entropy.mean())
        weighted = colorizer(usual / usual.sum(), rebalance=0.5)
        weights = color.rebalancing_weights(usual / usual.sum(), smoothing=0.5).float()
        expected = (entropy * weights[found.target]).mean()
        assert torch.allclose(weighted.loss(batch, found)["generator"], expected, rtol=1e-4)
        assert not torch.allclose(expected, entropy.mean(), rtol=1e-2)

    @pytest.mark.parametrize(("options", "missing"), [({"anchors": 0}, "modeler"), ({"refine": "none"}, "perceptual")])
    def test_what_a_variant_lacks_costs_nothing(self, options: dict[str, Any], missing: str) -> None:
        task, batch = colorizer(**options), make_batch()
        assert task.loss(batch, task(batch))[missing] == 0

    def test_vgg_is_neither_trained_nor_saved(self) -> None:
        task, batch = colorizer(), make_batch()
        before = set(task.state_dict())
        task.loss(batch, task(batch))["loss"].backward()
        assert set(task.state_dict()) == before
        assert not any("vgg" in name or "features" in name for name, _ in task.named_parameters())

    def test_a_few_steps_lower_it(self) -> None:
        task, batch = colorizer().train(), make_batch()
        optimizer = torch.optim.Adam([p for p in task.parameters() if p.requires_grad], 3e-3)
        found = []
        for _ in range(25):
            loss = task.loss(batch, task(batch))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(float(loss))
        assert sum(found[-5:]) < 0.9 * sum(found[:5])

    @pytest.mark.parametrize(
        "wrong", [{"rebalance": 0.0}, {"perceptual_weight": -1.0}, {"perceptual_layers": len(LAYERS) + 1}, {"temperature": 0.0}]
    )
    def test_wrong_values_are_named(self, wrong: dict[str, Any]) -> None:
        (name,) = wrong
        with pytest.raises(ValueError, match=rf"{name} must .* got"):
            colorizer(**wrong)


def test_a_run_cannot_look_for_anchors_in_the_truth() -> None:
    model = seeded(Disco, **SIZES, locate="truth")
    with pytest.raises(ValueError, match=r"locate must be 'features' or 'random' in a run"):
        AnchorColorizer(model, Setting(fitting=None, seed=0, steps_per_epoch=1, statistics=None))  # type: ignore[arg-type]


class TestWays:
    def test_all_of_them_colour_every_pixel_and_change_nothing(self) -> None:
        task, batch = colorizer(), unhinted(height=40, width=33)
        before, state = clone(batch), torch.get_rng_state()
        with torch.no_grad():
            found = {name: way(batch).ab for name, way in task.ways().items()}
        assert set(found) >= {
            "",
            "truth_colors",
            "truth_clusters",
            "random",
            "distinct",
            SAMPLES,
            *(f"anchors_{n}" for n in COUNTS),
        }
        assert all(ab.shape == batch["ab"].shape and ab.isfinite().all() for ab in found.values())
        assert same(batch, before)
        assert torch.equal(torch.get_rng_state(), state)

    def test_they_differ_from_the_usual_one(self) -> None:
        task, batch = colorizer(anchors=8), unhinted(height=64, width=64)
        with torch.no_grad():
            usual = task.predict(batch).ab
            same_as_usual = {name for name, way in task.ways().items() if name and torch.equal(way(batch).ab, usual)}
        assert same_as_usual == {"anchors_8", "distinct"}  # whose first colours are the most probable ones

    @pytest.mark.parametrize("count", [3, 11])
    def test_as_many_anchors_as_asked_for(self, count: int) -> None:
        with torch.no_grad():
            mask = colorizer().ways()[f"anchors_{count}"](unhinted(height=64, width=64)).extras["anchor_mask"]
        assert mask.flatten(1).sum(1).tolist() == [count, count]

    def test_only_ways_that_say_so_see_the_truth(self) -> None:
        task, batch = colorizer(), unhinted()
        moved = {**batch, "ab": -batch["ab"]}
        with torch.no_grad():
            seen = {name for name, way in task.ways().items() if not torch.equal(way(batch).ab, way(moved).ab)}
        assert seen <= {"truth_colors", "truth_clusters"}
        assert "truth_colors" in seen

    def test_several_colourings_are_kept_for_measuring(self) -> None:
        task, batch = colorizer(), unhinted()
        with torch.no_grad():
            for name, count in (("distinct", 3), (SAMPLES, 8)):
                prediction = task.ways()[name](batch)
                samples = prediction.extras[SAMPLES]
                assert samples.shape == (2, count, *batch["ab"].shape[1:])
                assert torch.equal(samples[:, 0], prediction.ab)
                assert (task.scores(batch, prediction)["diversity"] > 0).all()

    def test_without_anchors_there_is_one_way(self) -> None:
        task, batch = colorizer(anchors=0), unhinted()
        assert set(task.ways()) == {"", SAMPLES}
        with torch.no_grad():
            assert task.scores(batch, task.ways()[SAMPLES](batch))["diversity"].max() == 0


class TestHints:
    def test_they_are_further_anchors(self) -> None:
        task, batch = colorizer(), unhinted(height=64, width=64)
        batch["hint_mask"][0, 0, 20, 30] = True
        batch["hint_ab"][0, :, 20, 30] = torch.tensor([60.0, 40.0])
        plain = unhinted(height=64, width=64)
        with torch.no_grad():
            hinted, usual = task.predict(batch), task.predict(plain)
        assert hinted.extras["anchor_mask"][0].sum() >= usual.extras["anchor_mask"][0].sum()
        assert hinted.extras["anchor_mask"][0, 0, 20 // 8 - 1 : 20 // 8 + 2, 30 // 8 - 1 : 30 // 8 + 2].any()
        assert not torch.allclose(hinted.ab[0], usual.ab[0], atol=1e-3)
        assert torch.allclose(hinted.ab[1], usual.ab[1], atol=1e-3)  # the other picture has none

    def test_impossible_colours_are_refused(self) -> None:
        task, batch = colorizer(), unhinted()
        batch["hint_mask"][0, 0, 2, 3] = True
        batch["hint_ab"][0, :, 2, 3] = torch.tensor([-120.0, -120.0])
        with pytest.raises(ValueError, match=r"row=2, col=3.* outside of the gamut"):
            task.predict(batch)

    def test_a_network_without_anchors_takes_none(self) -> None:
        assert colorizer().takes_hints
        assert not colorizer(anchors=0).takes_hints


def test_draws_depend_on_the_pictures_draw_alone() -> None:
    task, batch = colorizer(), unhinted(pictures=3)
    alone = {key: value[1:2] for key, value in batch.items()}
    with torch.no_grad():
        for way in ("", "random", SAMPLES):
            assert torch.allclose(task.ways()[way](batch).ab[1:2], task.ways()[way](alone).ab, atol=0.1)
            other = task.ways()[way]({**batch, "draw": [7, 8, 9]}).ab
            assert way == "" or not torch.equal(other, task.ways()[way](batch).ab)

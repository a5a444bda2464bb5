"""What the three frameworks are fed, what they are trained for, and how their colours come about."""

from typing import Any

import pytest
import torch
from tiny import clone, make_batch, same, seeded
from torch import Tensor

from colorexp import color
from colorexp.data.store import Statistics
from colorexp.models.automatic import CIColor, ColTran, UGColor
from colorexp.tasks.automatic import MEASURED_SAMPLES, SAMPLES, AutoregressiveColorizer, GamutClassifier, GamutRegressor
from colorexp.tasks.base import Setting
from colorexp.types import Batch

TOKENS = {"width": 16, "encoder_depth": 1, "depth": 1, "heads": 2, "mlp_ratio": 2}


def setting(prior: Tensor | None = None) -> Setting:
    counts = torch.ones(256, dtype=torch.int64)
    known = None if prior is None else Statistics(1, 256, counts, counts, prior)
    return Setting(fitting=None, seed=0, steps_per_epoch=1, statistics=known)  # type: ignore[arg-type]  # nothing is fitted here


def classifier(prior: Tensor | None = None, **options: Any) -> GamutClassifier:
    return GamutClassifier(seeded(CIColor, width=2), setting(prior), **options).eval()


def regressor(**options: Any) -> GamutRegressor:
    return GamutRegressor(seeded(UGColor, width=2), setting(), **options).eval()


def autoregressor(**options: Any) -> AutoregressiveColorizer:
    return AutoregressiveColorizer(seeded(ColTran, **TOKENS), setting(), **options).eval()


def scene(pictures: int = 2) -> Batch:
    """Made pictures with one object of a class of the scenes that has several modes."""
    batch = make_batch(pictures=pictures)
    batch["instance_map"] = torch.zeros(pictures, 32, 32, dtype=torch.uint8)
    batch["instance_map"][:, 8:24, 8:24] = 1
    batch["class_map"] = torch.full_like(batch["instance_map"], 9)
    batch["mode_map"] = torch.ones_like(batch["instance_map"])
    return batch


TASKS = [classifier, regressor, autoregressor]


@pytest.mark.parametrize("make", TASKS)
@pytest.mark.parametrize("size", [(32, 32), (19, 37)])
def test_every_pixel_gets_a_colour_and_nothing_else_changes(make: Any, size: tuple[int, int]) -> None:
    task, batch = make(), make_batch(*size)
    before, state = clone(batch), torch.get_rng_state()
    with torch.no_grad():
        ab = task.predict(batch).ab
    assert ab.shape == batch["ab"].shape
    assert ab.isfinite().all()
    assert same(batch, before)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", TASKS)
def test_colours_do_not_depend_on_the_true_ones(make: Any) -> None:
    task, batch = make(), make_batch()
    blind: Batch = {**batch, "ab": torch.zeros_like(batch["ab"])}
    with torch.no_grad():
        assert torch.equal(task.predict(batch).ab, task.predict(blind).ab)


@pytest.mark.parametrize("make", TASKS)
def test_a_few_steps_lower_the_loss(make: Any) -> None:
    task, batch = make().train(), make_batch()
    optimizer = torch.optim.Adam(task.parameters(), 3e-3)
    found = []
    for _ in range(25):
        terms = task.loss(batch, task(batch))
        assert set(terms) == set(task.logged)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        found.append(terms["loss"].item())
    assert found[-1] < 0.9 * found[0]


@pytest.mark.parametrize("make", TASKS)
def test_scenes_are_scored_per_picture_and_photographs_are_not(make: Any) -> None:
    task, batch = make(), scene(3)
    with torch.no_grad():
        assert set(task.scores(batch, task.predict(batch))) == {"spread", "spread_true"}
        assert task.scores(make_batch(), task.predict(make_batch())) == {}
        several = task.ways()[SAMPLES]
        scores = task.scores(batch, several(batch))
        assert set(task.scores(make_batch(), several(make_batch()))) == {"diversity"}
    assert set(scores) == {"spread", "spread_true", "mode_coverage", "diversity"}
    assert all(value.shape == (3,) and value.isfinite().all() for value in scores.values())
    assert (scores["diversity"] > 0).all() == (make is not regressor)


def test_parts_of_a_colour_of_their_own_are_no_part_of_the_object() -> None:
    task, batch = regressor(), scene(1)
    batch["ab"] = torch.zeros_like(batch["ab"])
    batch["ab"][:, :, 8:12, 8:24] = 50
    with torch.no_grad():
        whole = task.scores(batch, task.predict(batch))["spread_true"]
        batch["mode_map"][:, 8:12] = 0
        trimmed = task.scores(batch, task.predict(batch))["spread_true"]
    assert whole.item() > 20
    assert trimmed.item() == 0


@pytest.mark.parametrize("make", [classifier, autoregressor])
def test_samples_follow_each_pictures_draw_and_differ(make: Any) -> None:
    task, batch = make(), make_batch()
    with torch.no_grad():
        first = task.samples(batch, 2)
        other = task.samples({**batch, "draw": [batch["draw"][0], 99]}, 3)
    assert first.shape == (2, *batch["ab"].shape)
    assert torch.equal(first[:, 0], other[:2, 0])
    assert not torch.equal(first[:, 1], other[:2, 1])
    assert not torch.equal(first[0], first[1])


def test_a_framework_that_knows_one_answer_repeats_it() -> None:
    task, batch = regressor(), make_batch()
    with torch.no_grad():
        samples = task.samples(batch, MEASURED_SAMPLES)
        assert all(torch.equal(ab, task.predict(batch).ab) for ab in samples)


class TestClassifier:
    @staticmethod
    def sure(task: GamutClassifier, index: Tensor) -> Tensor:
        return 50.0 * torch.nn.functional.one_hot(index, color.GAMUT_BINS).movedim(-1, 1)

    def test_the_target_is_the_bin_of_every_squares_mean_colour(self) -> None:
        task, batch = classifier(), make_batch()
        squares = batch["ab"].unflatten(2, (8, 4)).unflatten(4, (8, 4)).mean((3, 5))
        distance = (squares.movedim(1, -1).unsqueeze(3) - color.ab_gamut()).square().sum(-1)
        terms = task.loss(batch, self.sure(task, distance.argmin(3)))
        assert terms["loss"].item() < 1e-6
        assert terms["accuracy"].item() == 1

    def test_rare_colours_weigh_more(self) -> None:
        prior = torch.full((color.GAMUT_BINS,), 1e-5, dtype=torch.float64)
        gray = int((color.ab_gamut().square().sum(1) == 0).nonzero())
        prior[gray] = 1 - prior.sum() + prior[gray]
        terms = {}
        for name, ab in (("gray", 0.0), ("rare", 60.0)):
            batch = make_batch()
            batch["ab"] = torch.full_like(batch["ab"], ab)
            flat = torch.zeros(2, color.GAMUT_BINS, 8, 8)
            for rebalance in (0.5, None):
                terms[name, rebalance] = classifier(prior, rebalance=rebalance).loss(batch, flat)
        weight = terms["rare", 0.5]["loss"] / terms["gray", 0.5]["loss"]
        assert weight.item() == pytest.approx((0.5 * prior[gray] + 0.5 / 313).item() / (0.5 * 1e-5 + 0.5 / 313), rel=1e-3)
        for name in ("gray", "rare"):
            assert terms[name, None]["loss"].item() == pytest.approx(terms[name, 0.5]["cross_entropy"].item())

    def test_colours_are_annealed_means_in_their_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task, batch = classifier(), make_batch(18, 32)
        index = torch.zeros(2, 5, 8, dtype=torch.long)
        index[:, :, 4:] = 300
        monkeypatch.setattr(task.model, "forward", lambda L_n: self.sure(task, index))
        ab = task.predict(batch).ab
        for part, bin_ in ((ab[..., :12], 0), (ab[..., 20:], 300)):
            assert torch.allclose(part, color.ab_gamut()[bin_].view(1, 2, 1, 1).expand_as(part), atol=1e-3)

    def test_a_warm_mean_is_grayer(self) -> None:
        batch = make_batch()
        with torch.no_grad():
            cold, warm = (classifier(decode_temperature=t).predict(batch).ab.norm(dim=1).mean() for t in (0.05, 1.0))
        assert warm < cold

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rebalance": 0.0}, r"rebalance must be None or in \(0, 1\], got 0"),
            ({"rebalance": 1.5}, "got 1.5"),
            ({"decode_temperature": 0.0}, r"decode_temperature must be in \(0, 1\], got 0"),
        ],
    )
    def test_options_out_of_range_are_named(self, options: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            classifier(**options)


class TestRegressor:
    def test_no_hint_reaches_the_network(self) -> None:
        task, batch = regressor(), make_batch(hints=0.5)
        x = task.inputs(batch)
        assert torch.allclose(x[:, :1], (batch["L"] - 50) / 50)
        assert x.shape[1] == 4
        assert not x[:, 1:].any()

    def test_the_loss_is_huber_in_normalised_units(self) -> None:
        batch = make_batch()
        loss = regressor(huber_delta=0.02).loss(batch, (batch["ab"] + 11.0) / 110)["loss"]
        assert loss.item() == pytest.approx(2 * (0.1 - 0.01), rel=1e-3)

    def test_colours_are_physical(self) -> None:
        task, batch = regressor(), make_batch()
        with torch.no_grad():
            assert torch.allclose(task.predict(batch).ab, 110 * task(batch))

    def test_a_delta_of_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="huber_delta must be above 0, got 0"):
            regressor(huber_delta=0.0)


class TestAutoregression:
    def test_both_parts_of_the_loss_add_up(self) -> None:
        task, batch = autoregressor(), make_batch()
        terms = task.loss(batch, task(batch))
        assert terms["loss"].item() == pytest.approx(terms["cross_entropy"].item() + terms["huber"].item())

    def test_true_symbols_are_given_and_asked_for(self) -> None:
        task, batch = autoregressor(), make_batch()
        L_n, index, coarse_n = task.inputs(batch)
        assert torch.allclose(L_n, (batch["L"] - 50) / 50)
        mean = torch.nn.functional.avg_pool2d(batch["ab"], 8)
        assert (110 * coarse_n - mean).abs().max() <= 5.001  # half a pitch
        logits = 50.0 * torch.nn.functional.one_hot(index, color.GAMUT_BINS).movedim(-1, 1)
        assert task.loss(batch, task(batch)._replace(logits=logits))["cross_entropy"].item() < 1e-6

    def test_without_temperature_nothing_is_drawn(self) -> None:
        batch = make_batch()
        other: Batch = {**batch, "draw": [7, 8]}
        with torch.no_grad():
            for temperature, alike in ((None, True), (1.0, False)):
                task = autoregressor(temperature=temperature)
                pair = [task.predict(b).extras["symbols"] for b in (batch, other)]
                assert torch.equal(*pair) == alike

    def test_a_prediction_is_the_first_sample(self) -> None:
        task, batch = autoregressor(), make_batch()
        with torch.no_grad():
            assert torch.equal(task.predict(batch).ab, task.samples(batch, 1)[0])

    @pytest.mark.parametrize("name", ["temperature", "huber_delta"])
    def test_options_out_of_range_are_named(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name} must be above 0, got 0"):
            autoregressor(**{name: 0.0})

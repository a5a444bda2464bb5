"""The task of all point-interactive networks: what they are fed, what they are pulled to, what is measured of them."""

import pytest
import torch
from tiny import ROOT, change, make_batch, tiny
from torch import Tensor

from colorexp import color, runs
from colorexp.tasks import point
from colorexp.tasks.point import PointColorizer
from colorexp.types import Batch


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def task(name: str, **values: object) -> PointColorizer:
    built = runs.build_task(change(tiny(f"adacolvit/{name}"), **values))
    assert isinstance(built, PointColorizer)
    return built


def leaning(name: str, **values: object) -> PointColorizer:
    """A deciding network in eval mode whose decisions differ from patch to patch."""
    built = task(name, **values).eval()
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, parameter in built.model.named_parameters():
            if "decisions" in key:
                parameter.copy_(torch.randn(parameter.shape, generator=rng))
    return built


def test_channels_are_lightness_hints_and_their_mask() -> None:
    batch = make_batch()
    x = point.encode(batch)
    assert torch.allclose(x[:, :1], (batch["L"] - 50) / 100)
    assert torch.allclose(x[:, 1:3], batch["hint_ab"] / 110)
    assert torch.equal(x[:, 3:] > 0, batch["hint_mask"])
    assert set(x[:, 3].unique().tolist()) == {0.0, 1.0}


def test_the_loss_of_a_dense_network_is_the_huber_loss_of_its_chroma() -> None:
    dense, batch = task("icolorit_t"), make_batch()
    residual = torch.full_like(batch["ab"], 11.0)  # 0.1 in normalised units, far above delta
    loss = dense.loss(batch, (batch["ab"] + residual) / 110)["loss"]
    assert loss.item() == pytest.approx(2 * (0.1 - 0.005), rel=1e-3)


def parts(kept: float, run: float) -> tuple[dict[str, Tensor], PointColorizer]:
    adaptive, batch = task("adacolvit_t", beta1=0.6, beta2=0.3, sparsity_weight=2.0), make_batch()
    x = point.encode(batch)
    decisions = adaptive.model.draw((32, 32), torch.Generator().manual_seed(0))
    given = type(decisions).stack([decisions] * len(x))
    given = type(given)(torch.full_like(given.patches, kept), torch.full_like(given.layers, run))
    output = adaptive.model(x, decisions=type(given)(given.patches.round(), given.layers.round()))
    return adaptive.loss(batch, output._replace(decisions=given)), adaptive


def test_shares_are_pulled_to_their_targets() -> None:
    terms, _ = parts(0.75, 0.5)
    assert terms["sparsity"].item() == pytest.approx(2 * (0.15**2 + 0.2**2), rel=1e-4)
    assert terms["loss"].item() == pytest.approx(terms["huber"].item() + terms["sparsity"].item(), rel=1e-6)
    assert (terms["patch_ratio"].item(), terms["layer_ratio"].item()) == (0.75, 0.5)


def test_the_noise_of_training_is_a_function_of_each_pictures_draw() -> None:
    adaptive = task("adacolvit_t").train()

    def noise(draws: list[int]) -> Tensor:
        batch: Batch = {**make_batch(pictures=2), "draw": draws}
        return adaptive.inputs(batch)[1].patches

    assert torch.equal(noise([3, 4])[0], noise([3, 9])[0])
    assert not torch.equal(noise([3, 4])[1], noise([3, 9])[1])
    assert not torch.equal(noise([3, 4])[0], noise([3, 4])[1])


def test_random_decisions_depend_on_the_draw_when_measured_too() -> None:
    blind = task("adacolvit_t_random").eval()
    batch = make_batch()
    with torch.no_grad():
        one, again = (blind.predict(batch).extras["patches"] for _ in range(2))
        other = blind.predict({**batch, "draw": [7, 8]}).extras["patches"]
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_predictions_are_what_the_masked_form_gives() -> None:
    """Measured in the form that does not compute what it leaves out."""
    adaptive, batch = leaning("adacolvit_t"), make_batch()
    with torch.no_grad():
        masked = adaptive(batch)
        prediction = adaptive.predict(batch)
    assert 0 < prediction.extras["patches"].mean() < 1
    assert torch.equal(masked.decisions.patches, prediction.extras["patches"])
    assert torch.allclose(110 * masked.ab_n, prediction.ab, atol=1e-3)


def test_costs_and_shares_are_scored_per_picture() -> None:
    adaptive, batch = leaning("adacolvit_t", size=32), make_batch(pictures=3)
    batch["instance_map"] = torch.zeros(3, 32, 32, dtype=torch.uint8)
    batch["instance_map"][:, 8:16, 8:24] = 1
    batch["instance_map"][0, 20:24] = 2
    with torch.no_grad():
        prediction = adaptive.predict(batch)
        scores = adaptive.scores(batch, prediction)
    everything = adaptive.model.expected_multiply_adds(patch_ratio=1.0, layer_ratio=1.0) / 1e6
    assert (scores["multiply_adds_m"] < everything).all()
    assert torch.allclose(scores["patch_ratio"], prediction.extras["patches"].flatten(1).mean(1))
    assert scores["objects"].tolist() == [2, 1, 1]
    error = (prediction.ab - batch["ab"]).square().sum(1).sqrt()
    assert scores["ab_error_objects"][1].item() == pytest.approx(error[1, 8:16, 8:24].mean().item(), rel=1e-5)


def test_the_cost_of_a_dense_network_is_counted_with_its_attention() -> None:
    dense, batch = task("icolorit_t").eval(), make_batch()
    with torch.no_grad():
        cost = dense.scores(batch, dense.predict(batch))["multiply_adds_m"]
    width, tokens, depth = 24, 16, 2
    blocks = depth * (12 * width**2 * tokens + 2 * tokens**2 * width)
    ends = tokens * width * 64 * (4 + 9 * 2)
    assert cost.tolist() == [pytest.approx((blocks + ends) / 1e6)] * 2


@pytest.mark.parametrize("runs", [True, False])
def test_kept_patches_are_shown_as_pixels(runs: bool) -> None:
    adaptive, batch = leaning("adacolvit_t", depth=3), make_batch(33, 20)
    with torch.no_grad():
        adaptive.model.decisions.layers[point.SHOWN_BLOCK].bias[1] = 100.0 if runs else -100.0
        prediction = adaptive.predict(batch)
    shown = prediction.extras["shown_kept"]
    assert shown.shape == (2, 33, 20)
    assert set(shown.unique().tolist()) == ({0, 255} if runs else {0})
    if not runs:
        return
    kept = prediction.extras["patches"][0, point.SHOWN_BLOCK, 1].view(5, 3)
    assert torch.equal(shown[0, ::8, ::8] > 0, kept > 0)


def test_the_share_of_a_patch_counts_branches_that_run() -> None:
    adaptive, batch = leaning("adacolvit_t", depth=3), make_batch(24, 16)
    with torch.no_grad():
        prediction = adaptive.predict(batch)
    patches, layers = prediction.extras["patches"], prediction.extras["layers"]
    runs = [(block, part) for block in range(3) for part in range(2) if layers[1, block, part]]
    kept = sum(patches[1, block, part].view(3, 2) for block, part in runs) / max(1, len(runs))
    shown = prediction.extras["shown_share"]
    assert shown.shape == (2, 24, 16)
    assert torch.allclose(shown[1, ::8, ::8] / 255, kept, atol=0.5 / 255)
    objects = torch.zeros(2, 24, 16, dtype=torch.uint8)
    objects[1, 8:16, 8:] = 1
    scores = adaptive.scores({**batch, "instance_map": objects}, prediction)
    assert scores["share_objects"][1].item() == pytest.approx(kept[1, 1].item())
    assert scores["share_background"][1].item() == pytest.approx((kept.sum() - kept[1, 1]).item() / 5)


def test_biases_norms_and_the_policy_token_are_not_decayed() -> None:
    adaptive = task("adacolvit_t")
    decayed, free = adaptive.optimizer(list(adaptive.parameters())).param_groups
    assert decayed["weight_decay"] > 0
    assert free["weight_decay"] == 0
    assert all(p.ndim > 1 and p is not adaptive.model.policy for p in decayed["params"])
    assert any(p is adaptive.model.policy for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(adaptive.parameters()))


def test_what_decides_may_learn_at_a_rate_of_its_own() -> None:
    adaptive = task("adacolvit_t", decision_lr=10.0)
    groups = adaptive.optimizer(list(adaptive.parameters())).param_groups
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    lr, decay = adaptive.setting.fitting.lr, adaptive.setting.fitting.weight_decay
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(adaptive.parameters()))
    deciding = {id(p): p.ndim > 1 for p in adaptive.model.decisions.parameters()}
    assert all(rates[key] == (10 * lr, decay * weight) for key, weight in deciding.items())
    assert {rate for key, (rate, _) in rates.items() if key not in deciding} == {lr}


@pytest.mark.parametrize("name", ["adacolvit_t_random", "dynamicvit"])
def test_a_rate_for_layers_that_are_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="decision_lr must be 1 where nothing learns to decide, got 2"):
        PointColorizer(task(name).model, task(name).setting, decision_lr=2.0)


@pytest.mark.parametrize(
    ("name", "beta"), [("icolorit_t", "beta1"), ("adacolvit_t_random", "beta2"), ("adacolvit_t_layers", "beta1")]
)
def test_a_share_of_what_is_not_learned_is_refused(name: str, beta: str) -> None:
    with pytest.raises(ValueError, match=f"{beta} is for networks that learn which .* no effect here, got 0.5"):
        PointColorizer(task(name).model, task(name).setting, **{beta: 0.5})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"huber_delta": 0.0}, "huber_delta must be above 0, got 0.0"),
        ({"decision_lr": 0.0}, "decision_lr must be above 0, got 0.0"),
        ({"beta1": 1.5}, "beta1 is a share"),
        ({"sparsity_weight": -1.0}, "sparsity_weight must be 0 or more, got -1.0"),
    ],
)
def test_impossible_values_are_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task("adacolvit_t", **values)


def test_predicted_chroma_is_in_physical_units() -> None:
    dense, batch = task("icolorit_t").eval(), make_batch()
    with torch.no_grad():
        assert torch.allclose(dense.predict(batch).ab, 110 * dense(batch), atol=1e-4)
        assert dense.predict(batch).ab.abs().max() <= color.AB_LIMIT

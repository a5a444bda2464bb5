"""Losses agree with torch's own, with the papers' code, and send gradients where they should."""

import math

import pytest
import torch
from golden_rule import golden
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy, l1_loss, mse_loss

from colorexp import losses

K = 5


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


@pytest.fixture
def logits() -> Tensor:
    return normal(2, 2, K, 4, 3).requires_grad_()


@pytest.fixture
def index() -> Tensor:
    return torch.randint(K, (2, 2, 4, 3), generator=rng(1))


@pytest.fixture
def weights() -> Tensor:
    return torch.rand(2, K, generator=rng(2), dtype=torch.float64)


def of_torch(logits: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of a plus that of b, each a weighted mean."""
    return sum(cross_entropy(logits[:, c], index[:, c], weight=weights[c]) for c in (0, 1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bin_entropy_agrees_with_torch(logits: Tensor, index: Tensor, layout: torch.memory_format) -> None:
    expected = cross_entropy(logits.movedim(2, 1), index, reduction="none")
    given = logits.flatten(1, 2).contiguous(memory_format=layout).unflatten(1, (2, K))
    assert torch.allclose(losses.bin_entropy(given, index), expected)


def test_bin_entropy_stays_finite_for_huge_logits() -> None:
    logits = torch.tensor([1e4, -1e4]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 1, 1)
    index = torch.tensor([0, 1]).view(1, 2, 1, 1)
    assert losses.bin_entropy(logits, index).flatten().tolist() == [0, 2e4]


def test_weighted_mean_agrees_with_torch(logits: Tensor, index: Tensor, weights: Tensor) -> None:
    expected = of_torch(logits, index, weights)
    loss = losses.weighted_mean(losses.bin_entropy(logits, index), index, weights)
    assert torch.allclose(loss, expected)
    (own,) = torch.autograd.grad(loss, logits)
    assert torch.allclose(own, torch.autograd.grad(expected, logits)[0])


def test_weighted_mean_under_a_mask_sees_the_masked_pixels_alone(logits, index, weights) -> None:
    mask = torch.zeros(2, 1, 4, 3, dtype=torch.bool)
    mask[:, :, 1:3, :2] = True
    expected = of_torch(logits[..., 1:3, :2], index[..., 1:3, :2], weights)
    loss = losses.weighted_mean(losses.bin_entropy(logits, index), index, weights, mask)
    assert torch.allclose(loss, expected)
    loss.backward()
    assert not logits.grad[..., 0, :].any()
    assert logits.grad[..., 1:3, :2].all()


def test_weighted_mean_ignores_the_scale_of_the_weights(logits, index, weights) -> None:
    entropy = losses.bin_entropy(logits, index)
    small = losses.weighted_mean(entropy.float(), index, (1e-9 * weights).float())
    assert small.item() == pytest.approx(losses.weighted_mean(entropy, index, weights).item(), rel=1e-4)


@pytest.mark.parametrize("case", ["no pixel", "no weight"])
def test_where_no_weight_remains_the_loss_is_zero(logits, index, weights, case: str) -> None:
    mask = torch.full((2, 1, 4, 3), case != "no pixel")
    weights = weights * (case != "no weight")
    loss = losses.weighted_mean(losses.bin_entropy(logits, index), index, weights, mask)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_one_channel_without_weight_leaves_the_other(logits, index, weights) -> None:
    weights[1] = 0
    expected = cross_entropy(logits[:, 0], index[:, 0], weight=weights[0])
    assert torch.allclose(losses.weighted_mean(losses.bin_entropy(logits, index), index, weights), expected)


def test_rebalanced_entropy_is_divided_by_positions() -> None:
    logits, index = normal(2, 7, 3, 4), torch.randint(7, (2, 3, 4), generator=rng(1))
    weights = torch.rand(7, generator=rng(2), dtype=torch.float64)
    expected = cross_entropy(logits, index, weight=weights, reduction="sum") / index.numel()
    assert torch.allclose(losses.rebalanced_cross_entropy(logits, index, weights), expected)
    assert torch.allclose(losses.rebalanced_cross_entropy(logits, index), cross_entropy(logits, index))


def test_huber_of_the_released_code() -> None:
    g = golden("color_and_metrics")
    ab_n = g["lab_normalised"][:, 1:]
    assert losses.huber(ab_n, ab_n.flip(0), delta=0.01).item() == pytest.approx(g["huber"].item(), rel=1e-5)


@pytest.mark.parametrize(("difference", "expected"), [(0.05, 0.05**2 / 0.2), (0.1, 0.05), (-1.1, 1.05), (3.1, 3.05)])
def test_huber_tails_have_slope_one(difference: float, expected: float) -> None:
    """Delta 0.1: a parabola up to there, then a line of slope one; a and b add up."""
    a_and_b = torch.tensor([difference, 0.0]).view(1, 2, 1, 1)
    assert losses.huber(a_and_b, torch.zeros(1, 2, 1, 1), delta=0.1).item() == pytest.approx(expected, rel=1e-5)
    both = torch.full((3, 2, 4, 4), difference)
    assert losses.huber(both, torch.zeros_like(both), delta=0.1).item() == pytest.approx(2 * expected, rel=1e-5)


def test_target_ratio_is_zero_at_the_target_alone() -> None:
    decisions = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]], requires_grad=True)
    assert losses.target_ratio(decisions, 3 / 8).item() == 0
    loss = losses.target_ratio(decisions, 0.5)
    assert loss.item() == pytest.approx((1 / 8) ** 2)
    loss.backward()
    assert (decisions.grad < 0).all()  # more decisions are wanted


@pytest.mark.parametrize("power", [1, 2])
def test_perceptual_moves_the_prediction_and_not_the_target(power: int) -> None:
    features = [normal(2, 3, 4, 4).requires_grad_(), normal(2, 6, 2, 2, seed=1).requires_grad_()]
    target = [normal(2, 3, 4, 4, seed=2).requires_grad_(), normal(2, 6, 2, 2, seed=3).requires_grad_()]
    loss = losses.perceptual(features, target, [0.5, 2.0], power=power)
    distance = l1_loss if power == 1 else mse_loss
    expected = 0.5 * distance(features[0], target[0]) + 2 * distance(features[1], target[1])
    assert torch.allclose(loss, expected)
    loss.backward()
    assert all(f.grad is not None and f.grad.any() for f in features)
    assert all(t.grad is None for t in target)


def test_perceptual_wants_a_weight_for_every_layer() -> None:
    with pytest.raises(ValueError, match="zip"):
        losses.perceptual([normal(1), normal(1)], [normal(1), normal(1)], [1.0], power=1)


def test_lsgan_players_pull_to_their_own_ends() -> None:
    one, zero = torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)
    assert losses.lsgan_generator(one).item() == 0
    assert losses.lsgan_generator(zero).item() == 0.5
    assert losses.lsgan_discriminator(real=one, fake=zero).item() == 0
    assert losses.lsgan_discriminator(real=zero, fake=one).item() == 1
    score = torch.tensor(0.0, requires_grad=True)
    losses.lsgan_generator(score).backward()
    assert score.grad < 0  # eq. 9 as printed would have its minimum here


def test_histogram_distance_is_symmetric_and_bounded() -> None:
    some, other = (normal(3, 9, seed=seed).softmax(1) for seed in (0, 1))
    distance = losses.histogram_distance(some, other)
    expected = (2 * (some - other) ** 2 / (some + other)).sum(1).mean()
    assert distance.item() == pytest.approx(expected.item())
    assert losses.histogram_distance(other, some).item() == pytest.approx(distance.item())
    assert losses.histogram_distance(some, some).item() == 0
    apart = losses.histogram_distance(torch.eye(4), torch.eye(4).flip(0))
    assert apart.item() == pytest.approx(4)


def test_empty_bins_have_a_finite_gradient() -> None:
    histogram = torch.tensor([[0.0, 0.0, 1.0]], requires_grad=True)
    losses.histogram_distance(histogram, torch.tensor([[0.0, 1.0, 0.0]])).backward()
    assert histogram.grad.isfinite().all()


@pytest.mark.parametrize("sources", [2, 5])
def test_gate_entropy_lies_between_zero_and_ln_n(sources: int) -> None:
    uniform = torch.full((2, sources, 3, 3), 1 / sources)
    decided = torch.zeros(2, sources, 3, 3)
    decided[:, 1] = 1
    assert losses.gate_entropy(uniform).item() == pytest.approx(math.log(sources), rel=1e-5)
    assert losses.gate_entropy(decided).item() == 0
    some = normal(2, sources, 3, 3).softmax(1)
    assert 0 < losses.gate_entropy(some) < math.log(sources)


def test_gates_that_have_decided_still_have_a_gradient() -> None:
    """A softmax that is sure underflows to zero; one NaN there would end a training."""
    scores = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    losses.gate_entropy(scores.softmax(1)).backward()
    assert scores.grad.isfinite().all()


def test_superpixel_reconstruction_weighs_chroma_against_position() -> None:
    target, back = torch.zeros(2, 4, 3, 3), torch.zeros(2, 4, 3, 3)
    assert losses.superpixel_reconstruction(target, back, cell=16, position_weight=3e-4).item() == 0
    back[:, 0], back[:, 1] = 0.3, 0.4
    assert losses.superpixel_reconstruction(target, back, cell=16, position_weight=3e-4).item() == pytest.approx(0.5)
    back[:, 2], back[:, 3] = 6, 8
    loss = losses.superpixel_reconstruction(target, back, cell=16, position_weight=0.32)
    assert loss.item() == pytest.approx(0.5 + 0.32 / 16 * 10)


def test_perfect_superpixels_have_a_finite_gradient() -> None:
    back = torch.zeros(1, 4, 2, 2, requires_grad=True)
    losses.superpixel_reconstruction(torch.zeros(1, 4, 2, 2), back, cell=8, position_weight=1.0).backward()
    assert back.grad.isfinite().all()


INDEX = torch.randint(3, (1, 2, 2, 2), generator=rng(1))
GRADIENTS = {
    "weighted_mean": (
        lambda x: losses.weighted_mean(losses.bin_entropy(x, INDEX), INDEX, torch.tensor([[0.2, 0.3, 0.5]] * 2).double()),
        normal(1, 2, 3, 2, 2),
    ),
    "rebalanced": (lambda x: losses.rebalanced_cross_entropy(x, INDEX[:, 0]), normal(1, 3, 2, 2)),
    "huber": (lambda x: losses.huber(x, torch.zeros_like(x), delta=0.7), normal(1, 2, 3, 3)),
    "target_ratio": (lambda x: losses.target_ratio(x, 0.3), normal(6)),
    "perceptual": (lambda x: losses.perceptual([x], [torch.zeros_like(x)], [0.3], power=2), normal(1, 2, 2, 2)),
    "lsgan_discriminator": (lambda x: losses.lsgan_discriminator(x, x.square()), normal(4)),
    "histogram_distance": (
        lambda x: losses.histogram_distance(x.softmax(1), normal(2, 5, seed=3).softmax(1)),
        normal(2, 5),
    ),
    "gate_entropy": (lambda x: losses.gate_entropy(x.softmax(1)), normal(1, 3, 2, 2)),
    "superpixel_reconstruction": (
        lambda x: losses.superpixel_reconstruction(torch.zeros_like(x), x, cell=4, position_weight=0.5),
        normal(1, 4, 2, 2),
    ),
}


@pytest.mark.parametrize(("loss", "x"), GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_are_those_of_the_values(loss, x: Tensor) -> None:
    assert gradcheck(loss, x.clone().requires_grad_())

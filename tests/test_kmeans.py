"""K-means of many pictures at once."""

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from colorexp.nn.kmeans import Clusters, kmeans


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def blobs(pictures: int, points: int, *, centres: int = 5, width: int = 2, spread: float = 0.1, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    means = torch.rand(pictures, centres, width, generator=rng) * 2 - 1
    owner = torch.randint(centres, (pictures, points), generator=rng)
    noise = torch.randn(pictures, points, width, generator=rng) * spread
    return means.gather(1, owner[..., None].expand(-1, -1, width)) + noise


def inertia(points: Tensor, clusters: Clusters) -> Tensor:
    own = clusters.centres.gather(1, clusters.labels[..., None].expand_as(points))
    return (points - own).square().sum((1, 2))


@pytest.mark.parametrize(("width", "k"), [(2, 5), (2, 8), (64, 8)])
def test_inertia_is_that_of_an_independent_implementation(width: int, k: int) -> None:
    """Given the same start, which is the generator's first draw."""
    points = blobs(8, 256, width=width, spread=0.4)
    ours = inertia(points, kmeans(points, k, generators(*range(8)), iterations=60, tolerance=0.0))
    for own, seed, found in zip(points, range(8), ours, strict=True):
        start = own[torch.randperm(256, generator=generators(seed)[0])[:k]].numpy()
        theirs = KMeans(k, init=start, n_init=1, max_iter=60, tol=0).fit(own.numpy()).inertia_
        assert found.item() == pytest.approx(theirs, rel=1e-3)


def test_the_result_is_a_fixed_point() -> None:
    points = blobs(3, 100, centres=3, spread=0.02)
    labels, centres = kmeans(points, 3, generators(0, 1, 2), iterations=100, tolerance=1e-12)
    for own, label, centre in zip(points, labels, centres, strict=True):
        for i in label.unique():
            assert torch.allclose(own[label == i].mean(0), centre[i], atol=1e-5)
        assert torch.equal(torch.cdist(own, centre).argmin(1), label)


def test_a_picture_depends_on_itself_and_its_generator_alone() -> None:
    points = blobs(5, 64, width=64)
    together = kmeans(points, 8, generators(*range(5)))
    for i in range(5):
        alone = kmeans(points[i : i + 1], 8, generators(i))
        assert torch.equal(alone.labels[0], together.labels[i])
        assert torch.equal(alone.centres[0], together.centres[i])
    other = kmeans(points, 8, generators(*range(7, 12)))
    assert not torch.equal(other.labels, together.labels)


def test_a_converged_picture_stays_as_it_is() -> None:
    """The frozen one must not go on because another is still moving."""
    points = blobs(1, 200, centres=4, spread=0.3)
    done = kmeans(points, 4, generators(3), iterations=40, tolerance=0.05)
    more = kmeans(points, 4, generators(3), iterations=40, tolerance=0.0)
    assert not torch.equal(done.centres, more.centres)
    beside = kmeans(torch.cat([points, blobs(1, 200, spread=1.0, seed=5)]), 4, generators(3, 4), iterations=40, tolerance=0.05)
    assert torch.equal(beside.centres[:1], done.centres)


@pytest.mark.parametrize("value", [0.0, 0.1, -87.3])
def test_a_constant_picture_is_one_cluster(value: float) -> None:
    points = torch.full((2, 50, 3), value)
    labels, centres = kmeans(points, 8, generators(0, 1))
    assert torch.isfinite(centres).all()
    assert all(len(row.unique()) == 1 for row in labels)


def test_fewer_distinct_points_than_clusters_leave_clusters_empty() -> None:
    colours = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = colours[torch.arange(60) % 3][None]
    labels, centres = kmeans(points, 8, generators(0))
    assert torch.isfinite(centres).all()
    for colour in colours:
        assert len(labels[0, (points[0] == colour).all(1)].unique()) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_points_than_clusters_are_clusters_of_their_own(count: int) -> None:
    points = torch.arange(float(count)).view(1, count, 1) * 10
    labels, centres = kmeans(points, 8, generators(2))
    assert len(labels.unique()) == count
    assert torch.equal(centres.gather(1, labels[..., None]), points)


def test_an_empty_cluster_is_filled_again() -> None:
    """Where the start misses a group of equal points, a centre without points jumps and may find it."""
    points = torch.tensor([0.0, 10.0, 20.0]).repeat_interleave(20).view(1, -1, 1)

    def groups(iterations: int) -> int:
        return sum(len(kmeans(points, 3, generators(seed), iterations=iterations).labels.unique()) for seed in range(30))

    assert groups(40) > groups(0) + 10


def test_points_are_left_as_they_were_and_carry_no_gradient() -> None:
    points = blobs(2, 30).requires_grad_()
    before, state = points.detach().clone(), torch.get_rng_state()
    clusters = kmeans(points, 4, generators(0, 1))
    assert torch.equal(points, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not clusters.centres.requires_grad


def test_half_precision_points_are_clustered_in_float32() -> None:
    points = blobs(1, 40).to(torch.bfloat16)
    assert torch.equal(kmeans(points, 4, generators(0)).centres, kmeans(points.float(), 4, generators(0)).centres)


@pytest.mark.parametrize(
    ("points", "k", "seeds", "message"),
    [
        (torch.zeros(4, 2), 2, [0], r"\(B, N, D\) with points in it, got torch\.float32 \(4, 2\)"),
        (torch.zeros(1, 0, 2), 2, [0], r"points in it, got torch\.float32 \(1, 0, 2\)"),
        (torch.zeros(1, 4, 2, dtype=torch.int64), 2, [0], "got torch.int64"),
        (torch.zeros(1, 4, 2), 0, [0], "k must be at least 1, got 0"),
        (torch.zeros(3, 4, 2), 2, [0, 1], "3 pictures, got 2 generators"),
    ],
)
def test_what_does_not_fit_is_named(points: Tensor, k: int, seeds: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kmeans(points, k, generators(*seeds))

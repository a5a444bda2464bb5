"""Pooling into soft superpixels and diffusing back."""

import pytest
import torch
from golden_rule import golden
from tiny import rng
from torch import Tensor
from torch.autograd import gradcheck

from colorexp import losses
from colorexp.nn import superpixels
from colorexp.nn.superpixels import NEIGHBOURS, OWN

SIZES = [(12, 16), (13, 9), (4, 4), (3, 2), (1, 1), (1, 11)]


def soft(height: int, width: int, *, batch: int = 2, sharpness: float = 2.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (sharpness * torch.randn(batch, NEIGHBOURS, height, width, generator=rng(5), dtype=dtype)).softmax(1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def pairs(affinity: Tensor, cell: int) -> Tensor:
    """Probability of every pixel and every superpixel, one by one. Shape (B, H W, h w)."""
    batch, _, height, width = affinity.shape
    rows, cols = -(-height // cell), -(-width // cell)
    table = torch.zeros(batch, height * width, rows * cols, dtype=affinity.dtype)
    for y in range(height):
        for x in range(width):
            for k in range(NEIGHBOURS):
                row, col = y // cell + k // 3 - 1, x // cell + k % 3 - 1
                if 0 <= row < rows and 0 <= col < cols:
                    table[:, y * width + x, row * cols + col] = affinity[:, k, y, x]
    return table


class TestReleased:
    @pytest.mark.parametrize("cell", [8, 16])
    def test_pooling_and_diffusion_give_the_released_numbers(self, cell: int) -> None:
        g = golden("superpixel_ops")
        pooled = superpixels.pool(g["feat"], g["affinity"], cell=cell)
        assert torch.allclose(pooled.values, g[f"pooled{cell}"], atol=1e-6)
        assert torch.allclose(pooled.mass, g[f"confidence{cell}"], atol=1e-6)
        back = superpixels.diffuse(g[f"pooled{cell}"], g["affinity"], cell=cell)
        assert torch.allclose(back, g[f"diffused{cell}"], atol=1e-6)

    def test_sizes_are_the_released_ones(self) -> None:
        g = golden("superpixel_ops")
        assert torch.equal(superpixels.sizes(g["affinity"], cell=16), g["size16"])

    def test_the_loss_is_a_tenth_of_the_released_one(self) -> None:
        g = golden("spixel_loss")
        tokens = superpixels.pool(g["target"], g["affinity"], cell=16).values
        back = superpixels.diffuse(tokens, g["affinity"], cell=16)
        loss = losses.superpixel_reconstruction(g["target"], back, cell=16, position_weight=3e-4)
        assert 10 * loss.item() == pytest.approx(g["totalLoss"].item(), rel=1e-5)
        chroma = losses.superpixel_reconstruction(g["target"], back, cell=16, position_weight=0.0)
        assert chroma.item() == pytest.approx(g["featLoss"].item(), rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", [1, 4])
class TestAnySize:
    def test_a_token_is_the_weighted_mean_of_its_pixels(self, size: tuple[int, int], cell: int) -> None:
        x, affinity = normal(2, 3, *size), soft(*size)
        pooled = superpixels.pool(x, affinity, cell=cell)
        weight = pairs(affinity, cell)
        grid = superpixels.grid(size, cell=cell)
        assert torch.allclose(pooled.mass, weight.sum(1).view(2, 1, *grid) / cell**2)
        means = torch.einsum("bns,bcn->bcs", weight / weight.sum(1, keepdim=True), x.flatten(2))
        assert torch.allclose(pooled.values, means.view(2, 3, *grid), rtol=1e-3)

    def test_diffusion_is_the_adjoint_of_pooling_before_its_division(self, size: tuple[int, int], cell: int) -> None:
        x, affinity = normal(2, 3, *size), soft(*size)
        tokens = normal(2, 3, *superpixels.grid(size, cell=cell), seed=1)
        pooled = superpixels.pool(x, affinity, cell=cell)
        sums = pooled.values * (pooled.mass + superpixels.EPS) * cell**2
        assert torch.allclose((sums * tokens).sum(), (x * superpixels.diffuse(tokens, affinity, cell=cell)).sum())


def test_a_constant_stays_where_no_share_is_lost_over_the_border() -> None:
    back = reconstruct(torch.full((2, 1, 24, 32), 7.0, dtype=torch.float64), soft(24, 32), 8)
    assert torch.allclose(back[..., 8:-8, 8:-8], torch.tensor(7.0, dtype=torch.float64), atol=1e-5)
    assert (back[..., :8, :] < 7).all()


def test_a_constant_stays_everywhere_if_no_pixel_looks_outside() -> None:
    constant = torch.full((2, 1, 13, 9), 7.0, dtype=torch.float64)
    assert torch.allclose(reconstruct(constant, superpixels.mini_patches(constant), 4), constant, atol=1e-5)


def reconstruct(x: Tensor, affinity: Tensor, cell: int) -> Tensor:
    return superpixels.diffuse(superpixels.pool(x, affinity, cell=cell).values, affinity, cell=cell)


def test_mini_patches_are_means_over_squares() -> None:
    x = normal(2, 3, 12, 8)
    pooled = superpixels.pool(x, superpixels.mini_patches(x), cell=4)
    assert torch.allclose(pooled.values, torch.nn.functional.avg_pool2d(x, 4), atol=1e-6)
    assert torch.equal(pooled.mass, torch.ones_like(pooled.mass))
    assert torch.equal(superpixels.sizes(superpixels.mini_patches(x), cell=4), pooled.mass)


@pytest.mark.parametrize(("neighbour", "row", "col"), [(0, 0, 0), (1, 0, 1), (3, 1, 0), (5, 1, 2), (7, 2, 1), (8, 2, 2)])
def test_neighbours_are_counted_row_by_row(neighbour: int, row: int, col: int) -> None:
    affinity = superpixels.mini_patches(torch.zeros(1, 1, 9, 9)).clone()
    affinity[0, :, 3:6, 3:6] = 0
    affinity[0, neighbour, 3:6, 3:6] = 1
    size = superpixels.sizes(affinity, cell=3)[0, 0]
    assert (size[1, 1].item(), size[row, col].item(), size.sum().item()) == (0, 2, 9)
    assert (superpixels.labels(affinity, cell=3)[0, 3:6, 3:6] == 3 * row + col).all()


def test_a_superpixel_without_pixels_is_zero_not_nan() -> None:
    affinity = superpixels.mini_patches(torch.zeros(1, 1, 4, 8)).clone().roll(1, 1)  # everybody to the right
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.ones(1, 2, 4, 8, dtype=dtype)
        pooled = superpixels.pool(x, affinity.to(dtype), cell=4)
        assert pooled.mass.flatten().tolist() == [0, 1]
        assert pooled.values[0, 0].flatten().tolist() == pytest.approx([0, 1], abs=1e-3)


def test_labels_are_cells_of_the_picture() -> None:
    affinity = soft(10, 7)
    labels = superpixels.labels(affinity, cell=4)
    assert labels.shape == (2, 10, 7)
    assert labels.min() >= 0
    assert labels.max() < 3 * 2
    inside = affinity.argmax(1) == OWN
    own = torch.arange(10)[:, None] // 4 * 2 + torch.arange(7) // 4
    assert torch.equal(labels[inside], own.expand(2, -1, -1)[inside])


@pytest.mark.parametrize("size", [(8, 8), (5, 7)])
def test_gradients_are_those_of_the_values(size: tuple[int, int]) -> None:
    x, affinity = normal(1, 2, *size).requires_grad_(), soft(*size, batch=1).requires_grad_()
    assert gradcheck(lambda x, affinity: reconstruct(x, affinity, 4), (x, affinity))


def test_half_precision_is_near_the_whole() -> None:
    x, affinity = normal(1, 8, 32, 32).float(), soft(32, 32, batch=1, dtype=torch.float32)
    half = reconstruct(x.bfloat16(), affinity.bfloat16(), 8)
    assert half.dtype == torch.bfloat16
    assert (half.float() - reconstruct(x, affinity, 8)).abs().max() < 0.02


def test_what_does_not_fit_is_named() -> None:
    affinity = soft(8, 8)
    with pytest.raises(ValueError, match=r"same batch, height and width, got \(2, 1, 8, 9\) and \(2, 9, 8, 8\)"):
        superpixels.pool(torch.zeros(2, 1, 8, 9), affinity, cell=4)
    with pytest.raises(ValueError, match=r"same batch, height and width, got \(3, 1, 8, 8\)"):
        superpixels.pool(torch.zeros(3, 1, 8, 8), affinity, cell=4)
    for wrong in ((2, 1, 1, 2), (1, 1, 2, 2)):
        with pytest.raises(ValueError, match="2 pictures of 8x8 pixels in cells of 4 have 2x2 tokens each, got") as told:
            superpixels.diffuse(torch.zeros(wrong), affinity, cell=4)
        assert str(wrong) in str(told.value)
    with pytest.raises(ValueError, match=r"affinity must be \(B, 9, H, W\), got \(2, 8, 8, 8\)"):
        superpixels.sizes(affinity[:, 1:], cell=4)
    with pytest.raises(ValueError, match="positive number of pixels, got 0"):
        superpixels.labels(affinity, cell=0)

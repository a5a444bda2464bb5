"""What is particular to SPixNet and to the grid in its place."""

import pytest
import torch
from golden_rule import filled_state, golden
from tiny import multiply_adds, rng, seeded

from colorexp import interop
from colorexp.models.spixnet import MiniPatches, SPixNet
from colorexp.nn import superpixels
from colorexp.nn.padding import pad_to_multiple


def test_released_weights_give_the_released_superpixels() -> None:
    network, g = interop.from_released("spixnet", filled_state("spixnet")), golden("spixnet")
    assert isinstance(network, SPixNet)
    assert network.cell == 16
    assert not network.training
    with torch.no_grad():
        affinity = network(g["gray"])
    assert torch.allclose(affinity, g["affinity"], atol=1e-5)
    pooled = superpixels.pool(g["feat"], affinity, cell=network.cell)
    assert torch.allclose(pooled.values, g["pooled"], atol=1e-5)
    assert torch.allclose(pooled.mass, g["confidence"], atol=1e-5)
    assert torch.allclose(superpixels.diffuse(pooled.values, affinity, cell=16), g["diffused"], atol=1e-5)
    assert torch.equal(superpixels.sizes(affinity, cell=16), g["spixel_size"])


def test_the_width_is_read_from_a_checkpoint() -> None:
    released = filled_state("spixnet")
    quarter = {name: tensor[tuple(slice(n // 4 if n >= 16 else n) for n in tensor.shape)] for name, tensor in released.items()}
    network = interop.from_released("spixnet", quarter)
    assert network.head.weight.shape == (9, 4, 3, 3)
    assert network(torch.zeros(1, 1, 16, 16)).shape == (1, 9, 16, 16)
    with pytest.raises(ValueError, match=r"no spixnet checkpoint: it lacks 'net\.conv0a\.0\.weight'"):
        interop.from_released("spixnet", network.state_dict())


def test_the_paper_size_costs_what_the_released_network_costs() -> None:
    with torch.device("meta"):
        network = SPixNet()
        counted = multiply_adds(lambda: network(torch.zeros(1, 1, 256, 256)))
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_269_497
    assert counted / 1e9 == pytest.approx(2.90, rel=5e-3)


@pytest.mark.parametrize("size", [(1, 1), (16, 32), (21, 35), (1, 40), (7, 5)])
def test_a_ragged_picture_is_the_crop_of_its_extension(size: tuple[int, int]) -> None:
    network, L_n = seeded(SPixNet, width=4, cell=8), torch.rand(2, 1, *size, generator=rng()) - 0.5
    with torch.no_grad():
        affinity = network(L_n)
        whole = network(pad_to_multiple(L_n, 16))
    assert affinity.shape == (2, 9, *size)
    assert torch.equal(affinity, whole[..., : size[0], : size[1]])
    assert torch.allclose(affinity.sum(1), torch.ones(2, *size), atol=1e-5)


def test_every_weight_learns_from_a_reconstruction() -> None:
    network = seeded(SPixNet, width=4, cell=8).train()
    x = torch.randn(2, 3, 32, 32, generator=rng())
    affinity = network(torch.rand(2, 1, 32, 32, generator=rng(1)))
    back = superpixels.diffuse(superpixels.pool(x, affinity, cell=8).values, affinity, cell=8)
    (back - x).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_mini_patches_look_at_nothing_and_learn_nothing() -> None:
    grid = MiniPatches(cell=4)
    assert not list(grid.parameters())
    affinity = grid(torch.rand(2, 1, 9, 6, generator=rng()))
    assert torch.equal(superpixels.labels(affinity, cell=4)[1], torch.arange(9)[:, None] // 4 * 2 + torch.arange(6) // 4)


@pytest.mark.parametrize("sizes", [{"width": 0}, {"cell": 0}, {"cell": -8}])
def test_sizes_are_positive(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive, got"):
        SPixNet(**sizes)
    if "cell" in sizes:
        with pytest.raises(ValueError, match=f"cell must be positive, got {sizes['cell']}"):
            MiniPatches(**sizes)


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 16, 16)])
def test_pictures_have_lightness_alone(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"L_n must be \(B, 1, H, W\), got"):
        SPixNet(width=2, cell=4)(torch.zeros(shape))

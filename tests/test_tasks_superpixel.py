"""Superpixels trained and measured as a colorization whose colours are given."""

import pytest
import torch
from tiny import ROOT, clone, make_batch, same, tiny

from colorexp import config
from colorexp.models.spixnet import MiniPatches, SPixNet
from colorexp.nn import superpixels
from colorexp.tasks.base import Setting
from colorexp.tasks.superpixel import SuperpixelReconstructor


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.chdir(ROOT)
    return Setting(tiny(config.runs()[0]).fitting, 0, 1, None)


def grid(setting: Setting, **options: float) -> SuperpixelReconstructor:
    return SuperpixelReconstructor(MiniPatches(cell=8), setting, **options)


def trainable(setting: Setting) -> SuperpixelReconstructor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SuperpixelReconstructor(SPixNet(width=4, cell=8), setting)


def test_mini_patches_reconstruct_the_means_of_their_squares(setting: Setting) -> None:
    batch = make_batch(32, 24)
    ab = grid(setting).predict(batch).ab
    means = torch.nn.functional.avg_pool2d(batch["ab"], 8)
    assert torch.allclose(ab, means.repeat_interleave(8, 2).repeat_interleave(8, 3), atol=1e-3)


def test_the_loss_is_chroma_and_position_in_their_units(setting: Setting) -> None:
    task, batch = grid(setting, position_weight=0.4), make_batch(16, 24)
    terms = task.loss(batch, task(batch))
    ab = task.predict(batch).ab
    assert terms["chroma"].item() == pytest.approx((ab - batch["ab"]).norm(dim=1).mean().item() / 110, rel=1e-4)
    offset = torch.arange(8) - 3.5
    assert terms["position"].item() == pytest.approx((offset[:, None] ** 2 + offset**2).sqrt().mean().item(), rel=1e-4)
    assert terms["loss"].item() == pytest.approx((terms["chroma"] + 0.4 / 8 * terms["position"]).item(), rel=1e-5)


def test_positions_are_x_and_y_of_a_pixel(setting: Setting) -> None:
    """Of superpixels twice as wide as high, x is what is lost."""
    task, batch = grid(setting), make_batch(16, 24)
    affinity = superpixels.mini_patches(batch["L"]).clone()
    affinity[:, :, :, 8:16] = affinity[:, :, :, 8:16].roll(-1, 1)  # the second column of cells joins the first
    target = torch.zeros(2, 2, 16, 24)
    target[:, 0], target[:, 1] = torch.arange(24.0), torch.arange(16.0)[:, None]
    distance = (task.reconstruct(target, affinity) - target).norm(dim=1).mean()
    assert task.loss(batch, affinity)["position"].item() == pytest.approx(distance.item(), rel=1e-5)


def test_steps_of_training_beat_the_grid(setting: Setting) -> None:
    """Pictures of two colours whose border crosses the cells: lightness tells where it lies."""
    batch = make_batch(32, 32)
    diagonal = (torch.arange(32)[:, None] * 0.7 + torch.arange(32) > 26).float().expand(2, 1, 32, 32)
    batch["L"], batch["ab"] = 30 + 50 * diagonal, torch.cat([40 * diagonal, -30 * diagonal], 1)
    task = trainable(setting).train()
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        terms = task.loss(batch, task(batch))
        terms["loss"].backward()
        optimizer.step()
    squares = grid(setting)
    assert terms["chroma"] < 0.5 * squares.loss(batch, squares(batch))["chroma"]


def test_borders_of_superpixels_are_shown(setting: Setting) -> None:
    shown = grid(setting).predict(make_batch(20, 16)).extras["shown_superpixels"]
    assert (shown.shape, shown.dtype) == ((2, 20, 16), torch.uint8)
    expected = torch.zeros(20, 16, dtype=torch.uint8)
    expected[7] = expected[15] = expected[:, 7] = 255
    assert torch.equal(shown[1], expected)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 5), (1, 1)])
def test_any_picture_is_reconstructed_and_left_as_it_was(setting: Setting, size: tuple[int, int]) -> None:
    task, batch = trainable(setting).eval(), make_batch(*size)
    before = clone(batch)
    with torch.no_grad():
        prediction = task.predict(batch)
        terms = task.loss(batch, task(batch))
    assert prediction.ab.shape == batch["ab"].shape
    assert torch.isfinite(prediction.ab).all()
    assert prediction.extras["shown_superpixels"].shape == (2, *size)
    assert torch.isfinite(terms["loss"])
    assert same(before, batch)


def test_a_negative_weight_is_refused(setting: Setting) -> None:
    with pytest.raises(ValueError, match=r"must not be negative, got -1\.0"):
        grid(setting, position_weight=-1.0)

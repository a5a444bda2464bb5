"""Drawings of networks tell what the modules are."""

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from colorexp import runs
from colorexp.config import load
from colorexp.report import architecture
from colorexp.viz.diagram import Arrow, Box, flow


class Twice(nn.Module):
    """A layer that runs twice, and one that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, padding=1)
        self.idle = nn.Linear(7, 7)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.layer(self.layer(x)), None


def test_modules_are_measured_as_they_run() -> None:
    model = Twice()
    found = architecture.measured(model, lambda: model(torch.rand(1, 4, 8, 8)))
    assert found["layer"] == ((4, 8, 8), 4 * 4 * 9 + 4, 2 * 4 * 4 * 9 * 64)
    assert found[""] == ((4, 8, 8), 4 * 4 * 9 + 4 + 56, 2 * 4 * 4 * 9 * 64)
    assert "idle" not in found
    assert not model.layer._forward_hooks, "measuring leaves nothing behind"


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_the_unet_is_drawn_at_its_published_size() -> None:
    told = words(architecture.user_guided())
    model = runs.build_task(load("user_guided/res_unet", profile="paper")).model
    assert {f"down {level}" for level in (1, 2, 3, 4)} | {"bottleneck", "bins of a, of b"} <= set(told)
    assert {"8×128×128", "64×16×16", "3×256×256", "2×32×256×256"} <= set(told)
    heads = sum(p.numel() for p in [*model.head_a.parameters(), *model.head_b.parameters()])
    assert f"{heads} parameters" in told


def test_a_block_of_adacolvit_shows_what_is_saved() -> None:
    """All kept, light and heavy part cost what the dense block does, a half of each with two groups."""
    told = words(architecture.adacolvit_block())
    assert {"1/2 of the channels", "all 197 tokens"} <= set(told)
    light = 197 * 96 * 4 * 192 + 2 * 197**2 * 96
    assert f"{light / 1e6:.3g} MMAC" in told
    assert f"all: {light / 1e6:.3g} MMAC" in told


def test_boxes_hold_their_text_and_arrows_touch_them() -> None:
    figure = flow([Box("one", ["a", "b"]), Box("two", [], 1, 1)], [Arrow("one", "two", "told")])
    assert words(figure) == ["", "told", "one", "a", "b", "two"]
    with pytest.raises(KeyError, match="three"):
        flow([Box("one")], [Arrow("one", "three")])

"""Window attention against its definition, written out pixel by pixel."""

import math

import pytest
import torch
from torch import Tensor, nn

from colorexp.nn.windows import WindowAttention, WindowBlock, WindowStage, half_window_shift, partition, relative_index, reverse


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def attention(**options) -> WindowAttention:
    """With biases large enough to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = WindowAttention(**{"width": 6, "heads": 2, "window": 4, **options})
        nn.init.normal_(module.bias)
    return module.eval()


def touched(module: nn.Module, height: int, width: int, *arguments: object) -> Tensor:
    """[r, c, r', c']: whether what stands at r, c afterwards depends on what stood at r', c'."""
    x = torch.randn(1, height, width, 6, generator=rng()).requires_grad_()
    out = module(x, *arguments)
    rows = []
    for r in range(height):
        for c in range(width):
            (gradient,) = torch.autograd.grad(out[0, r, c, 0], x, retain_graph=True)
            rows.append(gradient[0].ne(0).any(-1))
    return torch.stack(rows).view(height, width, height, width)


def same_window(height: int, width: int, window: int, step: tuple[int, int]) -> Tensor:
    """[r, c, r', c']: whether windows that begin at row and column `step`, and go on in both directions, hold both."""
    answer = torch.zeros(height, width, height, width, dtype=torch.bool)
    for r in range(height):
        for c in range(width):
            for other_r in range(height):
                for other_c in range(width):
                    rows = math.floor((r - step[0]) / window) == math.floor((other_r - step[0]) / window)
                    columns = math.floor((c - step[1]) / window) == math.floor((other_c - step[1]) / window)
                    answer[r, c, other_r, other_c] = rows and columns
    return answer


@pytest.mark.parametrize(("height", "width", "window"), [(4, 4, 4), (8, 12, 4), (21, 7, 7), (3, 5, 1)])
def test_windows_return_to_their_places(height: int, width: int, window: int) -> None:
    x = torch.rand(2, height, width, 3, generator=rng())
    windows = partition(x, window)
    assert windows.shape == (2, height * width // window**2, window**2, 3)
    assert torch.equal(reverse(windows, width), x)


def test_a_window_is_a_square_of_its_map() -> None:
    x = torch.rand(2, 8, 12, 3, generator=rng())
    fifth = partition(x, 4)[:, 4]  # second row, second of three
    assert torch.equal(fifth.view(2, 4, 4, 3), x[:, 4:, 4:8])


@pytest.mark.parametrize("shape", [(6, 8), (8, 6), (3, 4)])
def test_a_cut_window_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"multiples of the window 4, got \({shape[0]}, {shape[1]}\)"):
        partition(torch.zeros(1, *shape, 2), 4)


@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_an_index_is_an_offset(window: int) -> None:
    index, known = relative_index(window), {}
    places = [(r, c) for r in range(window) for c in range(window)]
    for i, (r, c) in enumerate(places):
        for j, (other_r, other_c) in enumerate(places):
            assert known.setdefault((r - other_r, c - other_c), index[i, j].item()) == index[i, j]
    assert sorted(known.values()) == list(range((2 * window - 1) ** 2))


@pytest.mark.parametrize(
    ("height", "width", "window", "step"),
    [(8, 12, 4, (2, 2)), (6, 9, 3, (1, 1)), (4, 8, 4, (0, 2)), (10, 5, 5, (2, 0))],
)
def test_tokens_meet_in_shifted_windows_and_nowhere_else(height: int, width: int, window: int, step: tuple[int, int]) -> None:
    shift = half_window_shift(height, width, window)
    assert (shift.rows, shift.columns) == step
    seen = touched(attention(window=window), height, width, shift)
    assert torch.equal(seen, same_window(height, width, window, step))


def test_the_mask_of_a_rolled_map_allows_what_the_definition_allows() -> None:
    shift = half_window_shift(8, 12, 4)
    places = torch.arange(8 * 12).view(1, 8, 12, 1).roll((-2, -2), (1, 2))
    tokens = partition(places, 4)[0, :, :, 0]  # (V, N)
    together = same_window(8, 12, 4, (2, 2)).view(96, 96)
    assert torch.equal(shift.allowed, together[tokens[:, :, None], tokens[:, None, :]])
    assert not shift.allowed.all()


@pytest.mark.parametrize(("height", "width", "window"), [(4, 4, 4), (7, 7, 7), (3, 5, 1)])
def test_nothing_is_shifted_where_nothing_can_be_gained(height: int, width: int, window: int) -> None:
    assert half_window_shift(height, width, window) is None


@pytest.mark.parametrize("modulated", [False, True])
def test_a_window_attends_as_the_formula_says(modulated: bool) -> None:
    module = attention(window=3, modulated=modulated).double()
    x = torch.randn(1, 3, 3, 6, generator=rng(), dtype=torch.float64)
    tokens = x.view(9, 6) + (module.modulator if modulated else 0)
    q, k, v = (tokens @ module.qkv.weight.T + module.qkv.bias).split(6, dim=1)
    heads = []
    for head in range(2):
        own = slice(3 * head, 3 * head + 3)
        scores = q[:, own] @ k[:, own].T / math.sqrt(3)
        for i in range(9):
            for j in range(9):
                row, column = i // 3 - j // 3 + 2, i % 3 - j % 3 + 2
                scores[i, j] += module.bias[row * 5 + column, head]
        heads.append(scores.exp() / scores.exp().sum(1, keepdim=True) @ v[:, own])
    expected = torch.cat(heads, 1) @ module.project.weight.T + module.project.bias
    assert torch.allclose(module(x).view(9, 6), expected, atol=1e-12)


def test_pictures_of_a_batch_keep_their_own_shifted_windows() -> None:
    x = torch.randn(3, 8, 12, 6, generator=rng())
    module, shift = attention(), half_window_shift(8, 12, 4)
    together = module(x, shift)
    for i in range(3):
        assert torch.allclose(module(x[i : i + 1], shift)[0], together[i], atol=1e-6)


def test_attention_moves_with_the_map_by_whole_windows() -> None:
    x, module = torch.randn(1, 12, 16, 6, generator=rng()), attention(modulated=True)
    assert torch.allclose(module(x.roll((4, 8), (1, 2))), module(x).roll((4, 8), (1, 2)), atol=1e-6)
    assert not torch.allclose(module(x.roll(1, 2)), module(x).roll(1, 2), atol=1e-3)


def test_a_modulated_window_tells_its_places_apart() -> None:
    same = torch.ones(1, 4, 4, 6)
    assert torch.allclose(attention()(same), attention()(same)[:, :1, :1], atol=1e-5)
    looked = attention(modulated=True)(same)[0].flatten(0, 1)
    assert not torch.allclose(looked, looked[:1], atol=1e-2)


def test_the_bias_index_is_no_weight() -> None:
    assert set(attention(modulated=True).state_dict()) == {
        *("qkv.weight", "qkv.bias", "project.weight", "project.bias"),
        *("bias", "modulator"),
    }


@pytest.mark.parametrize(("shifted", "windows"), [(False, 1), (True, 4)])
def test_two_layers_reach_past_a_window_only_if_shifted(shifted: bool, windows: int) -> None:
    stage = WindowStage(width=6, feedforward=[nn.Identity(), nn.Identity()], heads=2, window=4, shifted=shifted)
    seen = touched(stage, 12, 12)[6, 6]  # just past the middle, in windows 4..7 and, shifted, in 6..9
    assert partition(seen[None, :, :, None], 4).flatten(2).any(-1).sum() == windows


def test_the_first_layer_is_never_shifted() -> None:
    stage = WindowStage(width=6, feedforward=[nn.Identity(), nn.Identity()], heads=2, window=4)
    nn.init.zeros_(stage.blocks[1].attention.project.weight)  # the second layer looks nowhere
    assert torch.equal(touched(stage, 8, 8), same_window(8, 8, 4, (0, 0)))


def test_a_layer_adds_to_what_it_is_given() -> None:
    block = WindowBlock(width=6, feedforward=nn.Linear(6, 6), heads=2, window=4)
    for layer in (block.attention.project, block.feedforward):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.randn(1, 8, 8, 6, generator=rng())
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 7}, "multiple of heads, got width 7 with heads 2"),
        ({"heads": 0}, "multiple of heads, got width 6 with heads 0"),
        ({"width": 0}, "multiple of heads, got width 0 with heads 2"),
        ({"window": 0}, "window must be at least 1, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attention(**options)


def test_a_stage_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer, got 0"):
        WindowStage(width=6, feedforward=[], heads=2, window=4)

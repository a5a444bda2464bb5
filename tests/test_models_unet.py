"""What is particular to the three UNets and to the baseline without a network."""

import pytest
import torch
from torch import Tensor, nn

from colorexp.models import spread
from colorexp.models.spread import InverseDistance
from colorexp.models.unet import ResUNet, SimpleUNet, TransUNet, _TokenLayout
from colorexp.nn.padding import pad_to_multiple

TINY = {"channels": (4, 4, 8, 8), "bins": 5}
TINY_TRANS = {**TINY, "feedforward": 8, "bottleneck_feedforward": 8, "patch": 8}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def tiny(family: type[nn.Module], **options) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        sizes = TINY_TRANS if family is TransUNet else TINY
        return family(**{**sizes, "last": 4, **options}).eval()


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda: SimpleUNet(), 141_281),
        (lambda: ResUNet(downsample="strided"), 308_893),
        (
            lambda: TransUNet(downsample="strided", tokens="columns", bottleneck_layers=1, bottleneck_feedforward=2),
            98_671_391,
        ),
    ],
    ids=["simple", "res", "trans"],
)
def test_released_variants_have_their_number_of_parameters(build, count: int) -> None:
    with torch.device("meta"):
        assert parameters(build()) == count


def test_strided_down_sampling_adds_one_convolution_per_level() -> None:
    with torch.device("meta"):
        added = parameters(ResUNet(downsample="strided")) - parameters(ResUNet(downsample="max"))
    assert added == sum(9 * width**2 + width for width in (8, 16, 32, 64))


@pytest.mark.parametrize("patch", [0, -8, 4, 12])
def test_tokens_of_a_fraction_of_a_pixel_are_refused(patch: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 8, got {patch}"):
        TransUNet(**{**TINY_TRANS, "patch": patch})


@pytest.mark.parametrize("family", [SimpleUNet, ResUNet, TransUNet])
@pytest.mark.parametrize("channels", [(8, 16, 32), (8, 16, 32, 64, 128), (8, 0, 8, 8)])
def test_channels_are_four_positive_widths(family: type[nn.Module], channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"four positive widths, got \(8"):
        family(channels=channels)


@pytest.mark.parametrize("family", [ResUNet, TransUNet])
def test_an_unknown_down_sampling_is_named(family: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="'max' or 'strided', got 'mean'"):
        tiny(family, downsample="mean")


def test_unknown_tokens_are_named() -> None:
    with pytest.raises(ValueError, match="'patches' or 'columns', got 'rows'"):
        tiny(TransUNet, tokens="rows")


@pytest.mark.parametrize("family", [SimpleUNet, ResUNet, TransUNet])
def test_every_level_hands_its_own_map_to_its_mirror(family: type[nn.Module]) -> None:
    network, skips, received = tiny(family), [], []
    for down in network.encoder:
        down.register_forward_hook(lambda _module, _inputs, out: skips.append(out[1]))
    for up in network.decoder:
        up.register_forward_hook(lambda _module, inputs, _out: received.append(inputs[1]))
    network(torch.rand(1, 3, 32, 32, generator=rng()))
    assert len(skips) == 4
    assert all(given is taken for given, taken in zip(reversed(skips), received, strict=True))


@pytest.mark.parametrize(("family", "first"), [(SimpleUNet, 16), (ResUNet, 32), (TransUNet, 32)])
def test_skips_are_pooled_maps_in_the_simple_unet_alone(family: type[nn.Module], first: int) -> None:
    network = tiny(family)
    _, skip = network.encoder[0](torch.rand(1, 3, 32, 32, generator=rng()))
    skip = skip[0] if isinstance(skip, tuple) else skip
    assert skip.shape[-1] == first


@pytest.mark.parametrize("family", [SimpleUNet, ResUNet, TransUNet])
def test_head_a_speaks_for_a_and_head_b_for_b(family: type[nn.Module]) -> None:
    network, x = tiny(family), torch.rand(1, 3, 16, 16, generator=rng())
    before = network(x)
    with torch.no_grad():
        network.head_b.bias += torch.arange(5.0)
    change = network(x) - before
    assert torch.allclose(change[:, 0], torch.zeros(()))
    assert torch.allclose(change[:, 1], torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 16, 16), atol=1e-5)


def test_a_regressor_predicts_one_value_per_channel() -> None:
    assert tiny(SimpleUNet, bins=None)(torch.zeros(2, 3, 20, 17)).shape == (2, 2, 1, 20, 17)


@pytest.mark.parametrize("kind", ["patches", "columns"])
@pytest.mark.parametrize("side", [1, 2, 8])
def test_tokens_hold_every_value_once(kind: str, side: int) -> None:
    x = torch.arange(2 * 3 * 16 * 24, dtype=torch.float32).view(2, 3, 16, 24)
    layout = _TokenLayout(kind, side)
    tokens = layout.split(x)
    assert tokens.shape == (2, 16 * 24 // side**2, 3 * side**2)
    assert torch.equal(layout.join(tokens, x), x)


def test_a_patch_token_is_a_square_and_a_column_token_a_column() -> None:
    x = torch.rand(1, 3, 16, 24, generator=rng())
    square = _TokenLayout("patches", 8).split(x)[0, 4]  # second row of squares, second of three
    assert torch.equal(square.view(3, 8, 8), x[0, :, 8:, 8:16])
    picture = torch.rand(1, 8, 256, 256, generator=rng())  # where 256 tokens of 256 values per channel are columns
    column = _TokenLayout("columns", 16).split(picture)[0, 5]
    assert torch.equal(column.view(8, 256), picture[0, :, :, 5])


def test_the_transformer_decoder_attends_to_the_tokens_of_its_mirror() -> None:
    network, made, read = tiny(TransUNet), [], []
    for down in network.encoder:
        down.attention.register_forward_hook(lambda _module, _inputs, out: made.append(out))
    for up in network.decoder:
        up.attention.register_forward_hook(lambda _module, inputs, _out: read.append(inputs[1]))
    network(torch.rand(1, 3, 16, 16, generator=rng()))
    assert len(made) == 4
    assert all(given is taken for given, taken in zip(reversed(made), read, strict=True))


@pytest.mark.parametrize(("size", "padded"), [((16, 32), (16, 32)), ((17, 31), (32, 32)), ((1, 1), (16, 16))])
def test_padding_repeats_the_border(size: tuple[int, int], padded: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, generator=rng())
    larger = pad_to_multiple(x, 16)
    assert larger.shape == (2, 3, *padded)
    rows, cols = (torch.arange(side).clamp(max=own - 1) for side, own in zip(padded, size, strict=True))
    assert torch.equal(larger, x[:, :, rows[:, None], cols])


@pytest.mark.parametrize("family", [SimpleUNet, ResUNet, TransUNet])
def test_a_ragged_picture_is_the_crop_of_its_extension(family: type[nn.Module]) -> None:
    network, x = tiny(family), torch.rand(1, 3, 21, 35, generator=rng())
    whole = network(pad_to_multiple(x, 16))
    assert torch.equal(network(x), whole[..., :21, :35])


def hinted(mask: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(len(mask), 2, *mask.shape[2:], generator=rng(seed)) * 30 * mask


@pytest.fixture
def hint_mask() -> Tensor:
    return torch.rand(3, 1, 12, 9, generator=rng(7)) < 0.1


class TestInverseDistance:
    def test_hints_stay_as_they_are(self, hint_mask: Tensor) -> None:
        ab = hinted(hint_mask)
        spreads = InverseDistance()(ab, hint_mask)
        assert spreads.shape == ab.shape
        assert torch.equal(spreads * hint_mask, ab)

    def test_without_hints_there_is_gray(self) -> None:
        nothing = torch.zeros(2, 2, 6, 6), torch.zeros(2, 1, 6, 6, dtype=torch.bool)
        assert not InverseDistance()(*nothing).any()

    @pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
    def test_a_pixel_is_the_weighted_mean_of_all_hints(self, hint_mask: Tensor, power: float) -> None:
        ab = hinted(hint_mask)
        spreads = InverseDistance(power=power)(ab, hint_mask)
        points = hint_mask[0, 0].nonzero().double()
        for row, col in ((0, 0), (11, 8), (5, 3), (8, 1)):
            if not hint_mask[0, 0, row, col]:
                weight = 1 / (points - torch.tensor([row, col])).norm(dim=1) ** power
                expected = (ab[0, :, hint_mask[0, 0]].double() * weight).sum(1) / weight.sum()
                assert torch.allclose(spreads[0, :, row, col].double(), expected, atol=1e-3)

    def test_colours_are_mixed_from_hints(self, hint_mask: Tensor) -> None:
        ab = hinted(hint_mask)
        for spreads, own, mask in zip(InverseDistance()(ab, hint_mask), ab, hint_mask[:, 0], strict=True):
            low, high = own[:, mask].aminmax(dim=1)
            assert (spreads.flatten(1) >= low[:, None] - 1e-4).all()
            assert (spreads.flatten(1) <= high[:, None] + 1e-4).all()
        one_colour = torch.tensor([12.0, -7.0]).view(1, 2, 1, 1) * hint_mask
        same = InverseDistance()(one_colour, hint_mask)
        assert torch.allclose(same, torch.tensor([12.0, -7.0]).view(1, 2, 1, 1).expand_as(same), atol=1e-4)

    def test_a_picture_is_independent_of_its_batch(self, hint_mask: Tensor) -> None:
        ab = hinted(hint_mask)
        together = InverseDistance()(ab, hint_mask)
        for i in range(3):
            assert torch.equal(InverseDistance()(ab[i : i + 1], hint_mask[i : i + 1])[0], together[i])

    def test_a_larger_power_follows_the_nearest_hint(self) -> None:
        mask = torch.zeros(1, 1, 1, 11, dtype=torch.bool)
        mask[..., 0] = mask[..., 10] = True
        ab = torch.zeros(1, 2, 1, 11)
        ab[..., 10] = 10
        gentle, strict = (InverseDistance(power=power)(ab, mask)[0, 0, 0] for power in (1.0, 8.0))
        assert gentle[5].item() == strict[5].item() == pytest.approx(5)
        assert strict[3] < gentle[3] < 5 < gentle[7] < strict[7]

    def test_bounding_the_memory_changes_nothing(self, hint_mask: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
        ab = hinted(hint_mask)
        whole = InverseDistance()(ab, hint_mask)
        monkeypatch.setattr(spread, "PIXELS_AT_ONCE", 1)
        assert torch.allclose(InverseDistance()(ab, hint_mask), whole, atol=1e-5)

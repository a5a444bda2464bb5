"""Pretrained where the weights are on disk, and a stand-in that says so where they are not."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import alexnet, inception_v3

from colorexp import backbones
from colorexp.backbones import Backbone

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torchvision.models._utils")  # how lpips asks for AlexNet


@pytest.fixture(autouse=True)
def no_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps downloads, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def released_alexnet() -> dict[str, Tensor]:
    """The released file's names; its classifier, of which nothing is wanted, cut short."""
    with torch.random.fork_rng(), torch.device("meta"):
        network = alexnet(weights=None)
    rng = torch.Generator().manual_seed(5)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items() if name.startswith("features")}
    kernels = {name: torch.randn(shape, generator=rng) * 0.05 for name, shape in shapes.items()}
    return kernels | {"classifier.1.weight": torch.zeros(1)}


# An external model of aesthetics


class Brightness(nn.Module):
    """On AVA's scale, for pictures of any number and size."""

    def forward(self, rgb: Tensor) -> Tensor:
        return 1 + 9 * rgb.mean((1, 2, 3))


def save_scripted(path: Path) -> None:
    torch.jit.script(Brightness()).save(path)


def save_exported(path: Path) -> None:
    free = {n: torch.export.Dim(name, min=2, max=1024) for n, name in ((0, "count"), (2, "height"), (3, "width"))}
    torch.export.save(torch.export.export(Brightness(), (torch.rand(2, 3, 8, 9),), dynamic_shapes=(free,)), path)


@pytest.mark.parametrize("save", [save_scripted, save_exported])
def test_aesthetics_are_those_of_the_file(folder: Path, save) -> None:
    save(folder / backbones.AESTHETICS)
    network = backbones.aesthetics(folder=folder)
    assert network is not None
    for shape in ((2, 3, 8, 9), (3, 3, 20, 31)):
        rgb = torch.rand(shape)
        torch.testing.assert_close(network(rgb), 1 + 9 * rgb.mean((1, 2, 3)))


def test_aesthetics_have_no_stand_in(folder: Path) -> None:
    assert backbones.aesthetics(folder=folder) is None


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_what_is_no_aesthetics_model_is_named(folder: Path, content: bytes | None) -> None:
    if content is None:
        torch.save({"weight": torch.ones(3)}, folder / backbones.AESTHETICS)
    else:
        (folder / backbones.AESTHETICS).write_bytes(content)
    with pytest.raises(ValueError, match=r"aesthetics\.pt is neither TorchScript nor a saved torch\.export programme"):
        backbones.aesthetics(folder=folder)


BUILDERS = {
    "vgg19_random": lambda: backbones.vgg19(["relu1_2", "relu2_1"]),
    "lpips_alex_random": lambda: backbones.lpips("alex"),
}


@pytest.mark.parametrize(("name", "build"), BUILDERS.items(), ids=BUILDERS)
def test_a_stand_in_says_so_and_is_always_the_same(name: str, build) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = build()
    assert one.name == name
    assert not one.pretrained
    states = one.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_backbone_is_frozen_and_in_eval_mode(build) -> None:
    network = build().network
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(module.training for module in network.modules())


def test_inception_of_the_tensorflow_port_has_its_shapes() -> None:
    before = torch.get_rng_state()
    inception = backbones.inception_tf()
    assert torch.equal(torch.get_rng_state(), before)
    assert (inception.name, inception.pretrained) == ("fid_tf_random", False)
    rgb = torch.randint(256, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, logits = inception.network(rgb)
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)
    assert features.isfinite().all()
    assert (features[0] - features[1]).abs().max() > 1e-3


def test_inception_of_torchvision_loads_every_tensor(folder: Path) -> None:
    with torch.device("meta"):
        shapes = inception_v3(weights=None, init_weights=False).state_dict()
    released = {name: torch.full(tensor.shape, 0.5, dtype=tensor.dtype) for name, tensor in shapes.items()}
    torch.save(released, folder / "inception_v3_google-0cc3c7bd.pth")
    inception = backbones.inception_tv(folder=folder)
    assert (inception.name, inception.pretrained) == ("fid_tv", True)
    floats = [tensor for tensor in inception.network.state_dict().values() if tensor.is_floating_point()]
    assert all((tensor == 0.5).all() for tensor in floats)


def test_released_alexnet_becomes_the_trunk_of_lpips(folder: Path) -> None:
    released = released_alexnet()
    torch.save(released, folder / "alexnet-owt-7be5be79.pth")
    stand_in, loaded = backbones.lpips("alex"), backbones.lpips("alex", folder=folder)
    assert (loaded.name, loaded.pretrained) == ("lpips_alex", True)
    trunk = loaded.network.net.state_dict()
    assert len(trunk) == len(released) - 1
    assert all(torch.equal(tensor, released["features." + name.split(".", 1)[1]]) for name, tensor in trunk.items())
    assert torch.equal(loaded.network.lin0.model[1].weight, stand_in.network.lin0.model[1].weight)


def test_the_linear_layers_of_lpips_are_the_published_ones() -> None:
    """They ship with the library, are not random and never negative; a filled-in stand-in would be both."""
    network = backbones.lpips("alex").network
    layers = [getattr(network, f"lin{number}").model[1].weight for number in range(5)]
    assert [layer.shape[1] for layer in layers] == [64, 192, 384, 256, 256]
    assert all((layer >= 0).all() for layer in layers)
    assert all(layer.any() for layer in layers)


def test_weights_are_found_among_torch_downloads(no_downloads: Path, folder: Path) -> None:
    name = "alexnet-owt-7be5be79.pth"
    assert backbones.find_weights(name) is None
    torch.save(released_alexnet(), no_downloads / name)
    assert backbones.find_weights(name) == no_downloads / name
    assert backbones.find_weights(name, folder) == no_downloads / name
    (folder / name).touch()
    assert backbones.find_weights(name, folder) == folder / name
    assert backbones.lpips("alex").name == "lpips_alex"


def test_a_missing_folder_is_no_reason_for_a_stand_in(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder of weights at .*typo"):
        backbones.lpips("alex", folder=tmp_path / "typo")


@pytest.mark.parametrize("fault", ["missing", "shape", "damaged"])
def test_a_file_that_does_not_fit_is_no_reason_for_a_stand_in(folder: Path, fault: str) -> None:
    path, released = folder / "alexnet-owt-7be5be79.pth", released_alexnet()
    if fault == "missing":
        del released["features.3.weight"]
    if fault == "shape":
        released["features.3.weight"] = torch.zeros(192, 64, 3, 3)
    torch.save(released, path)
    if fault == "damaged":
        path.write_bytes(path.read_bytes()[:1000])
    named = {"missing": r"missing net\.slice2\.3\.weight", "shape": r"slice2\.3\.weight is \(192, 64, 3, 3\)"}
    with pytest.raises(ValueError, match=named.get(fault, "is damaged")) as raised:
        backbones.lpips("alex", folder=folder)
    assert path.name in str(raised.value)


def test_lpips_has_two_networks() -> None:
    with pytest.raises(ValueError, match="'alex' or 'vgg', got 'squeeze'"):
        backbones.lpips("squeeze")


@pytest.fixture(scope="module")
def vgg() -> Backbone:
    return backbones.vgg19(["relu1_1", "relu1_2", "relu2_1", "relu3_4"])


def test_vgg_maps_are_taken_after_the_named_relus(vgg: Backbone) -> None:
    rgb = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = vgg.network(rgb)
    assert [tuple(one.shape[1:]) for one in maps] == [(64, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8)]
    layers = [layer for layer in vgg.network.features if isinstance(layer, nn.Conv2d)]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    first = layers[0]((rgb - mean[:, None, None]) / std[:, None, None]).relu()
    second = layers[1](first).relu()
    third = layers[2](nn.functional.max_pool2d(second, 2)).relu()
    for got, expected in zip(maps, (first, second, third), strict=False):
        assert torch.allclose(got, expected, atol=1e-4)
    assert len(layers) == 2 + 2 + 4


def test_a_loss_on_vgg_maps_reaches_the_picture(vgg: Backbone) -> None:
    rgb = torch.rand(1, 3, 16, 16, requires_grad=True)
    vgg.network(rgb)[-1].square().sum().backward()
    assert rgb.grad.any()


def test_stand_in_keeps_signals_at_their_size(vgg: Backbone) -> None:
    """Or the maps of deep layers would vanish beside the first."""
    rgb = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sizes = [one.square().mean().sqrt().item() for one in vgg.network(rgb)]
    assert max(sizes) < 5 * min(sizes)


def test_released_vgg_is_loaded_up_to_the_last_wanted_layer(folder: Path) -> None:
    rng = torch.Generator().manual_seed(3)
    shapes = {
        "features.0.weight": (64, 3, 3, 3),
        "features.0.bias": (64,),
        "features.2.weight": (64, 64, 3, 3),
        "features.2.bias": (64,),
        "features.5.weight": (128, 64, 3, 3),
    }
    released = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    torch.save(released, folder / "vgg19-dcbb9e9d.pth")
    loaded = backbones.vgg19(["relu1_2"], folder=folder)
    assert (loaded.name, loaded.pretrained) == ("vgg19", True)
    assert torch.equal(loaded.network.features[2].weight, released["features.2.weight"])


def test_unknown_layers_are_named_beside_the_known() -> None:
    with pytest.raises(ValueError, match=r"no relu1_3, conv2_1; choose from relu1_1, .*relu5_4"):
        backbones.vgg19(["relu1_1", "relu1_3", "conv2_1"])

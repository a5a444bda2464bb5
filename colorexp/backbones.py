"""VGG19, LPIPS and Inception: pretrained where their weights are on disk, else a stand-in with fixed random weights.

A stand-in says so in its name (`lpips_alex_random`), and whatever is measured with it carries that name. Weights are looked for in
a folder given by the caller, then where torch keeps downloads (`TORCH_HOME`). Nothing is ever downloaded.
"""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

from colorexp import boot, color, paths, weights  # noqa: F401  boot: torchvision cannot be imported without it

STAND_IN_SEED = 313
VGG19_FILE = "vgg19-dcbb9e9d.pth"


class Backbone(NamedTuple):
    """A frozen network in eval mode."""

    network: nn.Module
    name: str
    """Column name of what is measured with it; ends in `_random` for a stand-in."""
    pretrained: bool


class VGG19(nn.Module):
    """The feature maps of VGG19 after chosen ReLUs.

    Args:
        layers: Names such as `relu3_1`, in rising order.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__()
        from torchvision.models import vgg19

        known = _relu_positions()
        if unknown := [name for name in layers if name not in known]:
            raise ValueError(f"VGG19 has no {', '.join(unknown)}; choose from {', '.join(known)}")
        self.features = vgg19(weights=None, init_weights=False).features[: max(known[name] for name in layers) + 1]
        self.wanted = [known[name] for name in layers]
        for module in self.features:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # a wanted map must not be overwritten by the next layer
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """sRGB in 0..1, shape (B, 3, H, W), to one feature map (B, C, h, w) per wanted layer."""
        x = (rgb - self.mean) / self.std
        maps = []
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in self.wanted:
                maps.append(x)
        return maps


def _relu_positions() -> dict[str, int]:
    positions, index = {}, 0
    for block, convolutions in enumerate((2, 2, 4, 4, 4), start=1):
        for number in range(1, convolutions + 1):
            positions[f"relu{block}_{number}"] = index + 1
            index += 2
        index += 1  # the pooling layer
    return positions


def vgg19(layers: Sequence[str], *, folder: Path | None = None) -> Backbone:
    """VGG19 features for perceptual losses and reference search, from `VGG19_FILE` where present."""
    with torch.random.fork_rng(devices=[]):
        network = VGG19(layers)
    wanted = {name: name for name in network.state_dict()}
    return _finish(network, "vgg19", VGG19_FILE, folder, wanted)


def lpips(net: Literal["alex", "vgg"], *, folder: Path | None = None) -> Backbone:
    """The LPIPS distance 0.1; its linear layers ship with the package, its trunk is torchvision's AlexNet or VGG16.

    Raises:
        ValueError: If `net` is neither `alex` nor `vgg`.
    """
    files = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
    if net not in files:
        raise ValueError(f"net must be 'alex' or 'vgg', got {net!r}")
    import lpips as library

    with torch.random.fork_rng(devices=[]):
        network = library.LPIPS(net=net, pnet_rand=True, verbose=False)
    # "net.slice2.3.weight" holds the trunk's "features.3.weight"
    trunk = {f"net.{name}": "features." + name.split(".", 1)[1] for name in network.net.state_dict()}
    return _finish(network, f"lpips_{net}", files[net], folder, trunk)


class Inception(nn.Module):
    """Inception v3 for set metrics: features (B, 2048) and class logits of 8-bit pictures."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) to features (B, 2048) and logits without bias (B, classes)."""
        features, logits = self.trunk(rgb)
        return features, logits


def inception_tf(*, folder: Path | None = None) -> Backbone:
    """The Inception of FID and IS as ported from TensorFlow, from `weights-inception-2015-12-05-6726825d.pth`."""
    from torch_fidelity import feature_extractor_inceptionv3 as library

    class Unloaded(library.FeatureExtractorInceptionV3):
        """The library's constructor insists on loading (or downloading) weights; ours come afterwards, strictly."""

        def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:  # noqa: ANN401  the library's
            return super().load_state_dict(state_dict, strict, assign) if state_dict else None

    with mock.patch.object(library, "load_state_dict_from_url", return_value=None), torch.random.fork_rng(devices=[]):
        network = Inception(Unloaded("inception", ["2048", "logits_unbiased"]))
    wanted = {name: name.removeprefix("trunk.") for name in network.state_dict()}
    return _finish(network, "fid_tf", "weights-inception-2015-12-05-6726825d.pth", folder, wanted)


class _TorchvisionTrunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import inception_v3

        self.body = inception_v3(weights=None, init_weights=False, transform_input=False)

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        x = nn.functional.interpolate(color.from_8bit(rgb), (299, 299), mode="bilinear", antialias=True)
        pooled: list[Tensor] = []
        handle = self.body.avgpool.register_forward_hook(lambda _module, _inputs, out: pooled.append(out.flatten(1)))
        self.body(x * 2 - 1)
        handle.remove()
        return pooled[0], pooled[0] @ self.body.fc.weight.T


def inception_tv(*, folder: Path | None = None) -> Backbone:
    """torchvision's own Inception, which gives other numbers than the TensorFlow port; from `inception_v3_google-0cc3c7bd.pth`."""
    with torch.random.fork_rng(devices=[]):
        network = Inception(_TorchvisionTrunk())
    wanted = {name: name.removeprefix("trunk.body.") for name in network.state_dict()}
    return _finish(network, "fid_tv", "inception_v3_google-0cc3c7bd.pth", folder, wanted)


INCEPTIONS: dict[str, Callable[..., Backbone]] = {"fid_tf": inception_tf, "fid_tv": inception_tv}


AESTHETICS = "aesthetics.pt"


def aesthetics(*, folder: Path | None = None) -> nn.Module | None:
    """An external model of how pleasing a picture is, from `aesthetics.pt` where present, else None: it has no stand-in.

    The file is a TorchScript archive or a saved `torch.export` programme that takes sRGB in 0..1, shape (B, 3, H, W), for any B, H
    and W, and gives the mean opinion on AVA's scale of 1 to 10, shape (B,).

    Args:
        folder: Where it lies; torch's own download folder is looked at as well.

    Raises:
        ValueError: If the file is neither.

    Source: "Yes, Attention Is All You Need, for Exemplar based Colorization", section 4.3.2, the aesthetic score (AS).

    Deviation: the paper's model (MLSP) exists for TensorFlow alone; whichever is put there, its name belongs beside the number.
    """
    path = find_weights(AESTHETICS, folder)
    if path is None:
        return None
    try:
        return torch.jit.load(path, map_location="cpu").eval() if _scripted(path) else torch.export.load(path).module()
    except (RuntimeError, ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        told = str(error).splitlines()[0]
        raise ValueError(f"{paths.shown(path)} is neither TorchScript nor a saved torch.export programme: {told}") from None


def _scripted(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def find_weights(filename: str, folder: Path | None = None) -> Path | None:
    """Where a published weight file lies: in `folder`, else among torch's downloads, else None.

    Raises:
        FileNotFoundError: If `folder` is given and does not exist.
    """
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"no folder of weights at {paths.shown(folder)}")
    for place in (folder, Path(torch.hub.get_dir()) / "checkpoints"):
        if place is not None and (place / filename).is_file():
            return place / filename
    return None


def _finish(network: nn.Module, name: str, filename: str, folder: Path | None, wanted: dict[str, str]) -> Backbone:
    """Fill `network`, freeze it; `wanted` maps our names to those in the file, which may hold more (a classifier)."""
    path = find_weights(filename, folder)
    if path is None:
        _fill_randomly(network, wanted)
    else:
        released = weights.read(path)
        state = network.state_dict()
        state.update({ours: released[theirs] for ours, theirs in wanted.items() if theirs in released})
        for ours in [ours for ours, theirs in wanted.items() if theirs not in released]:
            del state[ours]
        weights.load_strictly(network, state, what=str(path))
    # on the CPU Inception is a quarter faster, VGG19 with its backward pass twice as fast
    network.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    return Backbone(network, name if path else f"{name}_random", path is not None)


def _fill_randomly(network: nn.Module, names: dict[str, str]) -> None:
    """Seeded He-normal kernels and zero biases: signals keep their size through fifty layers."""
    rng = torch.Generator().manual_seed(STAND_IN_SEED)
    state = network.state_dict()
    for name in sorted(names):
        tensor = state[name]
        if tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=rng)
        elif name.endswith("bias"):
            tensor.zero_()

"""Tensors on disk: safetensors for ours, `torch.load` once for what others released; loading is strict or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from colorexp import paths


def save(module: nn.Module, path: Path) -> None:
    """Write a module's state as safetensors, under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    save_file({name: tensor.contiguous().cpu() for name, tensor in module.state_dict().items()}, partial)
    os.replace(partial, path)


def read(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or a released `.pth` / `.ckpt` / `.pt` (tensors only: pickled code is refused).

    A released file may wrap its state dict in `state_dict`, `model` or `model_state_dict` and prefix names by `module.`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or holds something else than tensors, or NaN or infinity.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {paths.shown(path)}")
    state = _state(path)
    if broken := [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"{paths.shown(path)} holds NaN or infinity in {', '.join(broken)}")
    return state


def _state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{paths.shown(path)} is damaged: {error}") from error
    state = unpickle(path)
    for wrapper in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{paths.shown(path)} holds no state dict")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def unpickle(path: Path) -> Any:  # noqa: ANN401  whatever plain values and tensors the file holds
    """A file of torch.save that holds tensors and plain values alone; pickled code is refused.

    Raises:
        ValueError: If the file is damaged or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle is a damaged programme: it can fail in any way
        raise ValueError(f"{paths.shown(path)} is damaged, or holds more than tensors and plain values: {error}") from error


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], *, what: str) -> None:
    """Load `state` into `module`.

    Args:
        module: Receives the tensors.
        state: Names as in `module.state_dict()`.
        what: Names the source in the error.

    Raises:
        ValueError: If anything is missing, unexpected or of another shape; every such name is listed.
    """
    own = module.state_dict()
    problems = [f"missing {name}" for name in own.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if problems:
        raise ValueError(f"{what} does not fit {type(module).__name__}: {'; '.join(sorted(problems))}")
    module.load_state_dict(dict(state))

"""Golden vectors: numbers that the papers' released code made of inputs and weights that anyone can fill in again."""

import json
import math
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"


def u01(name: str, size: int) -> np.ndarray:
    """`size` numbers in [0, 1) that depend on `name` alone; every step wraps around at 32 bits."""
    h = np.arange(size, dtype=np.uint32)
    h *= np.uint32(0x9E3779B1)
    h += np.uint32(zlib.crc32(name.encode()))
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x85EBCA77)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE3D)
    h ^= h >> np.uint32(16)
    return h / 2.0**32


def golden(name: str) -> dict[str, Tensor]:
    """The arrays of `golden/<name>.npz`; half floats, which only save space, as float32."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        tensors = {key: torch.from_numpy(arrays[key]) for key in arrays}
    return {key: value.float() if value.dtype == torch.float16 else value for key, value in tensors.items()}


def golden_input(label: str, shape: tuple[int, ...], *, low: float = 0.0, high: float = 1.0) -> Tensor:
    """The input picture that goes by `label`."""
    values = low + (high - low) * u01(f"input:{label}", math.prod(shape))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


@lru_cache(maxsize=1)
def _shapes() -> dict[str, dict[str, list[int]]]:
    return json.loads((FOLDER / "state_dicts.json").read_text())


def filled_state(model: str) -> dict[str, Tensor]:
    """A released checkpoint's names and shapes, filled by the rule."""
    state = {name: _filled(name, shape) for name, shape in _shapes()[model].items()}
    for name in [name for name in state if name.endswith("_orig")]:  # under a spectral norm
        matrix, stem = state[name].flatten(1).double(), name.removesuffix("_orig")
        u = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -1]
        state[f"{stem}_u"], state[f"{stem}_v"] = u.float(), F.normalize(matrix.T @ u, dim=0).float()
    return state


def _filled(name: str, shape: list[int]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("relative_position_index"):
        return _offset_rows(math.isqrt(shape[0]))
    x = 2 * u01(name, math.prod(shape)) - 1
    if len(shape) > 1:
        x *= math.sqrt(3 / math.prod(shape[1:]))
    elif name.endswith("running_var"):
        x = 1 + 0.2 * x
    elif name.endswith("weight"):
        x = 1 + 0.1 * x
    else:
        x *= 0.05
    return torch.from_numpy(x.astype(np.float32).reshape(shape))


def _offset_rows(side: int) -> Tensor:
    """For every query and key of a square of tokens the row of their offset in the bias table, as the released code defines it."""
    places = [(row, col) for row in range(side) for col in range(side)]
    span = 2 * side - 1
    return torch.tensor([[(r - s + side - 1) * span + (c - d + side - 1) for s, d in places] for r, c in places])

"""Randomness as a function: every draw names its run, step, sample and purpose, and so can be made again alone."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed_of(*key: str | int) -> int:
    """A 63-bit seed that depends on every part of `key` and on nothing else, the same on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*key: str | int) -> "torch.Generator":
    """A CPU generator for the draw named by `key`, for example `(run seed, epoch, "photos/china", "crop")`."""
    import torch  # tables are made without it

    return torch.Generator().manual_seed(seed_of(*key))

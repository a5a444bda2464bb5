"""A draw depends on its name alone: on every machine, in every process, in any order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from colorexp import seeding


def test_seeds_are_the_same_for_ever() -> None:
    """Prepared data and published runs were drawn with them."""
    assert seeding.seed_of(0) == 2_631_537_505_891_389_924
    assert seeding.seed_of(7, 3, "photos/china", "crop") == 4_872_916_301_426_167_393


def test_seeds_fit_torch_and_are_far_apart() -> None:
    seeds = {seeding.seed_of(run, step, purpose) for run in range(10) for step in range(50) for purpose in ("a", "b")}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, 2), (12,)), ((1, 2), (2, 1)), (("a", "b"), ("ab",)), ((1,), ("1",)), (("a", ""), ("a",)), ((), ("",))],
)
def test_names_that_look_alike_are_told_apart(one: tuple, other: tuple) -> None:
    assert seeding.seed_of(*one) != seeding.seed_of(*other)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_seeds_do_not_follow_the_hash_of_the_process(hash_seed: str) -> None:
    code = "from colorexp.seeding import seed_of; print(seed_of('photos/china', 1))"
    environment, folder = os.environ | {"PYTHONHASHSEED": hash_seed}, Path(seeding.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment, cwd=folder)
    assert int(done.stdout) == seeding.seed_of("photos/china", 1)


def test_a_draw_can_be_made_again_alone() -> None:
    state = torch.get_rng_state()
    first = torch.rand(5, generator=seeding.generator(0, "x", "hints"))
    torch.rand(5, generator=seeding.generator(0, "y", "hints"))
    assert torch.equal(torch.rand(5, generator=seeding.generator(0, "x", "hints")), first)
    assert not torch.equal(torch.rand(5, generator=seeding.generator(0, "x", "crop")), first)
    assert torch.equal(torch.get_rng_state(), state)

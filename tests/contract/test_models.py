"""What the network and the task of every run promise, whatever the paper; a new run meets this by being listed."""

from functools import lru_cache, partial
from pathlib import Path

import pytest
import torch
from tiny import ROOT, change, clone, same, small_options, tiny
from tiny import make_batch as made
from torch import Tensor

from colorexp import color, config, runs, weights
from colorexp.config import Run
from colorexp.tasks.base import Colorizer

with pytest.MonkeyPatch.context() as _patch:
    _patch.chdir(ROOT)
    RUNS = config.runs()
    HINTED = [name for name in RUNS if name.partition("/")[0] in ("user_guided", "adacolvit")]
    TRAINED = [name for name in RUNS if any(p.requires_grad for p in runs.build_task(tiny(name)).model.parameters())]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


make_batch = partial(made, references=True)
"""With all that a network may want to see."""


@lru_cache
def built(name: str) -> tuple[Run, Colorizer]:
    """A run's task with its first parameters, in eval mode; tests must not change it."""
    cfg = tiny(name)
    return cfg, runs.build_task(cfg).eval()


def output(task: Colorizer, batch: dict) -> Tensor:
    """What the network itself says, before classes become colours; of several outputs the first, which is the picture's.

    That may be a picture at several resolutions, the last of which is the picture's.
    """
    said = task(batch)
    first = said[0] if isinstance(said, tuple) else said
    return first[-1] if isinstance(first, tuple) else first


def bytes_of(task: Colorizer) -> list[bytes]:
    return [tensor.contiguous().numpy().tobytes() for tensor in task.model.state_dict().values()]


@pytest.mark.parametrize("name", RUNS)
def test_the_batch_is_left_as_it_was(name: str) -> None:
    _, task = built(name)
    batch = make_batch(33, 47)
    before = clone(batch)
    with torch.no_grad():
        prediction = task.predict(batch)
        task.scores(batch, prediction)
        if name in TRAINED:
            task.loss(batch, task(batch))
    assert same(before, batch)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 40), (7, 5)])
def test_every_size_is_coloured_with_finite_ab(name: str, size: tuple[int, int]) -> None:
    _, task = built(name)
    with torch.no_grad():
        ab = task.predict(make_batch(*size)).ab
    assert ab.shape == (2, 2, *size)
    assert ab.dtype == torch.float32
    assert torch.isfinite(ab).all()
    assert ab.abs().max() <= color.AB_LIMIT


@pytest.mark.parametrize("name", RUNS)
def test_a_picture_is_coloured_alike_alone_and_in_a_batch(name: str) -> None:
    _, task = built(name)
    batch = make_batch(32, 40, pictures=3)
    with torch.no_grad():
        grid = name.startswith("superpixels/")  # the grid says the same of every picture
        said = (lambda some: task.predict(some).ab) if grid else partial(output, task)
        together = said(batch)
        alone = said({key: value[1:2] for key, value in batch.items()})
    assert torch.allclose(together[1:2], alone, atol=1e-4)
    assert not torch.equal(together[:1], alone)


@pytest.mark.parametrize("name", HINTED)
def test_hints_reach_the_prediction(name: str) -> None:
    _, task = built(name)
    batch = make_batch()
    moved = {**batch, "hint_ab": -batch["hint_ab"]}
    with torch.no_grad():
        assert not torch.equal(output(task, batch), output(task, moved))


@pytest.mark.parametrize("name", [name for name in RUNS if not name.startswith("superpixels/")])
def test_colours_that_are_no_hints_are_never_seen(name: str) -> None:
    """A network that peeks at the truth would win every table; superpixels are measured by how well they keep it."""
    _, task = built(name)
    batch = make_batch()
    with torch.no_grad():
        if name in HINTED:  # the others train on the truth, also in the forward pass
            assert torch.equal(output(task, batch), output(task, {**batch, "ab": -batch["ab"]}))
        assert torch.equal(task.predict(batch).ab, task.predict({**batch, "ab": -batch["ab"]}).ab)


@pytest.mark.parametrize("name", RUNS)
def test_predicting_draws_nothing_and_changes_nothing(name: str) -> None:
    _, task = built(name)
    generator, before = torch.get_rng_state(), bytes_of(task)
    with torch.no_grad():
        first, second = (task.predict(make_batch()).ab for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(generator, torch.get_rng_state())
    assert bytes_of(task) == before


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_is_what_the_task_says_it_logs(name: str) -> None:
    _, task = built(name)
    batch = make_batch()
    terms = task.loss(batch, task(batch))
    assert terms.keys() == set(task.logged)
    assert "loss" in terms
    for value in terms.values():
        assert value.shape == ()
        assert torch.isfinite(value)


@pytest.mark.parametrize("name", TRAINED)
def test_training_reaches_every_parameter(name: str) -> None:
    task = runs.build_task(tiny(name)).train()
    batch = make_batch(32, 32, pictures=4)
    task.loss(batch, task(batch))["loss"].backward()
    dead = [n for n, p in task.model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert dead == []
    assert all(torch.isfinite(p.grad).all() for p in task.model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("profile", config.PROFILES)
def test_a_batch_without_hints_has_finite_gradients(name: str, profile: str) -> None:
    """With the weights of the loss's terms as every profile sets them: 0/0 hides in the backward pass."""
    cfg = config.load(name, profile=profile)
    task = runs.build_task(change(cfg, **small_options(cfg))).train()
    batch = make_batch(32, 32, hints=0.0)
    task.loss(batch, task(batch))["loss"].backward()
    # outputs that a profile does not supervise have none
    assert all(torch.isfinite(p.grad).all() for p in task.model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", TRAINED)
def test_a_seed_is_the_bytes_of_a_network(name: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = bytes_of(runs.build_task(tiny(name)))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    assert bytes_of(runs.build_task(tiny(name))) == first
    assert bytes_of(runs.build_task(tiny(name, seed=1))) != first


@pytest.mark.parametrize("name", RUNS)
def test_weights_survive_a_file(name: str, tmp_path: Path) -> None:
    _, task = built(name)
    weights.save(task.model, tmp_path / "model.safetensors")
    other = runs.build_task(tiny(name, seed=9)).eval()
    weights.load_strictly(other.model, weights.read(tmp_path / "model.safetensors"), what="the file")
    assert bytes_of(other) == bytes_of(task)
    with torch.no_grad():
        assert torch.equal(task.predict(make_batch()).ab, other.predict(make_batch()).ab)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("profile", config.PROFILES)
def test_every_run_can_be_built_in_every_profile(name: str, profile: str) -> None:
    """Options are checked against the constructors even where the profile leaves the run out."""
    cfg = config.load(name, profile=profile)
    with torch.device("meta"):
        task = runs.build_task(cfg)
    assert type(task.model).__name__ == cfg.model.split(":")[1]

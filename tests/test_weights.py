"""Weights on disk: whole or the old ones, strictly loaded, never executed."""

import io
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from colorexp import weights


def small() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_module_survives_a_file(tmp_path: Path) -> None:
    module = small()
    module[0].weight.data = module[0].weight.data.to(memory_format=torch.channels_last)
    path = tmp_path / "new" / "folder" / "w.safetensors"
    weights.save(module, path)
    again = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    weights.load_strictly(again, weights.read(path), what="the file")
    assert same(again.state_dict(), module.state_dict())
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


def test_a_failed_save_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    weights.save(small(), path)
    before = path.read_bytes()

    def full(tensors: dict[str, Tensor], file: Path) -> None:
        Path(file).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        weights.save(nn.Linear(3, 3), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_released_files_are_unwrapped(tmp_path: Path, wrapper: str | None, prefix: str, zipped: bool) -> None:
    state = small().state_dict()
    named = {prefix + name: tensor for name, tensor in state.items()}
    content = named if wrapper is None else {"epoch": 7, "optimizer": {"lr": 0.1}, wrapper: named}
    torch.save(content, tmp_path / "released.pth", _use_new_zipfile_serialization=zipped)
    assert same(weights.read(tmp_path / "released.pth"), state)


def test_only_a_leading_module_is_dropped(tmp_path: Path) -> None:
    torch.save({"module.net.module.weight": torch.ones(1)}, tmp_path / "w.ckpt")
    assert list(weights.read(tmp_path / "w.ckpt")) == ["net.module.weight"]


class Trap:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2), "extra": Trap(tmp_path / "trapped")}, tmp_path / "trap.pth")
    for read in (weights.read, weights.unpickle):
        with pytest.raises(ValueError, match=r"trap\.pth is damaged, or holds more than tensors"):
            read(tmp_path / "trap.pth")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [{"weight": 3}, [torch.ones(1)], torch.ones(1), {"state_dict": {"a": "b"}}])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt holds no state dict"):
        weights.read(tmp_path / "w.pt")


def saved(kind: str, folder: Path) -> bytes:
    if kind == "safetensors":
        weights.save(small(), folder / "w.safetensors")
        return (folder / "w.safetensors").read_bytes()
    buffer = io.BytesIO()
    torch.save(small().state_dict(), buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_cut_anywhere_is_called_damaged(tmp_path: Path, kind: str) -> None:
    whole = saved(kind, tmp_path)
    path = tmp_path / ("cut.safetensors" if kind == "safetensors" else "cut.pth")
    for length in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.\w+ is damaged"):
            weights.read(path)


@pytest.mark.parametrize("name", ["page.pth", "page.safetensors"])
def test_a_web_page_is_no_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        weights.read(tmp_path / name)


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors", ""])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"no weights at .*{name}"):
        weights.read(tmp_path / name)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, value: float) -> None:
    state = {**small().state_dict(), "0.bias": torch.tensor([0.0, value, 1.0])}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth holds NaN or infinity in 0\.bias$"):
        weights.read(tmp_path / "w.pth")


def test_loading_lists_every_problem_and_changes_nothing() -> None:
    module = small()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = {name: tensor + 1 for name, tensor in before.items()}
    del state["0.bias"], state["1.running_var"]
    state |= {"1.weight": torch.ones(4), "2.weight": torch.ones(1)}
    with pytest.raises(ValueError, match=r"w\.pth does not fit Sequential") as raised:
        weights.load_strictly(module, state, what="w.pth")
    problems = ("missing 0.bias", "missing 1.running_var", "unexpected 2.weight", "1.weight is (4,), not (3,)")
    assert all(problem in str(raised.value) for problem in problems)
    assert same(module.state_dict(), before)


def test_loading_refuses_what_broadcasting_would_accept() -> None:
    state = small().state_dict() | {"0.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"0\.bias is \(1,\), not \(3,\)"):
        weights.load_strictly(small(), state, what="w.pth")

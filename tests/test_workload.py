"""What is counted and compared of DISCO's cost, on a small network; nothing here is timed."""

import pytest
import torch
from tiny import ROOT, tiny

from colorexp import bench, config, runs, workload


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    small = tiny("disco/disco")
    monkeypatch.setattr(config, "load", lambda *_, **__: small)
    monkeypatch.setattr(config, "efficiency", lambda: config.Efficiency(repeats=1, everything=False, threads=1))


def test_the_blocks_are_the_whole_forward() -> None:
    forward = workload._forward()
    table = workload.blocks().set_index("block")
    with torch.no_grad():
        assert table["multiply_adds_g"].sum() == pytest.approx(bench.counted(forward.whole) / 1e9, abs=2e-3)
        made = [job() for job in forward.parts.values()]
        assert torch.equal(made[2].ab_n, forward.whole().ab_n), "the same colours, block by block"
    everything = sum(p.numel() for p in forward.model.parameters()) / 1e6
    assert table["parameters_m"].sum() == pytest.approx(everything, abs=2e-3)
    assert table["share"].sum() == pytest.approx(1, abs=1e-3)
    assert table.loc["anchor construction", "share_published"] == 0.549


def test_convolutions_are_weighted_by_their_share_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    side = tiny("disco/disco").data.size
    monkeypatch.setattr(workload, "SHAPES", {side: 4, side // 2: 8, 7: 8})
    shares = workload._shares(workload._forward())
    assert shares[7] == 0
    assert shares[side] > 0 and shares[side // 2] > 0
    assert sum(shares.values()) == pytest.approx(1)


def test_promises_of_memory_and_training_are_for_those_who_measure_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_photograph", "_linear", "_step"):
        monkeypatch.setattr(workload, name, lambda: pytest.fail("measured"))
    row = ("PSNR", 0.0, "dB", "", "")
    monkeypatch.setattr(workload, "_quality", lambda: row)
    monkeypatch.setattr(workload, "_rates", lambda: [row])
    table = workload.promises(workload.blocks().assign(share=[0.5, 0.06, 0.44])).set_index("what")
    assert table.loc["anchor construction over the three blocks", "kept"] == "no"
    assert "SP-pooling and SP-diffusion together" in table.index


def test_memory_grows_linearly_where_every_further_pixel_takes_the_same() -> None:
    linear, square = ([0.9 + 1e-6 * side**power for side in workload.SIDES] for power in (2, 4))
    assert workload._growth(linear)[1] == pytest.approx(1)
    assert workload._growth(square)[1] > 2


def test_peaks_are_those_of_this_process() -> None:
    before = workload.peak()
    held = torch.ones(int((before + 0.25) * 2**28))  # a quarter of a GiB above whatever was the most so far
    assert workload.peak() > held.nbytes / 2**30 > before


def test_a_step_without_the_three_still_trains_everything() -> None:
    built = []
    step = bench.step(config.load(workload.RUN), lambda task: (workload._without(task), built.append(task)), pictures=2)
    assert not built[0]._vgg
    assert not [name for name, _ in built[0].named_modules() if "parametrizations" in name]
    L_n, ab_n = torch.zeros(1, 1, 32, 32), torch.zeros(1, 2, 32, 32)
    assert built[0].model(L_n, ab_n, workload._draws()).clusters is None, "nothing is clustered"
    before = {name: value.clone() for name, value in built[0].model.named_parameters() if value.requires_grad}
    step()
    still = [name for name, value in built[0].model.named_parameters() if name in before and torch.equal(before[name], value)]
    assert still == []
    assert not built[0]._vgg, "the perceptual loss was not asked"


def test_bfloat16_is_compared_on_pictures_of_the_trained_network(monkeypatch: pytest.MonkeyPatch) -> None:
    task = runs.build_task(tiny("disco/disco")).eval()
    asked = []

    def evaluate(_cfg: object, task: object) -> object:
        L_n = torch.linspace(-1, 1, 32 * 32).view(1, 1, 32, 32)
        asked.append(task.model.colorize(L_n, workload._draws()).ab_n)
        return type("Found", (), {"rows": {"psnr": torch.tensor([20.0 + len(asked)])}})

    monkeypatch.setattr(runs, "load", lambda _: (config.load(workload.RUN), task))
    monkeypatch.setattr(workload.evaluation, "evaluate", evaluate)
    assert workload._quality()[1] == 1
    assert asked[1].dtype == torch.float32
    assert not torch.equal(*asked)

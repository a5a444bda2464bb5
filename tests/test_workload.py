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
    monkeypatch.setattr(config, "efficiency", lambda: config.Efficiency(repeats=1, everything=False, threads=1, pictures=2))


SECONDS = {"feature extraction": [0.2, 0.4], "anchor construction": [0.1, 0.1], "color generation": [0.3, 0.1]}


def test_the_blocks_are_the_whole_forward() -> None:
    forward = workload._forward()
    table = workload.blocks(SECONDS).set_index("block")
    with torch.no_grad():
        assert table["multiply_adds_g"].sum() == pytest.approx(bench.counted(forward.whole) / 1e9, abs=2e-3)
        made = [job() for job in forward.parts.values()]
        assert torch.equal(made[2].ab_n, forward.whole().ab_n), "the same colours, block by block"
    everything = sum(p.numel() for p in forward.model.parameters()) / 1e6
    assert table["parameters_m"].sum() == pytest.approx(everything, abs=2e-3)
    assert table["share"].to_list() == [0.5, 0.1667, 0.3333]
    assert table.loc["feature extraction", ["latency_ms", "latency_std_ms", "repeats"]].to_list() == [300, 100, 2]
    assert table.loc["anchor construction", "share_published"] == 0.549
    drawn = workload.division(table.reset_index())
    assert drawn.groupby("bar")["share"].sum().to_list() == pytest.approx([1] * 6)
    assert drawn.set_index(["bar", "part"]).loc[("time, ours", "anchor construction"), "text"] == "100 ms"


def test_every_picture_goes_through_every_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list] = {"rival": [], "disco": []}
    monkeypatch.setattr(workload, "RIVALS", ("rival",))
    monkeypatch.setattr(workload, "_whole", lambda name: seen[name].append)
    blocks = workload._in_blocks
    monkeypatch.setattr(workload, "_in_blocks", lambda model, L_n: (seen["disco"].append(L_n), blocks(model, L_n))[1])
    size = tiny("disco/disco").data.size
    monkeypatch.setattr(workload.scenes, "SIZES", (size, 512))
    seconds = workload.one_after_another()
    assert {name: len(each) for name, each in seconds.items()} == dict.fromkeys(("disco/disco", *workload.BLOCKS, "rival"), 2)
    assert seconds["disco/disco"] == pytest.approx(
        [sum(parts) for parts in zip(*(seconds[b] for b in workload.BLOCKS), strict=True)]
    )
    assert len(seen["rival"]) == 3, "one before those that count"
    for batch, L_n in zip(seen["rival"], seen["disco"], strict=True):
        L = batch["L"]
        assert L.shape == L_n.shape == (1, 1, size, size)
        torch.testing.assert_close(L_n, L / 50 - 1)
    assert not torch.equal(seen["disco"][1], seen["disco"][2])
    table = workload.rivals(seconds | {"rival": [1.0, 3.0]}).set_index("run")
    assert table.loc["rival", ["latency_ms", "latency_std_ms", "repeats"]].to_list() == [2000, 1000, 2]


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
    table = workload.promises(workload.blocks(SECONDS).assign(share=[0.5, 0.06, 0.44])).set_index("what")
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

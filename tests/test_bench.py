"""What the efficiency table counts and which networks it takes for one."""

import pandas as pd
import pytest
import torch
from tiny import ROOT, tiny

from colorexp import bench, config, runs
from colorexp.bench import Subject
from colorexp.tasks.base import Colorizer


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def subjects(name: str) -> dict[str, Subject]:
    cfg = config.load(f"adacolvit/{name}", profile="paper")
    return bench._subjects(cfg.name, cfg, runs.build_task(cfg).eval())


def shape(name: str) -> str:
    return bench._shape(runs.build_task(config.load(name, profile="paper")))


def test_a_network_of_other_groups_is_another_network() -> None:
    assert shape("adacolvit/adacolvit_t_g4") != shape("adacolvit/adacolvit_t_g8")
    assert shape("adacolvit/adacolvit_t") == shape("adacolvit/adacolvit_t_paper_loss")


@pytest.mark.parametrize(
    ("name", "gmac"), [("icolorit_t", 1.43), ("swinir_s", 1.953), ("adacolvit_t", 0.78), ("dynamicvit", 1.24), ("uformer_t", 0.762)]
)
def test_multiply_adds_are_those_of_the_form_that_is_timed(name: str, gmac: float) -> None:
    found = subjects(name)
    assert f"adacolvit/{name}" in found
    for subject in found.values():
        assert subject.multiply_adds / 1e9 == pytest.approx(gmac, rel=0.02)
        assert subject.job() is not None


@pytest.mark.parametrize("name", ["dynamicvit", "adavit", "avit"])
def test_networks_that_are_timed_as_they_train_say_so(name: str) -> None:
    assert "plain torch layers, not laid out for inference" in subjects(name)[f"adacolvit/{name}"].note


def test_the_number_format_is_that_of_the_row() -> None:
    told = {name: subject.numbers for name, subject in subjects("adacolvit_t").items()}
    assert told == {"adacolvit/adacolvit_t": "float32", "adacolvit/adacolvit_t, bfloat16": "bfloat16"}
    assert bench.machine(1, "bfloat16").endswith("bfloat16")


def test_the_plain_reference_stands_beside_the_dense_network() -> None:
    told = subjects("icolorit_t")
    assert set(told) == {"adacolvit/icolorit_t", "adacolvit/icolorit_t, reference"}
    assert "eager" in told["adacolvit/icolorit_t, reference"].note


@pytest.fixture
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "efficiency", lambda: config.Efficiency(repeats=1, everything=False, threads=1))


@pytest.mark.usefixtures("_brief")
def test_shares_are_timed_against_the_dense_network() -> None:
    table = bench.by_share()
    assert table["share"].tolist() == [1.0, 0.7, 0.4]
    assert table["multiply_adds_g"].is_monotonic_decreasing
    assert table["multiply_adds_g"][0] == pytest.approx(1.437, rel=1e-3)
    assert table["multiply_adds_of_dense"].to_numpy() == pytest.approx(table["multiply_adds_g"] / 1.4294, rel=1e-2)
    assert (table["latency_of_dense"] > 0).all()


@pytest.mark.usefixtures("_brief")
def test_promises_are_ratios_of_what_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of networks that the profile times; nothing is trained where only part is measured."""
    monkeypatch.setattr(bench, "_bfloat16", lambda: ("PSNR", 0.0, "dB", "", ""))
    monkeypatch.setattr(bench, "_masked_step", lambda: pytest.fail("a training was timed"))
    names = ("icolorit_t", "icolorit_t, reference", "adacolvit_t", "adacolvit_t, bfloat16")
    times = pd.DataFrame({"run": [f"adacolvit/{name}" for name in names], "latency_ms": [20.0, 40.0, 10.0, 8.0]})
    table = bench.adaptive(times).set_index("what")
    ratios = table["value"][table["details"].str.contains("same rounds")]
    assert ratios.tolist() == [0.5, 0.25, 0.5, 0.2]
    assert table["kept"][table["details"].str.contains("same rounds")].tolist() == ["yes", "yes", "yes", "yes"]
    asked = table.filter(like="asked", axis=0).iloc[0]
    assert asked["value"] > 0.5
    assert asked["kept"] == "", "nothing is promised"


@pytest.mark.parametrize(
    ("value", "promise", "kept"),
    [
        (0.62, "<= 0.62", "yes"),
        (0.64, "<= 0.62", "no"),
        (5.0, "< 5 for kernel and imports", "no"),
        (4.9, "< 5", "yes"),
        (0.79, ">= 0.8", "no"),
        (1.0, ">= 1", "yes"),
        (9.0, "", ""),
    ],
)
def test_a_promise_is_kept_or_not(value: float, promise: str, kept: str) -> None:
    assert bench._promises([("a", value, "s", promise, "")])["kept"].tolist() == [kept]


def test_a_step_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Colorizer] = []
    real = runs.build_task
    monkeypatch.setattr(bench.runs, "build_task", lambda cfg: built.append(real(cfg)) or built[-1])
    step = bench._step(tiny("adacolvit/adacolvit_t"))
    before = {name: value.clone() for name, value in built[0].named_parameters()}
    step()
    assert any(not torch.equal(before[name], value) for name, value in built[0].named_parameters())


def test_every_job_has_its_rounds_but_the_first() -> None:
    calls: list[str] = []
    seconds = bench.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_trainings_of_the_profile_are_listed_with_what_they_took() -> None:
    table = bench.trainings().set_index("run")
    assert {"user_guided/res_unet", "adacolvit/adacolvit_t"} <= set(table.index)
    assert not {"user_guided/spread", "adacolvit/icolorit_b"} & set(table.index), "nothing was trained"
    assert table["peak_memory_gib"].between(0.1, 4).all()
    assert (table["images_per_second"] > 0).all()

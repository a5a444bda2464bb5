"""What the efficiency table counts and which networks it takes for one."""

from dataclasses import replace

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


@pytest.mark.usefixtures("_brief")
def test_runs_that_share_a_network_are_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {f"disco/{name}": tiny(f"disco/{name}") for name in ("disco", "disco_a5", "cicolor", "disco_no_refinement")}
    monkeypatch.setattr(config, "runs", lambda _: list(small))
    monkeypatch.setattr(config, "load", lambda name, **_: small[name])
    assert bench.networks("disco")["run"].tolist() == ["disco/disco", "disco/cicolor", "disco/disco_no_refinement"]


EXEMPLAR = ("automatic", "exemplar", "exemplar_paper", "no_database", "direct_sum", "no_sparse", "mean_std", "histogram_matching")


@pytest.mark.usefixtures("_brief")
def test_networks_that_look_at_references_are_counted_and_some_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {f"exemplar/{name}": tiny(f"exemplar/{name}") for name in EXEMPLAR}
    monkeypatch.setattr(config, "runs", lambda _: list(small))
    monkeypatch.setattr(config, "load", lambda name, **_: small[name])
    table = bench.networks("exemplar").set_index("run")
    table.index = table.index.str.removeprefix("exemplar/")
    assert table.index.tolist() == [name for name in EXEMPLAR if name != "no_sparse"], "that is the whole one's network"
    timed = table["latency_ms"].notna()
    assert timed[timed].index.tolist() == ["exemplar", "mean_std", "histogram_matching"]
    assert (table["repeats"] > 0).equals(timed)
    assert set(table["note"][~timed]) == {"counted, not timed"}
    cost = table["multiply_adds_g"]
    assert 0 < cost["automatic"] < cost["no_database"] < cost["exemplar"], "a second picture is looked at, then the database"
    assert table.loc[["mean_std", "histogram_matching"], ["parameters", "multiply_adds_g"]].eq(0).all(axis=None)


@pytest.mark.parametrize(
    ("name", "gmac"), [("icolorit_t", 1.43), ("swinir_s", 1.953), ("adacolvit_t", 0.78), ("dynamicvit", 1.24), ("uformer_t", 0.762)]
)
def test_multiply_adds_are_the_printed_ones(name: str, gmac: float) -> None:
    found = subjects(name)
    assert f"adacolvit/{name}" in found
    for subject in found.values():
        assert subject.multiply_adds / 1e9 == pytest.approx(gmac, rel=0.02)


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
    assert bench.promises([("a", value, "s", promise, "")])["kept"].tolist() == [kept]


def test_a_step_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Colorizer] = []
    real = runs.build_task
    monkeypatch.setattr(bench.runs, "build_task", lambda cfg: built.append(real(cfg)) or built[-1])
    step = bench.step(tiny("adacolvit/adacolvit_t"))
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


@pytest.mark.parametrize(
    ("name", "parameters", "gmac"), [("cicolor", 32.24, 41.78), ("ugcolor", 34.19 - 0.136, 75.22), ("disco", 43.06, 127.86)]
)
def test_automatic_networks_cost_what_table_5_prints(name: str, parameters: float, gmac: float) -> None:
    cfg = config.load(f"disco/{name}", profile="paper")
    found = bench._subjects(cfg.name, cfg, runs.build_task(cfg).eval())[cfg.name]
    assert found.parameters / 1e6 == pytest.approx(parameters, abs=0.006)
    assert found.multiply_adds / 1e9 == pytest.approx(gmac, rel=2e-3)
    assert (found.size, found.rounds(5)) == (256, 3), "what takes long runs in fewer rounds"


def test_two_small_pictures_tell_what_drawing_a_larger_one_costs() -> None:
    cfg = tiny("disco/coltran")
    cfg = replace(cfg, data=replace(cfg.data, size=48))
    task = runs.build_task(cfg).eval()
    with torch.no_grad():
        counted = bench.counted(lambda: task.predict(bench.unhinted(cfg)))
        assert bench._sequential(cfg, task) == pytest.approx(counted, rel=1e-9)


def test_some_jobs_run_in_the_first_rounds_alone() -> None:
    calls: list[str] = []
    seconds = bench.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, fewer={"b": 1})
    assert calls == ["a", "b", "a", "b", "a", "a"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 1}


def test_what_is_warmed_runs_once_more_before_it_is_timed() -> None:
    calls: list[str] = []
    seconds = bench.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2, warmed=["b"])
    assert calls == ["a", "b", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}

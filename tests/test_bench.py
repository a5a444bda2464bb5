"""What the efficiency table counts and which networks it takes for one."""

import pytest
from tiny import ROOT

from colorexp import bench, config, runs
from colorexp.bench import Subject


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


def test_the_plain_reference_stands_beside_the_dense_network() -> None:
    told = subjects("icolorit_t")
    assert set(told) == {"adacolvit/icolorit_t", "adacolvit/icolorit_t, reference"}
    assert "eager" in told["adacolvit/icolorit_t, reference"].note


def test_every_job_has_its_rounds_but_the_first() -> None:
    calls: list[str] = []
    seconds = bench.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}

"""What is counted and compared of the exemplar network's cost, on a small one; nothing here is timed."""

import pandas as pd
import pytest
import torch
from tiny import ROOT, tiny

from colorexp import bench, config, runs
from colorexp import workload_exemplar as workload
from colorexp.models.exemplar import correspondence

MEASURED = pd.DataFrame(
    [
        {"run": "exemplar/automatic", "size": "8x8", "multiply_adds_g": 1.0, "machine": "any"},
        {
            "run": "exemplar/exemplar",
            "size": "256x256",
            "multiply_adds_g": 115.08,
            "latency_ms": 1500.0,
            "of_matrix_product": 0.6,
            "machine": "any",
        },
    ]
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    small = tiny("exemplar/exemplar")
    monkeypatch.setattr(config, "load", lambda *_, **__: small)
    monkeypatch.setattr(config, "efficiency", lambda: config.Efficiency(repeats=1, everything=False, threads=1))


def test_promises_of_training_are_for_those_who_measure_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "_histogram", lambda: pytest.fail("a training was timed"))
    table = workload.promises(MEASURED).set_index("what")
    assert table.loc["forward of one picture", "value"] == 1500
    assert table.loc["rate of the forward over that of a matrix product", "value"] == 0.6
    assert table["kept"].tolist()[:2] == ["", ""], "nothing is promised"
    assert "peak memory of the attention over its dense form" in table.index


def test_target_and_reference_are_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workload._looks()[0][1] == 2
    task = runs.build_task(config.load(workload.RUN)).eval()

    def look_again(model: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        model.extractor(given[0])

    task.model.register_forward_pre_hook(look_again)
    monkeypatch.setattr(runs, "build_task", lambda _: task)
    row = workload._looks()[0]
    assert bench.promises([row])["kept"].tolist() == ["no"], "a third look is seen"


def test_peaks_are_compared_with_all_pairs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = 64 * 64
    module = correspondence.Correspondence(lightness=False, judges=2, grid=64, hidden=4, scaled=True).eval()
    rng = torch.Generator().manual_seed(0)
    query, key, ab_n = (torch.randn(1, channels, 64, 64, generator=rng) for channels in (6, 6, 2))
    given = (*(torch.nn.functional.normalize(x, dim=1) for x in (query, key)), ab_n)
    with torch.no_grad():
        _, ratio, _, promise, details = workload._attention(module, given)
        assert ratio <= float(promise.split()[1])
        assert float(details.rsplit(" ", 1)[1]) < 1e-5, "the same result"
        with workload.Peak() as dense:
            workload._dense(module, *given)
        assert dense.most >= positions**2 * 4, "or the measure is blind"
        monkeypatch.setattr(correspondence, "PAIRS_AT_ONCE", positions**2)
        _, ratio, _, _, details = workload._attention(module, given)
        assert ratio > 0.9, "all pairs at once are no better than the dense form"
        module.register_forward_hook(lambda _module, _given, found: found._replace(ab_n=found.ab_n + 0.5))
        assert workload._attention(module, given)[4].endswith("5.0e-01"), "another result is told"


def test_the_histogram_loss_is_timed_as_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {}

    def quickest(jobs: dict, repeats: int) -> dict[str, float]:
        taken.update(jobs, repeats=repeats)
        return {"step": 4.0, "loss": 0.5}

    monkeypatch.setattr(workload, "quickest", quickest)
    asked = []
    histogram = workload.bench.color.soft_histogram
    monkeypatch.setattr(workload.bench.color, "soft_histogram", lambda ab: asked.append(ab.requires_grad) or histogram(ab))
    row = workload._histogram()
    assert (row[1], bench.promises([row])["kept"].tolist()) == (0.125, ["no"])
    taken["loss"]()
    assert asked == [False, True, True, True], "gradients by all three outputs"
    asked.clear()
    taken["step"]()
    assert asked == [False, True, True, True], "the step has the loss too"

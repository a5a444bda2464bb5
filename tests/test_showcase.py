"""What figures of DISCO show is what its networks say of the pictures that evaluations see."""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import quick

from colorexp import color, config, evaluation, paths, runs, showcase
from colorexp.models.disco import Anchor, Disco
from colorexp.report import disco, tables
from colorexp.tasks.automatic import lightness
from colorexp.viz import marks
from colorexp.viz.marks import Star


@pytest.fixture
def shown(prepared: Path) -> list[str]:
    """A trained network and the names of its test pictures."""
    for cached in (showcase.trained, showcase.network, showcase.test_pictures, showcase._test_set):
        cached.cache_clear()
    experiment = runs.build(
        quick("disco/disco", protocols=["0"], ways=[], samples=4, cell=4, anchors=4), out=paths.run("disco/disco")
    )
    runs.train(experiment)
    evaluation.save("disco/disco", evaluation.evaluate(experiment.cfg, runs.load(experiment.out)[1]))
    return [f"scenes/{name}" for name in showcase.test_pictures("scenes")]


def test_a_picture_is_seen_as_evaluations_see_it(shown: list[str]) -> None:
    """Down to where its anchors are, up to rounding of the form for inference."""
    lines = showcase.coloured(shown).rows
    for name, (_, made, truth) in zip(shown, lines, strict=True):
        assert np.array_equal(truth, tables.sample("disco/disco", f"{name}.truth"))
        kept = tables.sample("disco/disco", f"{name}.0")
        assert kept is not None
        assert np.abs(kept.astype(int) - made).max() <= 2


def test_an_unknown_picture_is_named(shown: list[str]) -> None:
    with pytest.raises(ValueError, match="scenes has no test picture 'none'; it has, for example, test-00000"):
        showcase.picture("scenes/none")


def test_stars_stand_on_anchors_in_their_colours(shown: list[str]) -> None:
    batch = showcase.picture(shown[0])
    (star,) = showcase.stars(batch, [Anchor(3, 5, (60.0, 40.0))])
    assert (star.row, star.col) == (3, 5)
    assert star.rgb[0] > star.rgb[1], "red"


def test_rebalancing_is_divided_out(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disco, "test_sets", lambda: ["scenes"])
    (row,) = showcase.rebalanced(count=3).to_dict("records")
    assert row["n"] == 3
    assert row["as trained"] != row["weights divided out"]
    task = runs.load(paths.run("disco/disco"))[1]  # without statistics all weights are one
    monkeypatch.setattr(runs, "load", lambda *_, **__: (None, task))
    (row,) = showcase.rebalanced(count=3).to_dict("records")
    assert row["as trained"] == row["weights divided out"]


def test_clusters_and_counts_have_as_many_stars_as_asked(shown: list[str]) -> None:
    clusters = showcase.clusters(shown[:2], anchors=3)
    assert [len(line) for line in clusters.rows] == [3, 3]
    assert len(clusters.stars[1, 2]) == 3
    counted = showcase.counted(shown[:1])
    assert [len(counted.stars[0, column]) for column in range(len(disco.TRIED))] == sorted(
        len(counted.stars[0, column]) for column in range(len(disco.TRIED))
    )


def test_a_recoloured_anchor_changes_the_picture_and_no_other_anchor(shown: list[str]) -> None:
    anchors = [Anchor(2, 2, (10.0, 0.0)), Anchor(9, 9, (50.0, 40.0))]
    changed = showcase._recoloured(anchors)
    assert changed[0] == anchors[0]
    assert changed[1].ab == (-50.0, -40.0) or torch.tensor(changed[1].ab).dot(torch.tensor(anchors[1].ab)) < 0
    moved = showcase._moved(showcase.picture(shown[0]), anchors)
    assert moved == [anchors[0], Anchor(16, 16, (50.0, 40.0))]
    assert [len(line) for line in showcase.controlled(shown[:1]).rows] == [5]


def test_anomalous_anchors_lie_in_the_object_or_nowhere_in_it(shown: list[str]) -> None:
    model = showcase.network()
    found = [s for name in shown if (s := showcase._situations(model, showcase.picture(name)))]
    assert found
    for situation in found:
        (conflict, mask), (none, _) = situation["conflicting anchors"], situation["no anchor"]
        assert not any(mask[0, a.row, a.col] for a in none)
        inside = [a for a in conflict if mask[0, a.row, a.col]]
        assert len({a.ab for a in inside}) == 2
    grid, table = showcase.anomalies(2)
    assert len(grid.rows) == 2
    rows = table.set_index(["situation", "refinement", "quantity"])["measured"]
    gap = rows["no anchor", "before", "spread"] - rows["no anchor", "after", "spread"]
    assert rows["no anchor", "before minus after", "spread"] == pytest.approx(gap, abs=1e-3)


def test_conflicting_anchors_have_superpixels_of_their_own(shown: list[str]) -> None:
    """Cells so large that many an object lies in one: of two anchors there the later would count, and contradict nothing."""
    options = {**showcase.trained("disco/disco")[0].options, "cell": 16, "primitives": "patches"}
    coarse = Disco(**{name: value for name, value in options.items() if name in inspect.signature(Disco).parameters}).eval()
    batches = [showcase.picture(name) for name in shown]
    found = [(batch, asked) for batch in batches if (asked := showcase._situations(coarse, batch))]
    assert found
    for batch, asked in found:
        anchors, mask = asked["conflicting anchors"]
        inside = [a for a in anchors if mask[0, a.row, a.col]]
        assert coarse.colorize_with(lightness(batch), [inside]).anchor_mask.sum() == 2


def test_peaks_are_bins_that_no_neighbour_exceeds() -> None:
    prob, centres = torch.full((color.GAMUT_BINS,), 1e-4), color.ab_gamut()

    def at(a: float, b: float) -> int:
        return int((centres - torch.tensor([a, b])).norm(dim=1).argmin())

    prob[at(40, 40)], prob[at(50, 40)], prob[at(-40, 20)] = 0.3, 0.25, 0.2
    assert showcase.peaks(prob)[:2] == [at(40, 40), at(-40, 20)], "the second highest lies beside the highest"


def test_distributions_are_those_of_anchors(shown: list[str]) -> None:
    _, stars, found = showcase.distributions(shown[0], count=2)
    assert len(stars) >= len(found) == 2
    assert all(one.prob.sum() == pytest.approx(1, abs=1e-4) for one in found)
    entropy = [-(one.prob * np.log(one.prob + 1e-12)).sum() for one in found]
    assert entropy[0] <= entropy[1], "the surest first"


def test_gray_photographs_are_coloured_by_what_is_trained(shown: list[str]) -> None:
    found = showcase.gray_photographs()
    assert found.columns == ["gray", "DISCO"], "the profile has no other"
    assert len(found.rows) == len(found.labels) == len(showcase.GRAY)
    assert all((line[0] == line[0][..., :1]).all() for line in found.rows)
    assert found.cells[0].labels == {"method": "DISCO", "pictures": showcase.GRAY_NAME, "quantity": "colorfulness"}


def test_legacy_photographs_are_shown_where_the_profile_tests_on_them(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the scenes are taken for them."""
    monkeypatch.setattr(disco, "NO_TRUTH", "scenes")
    found = showcase.gray_photographs()
    assert found.labels == [name.split("/")[1] for name in disco.kept("scenes")]
    assert found.columns == ["gray", "DISCO"], "and no truth"
    assert np.array_equal(found.rows[0][1], tables.sample("disco/disco", f"scenes/{found.labels[0]}.0"))
    assert not found.cells, "Table 3 has them anyway"


def test_failures_are_chosen_by_rule(shown: list[str]) -> None:
    rows = tables.results("disco/disco").sort_values("ab_error")
    found = showcase.failures(1)
    assert f"scenes/{rows['image'].iloc[-1]}" in found
    fullest = max(shown, key=lambda name: int(showcase.picture(name)["instance_map"].unique().ne(0).sum()))
    assert fullest in found


def test_pictures_without_chroma_are_no_failures(shown: list[str]) -> None:
    path = paths.results("disco/disco")
    rows = pd.read_parquet(path)
    worst = rows["ab_error"].idxmax()
    rows.assign(near_gray=rows.index == worst).to_parquet(path)
    assert f"error {rows['ab_error'][worst]:.0f}" not in showcase.failures(1).values()


def test_stars_are_drawn_on_their_own_picture() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    figure = marks.starred([[picture, picture]], {(0, 1): [Star(2, 3, (1.0, 0.0, 0.0))]}, columns=["a", "b"])
    first, second = figure.axes
    assert not first.lines
    (mark,) = second.lines
    assert (float(mark.get_xdata()[0]), float(mark.get_ydata()[0])) == (3, 2)


def test_profiles_without_a_run_leave_it_out(shown: list[str]) -> None:
    rows, columns = disco.side_by_side({"classification": disco.METHODS["CIColor"], "DISCO": disco.METHODS["DISCO"]}, shown[:1])
    assert columns == ["gray", "DISCO", "truth"]
    assert all(picture is not None for picture in rows[0])
    assert config.read()["profile"] == "smoke"

"""Exemplar tables put the right run, way and list of pairs beside the right printed number, and sentences follow their numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from colorexp import config, paths
from colorexp.report import exemplar, exemplar_claims, exemplar_findings, tables
from colorexp.report.exemplar import Example, Row

PICTURES = [f"test-{i:05d}" for i in range(40)]
KIND = {"related": ["nearest"] * 40, "independent": ["farthest"] * 20 + ["palette"] * 20}
SUBSETS = ["semantic-related", "semantic-independent"]
USUAL = {"his": 0.5, "cf_signed": 30.0, "ab_error": 10.0, "spread": 5.0, "aesthetics": np.nan}
GATE = {"gate_entropy": 0.3, "mixed_share": 0.4, "reference_share": 0.6}


def write(run: str, *, ways: tuple[str, ...] = ("",), independent: float = 0.0, gate: bool = False, **measures: float) -> None:
    """Results around the given values on scenes, and on photos 100 above; `independent` is added under that list of pairs.

    Pictures differ alike in all runs; ways but the usual one are 10 above.
    """
    noise = np.tile([-0.01, 0.01], 20)
    values = USUAL | (GATE if gate else {}) | measures
    frames = []
    for dataset, more in {"scenes": 0.0, "photos": 100.0}.items():
        for protocol, kinds in KIND.items():
            for way in ways:
                shift = more + (independent if protocol == "independent" else 0.0) + (10.0 if way else 0.0)
                frame = pd.DataFrame({"image": PICTURES} | {name: value + shift + noise for name, value in values.items()})
                about = {"dataset": dataset, "split": "test", "protocol": protocol, "way": way, "seed": 0, "repeat": 0}
                frames.append(frame.assign(near_gray=False, reference="scenes/test-00000", reference_kind=kinds, **about))
    paths.results(f"exemplar/{run}").parent.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).drop(columns=["spread"] if run == "mean_std" else []).to_parquet(paths.results(f"exemplar/{run}"))


@pytest.fixture
def evaluated(project: Path) -> Path:
    """All runs of the profile cpu, alike but for what a test writes anew."""
    config.use_profile("cpu")
    for name in config.runs("exemplar"):
        if config.load(name).present:
            run = name.split("/")[1]
            write(run, ways=("", "histogram") if run == "exemplar" else ("",), gate=run in ("exemplar", "no_sparse"))
    return project


def keep(run: str, *labels: str) -> None:
    for label in labels:
        file = paths.samples(f"exemplar/{run}") / f"{label}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(file)


# Tables


def test_table_1_has_the_paper_s_rows_and_our_rivals(evaluated: Path) -> None:
    write("automatic", his=0.2, independent=0.1)
    table = exemplar.compared("table1", exemplar.METHODS, ["his", "as", "colorfulness", "spread"])
    assert list(dict.fromkeys(table["method"])) == list(exemplar.METHODS)
    cells = table.set_index(["method", "pictures", "references", "quantity"]).sort_index()
    for subset, ours, lu in zip(SUBSETS, (0.67, 0.51), (0.74, 0.62), strict=True):
        assert cells.loc[("Ours", "scenes", subset, "his"), "published"] == ours
        assert cells.loc[("Lu", "scenes", subset, "his"), ["published", "note"]].tolist() == [lu, exemplar.NOT_RUN]
    ours, automatic = cells.loc["Ours"], cells.loc["Automatic, no reference"]
    assert ours.loc[("photos", SUBSETS[0], "his"), "measured"] == pytest.approx(100.5, abs=0.01)
    assert automatic.loc[("scenes", SUBSETS[0], "his"), "measured"] == pytest.approx(0.2, abs=0.01)
    assert automatic.loc[("scenes", SUBSETS[1], "his"), "measured"] == pytest.approx(0.3, abs=0.01)
    assert cells.loc[("Histogram only", "scenes", SUBSETS[0], "his"), "measured"] == pytest.approx(10.5, abs=0.01), "a way"
    assert ours.loc[("scenes", SUBSETS[0], "as"), "note"] == "not measured: no weights of an aesthetic model"
    assert ("photos", SUBSETS[0], "spread") not in ours.index, "photographs have no objects"
    assert ours.loc[("scenes", SUBSETS[0], "spread"), "measured"] == pytest.approx(5, abs=0.01)


def test_table_3_names_variants(evaluated: Path) -> None:
    write("no_prior", his=0.3)
    table = exemplar.compared("table3", exemplar.VARIANTS, ["his"], label="variant")
    cells = table[table["pictures"] == "scenes"].set_index(["variant", "references"])
    assert cells.loc[("w/o prior in database", SUBSETS[1]), "published"] == 0.47
    assert cells.loc[("w/o prior in database", SUBSETS[1]), "measured"] == pytest.approx(0.3, abs=0.01)
    assert cells.loc[("Full", SUBSETS[1]), "measured"] == pytest.approx(0.5, abs=0.01)


def test_the_printed_variant_can_fill_our_rows(project: Path) -> None:
    assert exemplar.main() == "exemplar/exemplar"
    text = paths.params().read_text()
    paths.params().write_text(text.replace("exemplar: {exhibit_run: released}", "exemplar: {exhibit_run: paper}"))
    assert exemplar.main() == "exemplar/exemplar_paper"
    assert exemplar.methods()["Ours"] == Row("exemplar_paper")
    assert exemplar.methods()["Histogram only"] == Row("exemplar_paper", "histogram")
    assert exemplar.methods()["Reference only"] == Row("no_database")
    assert exemplar.run_of(exemplar.VARIANTS["Full"]) == "exemplar/exemplar"  # which its ablations differ from in one thing


def test_by_kind_takes_the_pictures_that_had_such_a_reference(evaluated: Path) -> None:
    path = paths.results("exemplar/exemplar")
    rows = pd.read_parquet(path)
    rows["his"] = rows["reference_kind"].map({"nearest": 0.1, "farthest": 0.2, "palette": 0.3})
    rows.to_parquet(path)
    table = exemplar.by_kind({"Ours": Row("exemplar"), "Automatic": Row("automatic")}, ["his"])
    cells = table.set_index(["reference", "method"])
    assert cells["n"].to_dict() == {(kind, m): n for kind, n in (("nearest", 40), ("farthest", 20), ("palette", 20))
                                    for m in ("Ours", "Automatic")}  # fmt: skip
    for kind, value in {"nearest": 0.1, "farthest": 0.2, "palette": 0.3}.items():
        assert cells.loc[(kind, "Ours"), "measured"] == pytest.approx(value)
    assert set(table["dataset"]) == {"scenes (test)"}


def test_methods_from_elsewhere_stand_in_their_printed_row_or_below(evaluated: Path) -> None:
    folder = paths.results("external/exemplar/any").parent
    folder.mkdir(parents=True)
    frame = pd.read_parquet(paths.results("exemplar/automatic")).assign(luminance_flagged=0.0)
    for method, subset, his in (("he@related", "related", 0.8), ("he@independent", "independent", 0.4), ("mine", None, 0.9)):
        rows = frame[frame["protocol"] == subset] if subset else frame
        rows.assign(his=his).to_parquet(folder / f"{method}.parquet")
    rows = exemplar.with_elsewhere(exemplar.METHODS)
    assert list(rows) == [*exemplar.METHODS, "mine"]
    assert exemplar.METHODS["He"] is None
    table = exemplar.compared("table1", rows, ["his"]).set_index(["method", "pictures", "references"])
    for subset, measured, published in zip(SUBSETS, (0.8, 0.4), (0.7, 0.53), strict=True):
        assert table.loc[("He", "scenes", subset), ["measured", "published"]].tolist() == [measured, published]
        assert table.loc[("mine", "scenes", subset), "measured"] == 0.9
    assert table.loc[("mine", "scenes", SUBSETS[0]), "note"] == "pictures from elsewhere"
    (folder / "he@independent.parquet").unlink()
    (folder / "mine.parquet").unlink()
    rows = exemplar.compared("table1", exemplar.with_elsewhere(exemplar.METHODS), ["his"]).set_index(["method", "references"])
    lost = rows.loc[("He", SUBSETS[1])].iloc[0]
    assert np.isnan(lost["measured"])
    assert lost["note"] == "not measured: no pictures after references of the list independent"


# Pictures


def test_examples_are_kept_pictures_of_a_kind_from_every_data_set_in_turn(evaluated: Path) -> None:
    names = [f"{dataset}/{PICTURES[i]}" for dataset in ("scenes", "photos") for i in (0, 1, 30)]
    keep("exemplar", *(f"{name}.truth" for name in names), "scenes/test-00002.related")
    last = [f"photos/{PICTURES[30]}", f"scenes/{PICTURES[30]}"]
    assert exemplar.examples("palette") == [Example(name, "palette") for name in last]
    first = [f"{dataset}/{PICTURES[i]}" for i in (0, 1) for dataset in ("photos", "scenes")]
    assert [one.name for one in exemplar.examples("farthest")] == first
    assert [one.name for one in exemplar.examples("farthest", count=3)] == first[:3]
    assert len(exemplar.examples("nearest")) == 6


def test_over_transfer_is_ordered_by_what_matching_gains(evaluated: Path) -> None:
    keep("exemplar", *(f"scenes/{name}.truth" for name in PICTURES[:4]))
    path = paths.results("exemplar/histogram_matching")
    rows = pd.read_parquet(path)
    gain = dict(zip(PICTURES, (0.1, 0.4, -0.2, 0.3), strict=False))
    related = rows["protocol"] == "related"
    rows["his"] += rows["image"].map(gain).fillna(0).where(related, 5 - rows["image"].map(gain).fillna(0))
    rows.to_parquet(path)
    found = exemplar.over_transferred(3)
    assert [one.name for one in found] == [f"scenes/{PICTURES[i]}" for i in (1, 3, 0)]
    assert all(one.kind == "nearest" for one in found)
    ours = pd.read_parquet(paths.results("exemplar/exemplar")).query("dataset == 'scenes' and protocol == 'related' and way == ''")
    his = ours.set_index("image")["his"][PICTURES[1]]
    assert found[Example(f"scenes/{PICTURES[1]}", "nearest")] == f"HIS {his + 0.4:.2f} / {his:.2f}"


def test_pictures_stand_side_by_side_with_their_own_reference(evaluated: Path) -> None:
    name = f"scenes/{PICTURES[0]}"
    for subset in ("related", "independent"):
        keep("exemplar", *(f"{name}.{subset}{part}" for part in ("", ".input", ".reference", ".gate", ".histogram")))
        keep("no_database", f"{name}.{subset}")
    keep("exemplar", f"{name}.truth")
    rows = {"ours": Row("exemplar"), "histogram": Row("exemplar", "histogram"), "alone": Row("no_database")}
    rows |= {"as printed": Row("exemplar_paper")}
    for kind in ("nearest", "farthest"):
        lines, titles = exemplar.side_by_side(rows, [Example(name, kind)], gates=True)
        assert titles == ["gray", "reference", "ours", "its gate", "histogram", "alone", "truth"], "no column of what is not run"
        assert all(picture is not None for picture in lines[0])


# Sentences


def test_sentences_have_the_difference_and_the_paper_s(evaluated: Path) -> None:
    write("no_prior", his=0.3, independent=0.1)
    write("mean_std", his=0.5)
    told = exemplar_findings.versus("table3", exemplar.VARIANTS, "Full").splitlines()
    line = next(line for line in told if line.startswith("- Full minus w/o prior in database: "))
    related, independent = line.split("; ")
    assert "semantic-related" in related
    assert "his +0.200 [+0.200, +0.200] on scenes" in related
    assert related.endswith("(the paper: his +0.01, as +0.01)")
    assert "his +0.100 [+0.100, +0.100] on scenes" in independent
    assert "(the paper: his +0.04, as " in independent
    assert "spread +0.00" in related
    assert related.count("spread") == 1, "on scenes alone"
    assert not any("as the text says" in line for line in told), "which is not run"
    rivals = exemplar_findings.versus("table1", exemplar.METHODS, exemplar.OURS)
    assert "Ours minus Lab mean and std" in rivals
    assert "Ours minus Lu" not in rivals


def test_a_difference_of_either_sign_is_undecided(evaluated: Path) -> None:
    path = paths.results("exemplar/no_prior")
    rows = pd.read_parquet(path)
    rows["his"] += np.random.default_rng(1).normal(0, 0.1, len(rows))
    rows.to_parquet(path)
    told = exemplar_findings.versus("table3", {n: exemplar.VARIANTS[n] for n in ("Full", "w/o prior in database")}, "Full")
    assert "undecided on scenes" in told


def test_the_gate_is_told_of_rows_that_have_one(evaluated: Path) -> None:
    write("no_sparse", gate=True, gate_entropy=0.6)
    runs = {"full": Row("exemplar"), "no_sparse": Row("no_sparse"), "direct_sum": Row("direct_sum")}
    told = exemplar_findings.gate(runs).splitlines()
    assert "- Gate entropy, semantic-related, scenes: full 0.300, no_sparse 0.600." in told
    assert "- Mixed, semantic-independent, photos: full 100.400, no_sparse 100.400." in told
    assert not any("direct_sum" in line for line in told)


def test_claims_follow_their_numbers(evaluated: Path) -> None:
    write("exemplar", ways=("", "histogram"), gate=True, his=0.6, independent=-0.2)
    write("no_prior", his=0.7, independent=-0.5)
    write("no_sparse", gate=True, gate_entropy=0.5, independent=-0.2)
    table = exemplar_claims.claims().set_index("claim")
    assert len(table) == len(exemplar_claims.asked())
    assert set(table["dataset"]) == {"scenes (test)"}
    found = table["verdict"]
    assert found["without the prior: HIS falls, related references (Table 3)"] == "does not hold"
    assert found["without the prior: HIS falls, independent references (Table 3)"] == "holds"
    assert table.loc["without the prior: HIS falls, independent references (Table 3)", "difference"] == pytest.approx(0.2, abs=1e-6)
    assert found["related references are easier to follow: higher HIS (Table 1)"] == "holds"
    assert found["the sparse loss makes the gate decide: lower entropy (eq. 11)"] == "holds"
    assert found["without the prior: AS falls, related references (Table 3)"] == ""
    more = "more saturated than the histogram alone under palettes (Figure 1)"
    assert (found[more], table.loc[more, "second"]) == ("does not hold", "exemplar at independent, palette, histogram")
    assert table.loc[more, "n"] == 20


def test_verdicts_count_and_give_causes_where_a_claim_fails(evaluated: Path) -> None:
    write("no_prior", his=0.7)
    told = exemplar_claims.verdicts(exemplar_claims.claims()).splitlines()
    counts = [line for line in told if " of " in line and line.rstrip(".")[-1].isdigit()]
    total = len(exemplar_claims.asked())
    assert sum(int(line.split(": ")[1].split(" of ")[0]) for line in counts) == total
    assert all(line.endswith(f" of {total}.") for line in counts)
    failed = next(line for line in told if line.startswith("- without the prior: HIS falls, related references"))
    assert "-0.200 [-0.200, -0.200]" in failed
    assert failed.endswith(exemplar_claims.SHORT)
    assert any(line.startswith("- Not measured here: ") for line in told)


def test_every_claim_names_a_run_and_a_measure_that_there_is(evaluated: Path) -> None:
    table = exemplar_claims.claims()
    lacking = table[table["verdict"] == ""]
    assert set(lacking["metric"]) <= {"aesthetics"}
    assert lacking["note"].str.startswith(tables.NOT_MEASURED).all()
    assert not table["claim"].duplicated().any()

"""Verdicts follow the results, and what is missing makes a claim untestable, never a crash or a verdict."""

import ast
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import ROOT

from colorexp import config, paths
from colorexp.report import ledger, scorecard
from colorexp.report.ledger import Claim
from colorexp.report.scorecard import CONTRADICTED, INCONCLUSIVE, NOT_REPRODUCED, OVERTURNED, REPRODUCED, UNTESTABLE

PICTURES = [f"test-{i:05d}" for i in range(40)]
ONE = Claim(id="one", paper="disco", where="", claim="", relation="gt", margin=0, a="psnr(disco)", b="psnr(ugcolor)", on="coco")


def write(
    run: str, *, ways: tuple[str, ...] = ("",), protocols: tuple[str, ...] = ("0",), spread: float = 0.1, **means: Any
) -> None:
    """Results around the given means, on scenes; pictures differ alike in all runs, and a little on their own."""
    shared = np.random.default_rng(0).normal(0, 5, 40)
    own = np.random.default_rng(len(run)).normal(0, spread, 40)
    frames = []
    for way in ways:
        for protocol in protocols:
            values = {name: mean + shared + own if np.ndim(mean) == 0 else mean for name, mean in means.items()}
            frame = pd.DataFrame({"image": PICTURES, **values})
            about = {"seed": 0, "repeat": 0, "near_gray": False, "reference_kind": "palette"}
            frames.append(frame.assign(dataset="scenes", protocol=protocol, way=way, **about))
    paths.results(run).parent.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(paths.results(run))


@pytest.fixture
def evaluated(project: Path) -> Path:
    config.use_profile("cpu")
    write("disco/disco", psnr=22.0, lpips_alex_random=0.2)
    write("disco/ugcolor", psnr=20.0, lpips_alex_random=0.3)
    return project


def judged(**changes: Any) -> pd.Series:
    values = {name: getattr(ONE, name) for name in ONE.__dataclass_fields__} | changes
    return scorecard.scorecard([Claim(**values)]).iloc[0]


def test_a_verdict_has_its_numbers_and_its_ground(evaluated: Path) -> None:
    row = judged(printed=(20.72, 24.26))
    assert row["verdict"] == REPRODUCED
    assert row["effect"] == pytest.approx(2, abs=0.1)
    assert row["low"] < row["effect"] < row["high"]
    assert (row["published_a"], row["n"], row["seeds"]) == (20.72, 40, 1)
    assert row["scope"] == "ordering only, on scenes, n = 40, profile cpu, seed 0"
    assert judged(on="")["scope"].startswith("on scenes"), "of any data"
    assert judged(relation="lt")["verdict"] == NOT_REPRODUCED


def test_a_margin_can_fail_where_the_order_holds(evaluated: Path) -> None:
    row = judged(margin=3)
    assert (row["verdict"], row["ordering"]) == (NOT_REPRODUCED, "holds")
    assert judged(margin=1)["ordering"] == ""
    row = judged(relation="ratio_ge", margin=2)
    assert (row["verdict"], row["ordering"]) == (NOT_REPRODUCED, "holds")


def test_what_spans_the_margin_is_inconclusive(evaluated: Path) -> None:
    write("disco/ugcolor", psnr=22.0, spread=3)
    assert judged()["verdict"] == INCONCLUSIVE
    write("disco/disco", psnr=1.0, spread=0)
    write("disco/ugcolor", psnr=1.0, spread=0)
    row = judged()
    assert row["verdict"] == NOT_REPRODUCED
    assert "the same for every picture" in row["note"]


def test_few_pictures_decide_nothing(evaluated: Path) -> None:
    for run in ("disco/disco", "disco/ugcolor"):
        rows = pd.read_parquet(paths.results(run))
        rows.head(19).to_parquet(paths.results(run))
    row = judged()
    assert row["verdict"] == INCONCLUSIVE
    assert "below 20 pictures" in row["note"]
    assert row["effect"] == pytest.approx(2, abs=0.2)
    assert pd.isna(row["low"])


def test_near_gray_pictures_and_draws_of_hints_are_treated_as_elsewhere(evaluated: Path) -> None:
    rows = pd.read_parquet(paths.results("disco/disco"))
    rows.loc[0, ["near_gray", "psnr"]] = True, 1e6
    again = rows.assign(repeat=1, psnr=rows["psnr"] + 2)
    pd.concat([rows, again]).to_parquet(paths.results("disco/disco"))
    row = judged()
    assert row["n"] == 39
    assert row["effect"] == pytest.approx(3, abs=0.1)


def test_without_a_condition_a_claim_takes_the_first_list_of_pairs(evaluated: Path) -> None:
    """Runs after references have no protocol of hints."""
    for run, his in {"exemplar": 60.0, "automatic": 40.0}.items():
        write(f"exemplar/{run}", protocols=("related",), his=his)
    row = judged(paper="exemplar", a="his(exemplar)", b="his(automatic, at=related)", on="")
    assert row["verdict"] == REPRODUCED
    assert row["effect"] == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"a": "ssim(disco)"}, "not measured: ssim of disco/disco on scenes, 0"),
        ({"a": "psnr(disco, way=samples)"}, "not measured: psnr"),
        ({"a": "psnr(disco_paper)"}, "not run in this profile: disco/disco_paper belongs to gpu, paper"),
        ({"a": "psnr(coltran)"}, "not run: disco/coltran has no results"),
        ({"on": "", "only_on": "coco"}, "needs coco, which this profile does not measure"),
        ({"a": "cell(disco_table4, measured, variant=x)"}, "not run: there is no table disco_table4"),
        ({"a": "option(disco, rebalance)", "b": "option(disco_no_anchors, nothing)"}, "option(disco_no_anchors, nothing) is None"),
        ({"paper": "exemplar", "a": "his(later)", "b": "1"}, "not run: params.yaml does not have exemplar/later yet"),
        ({"a": "", "b": "", "needs": "people"}, "needs people"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_what_is_missing_makes_a_claim_untestable_and_says_why(evaluated: Path, changes: dict[str, Any], told: str) -> None:
    row = judged(**changes)
    assert row["verdict"] == UNTESTABLE
    assert told in row["note"]
    assert row["scope"] == ""


def test_a_stand_in_backbone_tells_an_ordering_and_no_size(evaluated: Path) -> None:
    sides = {"a": "lpips(disco)", "b": "lpips(ugcolor)"}
    row = judged(relation="lt", **sides)
    assert row["verdict"] == REPRODUCED
    assert "stand-in" in row["scope"]
    assert "measured as lpips_alex_random" in row["note"]
    for changes in ({"relation": "lt", "margin": 0.01}, {"relation": "within", "margin": 1}):
        row = judged(**changes, **sides)
        assert row["verdict"] == UNTESTABLE
        assert "an ordering, not a size" in row["note"]


def test_a_contradiction_stays_one_whatever_was_measured(evaluated: Path) -> None:
    row = judged(contradicted="Table 3 says otherwise")
    assert (row["verdict"], row["measured"]) == (CONTRADICTED, REPRODUCED)
    assert row["note"].startswith("Table 3 says otherwise")
    assert judged(contradicted="so", a="ssim(disco)")["measured"] == UNTESTABLE


def test_only_what_was_overturned_is_called_so(evaluated: Path) -> None:
    row = judged(relation="lt", overturned="made faster")
    assert (row["verdict"], row["measured"]) == (OVERTURNED, NOT_REPRODUCED)
    assert judged(overturned="made faster")["verdict"] == REPRODUCED
    assert judged(overturned="made faster", a="ssim(disco)")["verdict"] == UNTESTABLE


def test_another_run_can_stand_for_one_that_the_profile_leaves_out(evaluated: Path) -> None:
    row = judged(a="psnr(disco_paper | disco)")
    assert row["verdict"] == REPRODUCED
    assert "disco/disco stands for disco/disco_paper" in row["note"]
    assert "stands for" not in judged(a="psnr(disco | disco_paper)")["note"]
    paths.results("disco/disco").unlink()
    assert judged(a="psnr(disco | ugcolor)")["verdict"] == UNTESTABLE, "a run that is merely gone is not replaced"


def test_several_seeds_count_in_the_interval(evaluated: Path) -> None:
    text = paths.params().read_text()
    again = "    disco_again:\n      <<: *disco\n      parent: null\n      seed: 1\n      in: [smoke, cpu, gpu, paper]\n"
    again += "      ways: [truth_colors, truth_clusters, random, distinct, samples, anchors_3, anchors_5, anchors_11, anchors_14]\n"
    text = text.replace("    disco_paper:  ", f"{again}    disco_paper:  ")
    text = text.replace(
        "      disco: {epochs: 9, lr: 2e-3}\n", "      disco: {epochs: 9, lr: 2e-3}\n      disco_again: {epochs: 9, lr: 2e-3}\n"
    )
    paths.params().write_text(text)
    single = {"disco/disco": 22.0}
    assert judged()["verdict"] == UNTESTABLE, "the second seed has not been run"
    write("disco/disco_again", psnr=18.0)
    row = judged()
    assert row["seeds"] == 1, "ugcolor's"
    assert row["effect"] == pytest.approx((single["disco/disco"] + 18) / 2 - 20, abs=0.1)
    assert row["verdict"] == INCONCLUSIVE
    assert row["low"] == pytest.approx(-2, abs=0.2)
    assert row["high"] == pytest.approx(2, abs=0.2)


def test_groups_of_pictures_are_chosen_by_another_measure(evaluated: Path) -> None:
    write("disco/disco", psnr=np.arange(40.0), objects=np.arange(40) % 10)
    row = judged(a="where(psnr(disco), psnr(disco), above=19)", b="where(psnr(disco), psnr(disco), upto=19)")
    assert row["effect"] == 20
    assert row["verdict"] == REPRODUCED
    row = judged(a="most(psnr(disco), objects(disco))", b="least(psnr(disco), objects(disco))")
    assert row["effect"] == 9
    assert row["verdict"] == INCONCLUSIVE, "tenths of 4 pictures"
    write("disco/disco", psnr=np.arange(40.0), objects=np.ones(40))
    assert "nearly the same" in judged(a="most(psnr(disco), objects(disco))")["note"]


def test_cells_of_tables_bring_their_spread(evaluated: Path) -> None:
    for name, rows in {
        "tables/gaps.csv": [
            {"row": "a", "difference": 1.0, "low": 0.5, "high": 2.0, "n": 30, "pictures": "scenes", "note": "by hand"}
        ],
        "timings/times.csv": [
            {"run": r, "latency_ms": t, "latency_std_ms": 0.1, "count": 7, "repeats": 5} for r, t in (("a", 10.0), ("b", 20.0))
        ],
    }.items():
        path = evaluated / "reports" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False)
    row = judged(a="cell(gaps, difference, row=a)", b="0")
    assert (row["low"], row["high"]) == (pytest.approx(0.5, abs=0.01), pytest.approx(2, abs=0.01))
    assert row["scope"] == "ordering only, on scenes, n = 30, profile cpu, seed 0"
    assert row["note"] == "by hand"
    row = judged(relation="ratio_ge", margin=1.9, a="cell(times, latency_ms, run=b)", b="cell(times, latency_ms, run=a)")
    assert row["verdict"] == REPRODUCED
    assert row["scope"] == "counted or timed here at the published size"
    lone = {"a": "cell(times, count, run=b)", "b": "3"}
    assert judged(**lone)["verdict"] == INCONCLUSIVE, "one number"
    assert judged(**lone | {"a": "exact(cell(times, count, run=b))"})["verdict"] == REPRODUCED
    assert judged(**lone | {"a": "cell(times, count, run=c)"})["note"].startswith("not run: times has no row c")
    with pytest.raises(ValueError, match="claim one: 2 rows of times"):
        judged(**lone | {"a": "cell(times, count, repeats=5)"})


def test_cells_that_a_lost_run_made_are_no_evidence(evaluated: Path) -> None:
    row = {"variant": "x", "measured": 3.0, "low": 2.0, "high": 4.0, "n": 40, "dataset": "scenes (test)"}
    table = pd.DataFrame([row | {"made_by": "disco/disco: config 1, code 2"}, row | {"variant": "y", "made_by": ""}])
    paths.write_atomically(paths.resolve("reports/tables/mine.csv"), table.to_csv(index=False).encode())
    asked = {"a": "cell(mine, measured, variant=x)", "b": "cell(mine, measured, variant=y)", "relation": "within", "margin": 9}
    assert judged(**asked)["verdict"] == REPRODUCED
    paths.results("disco/disco").unlink()
    found = judged(**asked)
    assert (found["verdict"], found["note"]) == (UNTESTABLE, "not run: disco/disco has no results; dvc repro makes them")


def test_a_kind_of_reference_picks_pictures(evaluated: Path) -> None:
    write("exemplar/exemplar", protocols=("independent",), his=np.r_[np.ones(20), np.zeros(20)])
    rows = pd.read_parquet(paths.results("exemplar/exemplar"))
    rows["reference_kind"] = ["palette"] * 20 + ["farthest"] * 20
    rows.to_parquet(paths.results("exemplar/exemplar"))
    asked = {"paper": "exemplar", "a": "his(exemplar, at=independent, kind=palette)", "b": "0.5", "relation": "gt"}
    assert (judged(**asked)["a"], judged(**asked)["n"]) == (1.0, 20)


# The whole ledger


@pytest.fixture
def complete(project: Path) -> Path:
    """Results of every run of the profile cpu, and the committed tables."""
    config.use_profile("cpu")
    measures = dict.fromkeys(("psnr", "cf_signed", "chroma", "accuracy", "cross_entropy", "loss", "spread", "ab_error"), 10.0)
    measures |= dict.fromkeys(
        ("accuracy_hinted", "accuracy_balanced", "accuracy_small", "accuracy_large", "lpips_alex_random"), 0.5
    )
    measures |= dict.fromkeys(("true_chroma", "true_cf_signed", "multiply_adds_m", "patch_ratio", "objects"), 8.0)
    measures |= {f"{what}_{place}": 1.0 for what in ("ab_error", "kept") for place in ("objects", "background")}
    for name in config.runs():
        cfg = config.load(name)
        if cfg.present:
            write(name, ways=("", *cfg.evaluation.ways), protocols=tuple(cfg.evaluation.protocols), **measures)
    for folder in ("tables", "timings"):
        target = project / "reports" / folder
        target.mkdir(parents=True)
        for file in (ROOT / "reports" / folder).glob("*.csv"):
            (target / file.name).write_bytes(file.read_bytes())
    return project


def test_any_run_can_be_deleted(complete: Path) -> None:
    claims = ledger.load()
    before = scorecard.scorecard(claims).set_index("id")
    addressed = {c.id: set().union(*(ledger.addressed(ledger.parse(t), c.paper) for t in (c.a, c.b) if t)) for c in claims}
    runs = sorted(run for run in set().union(*addressed.values()) & set(config.runs()) if config.load(run).present)
    assert len(runs) > 15
    for run in runs:
        content = paths.results(run).read_bytes()
        paths.results(run).unlink()
        concerned = [c for c in claims if run in addressed[c.id] and c.id in before.index[before["n"].notna()]]
        for row in scorecard.scorecard(concerned).to_dict("records"):
            assert UNTESTABLE in (row["verdict"], row["measured"]), row["id"]
            assert f"not run: {run} has no results" in row["note"]
        paths.results(run).write_bytes(content)
    assert before["verdict"].nunique() > 3


@pytest.mark.parametrize("profile", config.PROFILES)
def test_nothing_at_all_is_no_crash_and_no_verdict(project: Path, profile: str) -> None:
    config.use_profile(profile)
    (project / "reports" / "tables").mkdir(parents=True)
    (project / "reports" / "tables" / "adacolvit_figure6.csv").write_text("\n")
    (project / "reports" / "tables" / "disco_table4.csv").write_text("run,note\na,b\n")
    card = scorecard.write("reports")
    assert set(card["verdict"]) == {UNTESTABLE, CONTRADICTED}
    assert set(card["measured"]) <= {UNTESTABLE, ""}
    assert card["note"].ne("").all()


def test_files_are_the_same_every_time_and_hold_every_claim(complete: Path) -> None:
    card = scorecard.write("reports")
    files = [complete / "reports" / f"scorecard{end}" for end in (".csv", ".md", ".tex", "_summary.csv")]
    first = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    scorecard.write("reports")
    assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] == first
    told = files[1].read_text()
    assert all(claim.replace("|", "/") in told for claim in card["claim"])
    assert len(pd.read_csv(files[0])) == len(ledger.load())


def test_the_summary_counts_every_claim_once(complete: Path) -> None:
    card = scorecard.scorecard(ledger.load())
    table = scorecard.summary(card).set_index("paper")
    assert table.loc["all", "claims"] == len(card)
    assert (table[list(scorecard.VERDICTS)].sum(axis=1) == table["claims"]).all()
    assert table.loc["disco", REPRODUCED] == ((card["paper"] == "disco") & (card["verdict"] == REPRODUCED)).sum()


def test_readme_is_made_from_the_summary(project: Path) -> None:
    (project / "reports").mkdir()
    pd.DataFrame({"paper": ["all"], "claims": [7]}).to_csv(project / "reports/scorecard_summary.csv", index=False)
    scorecard.into_readme()
    assert not (project / "README.md").exists()
    begin, end = scorecard.MARKS
    (project / "README.md").write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    scorecard.into_readme()
    assert (project / "README.md").read_text() == f"before\n{begin}\n| paper | claims |\n|---|---|\n| all | 7 |\n{end}\nafter\n"


def test_every_cell_that_claims_name_is_in_the_committed_tables() -> None:
    """A misspelt one would only ever be missing."""
    folders = [ROOT / "reports" / name for name in ("tables", "timings")]
    count = 0
    for claim in ledger.load():
        trees = [ledger.parse(text) for text in (claim.a, claim.b) if text]
        for node in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and node.func.id == "cell"):
            table, column = (arg.id for arg in node.args)
            found = pd.read_csv(next(f for folder in folders for f in folder.glob(f"{table}.csv")), dtype=str)
            for key, value in ledger.keywords(node).items():
                found = found[found[key] == ("scenes" if value == "data" else value)]
            assert len(found) == 1 or claim.only_on, claim.id
            assert column in found, claim.id
            count += 1
    assert count > 30


def test_our_readme_shows_the_committed_scorecard() -> None:
    begin, end = map(re.escape, scorecard.MARKS)
    shown = re.search(f"{begin}\n(.*?){end}", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    table = pd.read_csv(ROOT / "reports" / "scorecard_summary.csv")
    assert shown and shown[1] == scorecard.tables.markdown(table), "run `colorexp report`"
    card = pd.read_csv(ROOT / "reports" / "scorecard.csv")
    assert table["claims"].iloc[-1] == len(card) == len(ledger.load())

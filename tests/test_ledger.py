"""The ledger is whole, and what is wrong with a claim is said with its name."""

from collections import Counter
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tiny import ROOT

from colorexp import config
from colorexp.report import estimates, ledger

AT_LEAST = {"adacolvit": 35, "disco": 35, "exemplar": 20, "user_guided": 12}
MEASURES = {
    "adacolvit": "psnr lpips multiply_adds_m patch_ratio true_cf_signed objects kept_objects kept_background ab_error_objects "
    "ab_error_background",
    "disco": "psnr lpips cf_signed true_cf_signed spread objects",
    "exemplar": "his aesthetics gate_entropy mixed_share spread cf_signed",
    "user_guided": "accuracy cross_entropy loss chroma true_chroma accuracy_balanced accuracy_hinted accuracy_small accuracy_large",
}
"""What results of a paper's runs hold, or its claims take from another's."""
VALID = {"id": "one", "paper": "disco", "where": "Table 3", "claim": "More.", "relation": "gt", "margin": 0}
VALID |= {"a": "psnr(disco)", "b": "psnr(ugcolor, at='0', way=samples) + 1"}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def claims() -> list[ledger.Claim]:
    return ledger.load(ROOT / "colorexp" / "published" / "claims.yaml")


def test_every_paper_has_its_claims(claims: list[ledger.Claim]) -> None:
    counts = Counter(claim.paper for claim in claims)
    assert set(counts) == set(AT_LEAST)
    assert all(counts[paper] >= least for paper, least in AT_LEAST.items())


def test_every_measure_is_one_that_results_hold(claims: list[ledger.Claim]) -> None:
    for claim in claims:
        trees = [ledger.parse(text) for text in (claim.a, claim.b) if text]
        asked = {node.func.id for tree in trees for node in ledger.measures(tree)}
        assert asked <= set(MEASURES[claim.paper].split()), claim.id


def test_protocols_and_ways_are_those_of_the_run(claims: list[ledger.Claim]) -> None:
    for claim in claims:
        for node in (node for text in (claim.a, claim.b) if text for node in ledger.measures(ledger.parse(text))):
            for run in set(ledger.alternatives(node, claim.paper)) & set(config.runs()):
                asked, evaluation = ledger.keywords(node), config.load(run, profile="paper").evaluation
                assert asked.get("at", evaluation.conditions[0]) in evaluation.conditions, claim.id
                assert asked.get("way", "") in ("", *evaluation.ways), claim.id


def test_what_the_paper_prints_agrees_with_the_relation_unless_it_contradicts_itself(claims: list[ledger.Claim]) -> None:
    for claim in claims:
        one, other = (ledger.printed(claim.paper, side) for side in claim.printed)
        if one is None or other is None:
            continue
        effect = one / other if claim.relation == "ratio_ge" else one - other
        if claim.relation == "within":
            effect = round(effect, 6)
        holds = estimates.verdict(claim.relation, claim.margin, (effect, effect)) == estimates.REPRODUCED
        assert holds != bool(claim.contradicted) or claim.id == "dis-s55-transformer-share", claim.id


def test_planned_runs_are_those_that_are_not_there_yet() -> None:
    planned = YAML(typ="safe").load((ROOT / "colorexp/published/claims.yaml").read_text())["planned"]
    assert not set(planned or ()) & set(config.runs()), "take out what params.yaml has by now"


def write(folder: Path, **changes: object) -> Path:
    content = {"planned": ["exemplar/later"], "claims": [{k: v for k, v in {**VALID, **changes}.items() if v is not None}]}
    file = folder / "claims.yaml"
    YAML().dump(content, file)
    return file


def test_a_claim_is_read(tmp_path: Path) -> None:
    claim = ledger.load(write(tmp_path, printed=["table3/DISCO/imagenet-ctest10k/psnr", 3], on="ctest10k"))[0]
    assert ledger.printed("disco", claim.printed[0]) == 20.72
    assert ledger.addressed(ledger.parse(claim.b), "disco") == {"disco/ugcolor"}
    assert ledger.load(write(tmp_path, paper="exemplar", a="his(later)", b="0"))[0].paper == "exemplar"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"where": None}, "lacks where"),
        ({"relation": "ge"}, "relation is 'ge'; choose one of gt, lt, ratio_ge, within"),
        ({"margin": "1"}, "margin must be a number"),
        ({"margin": -1}, "margin must be a number"),
        ({"paper": "zhang"}, "no paper 'zhang'"),
        ({"a": "psnr(disko)"}, "no run 'disco/disko'"),
        ({"a": "psnr(adacolvit.disco)"}, "no run 'adacolvit/disco'"),
        ({"a": "psnr(disco"}, "is no expression"),
        ({"a": "psnr(disco, hints=5)"}, "is no quantity"),
        ({"a": "__import__('os')"}, "is no run"),
        ({"a": "psnr(disco) ** 2"}, "is no quantity"),
        ({"a": "most(psnr(disco), 3)"}, "takes two measures"),
        ({"a": "where(psnr(disco), psnr(disco))"}, "one of above and upto"),
        ({"b": None}, "give both quantities"),
        ({"a": None, "b": None}, "give both quantities"),
        ({"on": "imagenet"}, "no data set 'imagenet'"),
        ({"on": "coco", "only_on": "coco"}, "one of on and only_on"),
        ({"printed": ["table3/DISKO/imagenet-ctest10k/psnr", 1]}, "is no printed number"),
        ({"printed": [1]}, "two printed values"),
    ],
)
def test_a_wrong_claim_is_named(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match="claim one") as error:
        ledger.load(write(tmp_path, **changes))
    assert told in str(error.value)


def test_two_of_one_id_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "claims.yaml"
    YAML().dump({"claims": [dict(VALID), dict(VALID)]}, file)
    with pytest.raises(ValueError, match="claim one: there are two"):
        ledger.load(file)


def test_the_file_is_checked_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text("claims: [\n")
    with pytest.raises(ValueError, match=r"claims.yaml is not valid YAML"):
        ledger.load(file)
    file.write_text("claim: []\n")
    with pytest.raises(ValueError, match="unknown key 'claim'"):
        ledger.load(file)

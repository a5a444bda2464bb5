"""User studies: the page is blind and can be filled in by keyboard alone, and answers become the papers' tables."""

import base64
import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from colorexp import config, paths, study
from colorexp.cli import app
from colorexp.report import study as report
from colorexp.report import tables

IMAGES = [f"scenes/test-{i:05d}" for i in range(5)]
COLOURS = {"disco/disco": (200, 40, 40), "disco/ugcolor": (40, 200, 40), "disco/coltran": (40, 40, 200), "truth": (90, 90, 10)}
METHODS = {"DISCO": "disco/disco", "UGColor": "disco/ugcolor", "ColTran": "disco/coltran", study.TRUTH: "truth"}


def keep(run: str, label: str, colour: tuple[int, int, int]) -> None:
    file = paths.samples(run) / f"{label}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), colour).save(file)


@pytest.fixture
def sampled(project: Path) -> Path:
    """Three of the paper's methods kept five pictures; every method's are of one colour."""
    config.use_profile("cpu")
    for run in ("disco/disco", "disco/ugcolor", "disco/coltran"):
        for image in IMAGES:
            keep(run, f"{image}.0", COLOURS[run])
            keep(run, f"{image}.0.input", (1, 1, 1))
            keep(run, f"{image}.0.samples", (2, 2, 2))
            keep(run, f"{image}.truth", COLOURS["truth"])
    return project


def page_of(built: study.Built) -> dict[str, Any]:
    found = re.search(r"const study = (.*);\n", built.page.read_text())
    assert found
    return json.loads(found[1])


def key_of(built: study.Built) -> dict[str, Any]:
    return json.loads(built.key.read_text())["questions"]


def colour_of(data: str) -> tuple[int, ...]:
    picture = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
    assert picture.info == {}
    return picture.getpixel((0, 0))


def answer(folder: Path, built: study.Built, name: str, order: list[str], **changes: Any) -> Path:
    """The same ranking of methods for every scene, as the page saves it."""
    letters = {number: [study.LETTERS[q["methods"].index(method)] for method in order] for number, q in key_of(built).items()}
    saved = {"study": built.key.stem.removeprefix("key-"), "participant": name, "answers": letters} | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / built.key.name).write_bytes(built.key.read_bytes())
    file = folder / f"answers-{name}.json"
    file.write_text(json.dumps(saved))
    return file


# The page


def test_the_page_shows_all_methods_and_the_truth_and_names_none(sampled: Path) -> None:
    built = study.build("disco", "scratch/study")
    shown, key = page_of(built), key_of(built)
    assert (built.questions, built.absent) == (5, ["InstColor", "DeOldify"])
    assert shown["ranks"] == 3
    assert {question["picture"] for question in key.values()} == set(IMAGES)
    for question in shown["questions"]:
        seen = [colour_of(data) for data in question["pictures"]]
        assert seen == [COLOURS[METHODS[method]] for method in key[question["name"]]["methods"]], "the key says whose is whose"
    text = re.sub(r"base64,[^\"]*", "", built.page.read_text())
    assert not re.search("disco|ugcolor|coltran|truth|scenes/|test-0000", text, re.IGNORECASE)


def test_the_page_knows_its_key_by_the_hash_alone(sampled: Path) -> None:
    built = study.build("disco", "scratch/study")
    assert page_of(built)["study"] == built.key.stem.removeprefix("key-") == study._hash(built.key.read_text())


def test_places_are_drawn_and_can_be_drawn_again(sampled: Path) -> None:
    first = study.build("disco", "scratch/one")
    assert study.build("disco", "scratch/two").page.read_bytes() == first.page.read_bytes()
    other = study.build("disco", "scratch/three", seed=7)
    assert key_of(other) != key_of(first)
    places = {tuple(question["methods"]) for built in (first, other) for question in key_of(built).values()}
    assert len(places) > 3, "methods do not keep their places from scene to scene"


def test_only_pictures_that_all_have_are_compared(sampled: Path) -> None:
    (paths.samples("disco/coltran") / f"{IMAGES[0]}.0.png").unlink()
    built = study.build("disco", "scratch/study")
    assert {question["picture"] for question in key_of(built).values()} == set(IMAGES[1:])


def test_further_runs_and_methods_from_elsewhere_take_part(sampled: Path) -> None:
    for image in IMAGES:
        keep("disco/cicolor", f"{image}.0", (9, 9, 9))
        keep("external/disco/deoldify", f"{image}.0", (8, 8, 8))
    built = study.build("disco", "scratch/study", also=["disco/cicolor"])
    assert set(key_of(built)["q01"]["methods"]) == {*METHODS, "cicolor", "DeOldify"}


def test_what_cannot_be_shown_is_refused(project: Path) -> None:
    config.use_profile("cpu")
    with pytest.raises(ValueError, match=r"no pictures of disco to compare: .* only none kept samples"):
        study.build("disco", "scratch/study")
    with pytest.raises(ValueError, match="no sample pictures of disco/cicolor"):
        study.build("disco", "scratch/study", also=["disco/cicolor"])
    with pytest.raises(ValueError, match="'adacolvit' has no user study; papers with one are: disco, exemplar"):
        study.build("adacolvit", "scratch/study")


# Answers of ranks


ORDERS = {"Ann": ["DISCO", study.TRUTH, "UGColor"], "Ben": [study.TRUTH, "DISCO", "ColTran"]}


def test_points_and_votes_are_summed_over_pictures_and_averaged_over_participants(sampled: Path) -> None:
    built = study.build("disco", "scratch/study")
    for participant, order in ORDERS.items():
        answer(sampled / "answers/disco", built, participant, order)
    table = report.table2("disco").set_index(["method", "quantity"])
    expected = {"DISCO": (12.5, 2.5), study.TRUTH: (12.5, 2.5), "UGColor": (2.5, 0), "ColTran": (2.5, 0)}
    for method, (points, votes) in expected.items():
        assert table.loc[(method, "rank_score"), ["measured", "n"]].tolist() == [points, 2]
        assert table.loc[(method, "best_rated"), "measured"] == votes
    assert table.loc[("DISCO", "rank_score"), ["published", "note"]].tolist() == [28.31, "5 pictures shown, in the paper 27"]
    assert table.loc[("InstColor", "rank_score"), "note"] == "not among the pictures shown"
    assert pd.isna(table.loc[("InstColor", "rank_score"), "measured"])
    assert pd.isna(table.loc[("DISCO", "rank_score"), "low"]), "two participants carry no interval"


def test_intervals_are_over_participants(sampled: Path) -> None:
    built = study.build("disco", "scratch/study")
    for number in range(24):
        answer(sampled / "answers/disco", built, f"p{number}", ORDERS["Ann" if number % 4 else "Ben"])
    row = report.table2("disco").set_index(["method", "quantity"]).loc[("DISCO", "best_rated")]
    assert (row["measured"], row["n"]) == (3.75, 24)
    assert 2.5 < row["low"] < 3.75 < row["high"] < 4.9


def test_pages_of_other_seeds_can_be_pooled_and_of_other_pictures_not(sampled: Path) -> None:
    folder = sampled / "answers/disco"
    answer(folder, study.build("disco", "scratch/study"), "Ann", ORDERS["Ann"])
    answer(folder, study.build("disco", "scratch/study", seed=7), "Ben", ORDERS["Ben"])
    table = report.table2("disco").set_index(["method", "quantity"])
    assert table.loc[("DISCO", "rank_score"), "measured"] == 12.5
    (paths.samples("disco/coltran") / f"{IMAGES[0]}.0.png").unlink()
    answer(folder, study.build("disco", "scratch/study"), "Cem", ORDERS["Ben"])
    with pytest.raises(ValueError, match="answers/disco: the keys ask for other pictures or methods"):
        report.table2("disco")


def test_without_answers_the_table_says_so_and_holds_no_number(sampled: Path) -> None:
    for _ in ("no folder", "a key alone"):
        table = report.table2("disco")
        assert set(table["note"]) == {report.NO_ANSWERS}
        assert table["measured"].isna().all()
        assert table["published"].notna().all()
        study.build("disco", "answers/disco")
        (sampled / "answers/disco" / next(p.name for p in (sampled / "answers/disco").glob("*.html"))).unlink()
    assert len(tables.wide(table, rows=["method"], column="quantity")) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "other"}, "no key of the study 'other' here"),
        ({"study": ["other"]}, "no key of the study"),
        ({"participant": " "}, "participant must be a name, got ' '"),
        ({"answers": {}}, "unanswered or unknown questions: q01, q02, q03, q04, q05"),
        ({"answers": [1]}, "unanswered or unknown questions"),
        ({"more": 1}, "has the keys study, participant and answers and no others"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_by_name(sampled: Path, changes: dict[str, Any], message: str) -> None:
    answer(sampled / "answers/disco", study.build("disco", "scratch/study"), "Ann", ORDERS["Ann"], **changes)
    with pytest.raises(ValueError, match=rf"^answers-Ann\.json: .*{re.escape(message)}"):
        report.table2("disco")


@pytest.mark.parametrize("wrong", [["A", "B"], ["A", "A", "B"], ["A", "B", "E"], ["A", "B", 3], "ABC", None])
def test_a_ranking_that_is_none_is_refused(sampled: Path, wrong: object) -> None:
    file = answer(sampled / "answers/disco", study.build("disco", "scratch/study"), "Ann", ORDERS["Ann"])
    saved = json.loads(file.read_text())
    saved["answers"]["q02"] = wrong
    file.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=r"^answers-Ann\.json: q02: expected"):
        report.table2("disco")


def test_damaged_files_and_changed_keys_are_refused(sampled: Path) -> None:
    built, folder = study.build("disco", "scratch/study"), sampled / "answers/disco"
    file = answer(folder, built, "Ann", ORDERS["Ann"])
    key = folder / built.key.name
    key.write_text(key.read_text().replace("UGColor", "DISCO"))
    with pytest.raises(ValueError, match=rf"^{key.name}: its content has changed"):
        report.table2("disco")
    key.write_bytes(built.key.read_bytes())
    with pytest.raises(ValueError, match="a study of disco, not of exemplar"):
        study.read("exemplar", folder)
    file.write_text("{")
    with pytest.raises(ValueError, match=r"^answers-Ann\.json: no JSON"):
        report.table2("disco")


def test_nobody_answers_twice(sampled: Path) -> None:
    built, folder = study.build("disco", "scratch/study"), sampled / "answers/disco"
    answer(folder, built, "Ann", ORDERS["Ann"])
    answer(folder, built, "again", ORDERS["Ben"], participant="ann ")
    with pytest.raises(ValueError, match=r"^answers-again\.json: the participant 'ann' has already answered, in answers-Ann\.json"):
        report.table2("disco")


# Scores


@pytest.fixture
def exemplar(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The other paper's study: three related and two independent pairs, two methods, and its printed numbers."""
    config.use_profile("cpu")
    for run in ("exemplar/exemplar", "external/exemplar/larsson"):
        for i, image in enumerate(IMAGES):
            protocol = "related" if i < 3 else "independent"
            keep(run, f"{image}.{protocol}", (i, 50, 50))
            keep(run, f"{image}.{protocol}.reference", (i, 90, 90))
    printed = project / "exemplar.csv"
    printed.write_text("exhibit,method,dataset,metric,value\ntable2,Ours,all,user_score,4.02\ntable2,He,all,user_score,3.29\n")
    monkeypatch.setattr(paths, "published", lambda paper: printed)
    return project


def scored(built: study.Built, folder: Path, related: int, independent: int) -> Path:
    """Ours gets these scores, the other 1."""
    given = {"semantic-related": related, "semantic-independent": independent}
    scores = {
        name: {study.LETTERS[i]: given[q["subset"]] if m == "Ours" else 1 for i, m in enumerate(q["methods"])}
        for name, q in key_of(built).items()
    }
    return answer(folder, built, "Ann", ["Ours"], answers=scores)


def test_scores_are_means_over_each_subset_and_over_all_pictures(exemplar: Path) -> None:
    built = study.build("exemplar", "scratch/study")
    shown = page_of(built)
    assert all(colour_of(question["reference"])[1] == 90 for question in shown["questions"])
    assert all(len(question["pictures"]) == 2 for question in shown["questions"]), "no truth among them"
    scored(built, exemplar / "answers/exemplar", 5, 3)
    table = report.table2("exemplar").set_index(["method", "pictures"])
    assert table.loc["Ours", "measured"].to_dict() == {"all": 4.2, "semantic-related": 5.0, "semantic-independent": 3.0}
    assert table.loc[("Larsson", "all"), "measured"] == 1
    assert table.loc[("Ours", "all"), "published"] == 4.02
    assert table.loc[("He", "all"), "note"] == "not among the pictures shown"


def test_a_method_that_sent_pictures_for_each_list_takes_part(exemplar: Path) -> None:
    own = paths.samples("external/exemplar/larsson")
    for image in IMAGES:
        protocol = "related" if image < IMAGES[3] else "independent"
        keep(f"external/exemplar/larsson@{protocol}", f"{image}.{protocol}", (7, 7, 7))
    shutil.rmtree(own)
    shown = page_of(study.build("exemplar", "scratch/study"))
    assert len(shown["questions"]) == 5
    assert all((7, 7, 7) in {colour_of(picture) for picture in question["pictures"]} for question in shown["questions"])


def test_too_few_methods_are_told_with_what_helps(exemplar: Path) -> None:
    shutil.rmtree(paths.samples("external/exemplar/larsson"))
    with pytest.raises(
        ValueError, match=r"only Ours kept samples; put pictures under external/, or add runs \(--also exemplar/<run>\)"
    ):
        study.build("exemplar", "scratch/study")


@pytest.mark.parametrize("wrong", [6, 0, "5", 4.5, True])
def test_a_score_off_the_scale_is_refused(exemplar: Path, wrong: object) -> None:
    file = scored(study.build("exemplar", "scratch/study"), exemplar / "answers/exemplar", 5, 3)
    saved = json.loads(file.read_text())
    saved["answers"]["q03"]["B"] = wrong
    file.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=r"^answers-Ann\.json: q03: a score is a whole number in 1\.\.5, got"):
        report.table2("exemplar")


# The command line


def test_build_and_score_from_the_command_line(sampled: Path) -> None:
    done = CliRunner().invoke(app, ["study", "build", "--paper", "disco"])
    assert done.exit_code == 0
    assert "5 scenes, for participants" in done.stdout
    assert "without pictures: InstColor, DeOldify" in done.stdout
    built = study.build("disco", "scratch/study/disco")
    answer(sampled / "collected", built, "Ann", ORDERS["Ann"])
    done = CliRunner().invoke(app, ["study", "score", "collected", "--out", "scratch/table.csv"])
    assert "| DISCO | coco-stuff-val | rank_score | 28.31 | 15 |" in done.stdout
    assert (
        pd.read_csv(sampled / "scratch/table.csv").set_index(["method", "quantity"]).loc[("DISCO", "best_rated"), "measured"] == 5
    )


def test_the_folders_name_says_whose_study_it_is(exemplar: Path) -> None:
    scored(study.build("exemplar", "scratch/study"), exemplar / "answers/exemplar", 5, 3)
    assert "| Ours | all | user_score | 4.02 | 4.2 |" in CliRunner().invoke(app, ["study", "score", "answers/exemplar"]).stdout


# In a browser


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    if browser.PROGRAM is None:
        pytest.skip("no Chromium or Chrome is installed")
    with browser.opened() as found:
        yield found


FOCUSED = """(e => {
  if (e === document.body) return '';
  if (!e.labels?.length) return e.textContent;
  const legend = e.closest('fieldset')?.querySelector('legend').textContent ?? '';
  return `${legend} ${e.labels[0].textContent}`;
})(document.activeElement)"""
"""What a screen reader would call it, roughly."""


class Keyboard:
    """All that a participant without a mouse has."""

    def __init__(self, page: browser.Page) -> None:
        self.page = page

    def press(self, key: str, text: str = "") -> None:
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}
        about = {"key": key, "windowsVirtualKeyCode": codes[key]}
        self.page.send("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.page.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def tab_to(self, name: str) -> None:
        """Go on with Tab until something of that accessible name has the focus."""
        for _ in range(40):
            if name in self.focused():
                return
            self.press("Tab")
        raise AssertionError(f"Tab never reaches {name!r}")

    def focused(self) -> str:
        return self.page.ask(FOCUSED)

    def enter(self) -> None:
        self.press("Enter", "\r")

    def type(self, text: str) -> None:
        for letter in text:
            self.page.send("Input.insertText", text=letter)


def begin(page: browser.Page, built: study.Built, folder: Path, participant: str, **how: Any) -> Keyboard:
    folder.mkdir(exist_ok=True)
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.show(built.page, **how)
    keys = Keyboard(page)
    keys.tab_to("A name or initials")
    keys.type(participant)
    keys.enter()
    return keys


def saved(keys: Keyboard, folder: Path) -> Path:
    keys.tab_to("Save the answers")
    keys.enter()
    for _ in range(100):
        if found := list(folder.glob("answers-*.json")):
            return found[0]
        time.sleep(0.1)
    raise AssertionError("nothing was saved")


def title(page: browser.Page) -> str:
    return page.ask("document.querySelector('h1').textContent")


def test_a_ranking_is_done_by_keyboard_and_scored(sampled: Path, page: browser.Page) -> None:
    built, folder = study.build("disco", "scratch/study"), sampled / "collected"
    keys = begin(page, built, folder, "Ann O'Neill")
    for number, question in enumerate(page_of(built)["questions"], start=1):
        assert title(page) == f"Scene {number} of 5"
        methods = key_of(built)[question["name"]]["methods"]
        if number == 1:
            keys.tab_to("Next")
            keys.enter()
            assert "Choose 3 more." in page.ask("document.querySelector('#said').textContent")
        for method in (study.TRUTH, "DISCO", "UGColor"):
            page.ask("document.querySelector('h1').focus()")
            keys.tab_to(f"Picture {study.LETTERS[methods.index(method)]}")
            keys.press(" ", " ")
        keys.tab_to("Next")
        keys.enter()
    assert title(page) == "Thank you"
    file = saved(keys, folder)
    assert [told for told in page.complaints() if not told.startswith("blob:")] == []
    (folder / built.key.name).write_bytes(built.key.read_bytes())
    table = report.table2("disco", folder).set_index(["method", "quantity"])["measured"]
    assert (table[study.TRUTH, "rank_score"], table["DISCO", "rank_score"], table["UGColor", "rank_score"]) == (15, 10, 5)
    assert json.loads(file.read_text())["participant"] == "Ann O'Neill"


def test_scores_are_given_by_keyboard(exemplar: Path, page: browser.Page) -> None:
    built, folder = study.build("exemplar", "scratch/study"), exemplar / "collected"
    keys = begin(page, built, folder, "Ben")
    for question in page_of(built)["questions"]:
        for letter, method in zip("AB", key_of(built)[question["name"]]["methods"], strict=True):
            keys.tab_to(f"Picture {letter}")
            keys.press(" ", " ")
            for _ in range(3 if method == "Ours" else 1):
                keys.press("ArrowRight")
        keys.tab_to("Next")
        keys.enter()
    saved(keys, folder)
    (folder / built.key.name).write_bytes(built.key.read_bytes())
    table = report.table2("exemplar", folder).set_index(["method", "pictures"])["measured"]
    assert (table["Ours", "all"], table["Larsson", "all"]) == (4, 2)


CONTRASTS = """[...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && !e.disabled
  && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
    const numbers = text => text.match(/[0-9.]+/g).map(Number);
    const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = text => {
      const [r, g, b] = numbers(text).map(v => linear(v / 255));
      return .2126 * r + .7152 * g + .0722 * b;
    };
    let behind = e;
    while (behind !== document.body && numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const pair = [light(getComputedStyle(e).color), light(getComputedStyle(behind).backgroundColor)].sort((a, b) => b - a);
    return [e.textContent.trim().slice(0, 20), (pair[0] + .05) / (pair[1] + .05)];
  }).filter(([, ratio]) => ratio < 4.5)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("paper", ["disco", "exemplar"])
def test_it_fits_a_phone_and_can_be_read(
    paper: str, scheme: str, page: browser.Page, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue("sampled" if paper == "disco" else "exemplar")
    built = study.build(paper, "scratch/study")
    keys = begin(page, built, tmp_path / "saved", "Ann", width=390, height=800, scheme=scheme)
    assert title(page) == "Scene 1 of 5"
    assert page.ask("document.documentElement.scrollWidth") <= 390
    assert page.ask("[...document.images].filter(i => i.checkVisibility() && !(i.complete && i.naturalWidth)).length") == 0
    assert (
        page.ask(
            "[...document.querySelectorAll('button, input, img')].filter(e => e.checkVisibility() && e.tagName !== 'IMG' "
            "&& !e.labels?.length && !e.textContent.trim()).length"
        )
        == 0
    ), "everything that can be operated has a name"
    assert page.ask(CONTRASTS) == []
    keys.tab_to("Picture A")
    assert page.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid", "one sees where one is"
    assert page.ask("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")

"""User studies: a blind page of coloured pictures, and what people answer on it; `report.study` makes the papers' tables of that.

A page shows what runs and methods from elsewhere made of the same pictures (the samples of their evaluations), in an order that
says nothing; a key beside it, which the page knows by its hash alone, says whose picture is whose. Answers are JSON files that the
page saves.
"""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from colorexp import config, paths
from colorexp.report import tables
from colorexp.seeding import seed_of

TRUTH = "Ground truth"
POINTS = (3, 2, 1)
"""Of the best, the second and the third picture; the others have none."""
SCORES = (1, 5)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Study(NamedTuple):
    """What a paper asked people."""

    kind: Literal["rank", "score"]
    """Whether the best three pictures are named in order, or each is given a score."""
    methods: dict[str, str]
    """Runs by printed name; `external/<paper>/<method>` of those that only take part through their pictures."""
    subsets: dict[str, str]
    """Protocols of the evaluation by printed data set."""
    pictures: int
    """Of each subset."""
    participants: int


STUDIES = {
    "disco": Study(
        "rank",
        {
            "InstColor": "external/disco/instcolor",
            "UGColor": "disco/ugcolor",
            "DeOldify": "external/disco/deoldify",
            "ColTran": "disco/coltran",
            "DISCO": "disco/disco",
        },
        {"coco-stuff-val": "0"},
        27,
        54,
    ),
    "exemplar": Study(
        "score",
        {
            "Larsson": "external/exemplar/larsson",
            "Zhang": "external/exemplar/zhang",
            "Xiao": "external/exemplar/xiao",
            "He": "external/exemplar/he",
            "Lu": "external/exemplar/lu",
            "Ours": "exemplar/exemplar",
        },
        {"semantic-related": "related", "semantic-independent": "independent"},
        25,
        20,
    ),
}
"""The papers' studies.

Source: DISCO, section 5.3 and Table 2; Yes, Attention Is All You Need, section 4.4 and Table 2.

Unspecified: the exemplar paper's scale, 1 to 5 here, and whether a pair's pictures are scored side by side, as they are here.
"""


# The page


class Question(NamedTuple):
    """Pictures of one scene, in the order in which they are shown."""

    subset: str
    picture: str
    methods: list[str]


class Built(NamedTuple):
    """Where a study lies."""

    page: Path
    key: Path
    questions: int
    absent: list[str]
    """Methods of the paper of which there are no pictures."""


def study_of(paper: str) -> Study:
    """What a paper asked.

    Raises:
        ValueError: If it asked nobody.
    """
    if paper not in STUDIES:
        raise ValueError(f"{paper!r} has no user study; papers with one are: {', '.join(STUDIES)}")
    return STUDIES[paper]


def build(paper: str, out: str | Path, *, seed: int | None = None, also: Sequence[str] = ()) -> Built:
    """Write the page for participants, `study-<id>.html`, and its key, `key-<id>.json`.

    Shown are pictures that the evaluations of all present methods kept, chosen and ordered by the seed.

    Args:
        paper: Of `STUDIES`.
        out: A folder, relative to the project.
        seed: Another draw of pictures and places; the project's by default.
        also: Further runs `<paper>/<run>` that stand under their own names.

    Raises:
        ValueError: If the paper asked nobody, or fewer than two pictures of a scene could be compared.
    """
    study = study_of(paper)
    runs = {name: _main(paper, run) for name, run in study.methods.items()} | {run.rpartition("/")[2]: run for run in also}
    present = {name: run for name, run in runs.items() if any(_results(run, protocol) for protocol in study.subsets.values())}
    if unknown := [run for run in also if run not in present.values()]:
        raise ValueError(f"no sample pictures of {', '.join(unknown)}; run `dvc repro` or name another run")
    questions = _questions(paper, study, present, config.read()["seed"] if seed is None else seed)
    if not questions:
        raise ValueError(
            f"no pictures of {paper} to compare: of {', '.join(runs)} only {', '.join(present) or 'none'} kept samples; "
            f"put pictures under external/, or add runs (--also {paper}/<run>)"
        )
    key = {"paper": paper, "questions": {f"q{i:02d}": q._asdict() for i, q in enumerate(questions, start=1)}}
    text = json.dumps(key, indent=1, sort_keys=True) + "\n"
    name, folder = _hash(text), paths.resolve(out)
    shown = [_shown(f"q{i:02d}", question, study, present) for i, question in enumerate(questions, start=1)]
    ranks = min(len(POINTS), min(len(question.methods) for question in questions))
    about = {"study": name, "kind": study.kind, "ranks": ranks, "scores": SCORES, "questions": shown}
    template = (paths.package() / "study.html").read_text(encoding="utf-8")
    filled = template.replace("/*STUDY*/null", json.dumps(about, sort_keys=True).replace("<", "\\u003c"))
    paths.write_atomically(folder / f"study-{name}.html", filled.encode())
    paths.write_atomically(folder / f"key-{name}.json", text.encode())
    return Built(folder / f"study-{name}.html", folder / f"key-{name}.json", len(questions), [n for n in runs if n not in present])


def _main(paper: str, run: str) -> str:
    """The run, or the variant that stands for the paper's own in its tables."""
    literal = (config.read()["exhibits"].get(paper) or {}).get("exhibit_run") == "paper"
    return f"{run}_paper" if literal and run == f"{paper}/{paper}" else run


def _questions(paper: str, study: Study, runs: Mapping[str, str], seed: int) -> list[Question]:
    """Every subset's share of the pictures that all methods have, in a drawn order, each with its methods in a drawn order."""
    rng = np.random.default_rng(seed_of("study", paper, seed))
    methods = [*runs, *([TRUTH] if study.kind == "rank" else [])]
    found = []
    for subset, protocol in study.subsets.items():
        kept = [_results(run, protocol) for run in runs.values()]
        common = sorted(set.intersection(*kept)) if kept and len(methods) > 1 else []
        if study.kind == "rank":
            common = [name for name in common if tables.sample(next(iter(runs.values())), f"{name}.truth") is not None]
        chosen = rng.permutation(len(common))[: study.pictures]
        found += [Question(subset, common[i], [methods[j] for j in rng.permutation(len(methods))]) for i in chosen]
    return [found[i] for i in rng.permutation(len(found))]


def _results(run: str, protocol: str) -> set[str]:
    """Sample pictures `<dataset>/<image>` that a run coloured in its usual way under a protocol."""
    kept = tables.samples(_under(run, protocol))
    return {label.removesuffix(f".{protocol}") for label in kept if label.endswith(f".{protocol}")}


def _under(run: str, protocol: str) -> str:
    """The run, or what a method from elsewhere sent for this protocol alone."""
    alone = f"{run}@{protocol}"
    return alone if tables.is_external(run) and tables.samples(alone) else run


def _shown(name: str, question: Question, study: Study, runs: Mapping[str, str]) -> dict[str, Any]:
    first, protocol = next(iter(runs.values())), study.subsets[question.subset]
    labels = [(runs.get(method, first), "truth" if method == TRUTH else protocol) for method in question.methods]
    pictures = [tables.sample(_under(run, protocol), f"{question.picture}.{label}") for run, label in labels]
    reference = tables.sample(_under(first, protocol), f"{question.picture}.{protocol}.reference")
    assert all(picture is not None for picture in pictures)
    return {
        "name": name,
        "pictures": [_as_data(picture) for picture in pictures if picture is not None],
        "reference": None if reference is None else _as_data(reference),
    }


def _as_data(picture: np.ndarray) -> str:
    """A PNG of the pixels alone: a file could say where it is from."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# Answers


class Answers(NamedTuple):
    """What participants said, by the methods' names."""

    questions: int
    """Of each page."""
    given: pd.DataFrame
    """Participant, question, subset, method, and points (3, 2, 1 or 0) or score."""


def read(paper: str, folder: str | Path) -> Answers | None:
    """All answers of a folder, each with the key of its study.

    Args:
        paper: Of `STUDIES`.
        folder: Holds keys and answers, relative to the project; it need not exist.

    Returns:
        None where there is no answer.

    Raises:
        ValueError: If a file is no answer to one of the folder's studies, leaves something out, or is a participant's second; the
            file is named.
    """
    study = study_of(paper)
    source = paths.resolve(folder)
    files = sorted(source.glob("*.json"))
    keys = {file.stem.removeprefix("key-"): _key(file, paper) for file in files if file.name.startswith("key-")}
    if len({_asked(key) for key in keys.values()}) > 1:
        raise ValueError(f"{paths.shown(source)}: the keys ask for other pictures or methods; their answers cannot be averaged")
    seen: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for file in (file for file in files if not file.name.startswith("key-")):
        participant, answers = _answer(file, keys)
        if participant in seen:
            raise ValueError(f"{file.name}: the participant {participant!r} has already answered, in {seen[participant]}")
        seen[participant] = file.name
        try:
            rows += [{"participant": participant, **row} for row in _values(study, *answers)]
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from None
    return Answers(len(next(iter(keys.values()))), pd.DataFrame(rows)) if rows else None


def _key(file: Path, paper: str) -> dict[str, Any]:
    """The questions of a key that is as it was written."""
    text = file.read_text(encoding="utf-8")
    if file.stem != f"key-{_hash(text)}":
        raise ValueError(f"{file.name}: its content has changed; the page knows it by its hash")
    key = json.loads(text)
    if key["paper"] != paper:
        raise ValueError(f"{file.name}: a study of {key['paper']}, not of {paper}")
    found: dict[str, Any] = key["questions"]
    return found


def _asked(questions: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(f"{q['subset']}/{q['picture']}/{sorted(q['methods'])}" for q in questions.values()))


def _answer(file: Path, keys: Mapping[str, Any]) -> tuple[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Participant, then the study's questions and what was answered, both by question."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{file.name}: no JSON in UTF-8") from None
    if not isinstance(found, dict) or found.keys() != {"study", "participant", "answers"}:
        raise ValueError(f"{file.name}: an answer has the keys study, participant and answers and no others")
    if not isinstance(found["study"], str) or found["study"] not in keys:
        raise ValueError(f"{file.name}: no key of the study {found['study']!r} here; there are: {', '.join(keys) or 'none'}")
    participant, answers = found["participant"], found["answers"]
    if not (isinstance(participant, str) and participant.strip()):
        raise ValueError(f"{file.name}: participant must be a name, got {participant!r}")
    questions = keys[found["study"]]
    if not isinstance(answers, dict) or answers.keys() != questions.keys():
        given = set(answers) if isinstance(answers, dict) else set()
        raise ValueError(f"{file.name}: unanswered or unknown questions: {', '.join(sorted(questions.keys() ^ given))}")
    return participant.strip().casefold(), (questions, answers)


def _values(study: Study, questions: Mapping[str, Any], answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, question in questions.items():
        letters = LETTERS[: len(question["methods"])]
        points = (_ranked if study.kind == "rank" else _scored)(name, letters, answers[name])
        for letter, method in zip(letters, question["methods"], strict=True):
            rows.append({"question": name, "subset": question["subset"], "method": method, "value": points[letter]})
    return rows


def _ranked(name: str, letters: str, answer: object) -> dict[str, int]:
    """Points of every picture from the letters of the best ones, in order."""
    count = min(len(POINTS), len(letters))
    if not (isinstance(answer, list) and len(answer) == count and all(isinstance(letter, str) for letter in answer)):
        raise ValueError(f"{name}: expected the letters of the {count} best pictures, got {answer!r}")
    if len(set(answer)) != count or not set(answer) <= set(letters):
        raise ValueError(f"{name}: expected {count} different letters of {letters}, got {answer!r}")
    return dict.fromkeys(letters, 0) | dict(zip(answer, POINTS, strict=False))


def _scored(name: str, letters: str, answer: object) -> dict[str, int]:
    low, high = SCORES
    if not isinstance(answer, dict) or answer.keys() != set(letters):
        raise ValueError(f"{name}: expected a score for each of {letters}, got {answer!r}")
    if wrong := [value for value in answer.values() if type(value) is not int or not low <= value <= high]:
        raise ValueError(f"{name}: a score is a whole number in {low}..{high}, got {wrong[0]!r}")
    return answer

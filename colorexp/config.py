"""The only reader of params.yaml: YAML -> profile laid over run -> frozen dataclasses of `schema`, or an error that names the key.

A run is a flat mapping. Keys that are no field of a dataclass are the model's and the task's constructor arguments
(`Run.options`); `runs.build` binds them to those signatures, so that a misspelt one is named there. A profile's option for a
paper changes the runs that have that option.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode

from colorexp import paths
from colorexp.amount import Amount, folder_name
from colorexp.data import pairlist
from colorexp.schema import (
    GROUPS,
    PROFILES,
    Data,
    Dataset,
    Efficiency,
    Evaluation,
    Fitting,
    Hardware,
    Hinting,
    Metric,
    Referencing,
    Run,
    View,
)

__all__ = [
    "GROUPS",
    "PROFILES",
    "Data",
    "Dataset",
    "Efficiency",
    "Evaluation",
    "Fitting",
    "Hardware",
    "Hinting",
    "Metric",
    "Referencing",
    "Run",
    "View",
    "check_splits",
    "dataset",
    "datasets",
    "efficiency",
    "exhibit_run",
    "from_dict",
    "load",
    "palettes",
    "papers",
    "parent",
    "read",
    "runs",
    "singled_out",
    "use_profile",
]


def read(path: Path | None = None) -> dict[str, Any]:
    """params.yaml as plain values, YAML 1.2 with merge keys resolved; shared between callers, not to be changed.

    Raises:
        ValueError: If the file is no UTF-8, no YAML mapping, repeats a key, names an unknown profile, or holds a single value where
            a mapping belongs.
    """
    path = path or paths.params()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is no text in UTF-8") from None
    params = _parse(text, path.name)
    required = {"profile", "seed", "datasets", "runs", "profiles", "exhibits"}
    _refuse_unknown(params, required | {"external_methods", "palettes", "shared"}, where=path.name)
    if missing := required - params.keys():
        raise ValueError(f"{path.name} lacks {', '.join(sorted(missing))}")
    _check_shape(params, path.name)
    if params["profile"] not in PROFILES:
        raise ValueError(f"{path.name}: profile is {params['profile']!r}; choose one of {', '.join(PROFILES)}")
    if type(params["seed"]) is not int or not 0 <= params["seed"] < 2**32:
        raise ValueError(f"{path.name}: seed must be a whole number in 0..{2**32 - 1}, got {params['seed']!r}")
    return params


def _check_shape(params: Mapping[str, Any], file: str) -> None:
    """Mappings where mappings belong, names that are safe in paths, and no block of a profile or exhibit that nothing reads."""
    for key in ("datasets", "runs", "profiles", "exhibits"):
        _mapping(params[key], f"{file}: {key}")
    for name, values in params["datasets"].items():
        _mapping(values, f"{file}: datasets.{_name(name, f'{file}: datasets')}")
    for paper, table in params["runs"].items():
        for run, values in _mapping(table, f"{file}: runs.{_name(paper, f'{file}: runs')}").items():
            _mapping(values, f"{file}: runs.{paper}.{_name(run, f'{file}: runs.{paper}')}")
    _refuse_unknown(params["exhibits"], set(params["runs"]), where=f"{file}: exhibits")
    for paper, values in params["exhibits"].items():
        _refuse_unknown(_mapping(values, f"{file}: exhibits.{paper}"), {"exhibit_run"}, where=f"{file}: exhibits.{paper}")
    _refuse_unknown(params["profiles"], set(PROFILES), where=f"{file}: profiles")
    for profile, overrides in params["profiles"].items():
        where = f"{file}: profiles.{profile}"
        _refuse_unknown(_mapping(overrides, where), {"datasets", "efficiency", *params["runs"]}, where=where)
        for key, values in overrides.items():
            _mapping(values or {}, f"{where}.{key}")
        _refuse_unknown(overrides.get("datasets") or {}, set(params["datasets"]), where=f"{where}.datasets")
        for name, values in (overrides.get("datasets") or {}).items():
            _mapping(values or {}, f"{where}.datasets.{name}")


def _name(name: object, where: str) -> str:
    """It becomes part of paths and of the commands of stages."""
    if not (isinstance(name, str) and re.fullmatch(r"[a-z0-9_]+", name)):
        raise ValueError(f"{where} has the name {name!r}; names are text of a-z, 0-9 and _")
    return name


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:  # noqa: ANN401  a YAML value
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a mapping, got {value!r}")
    return value


class _Constructor(SafeConstructor):
    """Names a repeated key also in a mapping with merge keys, where ruamel silently takes the last one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  ruamel's
        super().__init__(*args, **kwargs)
        self._flattened: set[int] = set()

    def flatten_mapping(self, node: MappingNode) -> Any:  # noqa: ANN401  ruamel's
        if id(node) not in self._flattened:  # afterwards it also holds the keys that it overrides
            self._flattened.add(id(node))
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise ConstructorError(None, None, f'found duplicate key "{key.value}"', key.start_mark)
                seen.add(key.value)
        return super().flatten_mapping(node)


@lru_cache(maxsize=4)
def _parse(text: str, name: str) -> dict[str, Any]:
    """YAML 1.2, the same text once: parsing takes a quarter of a second, and tables ask for every run many times."""
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = _Constructor
        params = yaml.load(text)
    except YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(params, dict):
        raise ValueError(f"{name} must be a mapping")
    return params


def papers() -> list[str]:
    """The papers that have runs, in the order of params.yaml."""
    return list(read()["runs"])


def runs(paper: str | None = None) -> list[str]:
    """Names `<paper>/<run>` of all runs in the order of params.yaml, or of one paper's."""
    table = read()["runs"]
    return [f"{p}/{run}" for p in table if paper in (None, p) for run in table[p]]


def load(name: str, *, profile: str | None = None) -> Run:
    """Resolve one run: the paper's values, then the profile's for the paper, then the profile's for this run; the last wins.

    Args:
        name: `<paper>/<run>`.
        profile: Instead of the one in params.yaml.

    Raises:
        ValueError: If there is no such run, or a key is unknown, of the wrong type or out of range; the key is named.
    """
    params = read()
    profile = profile or params["profile"]
    values = _raw_run(params, name, profile)
    where = f"params.yaml: runs.{name.replace('/', '.')}"
    values.setdefault("seed", params["seed"])
    values.setdefault("parent", None)
    values["profiles"] = values.pop("in", None)
    groups: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    own = {f.name for f in fields(Run)} - {*GROUPS, "name", "profile", "options"}
    top, options = {}, {}
    for key, value in values.items():
        group = next((g for g, kind in GROUPS.items() if key in {f.name for f in fields(kind)}), None)
        if group:
            groups[group][key] = value
        elif key in own:
            top[key] = value
        else:
            options[key] = value
    built = {group: _validate(kind, groups[group], where) for group, kind in GROUPS.items()}
    run: Run = _validate(Run, {"name": name, "profile": profile, "options": options, **top, **built}, where)
    _check_datasets(run, params, where)
    run = _found(run, where)
    _check_start(run, params, where)
    _check_sizes(run, where)
    if run.present:
        _check_hint_files(run, where)
        _check_pair_lists(run, params, where)
        if run.evaluation.weights and not (paths.root() / run.evaluation.weights).is_dir():
            raise ValueError(f"{where}.weights = {run.evaluation.weights!r}: there is no such folder")
    return run


def _raw_run(params: Mapping[str, Any], name: str, profile: str) -> dict[str, Any]:
    paper, _, run = name.partition("/")
    known = [f"{p}/{r}" for p, table in params["runs"].items() for r in table]
    if name not in known:
        raise ValueError(f"no run {name!r} in params.yaml{_suggest(name, known)}; runs are: {', '.join(known)}")
    if profile not in params["profiles"]:
        raise ValueError(f"no profile {profile!r} in params.yaml; choose one of {', '.join(params['profiles'])}")
    table = params["runs"][paper]
    overrides, special = _overrides(params, paper, profile)
    common = {f.name for kind in (Run, *GROUPS.values()) for f in fields(kind)} | {"in"}
    for key in overrides.keys() - common:
        if not any(key in values for values in table.values()):
            others = sorted({other for values in table.values() for other in values} | common)
            raise ValueError(f"params.yaml: profiles.{profile}.{paper} has the unknown key {key!r}{_suggest(key, others)}")
    overrides = {key: value for key, value in overrides.items() if key in common or key in table[run]}
    return {**table[run], **overrides, **special.get(run, {})}


def _overrides(params: Mapping[str, Any], paper: str, profile: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What a profile lays over all runs of a paper, and what over single runs."""
    block = params["profiles"][profile].get(paper) or {}
    special = {key: value for key, value in block.items() if isinstance(value, dict) and key in params["runs"][paper]}
    return {key: value for key, value in block.items() if key not in special}, special


def singled_out(name: str) -> dict[str, Any]:
    """What the active profile changes of `<paper>/<run>` alone: the run then competes on other terms than its neighbours."""
    params = read()
    paper, _, run = name.partition("/")
    own = _overrides(params, paper, params["profile"])[1].get(run, {})
    return {key: value for key, value in own.items() if params["runs"][paper][run].get(key) != value}


def parent(name: str) -> str | None:
    """The run that `name` varies, as `<paper>/<run>`, or None.

    Raises:
        ValueError: If the named parent does not exist.
    """
    paper = name.partition("/")[0]
    raw = _raw_run(params := read(), name, params["profile"])
    if raw.get("parent") is None:
        return None
    found = f"{paper}/{raw['parent']}"
    _raw_run(params, found, params["profile"])
    return found


def dataset(name: str, *, profile: str | None = None) -> Dataset:
    """Resolve one dataset: the `datasets` entry, then the profile's values for it.

    Raises:
        ValueError: If there is no such dataset, or a key is unknown, of the wrong type or out of range.
    """
    params = read()
    if name not in params["datasets"]:
        known = list(params["datasets"])
        raise ValueError(f"no dataset {name!r} in params.yaml{_suggest(name, known)}; datasets are: {', '.join(known)}")
    over = (params["profiles"][profile or params["profile"]].get("datasets") or {}).get(name) or {}
    values = {"seed": params["seed"], **params["datasets"][name], **over}
    values["profiles"] = values.pop("in", None)
    found: Dataset = _validate(Dataset, {"name": name, **values}, f"params.yaml: datasets.{name}")
    check_splits(found)
    return found


def check_splits(cfg: Dataset) -> None:
    """Refuse split sizes that do not fit the source.

    Raises:
        ValueError: If a split of scenes is no positive number, or one of a folder is no share, or the shares exceed 1.
    """
    where = f"params.yaml: datasets.{cfg.name}"
    if cfg.source == "scenes":
        for split, count in {"train": cfg.train, "val": cfg.val, "test": cfg.test}.items():
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{where}.{split} must be a number of scenes, at least 1, got {count!r}")
    if cfg.source == "folder":
        for split, share in {"test": cfg.test, "val": cfg.val}.items():
            if share > 1:
                raise ValueError(f"{where}.{split} must be a share in 0..1 for a folder, got {share}")
        if cfg.val + cfg.test > 1:
            raise ValueError(f"{where}.val + test = {cfg.val + cfg.test:g}: together at most 1")


def datasets() -> list[str]:
    """Names of all datasets in the order of params.yaml."""
    return list(read()["datasets"])


def efficiency(*, profile: str | None = None) -> Efficiency:
    """The settings of the efficiency stage in the active profile, or in another.

    Raises:
        ValueError: If a key is unknown, of the wrong type or out of range.
    """
    params = read()
    profile = profile or params["profile"]
    values = params["profiles"][profile].get("efficiency") or {}
    found: Efficiency = _validate(Efficiency, values, f"params.yaml: profiles.{profile}.efficiency")
    return found


def palettes() -> Path | None:
    """The folder of the Palette-and-Text data, or None where palettes are drawn.

    Raises:
        ValueError: If it is no text, or there is no such folder.
    """
    folder = read().get("palettes")
    if folder is not None and not (isinstance(folder, str) and (paths.root() / folder).is_dir()):
        raise ValueError(f"params.yaml: palettes = {folder!r}: there is no such folder")
    return paths.root() / folder if folder else None


def exhibit_run(paper: str) -> str:
    """Which variant fills the main rows of a paper's tables: `paper` or `released`.

    Raises:
        ValueError: If params.yaml does not say.
    """
    chosen = (read()["exhibits"].get(paper) or {}).get("exhibit_run")
    if chosen not in ("paper", "released"):
        raise ValueError(f"params.yaml: exhibits.{paper}.exhibit_run must be 'paper' or 'released', got {chosen!r}")
    return str(chosen)


def use_profile(profile: str) -> None:
    """Change the one word `profile:` of params.yaml and nothing else.

    Raises:
        ValueError: If the profile is unknown.
    """
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; choose one of {', '.join(PROFILES)}")
    path = paths.params()
    text, count = re.subn(r"(?m)^(profile:\s*)\w+", rf"\g<1>{profile}", path.read_text(), count=1)
    if not count:
        raise ValueError(f"{path.name} has no line 'profile: ...'")
    path.write_text(text)


def from_dict(values: Mapping[str, Any]) -> Run:
    """The Run that `Run.as_dict` or `Run.training` described; what is left out has its defaults.

    Raises:
        ValueError: If a key is unknown, missing, of the wrong type or out of range.
    """
    built = {group: _validate(kind, dict(values.get(group, {})), f"run.json: {group}") for group, kind in GROUPS.items()}
    run: Run = _validate(Run, {**values, **built}, "run.json")
    return run


def _check_datasets(run: Run, params: Mapping[str, Any], where: str) -> None:
    """Every dataset exists, and the profile holds it where it runs the run."""
    data, asked, known = run.data, run.evaluation, list(params["datasets"])
    if not asked.evaluate_on:
        raise ValueError(f"{where} lacks evaluate_on")
    named = [("train_on", name) for name in data.train_on] + [("validate_on", data.validate_on)]
    named += [(key, name) for key in ("evaluate_on", "hint_files", "pair_lists") for name in getattr(asked, key)]
    for key, name in named:
        if name not in known:
            raise ValueError(f"{where}.{key} names the dataset {name!r}{_suggest(name, known)}; datasets are: {', '.join(known)}")
        held = [other for other in known if run.profile in (params["datasets"][other].get("in") or [])]
        if run.present and key not in ("hint_files", "pair_lists") and name not in held:
            raise ValueError(
                f"{where}.{key} names the dataset {name!r}, which the profile {run.profile} does not hold; "
                f"it holds: {', '.join(held) or 'none'}"
            )


def _found(run: Run, where: str) -> Run:
    """A run that is measured on those of its datasets that are there."""
    if not run.present:
        return run
    absent = {name: dataset(name, profile=run.profile).absence_in(run.profile) for name in run.evaluation.evaluate_on}
    for key, name in [*(("train_on", name) for name in run.data.train_on), ("validate_on", run.data.validate_on)]:
        if why := dataset(name, profile=run.profile).absence_in(run.profile):
            raise ValueError(f"{where}.{key} names the dataset {name!r}: {why}")
    there = [name for name, why in absent.items() if not why]
    if not there:
        raise ValueError(f"{where}.evaluate_on names no dataset that is there: {'; '.join(str(why) for why in absent.values())}")
    return replace(run, evaluation=replace(run.evaluation, evaluate_on=there))


def _check_start(run: Run, params: Mapping[str, Any], where: str) -> None:
    """What a run starts from is made by the same profile: statistics of a dataset, or another run."""
    kind, _, rest = run.init.removeprefix("artifacts/").partition("/")
    if kind == "prepared":
        name = rest.removesuffix("/stats.json")
        table = params["datasets"]
    else:
        paper, _, name = rest.partition("/")
        table = (params["runs"].get(paper) or {}) if kind == "runs" else {}
    if not run.init.startswith("artifacts/") or name not in table:
        raise ValueError(
            f"{where}.init = {run.init!r}: neither artifacts/prepared/<dataset>/stats.json nor artifacts/runs/<paper>/<run> "
            f"of something in params.yaml{_suggest(name, list(table))}"
        )
    if run.present and run.profile not in (table[name].get("in") or []):
        raise ValueError(f"{where}.init = {run.init!r} is not made in the profile {run.profile}")


def _check_hint_files(run: Run, where: str) -> None:
    """An evaluation comes after hours of training."""
    needed = [folder_name(amount, run.hinting.hint_patch) for amount in run.evaluation.protocols if Amount.parse(amount).high > 0]
    for dataset, folder in run.evaluation.hint_files.items():
        for name in ("", *needed):
            if not (paths.root() / folder / name).is_dir():
                raise ValueError(f"{where}.hint_files.{dataset} = {folder!r}: there is no folder {Path(folder) / name}")


def _check_pair_lists(run: Run, params: Mapping[str, Any], where: str) -> None:
    """Of references that are files; those in data sets are looked for when the data sets are prepared."""
    asked = run.evaluation
    if asked.pair_lists and not asked.pairs:
        raise ValueError(f"{where}.pair_lists is read by nothing: pairs names no subset")
    if asked.pairs and asked.protocols != ["0"]:
        raise ValueError(f"{where}.protocols = {asked.protocols!r}: pairs are measured without hints, so it must be ['0']")
    for dataset, file in asked.pair_lists.items():
        if not (paths.root() / file).is_file():
            raise ValueError(f"{where}.pair_lists.{dataset} = {file!r}: there is no such file")
        listed = pairlist.read(paths.root() / file)
        if lacking := set(asked.pairs) - {pair.subset for pair in listed}:
            raise ValueError(f"{where}.pair_lists.{dataset} = {file!r} has no pair of the subset {min(lacking)}")
        named = dict.fromkeys(pair.reference for pair in listed if pair.reference.partition("/")[0] not in params["datasets"])
        missing = [name for name in named if not name.startswith("palettes/") and not (paths.root() / name).is_file()]
        if missing:
            raise ValueError(f"{where}.pair_lists.{dataset} = {file!r} names {len(missing)} missing files: {', '.join(missing)}")


def _check_sizes(run: Run, where: str) -> None:
    side = min(run.data.size, run.data.train_size or run.data.size)
    if run.hinting.hint_patch > side:
        raise ValueError(f"{where}.hint_patch = {run.hinting.hint_patch}: pictures of {side} pixels hold no such hint")
    if run.fitting.batch % run.fitting.accumulate:
        raise ValueError(f"{where}.batch = {run.fitting.batch} cannot be cut into {run.fitting.accumulate} parts (accumulate)")
    first = run.evaluation.protocols[0]
    if run.evaluation.repeats > 1 and (run.evaluation.hint_files or Amount.parse(first).high == 0):
        why = "hint_files hold one draw" if run.evaluation.hint_files else f"the first protocol {first!r} draws nothing"
        raise ValueError(f"{where}.repeats = {run.evaluation.repeats}: {why}, so it must be 1")


def _validate(kind: type, values: dict[str, Any], where: str) -> Any:  # noqa: ANN401  one of the dataclasses above
    values = {key: tuple(v) if key == "betas" and isinstance(v, list) else v for key, v in values.items()}
    try:
        return kind(**values)
    except ValidationError as error:
        raise ValueError("; ".join(_explain(problem, kind, where) for problem in error.errors())) from None


def _explain(problem: Mapping[str, Any], kind: type, where: str) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or kind.__name__
    shown = re.sub(r"^profiles\b", "in", key)
    if problem["type"] in ("missing", "missing_argument"):
        return f"{where} lacks {shown}"
    if "unexpected" in problem["type"]:
        return f"{where} has the unknown key {shown!r}{_suggest(key, [f.name for f in fields(kind)])}"
    told = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        told += _suggest(problem["input"], re.findall(r"'([^']*)'", problem["ctx"]["expected"]))
    return f"{where}.{shown} = {problem['input']!r}: {told}"


def _refuse_unknown(keys: Iterable[str], known: set[str], *, where: str) -> None:
    if unknown := sorted(set(keys) - known):
        raise ValueError(f"{where} has the unknown key {unknown[0]!r}{_suggest(unknown[0], sorted(known))}")


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

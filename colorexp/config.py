"""The only reader of params.yaml: YAML -> profile laid over run -> frozen dataclasses, or an error that names the key.

A run is a flat mapping. Keys that are no field of a dataclass below are the model's and the task's constructor arguments
(`Run.options`); `runs.build` binds them to those signatures, so that a misspelt one is named there. A profile's option for a
paper changes the runs that have that option.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode

from colorexp import paths
from colorexp.amount import Amount, folder_name

PROFILES = ("smoke", "cpu", "gpu", "paper")

Profile = Literal["smoke", "cpu", "gpu", "paper"]
View = Literal["whole", "squash", "crop", "resized_crop"]
Filter = Literal["none", "joint", "marginal"]
Metric = Literal[
    "psnr", "ssim", "boundary_psnr", "patch_error_variance", "cf_signed", "cf_abs", "chroma", "ab_error", "his",
    "lpips_alex", "lpips_vgg", "lpips_vgg_unit",
]  # fmt: skip
"""Measures that an evaluation knows; `evaluation` holds their functions."""
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Momentum = Annotated[float, Field(ge=0, lt=1)]

_strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _amount(text: str) -> str:
    Amount.parse(text)
    return text


def _distinct(names: list[str]) -> list[str]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} stands there twice")
    return names


HintAmount = Annotated[str, AfterValidator(_amount)]
Distinct = Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]


@dataclass(frozen=True, config=_strict, kw_only=True)
class Dataset:
    """One entry of `datasets`: where pictures come from and how `prepare` stores them."""

    name: str
    source: Literal["bundled", "scenes", "folder"]
    root: str
    """What it is made from, relative to the project: a folder of pictures, or the module that draws them."""
    profiles: list[Profile]
    seed: Seed
    size: Positive = 256
    """Stored short side in pixels (`fit: short`), or both sides (`fit: square`)."""
    fit: Literal["short", "square"] = "short"
    resample: Literal["lanczos", "bicubic", "area"] = "lanczos"
    max_pixels: Positive = 50_000_000
    min_side: Positive = 32
    gray: Literal["quarantine", "keep"] = "quarantine"
    """Pictures without colour teach nothing; `keep` them where only a colorization is wanted."""
    near_gray: Annotated[float, Field(gt=0)] = 10.0
    """|a| and |b| below this count as near gray in the joint filter, in ab units."""
    val: Share | Positive = 0.1
    test: Share | Positive = 0.1
    """Shares by hash of the name (folder), or numbers of pictures (scenes)."""
    train: Positive | None = None
    """Number of training pictures (scenes)."""
    splits: dict[Literal["train", "val", "test"], str] = field(default_factory=dict)
    """A folder, or a text file with one picture per line, per split, relative to `root`. What is named nowhere is for training;
    without `val`, its share is taken from training by hash. Replaces the split of everything by hash."""
    expect: dict[Literal["train", "val", "test"], int] = field(default_factory=dict)
    """Numbers of pictures that must come out, for data sets whose size is known."""
    shard: Positive = 256
    workers: Positive = 2

    @property
    def absence(self) -> str | None:
        """Why the active profile leaves this dataset out, or None."""
        profile = read()["profile"]
        if profile in self.profiles:
            return None
        return f"not run in this profile: dataset {self.name} belongs to {', '.join(self.profiles)}, the profile is {profile}"


@dataclass(frozen=True, config=_strict, kw_only=True)
class Data:
    """Which pictures a run sees, and how."""

    train_on: Annotated[dict[str, Positive], Field(min_length=1)]
    """Datasets, and how often each of their pictures is seen per epoch (photographs: crops)."""
    validate_on: str
    evaluate_on: Distinct
    size: Positive
    train_size: Positive | None = None
    """Side of training pictures where it differs from `size` (smaller crops train faster)."""
    train_view: View
    eval_view: View
    flip: bool = False
    near_gray_filter: Filter = "none"
    train_limit: Positive | None = None
    """Use only so many training pictures of each dataset."""


@dataclass(frozen=True, config=_strict, kw_only=True)
class Hinting:
    """Which colours are revealed to the network."""

    hints: HintAmount = "0"
    """Amount in training: `0.5%`, `10` or `0-128`; see `amount.Amount`."""
    hint_patch: Positive = 2
    hint_layout: Literal["free", "cells"] = "cells"
    protocols: Annotated[list[HintAmount], Field(min_length=1), AfterValidator(_distinct)] = field(default_factory=lambda: ["0"])
    """Amounts in evaluation; each is a row of the results."""
    hint_files: dict[str, str] = field(default_factory=dict)
    """Per dataset a folder with hint files by amount (`h2-n10/<image>.txt`), used in evaluation instead of seeded draws."""


@dataclass(frozen=True, config=_strict, kw_only=True)
class Fitting:
    """How a run is optimised."""

    epochs: Positive
    batch: Positive
    """Pictures per optimiser step, over all processes and accumulated parts."""
    accumulate: Positive = 1
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0)]
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    lr_end: Annotated[float, Field(ge=0)] = 0.0
    warmup: Annotated[float, Field(ge=0)] = 0.0
    """In epochs."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    monitor: str = "val/loss"
    monitor_mode: Literal["min", "max"] = "min"
    checkpoint_every: Positive = 50
    """Optimiser steps between checkpoints from which a killed training goes on."""


@dataclass(frozen=True, config=_strict, kw_only=True)
class Hardware:
    """What a run is computed on."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Positive | Literal["auto"] = 1
    num_nodes: Positive = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: Positive = 2
    """CPU threads per process. Bits depend on it, so it is pinned."""
    workers: Count = 0
    """Processes that load data."""


@dataclass(frozen=True, config=_strict, kw_only=True)
class Evaluation:
    """What is measured on test pictures."""

    metrics: list[Metric] = field(default_factory=lambda: ["psnr", "ssim", "cf_signed"])
    features: Literal["fid_tf", "fid_tv"] | None = None
    """Inception whose features are kept for set metrics."""
    samples: Count = 8
    """Pictures per dataset and protocol that are kept as PNG."""
    eval_batch: Positive = 16
    weights: str | None = None
    """Folder with pretrained backbones; torch's own download folder is looked at as well."""


GROUPS = {"data": Data, "hinting": Hinting, "fitting": Fitting, "hardware": Hardware, "evaluation": Evaluation}


@dataclass(frozen=True, config=_strict, kw_only=True)
class Efficiency:
    """How the efficiency stage measures; the sizes are the papers', whatever the profile."""

    repeats: Positive = 5
    """Timed rounds; the median is quoted."""
    everything: bool = True
    """Whether networks of runs that the profile leaves out are measured too."""
    threads: Positive = 2


@dataclass(frozen=True, config=_strict, kw_only=True)
class Run:
    """One trained variant, resolved for one profile."""

    name: str
    """`<paper>/<run>`."""
    profile: Profile
    profiles: list[Profile]
    """Where the run belongs; elsewhere its stages write that it was not run."""
    parent: str | None
    """The run it varies, without the paper."""
    init: str
    """What it starts from: the folder of another run, or prepared data (`artifacts/prepared/...`) and its seed."""
    seed: Seed
    model: str
    """`module:Class`."""
    task: str
    """`module:Class`."""
    options: dict[str, Any]
    """Constructor arguments of model and task, by name."""
    data: Data
    hinting: Hinting
    fitting: Fitting
    hardware: Hardware
    evaluation: Evaluation

    @property
    def paper(self) -> str:
        """The paper this run belongs to."""
        return self.name.split("/")[0]

    @property
    def present(self) -> bool:
        """Whether the active profile runs it."""
        return self.profile in self.profiles

    @property
    def absence(self) -> str | None:
        """Why it is not run, or None."""
        if self.present:
            return None
        return f"not run in this profile: {self.name} belongs to {', '.join(self.profiles)}, the profile is {self.profile}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for run.json, loggers and hashes."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """As a table, for notebooks."""
        rows = {key: value for key, value in self.as_dict().items() if key not in GROUPS}
        rows |= rows.pop("options") | {k: v for group in GROUPS for k, v in asdict(getattr(self, group)).items()}
        cells = "".join(f"<tr><th style='text-align:left'>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        return f"<table>{cells}</table>"


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
    _refuse_unknown(params, required | {"shared"}, where=path.name)
    if missing := required - params.keys():
        raise ValueError(f"{path.name} lacks {', '.join(sorted(missing))}")
    _check_shape(params, path.name)
    if params["profile"] not in PROFILES:
        raise ValueError(f"{path.name}: profile is {params['profile']!r}; choose one of {', '.join(PROFILES)}")
    if type(params["seed"]) is not int or not 0 <= params["seed"] < 2**32:
        raise ValueError(f"{path.name}: seed must be a whole number in 0..{2**32 - 1}, got {params['seed']!r}")
    return params


def _check_shape(params: Mapping[str, Any], file: str) -> None:
    """Mappings where mappings belong, and no block of a profile or exhibit that nothing reads."""
    for key in ("datasets", "runs", "profiles", "exhibits"):
        _mapping(params[key], f"{file}: {key}")
    for name, values in params["datasets"].items():
        _mapping(values, f"{file}: datasets.{name}")
    for paper, table in params["runs"].items():
        for run, values in _mapping(table, f"{file}: runs.{paper}").items():
            _mapping(values, f"{file}: runs.{paper}.{run}")
    _refuse_unknown(params["exhibits"], set(params["runs"]), where=f"{file}: exhibits")
    _refuse_unknown(params["profiles"], set(PROFILES), where=f"{file}: profiles")
    for profile, overrides in params["profiles"].items():
        where = f"{file}: profiles.{profile}"
        _refuse_unknown(_mapping(overrides, where), {"datasets", "efficiency", *params["runs"]}, where=where)
        for key, values in overrides.items():
            _mapping(values or {}, f"{where}.{key}")
        _refuse_unknown(overrides.get("datasets") or {}, set(params["datasets"]), where=f"{where}.datasets")
        for name, values in (overrides.get("datasets") or {}).items():
            _mapping(values or {}, f"{where}.datasets.{name}")


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
    _check_sizes(run, where)
    if run.present:
        _check_hint_files(run.hinting, where)
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
    """The Run that `Run.as_dict` described, for example out of run.json."""
    built = {group: _validate(kind, dict(values[group]), f"run.json: {group}") for group, kind in GROUPS.items()}
    run: Run = _validate(Run, {**values, **built}, "run.json")
    return run


def _check_datasets(run: Run, params: Mapping[str, Any], where: str) -> None:
    """Every dataset exists, and the profile holds it where it runs the run."""
    data, known = run.data, list(params["datasets"])
    named = [("train_on", name) for name in data.train_on] + [("validate_on", data.validate_on)]
    named += [("evaluate_on", name) for name in data.evaluate_on] + [("hint_files", name) for name in run.hinting.hint_files]
    for key, name in named:
        if name not in known:
            raise ValueError(f"{where}.{key} names the dataset {name!r}{_suggest(name, known)}; datasets are: {', '.join(known)}")
        held = [other for other in known if run.profile in (params["datasets"][other].get("in") or [])]
        if run.present and key != "hint_files" and name not in held:
            raise ValueError(
                f"{where}.{key} names the dataset {name!r}, which the profile {run.profile} does not hold; "
                f"it holds: {', '.join(held) or 'none'}"
            )


def _check_hint_files(hinting: Hinting, where: str) -> None:
    """An evaluation comes after hours of training."""
    needed = [folder_name(amount, hinting.hint_patch) for amount in hinting.protocols if Amount.parse(amount).high > 0]
    for dataset, folder in hinting.hint_files.items():
        for name in ("", *needed):
            if not (paths.root() / folder / name).is_dir():
                raise ValueError(f"{where}.hint_files.{dataset} = {folder!r}: there is no folder {Path(folder) / name}")


def _check_sizes(run: Run, where: str) -> None:
    side = min(run.data.size, run.data.train_size or run.data.size)
    if run.hinting.hint_patch > side:
        raise ValueError(f"{where}.hint_patch = {run.hinting.hint_patch}: pictures of {side} pixels hold no such hint")
    if run.fitting.batch % run.fitting.accumulate:
        raise ValueError(f"{where}.batch = {run.fitting.batch} cannot be cut into {run.fitting.accumulate} parts (accumulate)")


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

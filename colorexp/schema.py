"""What params.yaml may say: every key with its type, range and default. `config` reads it; nothing here reads a file."""

from dataclasses import asdict, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from colorexp.amount import Amount

BUNDLED = "data/bundled"
"""Where the photographs of the package lie, relative to the project."""

PROFILES = ("smoke", "cpu", "gpu", "paper")

Profile = Literal["smoke", "cpu", "gpu", "paper"]
View = Literal["whole", "squash", "crop", "resized_crop"]
Filter = Literal["none", "joint", "marginal"]
Metric = Literal[
    "psnr", "ssim", "boundary_psnr", "patch_error_variance", "cf_signed", "cf_abs", "chroma", "ab_error", "his",
    "lpips_alex", "lpips_vgg", "lpips_vgg_unit", "aesthetics",
]  # fmt: skip
"""Measures that an evaluation knows; `evaluation` holds their functions."""
ReferenceKind = Literal["own", "own_palette", "nearest", "same_class"]
Subset = Literal["related", "independent"]
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
Distinct = Annotated[list[str], AfterValidator(_distinct)]


@dataclass(frozen=True, config=_strict, kw_only=True)
class Dataset:
    """One entry of `datasets`: where pictures come from and how `prepare` stores them."""

    name: str
    source: Literal["bundled", "scenes", "folder"]
    root: str
    """What it is made from, relative to the project: a folder of pictures, or the module that draws them."""
    profiles: Annotated[list[Profile], Field(min_length=1)]
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
    """|a| and |b| below this count as near gray in the joint filter, in ab units.

    Unspecified: the user-guided paper says "close to zero" (section 4.1).
    """
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
    optional: bool = False
    """Left out, and said so, as long as `root` names the bundled photographs, which stand there until a folder is given."""
    shard: Positive = 256
    workers: Positive = 2

    def absence_in(self, profile: str) -> str | None:
        """Why a profile leaves this dataset out, or None."""
        if profile in self.profiles:
            unset = self.optional and self.source == "folder" and self.root == BUNDLED
            return f"not run in this profile: datasets.{self.name}.root names no folder of these pictures yet" if unset else None
        return f"not run in this profile: dataset {self.name} belongs to {', '.join(self.profiles)}, the profile is {profile}"


@dataclass(frozen=True, config=_strict, kw_only=True)
class Data:
    """Which pictures a run sees, and how."""

    train_on: Annotated[dict[str, Positive], Field(min_length=1)]
    """Datasets, and how often each of their pictures is seen per epoch (photographs: crops)."""
    validate_on: str
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


@dataclass(frozen=True, config=_strict, kw_only=True)
class Referencing:
    """Which reference pictures a run colours after."""

    references: dict[ReferenceKind, Annotated[float, Field(gt=0)]] = field(default_factory=dict)
    """Kinds in training, with weights: warped copies of the picture itself, palettes of its own colours, its nearest neighbour from
    the stage `pairs`, another picture with something of the same class. Empty where training needs no reference."""
    reference_warp: Share = 0.5
    """Strength with which copies are cut and bent; 0 leaves them as the picture is."""
    reference_size: Positive = 256
    """Side of the squares that references are brought to.

    Deviation: the paper crops pictures to a side of 256; a reference is squashed, so that no colour of it is left out.
    """


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
    """What is measured on test pictures. A trained run keeps none of it: evaluations ask params.yaml."""

    evaluate_on: Distinct = field(default_factory=list)
    """Datasets."""
    protocols: Annotated[list[HintAmount], Field(min_length=1), AfterValidator(_distinct)] = field(default_factory=lambda: ["0"])
    """Amounts of hints; each is a row of the results."""
    hint_files: dict[str, str] = field(default_factory=dict)
    """Per dataset a folder with hint files by amount (`h2-n10/<image>.txt`), used instead of seeded draws."""
    pairs: Annotated[list[Subset], AfterValidator(_distinct)] = field(default_factory=list)
    """Test pictures are coloured after references of these subsets, each a row of the results, instead of with hints."""
    pair_lists: dict[str, str] = field(default_factory=dict)
    """Per dataset a list of pairs (`data.pairlist`), used instead of that of the stage `pairs`."""
    ways: Distinct = field(default_factory=list)
    """Further ways of the task to colour pictures, beside its usual one."""
    metrics: list[Metric] = field(default_factory=lambda: ["psnr", "ssim", "cf_signed"])
    features: Literal["fid_tf", "fid_tv"] | None = None
    """Inception whose features are kept for set metrics."""
    features_of: Positive | None = None
    """Pictures per dataset whose features are kept, from the first; all of them if None."""
    samples: Count = 8
    """Pictures per dataset and protocol that are kept as PNG."""
    eval_batch: Positive = 16
    repeats: Positive = 1
    """Draws of hints under the first protocol, for the spread between them; the other protocols have one."""
    weights: str | None = None
    """Folder with pretrained backbones; torch's own download folder is looked at as well."""

    @property
    def conditions(self) -> list[str]:
        """What the column `protocol` of the results holds: subsets of pairs, else amounts of hints."""
        return [*self.pairs] or self.protocols


GROUPS = {
    "data": Data,
    "hinting": Hinting,
    "referencing": Referencing,
    "fitting": Fitting,
    "hardware": Hardware,
    "evaluation": Evaluation,
}


@dataclass(frozen=True, config=_strict, kw_only=True)
class Efficiency:
    """How the efficiency stage measures; the sizes are the papers', whatever the profile."""

    repeats: Positive = 5
    """Timed rounds; the median is quoted."""
    everything: bool = True
    """Whether what takes long is measured too: networks of runs that the profile leaves out, training steps, start-up."""
    threads: Positive = 2
    pictures: Positive = 100
    """That DISCO's Table 5 and Figure 13 take means over."""


@dataclass(frozen=True, config=_strict, kw_only=True)
class Run:
    """One trained variant, resolved for one profile."""

    name: str
    """`<paper>/<run>`."""
    profile: Profile
    profiles: Annotated[list[Profile], Field(min_length=1)]
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
    referencing: Referencing
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
        """Plain values, for loggers and hashes."""
        return asdict(self)

    def training(self) -> dict[str, Any]:
        """Plain values without those of the evaluation: what a trained run depends on, and its run.json."""
        return {key: value for key, value in self.as_dict().items() if key != "evaluation"}

    def _repr_html_(self) -> str:
        """As a table, for notebooks."""
        rows = {key: value for key, value in self.as_dict().items() if key not in GROUPS}
        rows |= rows.pop("options") | {k: v for group in GROUPS for k, v in asdict(getattr(self, group)).items()}
        cells = "".join(f"<tr><th style='text-align:left'>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        return f"<table>{cells}</table>"

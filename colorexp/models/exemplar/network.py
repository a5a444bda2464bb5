"""The exemplar network: colours of a reference and of a database, chosen by attention and joined by a gate.

Source: Yes, Attention Is All You Need, for Exemplar based Colorization (Yin et al. 2021), section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorexp import color
from colorexp.models.exemplar.blocks import ColourEncoder, Extractor, Maps, halved, initialise
from colorexp.models.exemplar.correspondence import Confidence, Correspondence, Found, attention
from colorexp.models.exemplar.database import Assigned, Bins, Database, physical
from colorexp.models.exemplar.decoder import Decoder
from colorexp.nn.padding import pad_to_multiple

MULTIPLE = 16
"""Of pixels that a pixel of the deepest maps stands for."""
CELL = 4
"""Pixels along a position of the correspondence."""
HIDDEN = 32
"""Hidden channels of a confidence per channel at full resolution."""

VariantName = Literal["released", "paper"]
Sources = Literal["none", "reference", "database", "both"]
Fuse = Literal["gate", "sum"]


@dataclass(frozen=True)
class Variant:
    """Where the released code and the paper's text part."""

    lightness: bool
    """Queries and keys of the reference hold lightness too."""
    prior: Literal["gate", "multiply"]
    """How the histogram reaches the database, see `Database`."""
    own_confidence: bool
    """The database's confidence is read from the database's correspondence, not from the reference's."""
    gain: float | None
    """Confidences are squashed to 0..1 and multiplied by this before the gate's softmax; None takes them as they are."""
    any_reference: bool
    """References keep their size."""
    scaled_rows: bool
    """Confidences see correspondences times the square root of their number, of which the weights sum to one: at paper size they
    would otherwise be read from numbers about 1/4096, which a network learns to tell apart last."""


VARIANTS: Mapping[str, Variant] = {
    "released": Variant(lightness=False, prior="gate", own_confidence=False, gain=5.0, any_reference=False, scaled_rows=False),
    "paper": Variant(lightness=True, prior="multiply", own_confidence=True, gain=None, any_reference=True, scaled_rows=True),
}


class Colored(NamedTuple):
    """Colours, and where they came from. Sides that do not divide are rounded up."""

    ab_n: tuple[Tensor, Tensor, Tensor]
    """ab / 110 in (-1, 1) at a quarter, a half and the whole of the resolution; the last is the result."""
    gate: Tensor | None
    """alpha^r and alpha^d, which sum to one. Shape (B, 2, H/4, W/4)."""
    reference_ab_n: Tensor | None
    """c^r, colours found in the reference. Shape (B, 2, H/4, W/4)."""
    database_ab_n: Tensor | None
    """c^d, colours chosen from the database. Shape (B, 2, H/4, W/4)."""
    likelihood: Tensor | None
    """Of the database's colours given the target alone. Shape (B, bins, H/8, W/8)."""
    posterior: Tensor | None
    """Of the database's colours given the reference's histogram too. Shape (B, bins, H/8, W/8)."""


class Reference(NamedTuple):
    """What the network takes from a reference."""

    key: Tensor | None
    """Unit-length features of its positions; None where its places are not looked at. Shape (B, D, m, n)."""
    ab_n: Tensor
    """Colours of its positions. Shape (B, 2, m, n)."""
    histogram: Tensor | None
    """Shares of the database's colours; None without a database. Shape (B, bins)."""
    gray: Tensor
    """Bool, it has no colour to give. Shape (B,)."""


class Exemplar(nn.Module):
    """Colours a picture like a reference: from the reference where it shows the same things, else from a database of colours.

    A reference of visible colour nowhere (`color.is_gray`) is not used: its histogram counts as uniform and all colours come from
    the database. Where there is no database, gray is what the reference gives.

    Args:
        width: Channels at full resolution; the deepest maps have sixteen times as many.
        variant: `released`, what the published weights compute, or `paper`, what the text says; see `VARIANTS`. Released
            confidences know `(reference_side / 4)^2` reference positions: references of any other size are resampled to a square.
            The paper's variant takes references as they are, resampled only to the nearest multiples of 16 pixels.
        bins: Colours of the database.
        sources: Where colours may come from. `none` is the first training stage and colours automatically; `reference` is the
            semantic colour module alone, `database` the database colour module alone.
        fuse: `gate` weights the two sources at every position; `sum` adds both.
        prior: Whether the reference's histogram reaches the database.
        reference_side: Pixels along the references that confidences are made for, a multiple of 16.

    Raises:
        ValueError: If a number does not fit, a name is unknown, or an option concerns a source that is not there.

    Source: section 3; variants of sections 4.2 (training in two stages) and 4.5 (ablations).

    Deviation: the released checkpoint holds another 0.51 M parameters, a classifier of 1000 categories that no output depends on.

    Unspecified: in what unit confidences see correspondences, whose weights sum to one. The paper's variant multiplies them by the
        square root of their number; and its database is judged by the likelihood, before the reference's histogram changes it.

    Unspecified: whether confidences are squashed before the gate. The paper's variant does not: squashed to 0..1 no gate could
        leave 0.27..0.73. The released code squashes and multiplies by 5, which allows 0.0067..0.9933.
    """

    def __init__(
        self,
        *,
        width: int = 32,
        variant: VariantName = "released",
        bins: Bins = 198,
        sources: Sources = "both",
        fuse: Fuse = "gate",
        prior: bool = True,
        reference_side: int = 256,
    ) -> None:
        super().__init__()
        _check_options(width, reference_side, variant=variant, sources=sources, fuse=fuse, prior=prior)
        self.variant, self.sources, self.fuse, self.reference_side = VARIANTS[variant], sources, fuse, reference_side
        looks, knows = sources in ("reference", "both"), sources in ("database", "both")
        gated = looks and knows and fuse == "gate"
        own, hidden, grid = self.variant.own_confidence, HIDDEN * width, reference_side // CELL
        judges = (1 if own else 2) if gated else 0
        lightness, way = self.variant.lightness, self.variant.prior if prior else None
        self.extractor, self.decoder = Extractor(width=width), Decoder(width=width)
        self.correspondence = (
            Correspondence(lightness=lightness, judges=judges, grid=grid, hidden=hidden, scaled=self.variant.scaled_rows)
            if looks
            else None
        )
        self.reference_encoder = ColourEncoder(width=width) if looks else None
        self.database = Database(width=width, bins=bins, prior=way) if knows else None
        self.database_encoder = ColourEncoder(width=width) if knows else None
        self.database_confidence = Confidence(positions=bins, hidden=hidden) if gated and own else None
        initialise(self, width)

    def forward(self, L_n: Tensor, reference_L_n: Tensor | None = None, reference_ab_n: Tensor | None = None) -> Colored:
        """Colour pictures like their references.

        Args:
            L_n: (L - 50) / 50. Shape (B, 1, H, W), any H and W.
            reference_L_n: Of the references. Shape (B, 1, h, w), any h and w.
            reference_ab_n: ab / 110. Shape (B, 2, h, w).

        Returns:
            Colours and where they came from; what a variant lacks is None.

        Raises:
            ValueError: If arguments do not fit each other, or references are missing that the network needs.

        Source: Algorithm 1 and section 3.2.
        """
        return self.colorize(L_n, reference_L_n, reference_ab_n)

    def colorize(
        self, L_n: Tensor, reference_L_n: Tensor | None, reference_ab_n: Tensor | None, *, only: str | None = None
    ) -> Colored:
        """What `forward` does; with `only`, `reference` or `database`, all weight is that source's.

        Raises:
            ValueError: As `forward`; or if the network has no two sources to choose from, or `only` names none of them.
        """
        if only is not None and (self.sources != "both" or only not in ("reference", "database")):
            raise ValueError(f"only must be 'reference' or 'database' of a network with both, got {only!r} of {self.sources!r}")
        _check_lightness(L_n, "L_n")
        padded = pad_to_multiple(L_n, MULTIPLE)
        maps = self.extractor(padded)
        size = (L_n.shape[2], L_n.shape[3])
        if self.sources == "none":
            return _cropped(Colored(self.decoder(maps, None), None, None, None, None, None), size)
        reference = self.describe(*_checked_reference(L_n, reference_L_n, reference_ab_n))
        return _cropped(self.transfer(maps, padded, reference, only=only), size)

    def describe(self, reference_L_n: Tensor, reference_ab_n: Tensor) -> Reference:
        """What the network takes from references (B, 1, h, w) and (B, 2, h, w); it can serve for several targets.

        Deviation: the released code shrinks references before it converts them to Lab; here their chroma is averaged.
        """
        size = self._reference_size((reference_ab_n.shape[2], reference_ab_n.shape[3]))
        ab_n, gray = _resampled(reference_ab_n, size), color.is_gray(physical(reference_ab_n))
        histogram = self.database.histogram(ab_n, gray) if self.database is not None else None
        key = None
        if self.correspondence is not None:
            reference_L_n = _resampled(reference_L_n, size)
            key = self.correspondence.features(self.extractor(reference_L_n), reference_L_n)
        return Reference(key, F.avg_pool2d(ab_n, CELL), histogram, gray)

    def transfer(self, maps: Maps, L_n: Tensor, reference: Reference, *, only: str | None = None) -> Colored:
        """Colour targets of the feature maps `maps` and the padded lightness `L_n`, with `only` from one of two sources."""
        found: Found | None = None
        assigned: Assigned | None = None
        if self.correspondence is not None:
            assert reference.key is not None
            found = self.correspondence(self.correspondence.features(maps, L_n), reference.key, reference.ab_n)
        if self.database is not None:
            assert reference.histogram is not None
            assigned = self.database(maps.conv6, reference.histogram)
        alpha = self._weights(found, assigned, reference.gray)
        if only is not None and alpha is not None:
            alpha = alpha.new_tensor([only == "reference", only == "database"]).view(1, 2, 1, 1).expand_as(alpha)
        additions = self._added(found, assigned, alpha)
        return Colored(
            self.decoder(maps, additions),
            alpha if self.fuse == "gate" else None,
            found.ab_n if found else None,
            assigned.ab_n if assigned else None,
            assigned.likelihood if assigned else None,
            assigned.posterior if assigned else None,
        )

    def _weights(self, found: Found | None, assigned: Assigned | None, gray: Tensor) -> Tensor | None:
        """Of both sources, (B, 2, h, w); None where there is only one.

        Source: section 3.2.3, eq. 5.
        """
        if found is None or assigned is None:
            return None
        if self.fuse == "sum":
            alpha = torch.ones_like(found.ab_n)
        else:
            confidence = found.confidence
            if self.database_confidence is not None:
                seen = assigned.likelihood * assigned.likelihood.shape[1] ** 0.5
                own = self.database_confidence(seen.movedim(1, -1)).movedim(-1, 1)
                confidence = torch.cat([confidence, F.interpolate(own, scale_factor=2.0, mode="bilinear")], 1)
            if self.variant.gain is not None:
                confidence = self.variant.gain * confidence.sigmoid()
            alpha = confidence.softmax(1)
        database_alone = alpha.new_tensor([0, 1]).view(1, 2, 1, 1)
        return torch.where(gray[:, None, None, None], database_alone, alpha)

    def _added(self, found: Found | None, assigned: Assigned | None, alpha: Tensor | None) -> list[Tensor]:
        """Features of the found colours at 1/16, 1/8 and 1/4, weighted and added."""
        parts = []
        if found is not None and self.reference_encoder is not None:
            parts.append(self.reference_encoder(found.ab_n))
        if assigned is not None and self.database_encoder is not None:
            parts.append(self.database_encoder(assigned.ab_n))
        if alpha is None:
            return list(parts[0])
        weights = (halved(halved(alpha)), halved(alpha), alpha)
        return [r * w[:, :1] + d * w[:, 1:] for r, d, w in zip(*parts, weights, strict=True)]

    @torch.no_grad()
    def matches(self, L_n: Tensor, reference_L_n: Tensor, rows: Sequence[int], cols: Sequence[int]) -> Tensor:
        """Where in the reference some pixels of the target look for their colour.

        Args:
            L_n: (L - 50) / 50. Shape (B, 1, H, W).
            reference_L_n: Of the references. Shape (B, 1, h, w).
            rows: Pixels from the top, in [0, H); one per chosen pixel.
            cols: Pixels from the left, in [0, W).

        Returns:
            Weights that sum to one over the reference's positions, each 4 pixels of the reference (as resampled, see `variant`).
                Shape (B, N, m, n).

        Raises:
            ValueError: If the network looks at no reference, or a pixel lies outside of the picture.

        Source: section 3.2.1.
        """
        if self.correspondence is None:
            raise ValueError(f"a network with sources {self.sources!r} matches nothing; it takes 'reference' or 'both'")
        _check_lightness(L_n, "L_n")
        _check_lightness(reference_L_n, "reference_L_n")
        height, width = L_n.shape[2:]
        outside = [(r, c) for r, c in zip(rows, cols, strict=True) if not (0 <= r < height and 0 <= c < width)]
        if outside:
            raise ValueError(f"pixels must lie in the {height}x{width} of the target, got {outside}")
        reference_L_n = _resampled(reference_L_n, self._reference_size((reference_L_n.shape[2], reference_L_n.shape[3])))
        padded = pad_to_multiple(L_n, MULTIPLE)
        query, key = (self.correspondence.features(self.extractor(x), x) for x in (padded, reference_L_n))
        chosen = query[:, :, [r // CELL for r in rows], [c // CELL for c in cols]].transpose(1, 2)
        return attention(chosen, key.flatten(2)).unflatten(2, key.shape[2:])

    def _reference_size(self, size: tuple[int, int]) -> tuple[int, int]:
        if not self.variant.any_reference:
            return self.reference_side, self.reference_side
        height, width = (max(1, round(side / MULTIPLE)) * MULTIPLE for side in size)
        return height, width

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Take trained weights of an `Exemplar`, for instance of the first training stage, whose sources may differ.

        Args:
            state: What `Exemplar.state_dict` gives. Parts that this network lacks are left out; parts that `state` lacks keep the
                weights of this network's own seed. Extractor and decoder must be there.

        Raises:
            ValueError: If a name is missing, left over or of another shape; every such name is listed.

        Source: section 4.2.
        """
        own = self.state_dict()
        given = {name: tensor for name, tensor in state.items() if name in own}
        problems = [f"missing {name}" for name in own.keys() - given.keys() if _part(name) in REQUIRED]
        problems += [f"unexpected {name}" for name in state.keys() - own.keys() if _part(name) not in VARYING]
        problems += [
            f"{name} is {tuple(given[name].shape)}, not {tuple(own[name].shape)}"
            for name in own.keys() & given.keys()
            if given[name].shape != own[name].shape
        ]
        if problems:
            raise ValueError(f"this is no Exemplar to start from: {'; '.join(sorted(problems))}")
        self.load_state_dict(given, strict=False)


REQUIRED = {"extractor", "decoder"}
VARYING = {"correspondence", "reference_encoder", "database", "database_encoder", "database_confidence"}
"""Parts that some variants lack."""


def _part(name: str) -> str:
    return name.partition(".")[0]


def _resampled(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", antialias=True)


def _cropped(colored: Colored, size: tuple[int, int]) -> Colored:
    """Without what padding added to a picture of `size`."""

    def crop(x: Tensor | None, step: int) -> Tensor | None:
        return None if x is None else x[..., : -(-size[0] // step), : -(-size[1] // step)]

    quarter, half, full = colored.ab_n
    return Colored(
        (crop(quarter, 4), crop(half, 2), crop(full, 1)),  # type: ignore[arg-type]
        *(crop(x, 4) for x in (colored.gate, colored.reference_ab_n, colored.database_ab_n)),
        *(crop(x, 8) for x in (colored.likelihood, colored.posterior)),
    )


def _check_options(width: int, reference_side: int, *, variant: str, sources: str, fuse: str, prior: bool) -> None:
    if width < 1:
        raise ValueError(f"width must be positive, got {width}")
    if reference_side < MULTIPLE or reference_side % MULTIPLE:
        raise ValueError(f"reference_side must be a positive multiple of {MULTIPLE}, got {reference_side}")
    choices = {"variant": (variant, VariantName), "sources": (sources, Sources), "fuse": (fuse, Fuse)}
    for name, (value, accepted) in choices.items():
        if value not in get_args(accepted):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(accepted)))}, got {value!r}")
    if fuse != "gate" and sources != "both":
        raise ValueError(f"with sources {sources!r} there is nothing to fuse: leave fuse at 'gate', got {fuse!r}")
    if not prior and sources not in ("database", "both"):
        raise ValueError(f"with sources {sources!r} there is no database to constrain: leave prior at True, got {prior}")


def _check_lightness(L_n: Tensor, name: str) -> None:
    if L_n.ndim != 4 or L_n.shape[1] != 1 or 0 in L_n.shape or not L_n.is_floating_point():
        raise ValueError(f"{name} must be a floating (B, 1, H, W), got {L_n.dtype} {tuple(L_n.shape)}")


def _checked_reference(L_n: Tensor, reference_L_n: Tensor | None, reference_ab_n: Tensor | None) -> tuple[Tensor, Tensor]:
    if reference_L_n is None or reference_ab_n is None:
        raise ValueError("this network colours by references: reference_L_n and reference_ab_n are needed, got None")
    _check_lightness(reference_L_n, "reference_L_n")
    batch, _, height, width = reference_L_n.shape
    if batch != len(L_n):
        raise ValueError(f"every target needs its reference: {len(L_n)} targets, got {batch} references")
    if tuple(reference_ab_n.shape) != (batch, 2, height, width):
        raise ValueError(f"reference_ab_n must be {(batch, 2, height, width)}, got {tuple(reference_ab_n.shape)}")
    return reference_L_n, reference_ab_n

"""DISCO: colours of a few anchors first, then those of every pixel given the anchors.

Source: Disentangled Image Colorization via Global Anchors, sections 3 to 5.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from colorexp.models.disco.anchors import (
    Anchor,
    Located,
    distinct_colours,
    draw_colours,
    list_anchors,
    locate_at_random,
    locate_by_clusters,
    set_anchors,
)
from colorexp.models.disco.body import Coloured, DiscoBody, Locate, Seen, check_choice, grid_like
from colorexp.models.disco.transformer import Modelled
from colorexp.nn import superpixels


class Disco(DiscoBody):
    """Dual-branch colorization: a modeler of anchor colours and a generator of all colours, over soft superpixels.

    In training the anchors are the largest superpixels of clusters of true colour and carry their true bins. In inference they are
    found in the modeler's features and carry colours of the modeler's distributions, or of the user: `colorize` and its kin, to be
    called in eval mode.

    Args and variants are those of `DiscoBody`.

    Source: sections 3 and 4.
    """

    def forward(self, L_n: Tensor, ab_n: Tensor, generators: Sequence[Generator]) -> Coloured:
        """Colour pictures from their true anchor colours, for training.

        Args:
            L_n: (L - 50) / 50. Shape (B, 1, H, W), any H and W.
            ab_n: The truth, ab / 110. Shape (B, 2, H, W).
            generators: One per picture, for where the anchors are.

        Returns:
            Everything that losses need, `target` included.

        Raises:
            ValueError: If arguments do not fit each other.

        Source: section 4.3 and eq. 4, 5.
        """
        seen = self.look(L_n)
        truth_n, target = self.truth(ab_n, seen)
        modelled = self.model(seen)
        located = self._located(seen, truth_n, self.anchors, generators, at_random=self.locate == "random")
        return self.generate(seen, modelled, located, target)._replace(target=target)

    @torch.no_grad()
    def colorize(
        self,
        L_n: Tensor,
        generators: Sequence[Generator],
        *,
        anchors: int | None = None,
        locate: Locate | None = None,
        ab_n: Tensor | None = None,
    ) -> Coloured:
        """Colour pictures automatically: every anchor gets its most probable colour.

        Args:
            L_n: (L - 50) / 50. Shape (B, 1, H, W), any H and W.
            generators: One per picture, for where the anchors are.
            anchors: How many to look for, instead of the number it was trained with; at least 1. Pictures with fewer distinct
                superpixels have fewer.
            locate: Where to look for them, instead of the network's own choice.
            ab_n: The truth, ab / 110, for anchors that are located by the "truth" and for no others. Shape (B, 2, H, W).

        Raises:
            ValueError: If arguments do not fit each other or the network.

        Source: section 4.2; Figures 11 and 12 for other numbers of anchors, Table 4 for the truth.
        """
        seen, modelled, located = self._construct(L_n, generators, anchors, ab_n, locate)
        index = grid_like(modelled.logits, seen).argmax(1) if modelled else torch.zeros_like(located.mask[:, 0], dtype=torch.int64)
        return self.generate(seen, modelled, located, index)

    @torch.no_grad()
    def colorize_from_truth(
        self, L_n: Tensor, ab_n: Tensor, generators: Sequence[Generator], *, anchors: int | None = None
    ) -> Coloured:
        """As `colorize`, but anchors get their true colours; where they are is still the network's choice.

        Source: section 5.3, Table 3, "Ours*".
        """
        self._needs_anchors()
        seen, modelled, located = self._construct(L_n, generators, anchors, ab_n if self.locate == "truth" else None)
        target = self.truth(ab_n, seen)[1]
        return self.generate(seen, modelled, located, target)._replace(target=target)

    @torch.no_grad()
    def colorize_diverse(
        self, L_n: Tensor, generators: Sequence[Generator], *, anchors: int | None = None, ab_n: Tensor | None = None
    ) -> list[Coloured]:
        """Three different colorings, the first that of `colorize`; see `distinct_colours`. Arguments as there.

        Source: section 5.2, Figures 8 and 9.
        """
        self._needs_anchors()
        seen, modelled, located = self._construct(L_n, generators, anchors, ab_n)
        assert modelled is not None
        three = distinct_colours(grid_like(modelled.logits, seen), self.centres_n)
        return [self.generate(seen, modelled, located, index) for index in three]

    @torch.no_grad()
    def sample(
        self,
        L_n: Tensor,
        generators: Sequence[Generator],
        *,
        count: int = 1,
        temperature: float = 1.0,
        anchors: int | None = None,
        ab_n: Tensor | None = None,
    ) -> list[Coloured]:
        """`count` times as `colorize`, but the same anchors get colours that are drawn from the modeler's distributions.

        A `temperature` below 1 sharpens them.

        Source: section 4.3.
        """
        self._needs_anchors()
        seen, modelled, located = self._construct(L_n, generators, anchors, ab_n)
        assert modelled is not None
        logits = grid_like(modelled.logits, seen)
        drawn = [draw_colours(logits, temperature, generators) for _ in range(count)]
        return [self.generate(seen, modelled, located, index) for index in drawn]

    @torch.no_grad()
    def colorize_with(self, L_n: Tensor, anchors: Sequence[Sequence[Anchor]]) -> Coloured:
        """Colour pictures from anchors that somebody chose; `anchors_of` writes down those of a picture, to begin with.

        Args:
            L_n: (L - 50) / 50. Shape (B, 1, H, W), any H and W.
            anchors: Any number per picture, also none. Each colours the superpixel that its pixel belongs to, in the nearest bin;
                of two in one superpixel the later counts.

        Raises:
            ValueError: If an anchor lies outside of its picture or its colour outside of the gamut, arguments do not fit each
                other, or the network has no anchor branch.

        Source: section 5.2, controllable colorization, Figure 9.
        """
        self._needs_anchors()
        seen = self.look(L_n)
        owners = superpixels.labels(seen.affinity, cell=self.cell)
        located, index = set_anchors(anchors, owners, (seen.tokens.shape[2], seen.tokens.shape[3]), self.centres_n)
        return self.generate(seen, self.model(seen), located, index)

    def anchors_of(self, coloured: Coloured) -> list[list[Anchor]]:
        """The anchors of every picture, for `colorize_with`: change the list to move, remove, add or recolour some."""
        owners = superpixels.labels(coloured.affinity, cell=self.cell)
        return list_anchors(coloured.anchor_mask, coloured.anchor_index, owners, self.centres_n)

    def _construct(
        self,
        L_n: Tensor,
        generators: Sequence[Generator],
        anchors: int | None,
        ab_n: Tensor | None,
        locate: Locate | None = None,
    ) -> tuple[Seen, Modelled | None, Located]:
        """Anchor construction in inference."""
        locate = locate or self.locate
        check_choice("locate", locate, Locate)
        if (ab_n is not None) != (locate == "truth"):
            raise ValueError(f"ab_n is for anchors that are located by the truth, and needed there; they are by {locate!r}")
        if anchors is not None or locate != self.locate:
            self._needs_anchors()
            if anchors is not None and not (isinstance(anchors, int) and anchors >= 1):
                raise ValueError(f"anchors must be a whole number, at least 1, got {anchors}")
        seen = self.look(L_n)
        modelled = self.model(seen)
        features = grid_like(modelled.features, seen) if modelled else seen.tokens
        points = features if ab_n is None else self.truth(ab_n, seen)[0]
        return seen, modelled, self._located(seen, points, anchors or self.anchors, generators, at_random=locate == "random")

    def _located(
        self, seen: Seen, points: Tensor, count: int, generators: Sequence[Generator], *, at_random: bool = False
    ) -> Located:
        if len(generators) != len(seen.L_n):
            raise ValueError(f"every picture needs its own generator: {len(seen.L_n)} pictures, got {len(generators)} generators")
        sizes = superpixels.sizes(seen.affinity.float(), cell=self.cell)  # counts of pixels, which half precision would round
        if not count:
            return Located(torch.zeros_like(sizes, dtype=torch.bool), None)
        if at_random:
            return locate_at_random(sizes, count, generators)
        return locate_by_clusters(points, sizes, count, generators)

    def _needs_anchors(self) -> None:
        if not self.anchors:
            raise ValueError("this network has no anchor branch (anchors 0)")

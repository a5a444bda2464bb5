"""How many hints a picture gets: the syntax of params.yaml, and its meaning. Starts without torch."""

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Generator

MOST = 1_000_000


class Amount(NamedTuple):
    """A share of a picture's pixels, or a count drawn from `low..high`."""

    low: float
    high: float
    share: bool

    @classmethod
    def parse(cls, text: str) -> "Amount":
        """Read `"0.5%"` (of the pixels), `"10"` (hints) or `"0-128"` (uniform, both ends included).

        Raises:
            ValueError: If `text` is none of these, or asks for more than all pixels or a million hints.
        """
        if match := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]+)?)%", text):
            percent = float(match[1])
            if percent <= 100:
                return cls(percent / 100, percent / 100, share=True)
        if match := re.fullmatch(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", text):
            low, high = int(match[1]), int(match[2] or match[1])
            if low <= high <= MOST:
                return cls(low, high, share=False)
        raise ValueError(f"an amount of hints is '0.5%', '10' or '0-128', at most 100% or {MOST}, got {text!r}")

    def draw(self, size: tuple[int, int], patch: int, rng: "Generator") -> int:
        """The number of hints for a picture of `size` (H, W) with hints of side `patch`.

        Unspecified: the user-guided paper says "approximately 0.5%"; as in its released code the number is rounded down and
            overlaps are not made up for.
        """
        import torch  # settings are read without it

        if self.share:
            return int(size[0] * size[1] * self.low / patch**2)
        return int(torch.randint(int(self.low), int(self.high) + 1, (), generator=rng))


def folder_name(amount: str, patch: int) -> str:
    """The folder that holds the hint files of one protocol: `h2-n10` as in iColoriT, `h3-n0.5%` for a share."""
    return f"h{patch}-n{amount}"

"""Results -> files under reports/."""

from pathlib import Path
from typing import Protocol

from colorexp import paths


class _Savable(Protocol):
    def savefig(self, fname: Path, *, metadata: dict[str, None]) -> None: ...


def save(figure: _Savable, out: str | Path) -> _Savable:
    """Write a figure as PNG, its path relative to the project, the same bytes every time; hand it on for the notebook to show."""
    path = paths.resolve(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})  # matplotlib would write its version
    return figure

"""The table of deviations, made from `tags`."""

from pathlib import Path

import pandas as pd

from colorexp import paths, tags
from colorexp.report import tables


def write(out: str | Path) -> pd.DataFrame:
    """Write tables/deviations.csv and .md, whose sources are links.

    Args:
        out: The folder of reports, relative to the project.
    """
    table = pd.DataFrame(tags.harvest(), columns=list(tags.Place._fields))
    target = paths.resolve(out) / "tables"
    table["source"] += [f"#L{line}" for line in table.pop("line")]
    linked = table.assign(source=[f"[{source}](../../{source})" for source in table["source"]])
    paths.write_atomically(target / "deviations.csv", table.to_csv(index=False).encode())
    paths.write_atomically(target / "deviations.md", tables.markdown(linked).encode())
    return table

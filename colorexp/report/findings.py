"""What AdaColViT's exhibits show, as Markdown made from their numbers, so that it is true whatever a run gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from colorexp import config
from colorexp.report import adacolvit, tables

Record = Mapping[Any, Any]
NOTHING = "This profile has nothing to compare here."


def versus(exhibit: str, first: str, others: Sequence[str], *, printed_as: str | None = None) -> str:
    """A method minus others in PSNR at 10 hints and over them in multiply-adds, the paper's numbers beside ours; a line for each.

    Args:
        exhibit: As in published/adacolvit.csv.
        first: The method.
        others: Those that it is compared with; what the profile leaves out is passed over.
        printed_as: The method's name in the exhibit where it is another one.
    """
    lines = []
    for other in others:
        if not all(config.load(adacolvit.run_of(method)).present for method in (first, other)):
            continue
        ours = [_gap(first, other, dataset) for dataset in adacolvit.test_sets()]
        theirs = _print(exhibit, printed_as or first, other)
        lines.append(f"{first} minus {other}: {'; '.join(ours)}{_cost(first, other)}. {theirs}")
    return _listed(lines)


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or NOTHING


def _gap(first: str, other: str, dataset: str) -> str:
    names = [adacolvit.run_of(method) for method in (first, other)]
    # the labels of `tables.claims`, which seed its intervals
    cells = (tables.tested(n, "psnr", dataset=dataset, protocol="10", labels={"run": n, "hints": "10"}) for n in names)
    found = tables.difference(*cells)
    assert found is not None
    return f"{found.mean:+.2f} dB {_interval(found.low, found.high)} on {dataset}"


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None or pd.isna(low):
        return "(too few pictures for an interval)"
    return f"[{low:+.2f}, {high:+.2f}]" + (", undecided" if low <= 0 <= high else "")


def _cost(first: str, other: str) -> str:
    """Nothing where one of them, such as the baseline, is no network that counts."""
    one, two = (adacolvit.cell(method, "gflops", adacolvit.test_sets()[0]).values for method in (first, other))
    if not (isinstance(one, pd.Series) and isinstance(two, pd.Series)):
        return ""
    return f", at {one.mean() / two.mean():.2f} of its multiply-adds"


def _print(exhibit: str, first: str, other: str) -> str:
    printed = tables.published(adacolvit.PAPER, exhibit)
    psnr = printed[printed["metric"] == "psnr@10"].set_index(["dataset", "method"])["value"]
    cost = printed[printed["metric"] == "gflops"].groupby("method")["value"].first()
    told = [f"{psnr[d, first] - psnr[d, other]:+.2f} dB on {d}" for d in dict.fromkeys(d for d, m in psnr.index if m == other)]
    return f"The paper: {'; '.join(told)}, at {cost[first] / cost[other]:.2f}." if told else "The paper prints no such row."


def rises(table: pd.DataFrame) -> str:
    """Whether PSNR rises with every step of hints; from `adacolvit.by_hints`."""
    lines = []
    for dataset, part in table.dropna(subset=["measured"]).groupby("pictures", sort=False):
        falls = {
            str(method): int((rows.sort_values("hints")["measured"].diff() < 0).sum()) for method, rows in part.groupby("method")
        }
        where = ", ".join(f"{method} ({count})" for method, count in falls.items() if count)
        lines.append(f"On {dataset}, steps of hints at which PSNR falls: {where or 'none, for any method'}.")
    return _listed(lines)


def latencies(table: pd.DataFrame) -> str:
    """Time and multiply-adds of AdaColViT over iColoriT-T's; from `adacolvit.latencies`."""
    rows: dict[str, Any] = {str(row["method"]): row for row in table.to_dict("records")}
    lines = []
    dense = rows["iColoriT-T"]
    for method in (m for m in rows if m.startswith("AdaColViT")):
        ours, theirs = (
            (rows[method][f"ms{s}"] / dense[f"ms{s}"], rows[method][f"gflops{s}"] / dense[f"gflops{s}"]) for s in ("", "_published")
        )
        lines.append(
            f"{method} takes {ours[0]:.2f} of iColoriT-T's time for {ours[1]:.2f} of its multiply-adds; "
            f"the paper {theirs[0]:.2f} for {theirs[1]:.2f}."
        )
    return _listed(lines)


def larger(table: pd.DataFrame) -> str:
    """Where the larger network gains; from `adacolvit.disagreement`."""
    parts = [
        f"{row['difference']:+.2f} ab units {_interval(row['low'], row['high'])} on {row['part']}"
        for row in table.dropna(subset=["difference"]).to_dict("records")
    ]
    return f"The larger network's error is smaller by {' and '.join(parts)}." if parts else NOTHING


def frontier(table: pd.DataFrame) -> str:
    """Methods that no other beats in both cost and PSNR; from `adacolvit.tradeoff`."""
    lines = []
    measured = table[table["measure"] == adacolvit.axis_of("psnr")].dropna(subset=["value"])
    for hints, part in measured.groupby("hints", sort=False):
        rows = part.to_dict("records")
        best = [r["method"] for r in rows if not any(o["gflops"] <= r["gflops"] and o["value"] > r["value"] for o in rows)]
        lines.append(f"{hints}: no method gives more for less than {', '.join(best)}.")
    return _listed(lines)


def quality(table: pd.DataFrame, methods: Sequence[str], hints: Sequence[int]) -> str:
    """Mean PSNR on the first test set by hints; from `adacolvit.by_hints`."""
    first = table[table["pictures"] == adacolvit.test_sets()[0]].set_index(["method", "hints"])["measured"]
    rows = {m: ", ".join(f"{first[m, n]:.1f}" for n in hints if (m, n) in first.index) for m in methods}
    return _listed([f"{method}: {values} dB." for method, values in rows.items()])


def selection(table: pd.DataFrame) -> str:
    """What is learned against random selection of the nearest cost; from `sweep.selection`."""
    paired, lines = table.dropna(subset=["difference"]), []
    for name, part in paired.groupby("selection", sort=False):
        above, below = int((part["low"] > 0).sum()), int((part["high"] < 0).sum())
        low, high = part["gflops"].min(), part["gflops"].max()
        lines.append(
            f"{name}: between {low:.3f} and {high:.3f} GMAC above random at {above} of {len(part)} points and below at {below}; "
            f"differences {part['difference'].min():+.2f} to {part['difference'].max():+.2f} dB."
        )
    both = table[table["selection"] == "patches and layers"].to_dict("records")
    for name, part in paired[paired["selection"] != "patches and layers"].groupby("selection", sort=False):
        pairs = [(one, other) for one in both for other in part.to_dict("records")]
        one, other = min(pairs, key=lambda pair: abs(pair[0]["gflops"] - pair[1]["gflops"]))
        lines.append(
            f"Both against {name} alone where costs are nearest, {one['gflops']:.3f} and {other['gflops']:.3f} GMAC: "
            f"{one['psnr'] - other['psnr']:+.2f} dB."
        )
    return _listed(lines)


def computation(table: pd.DataFrame) -> str:
    """Which pictures take more; from `adacolvit.follows`."""
    names = {"true_cf_signed": "colourfulness", "objects": "number of objects"}
    rows = table.to_dict("records") if len(table) else []
    told = [f"{row['rank correlation']:+.2f} with {names[row['with']]} on {row['n']} {row['pictures']}" for row in rows]
    return f"Rank correlation of multiply-adds: {'; '.join(told)}. The paper sees both rise." if told else NOTHING


def kept(table: pd.DataFrame) -> str:
    """Patches kept inside and outside of objects; from `adacolvit.adaptivity`."""
    run = adacolvit.run_of("AdaColViT-T").split("/")[1]
    rows = table[table["run"] == run].to_dict("records") if "share_objects" in table else []
    told = []
    for row in rows:
        for what, name in (("share", "the branches that run keep"), ("kept", "block 3's feed-forward keeps")):
            inside, outside = (row.get(f"{what}_{place}") for place in ("objects", "background"))
            if not pd.isna(inside):
                told.append(f"On {row['pictures']} {name} {inside:.3f} of the patches of objects and {outside:.3f} of the others.")
    return _listed(told)


def constancy(table: pd.DataFrame) -> str:
    """How far AdaColViT's learned shares lie from their targets and how they vary; from `adacolvit.adaptivity`."""
    table = table[table["run"].str.startswith("adacolvit") & (table["run"] != adacolvit.SELECTIONS[adacolvit.RANDOM])]
    lines = []
    for kinds, name in (("Patches", "patch_ratio"), ("Layers", "layer_ratio")):
        aimed = table.dropna(subset=[f"{name}_target"])
        off = (aimed[name] - aimed[f"{name}_target"].astype(float)).abs()
        spread = aimed[f"{name}_std"]
        lines.append(
            f"{kinds}, where they are learned: at most {off.max():.3f} from their targets; standard deviations over pictures "
            f"{spread.min():.3f} to {spread.max():.3f}."
        )
    return _listed(lines)


def balance(table: pd.DataFrame) -> str:
    """How much the pull to the shares weighs; from `adacolvit.balance`."""
    told = [
        f"{row['run']}: the sparsity term is {row['sparsity_over_huber']:.2g} of the Huber term in the {row['when']}."
        for row in table.dropna(subset=["sparsity_over_huber"]).to_dict("records")
    ]
    return _listed(told)

"""What AdaColViT's exhibits show, as Markdown made from their numbers, so that it is true whatever a run gives."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from colorexp.report import adacolvit, tables
from colorexp.report.phrases import NOTHING, against_claim, interval, listed

Record = Mapping[Any, Any]
FAR = 0.05
"""Of the dense network's multiply-adds: a cost that is farther from the printed one is told."""
CONSTANT = 0.01
"""Standard deviation over pictures, of a share, below which decisions count as the same for every picture."""
SAME = {"PSNR": 0.05, "LPIPS": 0.001}
"""Smaller differences do not put a dearer network above a cheaper one."""


def versus(exhibit: str, first: str, others: Sequence[str], *, printed_as: str | None = None, over_draws: bool = False) -> str:
    """A method minus others in PSNR at 10 hints and over them in multiply-adds, the paper's numbers beside ours; a line for each.

    Args:
        exhibit: As in published/adacolvit.csv.
        first: The method.
        others: Those that it is compared with; what the profile leaves out is passed over.
        printed_as: The method's name in the exhibit where it is another one.
        over_draws: Whether a picture's numbers are means over all draws of hints, not of the first; the number of draws is told.
    """
    lines = []
    for other in _present(first, others):
        theirs = _print(exhibit, printed_as or first, other)
        lines.append(f"{first} minus {other}: {_gaps(first, other, over_draws)}{_cost(first, other, over_draws)}. {theirs}")
    if over_draws and lines:
        count = tables.results(adacolvit.run_of(first), every_draw=True)["repeat"].nunique()
        lines.insert(0, f"Draws of hints over which each picture's values are means: {count}.")
    return listed(lines)


def beside_dense(exhibit: str, methods: Sequence[str]) -> str:
    """Each method minus the dense network, as in `versus`, and which of them cost something else than what the paper prints.

    Args:
        exhibit: As in published/adacolvit.csv; what it lacks is taken from Table 2.
        methods: What the profile leaves out is passed over.
    """
    dense, far, lines = "iColoriT-T", [], []
    for method in _present(dense, methods):
        lines.append(f"{method} minus {dense}: {_gaps(method, dense)}{_cost(method, dense)}. {_print(exhibit, method, dense)}")
        ours, theirs = _cost_ratio(method, dense), _printed_ratio(exhibit, method, dense)
        if ours is not None and theirs is not None and abs(ours - theirs) > FAR:
            far.append(f"{method} ({ours:.2f} for {theirs:.2f})")
    if far:
        lines.append(
            f"More than {FAR} from the printed share of {dense}'s multiply-adds, so compared at another cost: {', '.join(far)}."
        )
    return listed(lines)


def _present(first: str, others: Sequence[str]) -> list[str]:
    return [other for other in others if not any(tables.absence(adacolvit.run_of(method)) for method in (first, other))]


def _gaps(first: str, other: str, over_draws: bool = False) -> str:
    return "; ".join(_gap(first, other, dataset, over_draws) for dataset in adacolvit.test_sets())


def _gap(first: str, other: str, dataset: str, over_draws: bool) -> str:
    measure: Callable[..., tables.Cell] = tables.over_draws if over_draws else tables.tested
    names = [adacolvit.run_of(method) for method in (first, other)]
    # the labels of `tables.claims`, which seed its intervals
    cells = (measure(n, "psnr", dataset=dataset, protocol="10", labels={"run": n, "hints": "10"}) for n in names)
    found = tables.difference(*cells)
    assert found is not None
    return f"{found.mean:+.2f} dB {interval(found.low, found.high)} on {dataset}"


def _cost_ratio(first: str, other: str, over_draws: bool = False) -> float | None:
    """None where one of them, such as the baseline, is no network that counts."""
    dataset = adacolvit.test_sets()[0]
    one, two = (adacolvit.cell(method, "gflops", dataset, over_draws=over_draws).values for method in (first, other))
    if not (isinstance(one, pd.Series) and isinstance(two, pd.Series)):
        return None
    return float(one.mean() / two.mean())


def _cost(first: str, other: str, over_draws: bool = False) -> str:
    ratio = _cost_ratio(first, other, over_draws)
    return "" if ratio is None else f", at {ratio:.2f} of its multiply-adds"


def _printed(exhibit: str, methods: Sequence[str], metric: str) -> "pd.Series[float]":
    """By our name of the data set and method; of a method that the exhibit lacks, Table 2's."""
    own, general = (tables.published(adacolvit.PAPER, name) for name in (exhibit, "table2"))
    table = pd.concat([own, general[~general["method"].isin(own["method"])]])
    table = table[(table["metric"] == metric) & table["method"].isin(methods)]
    return table.assign(dataset=table["dataset"].map(adacolvit.PRINTED_ON)).set_index(["dataset", "method"])["value"]


def _printed_ratio(exhibit: str, first: str, other: str) -> float | None:
    cost = _printed(exhibit, (first, other), "gflops").groupby("method").first()
    return float(cost[first] / cost[other]) if {first, other} <= set(cost.index) else None


def _print(exhibit: str, first: str, other: str) -> str:
    psnr, ratio = _printed(exhibit, (first, other), "psnr@10"), _printed_ratio(exhibit, first, other)
    shared = [d for d in psnr.index.unique("dataset") if {(d, first), (d, other)} <= set(psnr.index)]
    told = [f"{psnr[d, first] - psnr[d, other]:+.2f} dB on {d}" for d in shared]
    return f"The paper: {'; '.join(told)}, at {ratio:.2f}." if told else "The paper prints no such row."


def rises(table: pd.DataFrame) -> str:
    """Whether PSNR rises with every step of hints; from `adacolvit.by_hints`."""
    lines = []
    for dataset, part in table.dropna(subset=["measured"]).groupby("pictures", sort=False):
        falls = {
            str(method): int((rows.sort_values("hints")["measured"].diff() < 0).sum()) for method, rows in part.groupby("method")
        }
        where = ", ".join(f"{method} ({count})" for method, count in falls.items() if count)
        lines.append(f"On {dataset}, steps of hints at which PSNR falls: {where or 'none, for any method'}.")
    return listed(lines)


def latencies(table: pd.DataFrame) -> str:
    """Speed-up and multiply-adds of AdaColViT over iColoriT-T, and what asking for decisions adds; from `adacolvit.latencies`."""
    rows: dict[str, Any] = {str(row["method"]): row for row in table.to_dict("records")}
    lines = []
    dense = rows["iColoriT-T"]
    for method in (m for m in rows if m.startswith("AdaColViT")):
        ours, theirs = ((rows[method][f"speedup{s}"], rows[method][f"gflops{s}"] / dense[f"gflops{s}"]) for s in ("", "_published"))
        slow = (
            "" if ours[0] >= 1 / 0.95 else " It is no faster." if ours[0] <= 1 else " Less than a twentieth of the time is saved."
        )
        lines.append(
            f"{method} is {ours[0]:.2f} times as fast as iColoriT-T at {ours[1]:.2f} of its multiply-adds; "
            f"the paper {theirs[0]:.2f} times at {theirs[1]:.2f}.{slow}"
        )
    if lines:
        lines.append(f"Asked for its decisions, not told them, AdaColViT-T takes {adacolvit.asking():.2f} of that time.")
    return listed(lines)


def larger(table: pd.DataFrame) -> str:
    """Where the larger network gains, and whether more on objects; from `adacolvit.disagreement`."""
    rows = {str(row["part"]): row for row in table.dropna(subset=["difference"]).to_dict("records")}
    if not rows:
        return NOTHING
    told = {p: f"{row['difference']:+.2f} ab units {interval(row['low'], row['high'])}" for p, row in rows.items()}
    more = rows[adacolvit.MORE]
    return (
        f"The larger network's error is smaller by {told['background']} on background and {told['objects']} on objects. "
        f"Objects minus background: {told[adacolvit.MORE]}. That is {against_claim(more['low'], more['high'])}."
    )


def frontier(table: pd.DataFrame) -> str:
    """Networks that are better than every cheaper one, by more than a small difference; from `adacolvit.tradeoff`."""
    lines = []
    measured = table[table["method"] != adacolvit.BASELINE].dropna(subset=["value"])
    for (measure, hints), part in measured.groupby(["measure", "hints"], sort=False):
        name = str(measure).split()[0]
        gain = -part["value"] if name == "LPIPS" else part["value"]
        edge: list[Record] = []
        for row in part.assign(gain=gain).sort_values(["gflops", "gain"], ascending=[True, False]).to_dict("records"):
            if not edge or row["gain"] - edge[-1]["gain"] >= SAME[name]:
                edge.append(row)
        told = ", ".join(str(row["method"]) for row in edge)
        lines.append(f"{measure}, {hints}, from the cheapest on, each better by {SAME[name]} or more than all before: {told}.")
    return listed(lines)


def quality(table: pd.DataFrame, methods: Sequence[str], hints: Sequence[int]) -> str:
    """Mean PSNR on the first test set by hints; from `adacolvit.by_hints`."""
    first = table[table["pictures"] == adacolvit.test_sets()[0]].set_index(["method", "hints"])["measured"]
    rows = {m: ", ".join(f"{first[m, n]:.1f}" for n in hints if (m, n) in first.index) for m in methods}
    return listed([f"{method}: {values} dB." for method, values in rows.items()])


def selection(table: pd.DataFrame) -> str:
    """What is learned against random selection, and both against one alone, at equal cost; from `sweep.selection`."""
    paired, lines = table.dropna(subset=["difference"]), []
    for name, part in paired.groupby("selection", sort=False):
        above, below = int((part["low"] > 0).sum()), int((part["high"] < 0).sum())
        low, high = part["gflops"].min(), part["gflops"].max()
        lines.append(
            f"{name}: between {low:.3f} and {high:.3f} GMAC above random at {above} of {len(part)} points and below at {below}; "
            f"differences {part['difference'].min():+.2f} to {part['difference'].max():+.2f} dB."
        )
    for name, part in table.dropna(subset=["both_difference"]).groupby("selection", sort=False):
        off = (part["both_gflops"] - part["gflops"]).abs()
        for row in part[off == off.min()].to_dict("records"):
            cost = f"{row['gflops']:.4f} GMAC"
            if off.min() > 0:
                cost = f"{row['both_gflops']:.4f} and {cost}, where costs are nearest"
            gap = f"{row['both_difference']:+.2f} dB {interval(row['both_low'], row['both_high'])}"
            lines.append(f"Both against {name} alone at {cost}: {gap}.")
    return listed(lines)


def computation(table: pd.DataFrame) -> str:
    """Which pictures take more; from `adacolvit.follows`."""
    names = {"true_cf_signed": "colourfulness", "objects": "number of objects"}
    rows = table.to_dict("records") if len(table) else []
    told = [
        f"Rank correlation of multiply-adds with {names[row['with']]} on {row['n']} {row['pictures']}: "
        f"{row['rank correlation']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}], {against_claim(row['low'], row['high'])}."
        for row in rows
    ]
    return listed(told)


def kept(table: pd.DataFrame) -> str:
    """Patches kept inside and outside of objects, and whether more inside; from `adacolvit.adaptivity`."""
    run = adacolvit.run_of("AdaColViT-T")
    rows = table[table["run"] == run.split("/")[1]].to_dict("records") if "share_objects" in table else []
    told = []
    for row in rows:
        for what, name in (("share", "the branches that run keep"), ("kept", "block 3's feed-forward keeps")):
            inside, outside = (row.get(f"{what}_{place}") for place in ("objects", "background"))
            if inside is None or outside is None or pd.isna(inside):
                continue
            if max(inside, outside) < 1e-6 or min(inside, outside) > 1 - 1e-6:
                every = "every patch" if inside > 0.5 else "no patch"
                told.append(f"On {row['pictures']} {name} {every} of all pictures: its row shows no choice.")
                continue
            low, high = _inside_more(run, what, str(row["pictures"]))
            told.append(
                f"On {row['pictures']} {name} {inside:.3f} of the patches of objects and {outside:.3f} of the others, "
                f"{inside - outside:+.3f} {interval(low, high, decimals=3)}. That is {against_claim(low, high)}."
            )
    return listed(told)


def _inside_more(run: str, what: str, dataset: str) -> tuple[float | None, float | None]:
    names = [f"{what}_{place}" for place in ("objects", "background")]
    found = tables.difference(*(tables.tested(run, n, dataset=dataset, protocol="10", labels={"measure": n}) for n in names))
    assert found is not None
    return found.low, found.high


def shades(names: Sequence[str], hints: Sequence[int]) -> str:
    """From what to what a patch's share of branches goes in sample pictures, between which Figure 8 shades.

    Args:
        names: `<dataset>/<image>`, from `adacolvit.samples`.
        hints: Numbers of hints shown.
    """
    run, told = adacolvit.run_of("AdaColViT-T"), []
    for count in hints:
        planes = [plane for n in names if (plane := tables.sample(run, f"{n}.{count}.share")) is not None]
        if planes:
            least, most = min(p.min() for p in planes) / 255, max(p.max() for p in planes) / 255
            narrow, broad = (f(int(p.max()) - int(p.min()) for p in planes) / 255 for f in (min, max))
            given = "1 hint" if count == 1 else f"{count} hints"
            told.append(
                f"With {given} the shares shaded go from {least:.2f} to {most:.2f}; most minus least within a picture is "
                f"{narrow:.2f} to {broad:.2f}."
            )
    return listed(told)


def constancy(table: pd.DataFrame) -> str:
    """How far learned shares lie from their targets and how they vary, 20 pictures and more; from `adacolvit.adaptivity`."""
    table = table[(table["n"] >= tables.INTERVAL_MINIMUM) & (table["run"] != adacolvit.SELECTIONS[adacolvit.RANDOM])]
    lines, constant = [], []
    for row in table.to_dict("records"):
        told = []
        for kinds, name in (("patches", "patch_ratio"), ("layers", "layer_ratio")):
            share, spread, target = (row[f"{name}{end}"] for end in ("", "_std", "_target"))
            if pd.isna(target):
                continue
            told.append(f"{kinds} {share:.3f}, {share - target:+.3f} off the target, standard deviation {spread:.3f}")
            if spread < CONSTANT:
                constant.append(f"{kinds} of {row['run']}")
        if told:
            lines.append(f"{row['run']} on {row['pictures']}: {'; '.join(told)}.")
    if lines:
        lines.append(f"Standard deviations below {CONSTANT}, as good as constant: {', '.join(dict.fromkeys(constant)) or 'none'}.")
    return listed(lines)


def balance(table: pd.DataFrame) -> str:
    """How much the pull to the shares weighs; from `adacolvit.balance`."""
    told = [
        f"{row['run']}: the sparsity term is {row['sparsity_over_huber']:.2g} of the Huber term in the {row['when']}."
        for row in table.dropna(subset=["sparsity_over_huber"]).to_dict("records")
    ]
    return listed(told)

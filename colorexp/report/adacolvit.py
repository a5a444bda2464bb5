"""The exhibits of AdaColViT: which run stands beside which printed row."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from colorexp import config, paths
from colorexp.report import tables
from colorexp.report.tables import Cell

PAPER = "adacolvit"
METHODS = {
    "Uformer-T": "uformer_t",
    "Uformer-S": "uformer_s",
    "SwinIR-T": "swinir_t",
    "SwinIR-S": "swinir_s",
    "iColoriT-T-d6": "icolorit_t_d6",
    "iColoriT-T": "icolorit_t",
    "iColoriT-T-d24": "icolorit_t_d24",
    "iColoriT-S-d6": "icolorit_s_d6",
    "iColoriT-S": "icolorit_s",
    "iColoriT-S-d24": "icolorit_s_d24",
    "iColoriT-B": "icolorit_b",
    "AdaColViT-T": "adacolvit_t",
    "AdaColViT-T-d24": "adacolvit_t_d24",
    "AdaColViT-S": "adacolvit_s",
    "AdaColViT-S-d24": "adacolvit_s_d24",
    "DynamicViT": "dynamicvit",
    "AdaViT": "adavit",
    "A-ViT": "avit",
}
"""Runs by the paper's names of methods."""
GROUPS = {"AdaColViT-T groups=2": "adacolvit_t", "AdaColViT-T groups=4": "adacolvit_t_g4", "AdaColViT-T groups=8": "adacolvit_t_g8"}
"""The same for Table 4."""

BASELINE = "hints spread, no network"
QUANTITIES = {"gflops": "multiply_adds_m", "psnr@10": "psnr", "lpips@10": "lpips_vgg_unit"}
"""Measures by the paper's names of quantities."""


def run_of(method: str) -> str:
    """`adacolvit/<run>` of a method, or of the baseline; params.yaml says which loss stands for AdaColViT-T (`exhibit_run`)."""
    run = {**METHODS, **GROUPS, BASELINE: "spread"}[method]
    printed_loss = method == "AdaColViT-T" and config.exhibit_run(PAPER) == "paper"
    return f"{PAPER}/{run}{'_paper_loss' if printed_loss else ''}"


def known(methods: Iterable[str]) -> list[str]:
    """Those of some methods that params.yaml has a run for, and the baseline."""
    return [*(m for m in methods if run_of(m) in config.runs(PAPER)), BASELINE]


def measured(methods: Iterable[str]) -> list[str]:
    """Those of `known` that have results."""
    return [m for m in known(methods) if not tables.absence(run_of(m))]


def test_sets() -> list[str]:
    """Datasets on which the dense network is evaluated in this profile."""
    return list(config.load(f"{PAPER}/icolorit_t").evaluation.evaluate_on)


def cell(
    method: str, quantity: str, dataset: str, *, published: float | None = None, hints: str = "10", over_draws: bool = False
) -> Cell:
    """One number of a method on a dataset, multiply-adds in billions; the mean over all draws of hints, or of the first."""
    measure = tables.over_draws if over_draws else tables.tested
    labels = {"method": method, "pictures": dataset, "quantity": quantity}
    found = measure(run_of(method), QUANTITIES[quantity], dataset=dataset, protocol=hints, labels=labels, published=published)
    if quantity == "gflops" and isinstance(found.values, pd.Series):
        std = None if found.std is None else round(found.std / 1000, 9)
        found = found._replace(values=found.values / 1000, std=std, metric="multiply_adds_g")
    return found


PRINTED_ON = {"imagenet-ctest10k": "ctest10k", "oxford102flowers": "flowers", "cub200": "cub"}
"""The paper's data sets, and ours that hold the same pictures."""


def compared(exhibit: str, methods: Sequence[str], *, over_draws: bool = False, more: Sequence[Cell] = ()) -> pd.DataFrame:
    """Published beside measured for one of the paper's tables.

    Rows of the exhibit's own data sets carry the printed numbers, whether the profile has the pictures or not; the profile's other
    test sets follow.

    Args:
        exhibit: As in published/adacolvit.csv.
        methods: In the table's order.
        over_draws: Whether numbers are means over all draws of hints, with the standard deviation of the draws' means.
        more: Further cells with the same labels, which come last.
    """
    printed = tables.published(PAPER, exhibit).set_index(["method", "dataset", "metric"])
    value, std = printed["value"].to_dict(), printed["std"].dropna().to_dict()
    theirs = {PRINTED_ON[name]: name for name in printed.index.unique("dataset")}
    theirs |= {name: "" for name in test_sets() if name not in PRINTED_ON.values()}
    cells = []
    for method in known(methods):
        for dataset, printed_name in theirs.items():
            for quantity in QUANTITIES:
                row = (method, printed_name, quantity)
                found = cell(method, quantity, dataset, published=value.get(row), over_draws=over_draws)
                cells.append(found._replace(std_published=std.get(row)))
    return tables.comparison([*cells, *more])


def elsewhere() -> list[Cell]:
    """Cells of methods from elsewhere that had 10 hints; what they cost is not known."""
    quality = {quantity: metric for quantity, metric in QUANTITIES.items() if quantity != "gflops"}
    return tables.elsewhere(PAPER, quality, columns=["method", "pictures", "quantity"], protocol="10")


def by_hints(metric: str) -> pd.DataFrame:
    """A measure by number of hints, method and test set, with intervals."""
    cells = []
    for method in known(METHODS):
        cfg = config.load(run_of(method))
        for dataset in () if tables.absence(cfg.name) else test_sets():
            for protocol in sorted(cfg.evaluation.protocols, key=int):
                labels = {"method": method, "pictures": dataset, "hints": protocol}
                cells.append(tables.tested(cfg.name, metric, dataset=dataset, protocol=protocol, labels=labels))
    table = tables.comparison(cells)
    return table.assign(hints=table["hints"].astype(int)) if cells else table.assign(method=None, pictures=None, hints=None)


def quality_measures() -> list[str]:
    """PSNR and, where the profile measures it, LPIPS: by VGG as the paper does, else what there is; stand-ins end in `_random`."""
    found = tables.results(f"{PAPER}/icolorit_t").columns
    distances = [name for name in found if name.startswith("lpips")]
    return ["psnr", *sorted(distances, key=lambda name: name != QUANTITIES["lpips@10"])[:1]]


def axis_of(metric: str) -> str:
    """A measure as an axis names it."""
    if metric == "psnr":
        return "PSNR (dB)"
    return "LPIPS stand-in, random weights" if metric.endswith(tables.STAND_IN) else f"LPIPS ({metric.split('_')[1]})"


def patchwork(metrics: Sequence[str] = ("boundary_psnr", "patch_error_variance")) -> pd.DataFrame:
    """How well the borders of patches are hidden, at 10 hints, every method and test set, as far as the profile measures it."""
    cells = []
    for method in measured(METHODS):
        for dataset in test_sets():
            for metric in metrics:
                labels = {"method": method, "pictures": dataset, "quantity": metric}
                cells.append(tables.tested(run_of(method), metric, dataset=dataset, protocol="10", labels=labels))
    return tables.comparison(cells)


def balance() -> pd.DataFrame:
    """What the pull to the target shares weighs in the loss, in the first and the last epoch of training (eq. 14)."""
    rows = []
    for run in ("adacolvit_t", "adacolvit_t_paper_loss"):
        cfg = config.load(f"{PAPER}/{run}")
        delta = cfg.options.get("huber_delta", "0.01, divided by it")
        for when, index in (("first epoch", 0), ("last epoch", -1)):
            row: dict[str, object] = {"run": run, "huber_delta": str(delta), "when": when}
            why = tables.absence(cfg.name)
            if not why:
                epoch = tables.history(cfg.name).iloc[index]
                huber, sparsity = float(epoch["train/huber"]), float(epoch["train/sparsity"])
                row |= {"huber": huber, "sparsity": sparsity, "sparsity_over_huber": sparsity / huber}
            rows.append(row | {"note": why or ""})
    return pd.DataFrame(rows, columns=["run", "huber_delta", "when", "huber", "sparsity", "sparsity_over_huber", "note"])


def tradeoff(hints: Sequence[int]) -> pd.DataFrame:
    """PSNR and LPIPS against mean multiply-adds of every method, per number of hints, on the first test set (Figure 4).

    Returns:
        method, hints, gflops, measure (as an axis names it) and value.
    """
    rows = []
    for method in measured(METHODS):
        for count, metric in itertools.product(hints, quality_measures()):
            cost = cell(method, "gflops", test_sets()[0], hints=str(count)).values
            quality = tables.tested(run_of(method), metric, dataset=test_sets()[0], protocol=str(count), labels={}).values
            means = [float(v.mean()) if isinstance(v, pd.Series) else np.nan for v in (cost, quality)]
            gflops = 0.0 if method == BASELINE else means[0]
            rows.append(
                {"method": method, "hints": f"{count} hints", "gflops": gflops, "measure": axis_of(metric), "value": means[1]}
            )
    return pd.DataFrame(rows, columns=["method", "hints", "gflops", "measure", "value"])


BOTH, RANDOM, DENSE = "patches and layers", "random", "nothing pruned"
SELECTIONS = {
    BOTH: "adacolvit_t",
    "patches": "adacolvit_t_patches",
    "layers": "adacolvit_t_layers",
    RANDOM: "adacolvit_t_random",
    DENSE: "icolorit_t",
}
"""Runs of Figure 6, all of the same loss, whatever `exhibit_run` says; `sweep.selection` asks them again at other thresholds."""


def samples(*, photographs: int, scenes: int) -> list[str]:
    """Kept sample pictures of the dense network: so many of the first dataset of photographs, then of scenes.

    Where the profile has neither, as many of what there is.
    """
    names = [n.removesuffix(".truth") for n in tables.samples(f"{PAPER}/icolorit_t") if n.endswith(".truth")]
    wanted = [n for n in names if n.startswith("photos/")][:photographs] + [n for n in names if n.startswith("scenes/")][:scenes]
    return wanted or names[: photographs + scenes]


def follows() -> pd.DataFrame:
    """Rank correlation, over test pictures at 10 hints, of AdaColViT's multiply-adds with colourfulness and number of objects.

    Returns:
        pictures, with, rank correlation, its 95% interval and n, for test sets of 20 pictures and more on which both vary.

    Source: the interval is that of Bonett and Wright 2000, Sample size requirements for estimating Pearson, Kendall and Spearman
        correlations.
    """
    rows, found = [], tables.results(run_of("AdaColViT-T"))
    for dataset, part in found[found["protocol"] == "10"].groupby("dataset"):
        if len(part) < tables.INTERVAL_MINIMUM or np.ptp(part["multiply_adds_m"]) == 0:
            continue
        for name in (n for n in ("true_cf_signed", "objects") if n in part and np.ptp(part[n]) > 0):  # absent ones are NaN
            value = float(part["multiply_adds_m"].corr(part[name], method="spearman"))
            middle = np.arctanh(np.clip(value, -1 + 1e-9, 1 - 1e-9))
            reach = 1.96 * np.sqrt((1 + value**2 / 2) / (len(part) - 3))
            low, high = (round(float(np.tanh(end)), 3) for end in (middle - reach, middle + reach))
            rows.append(
                {"pictures": dataset, "with": name, "rank correlation": round(value, 3), "low": low, "high": high, "n": len(part)}
            )
    return pd.DataFrame(rows)


def extremes(method: str, *, count: int, hints: str = "10") -> pd.DataFrame:
    """The test pictures with the least and the most computation under the first draw of hints, least first (Figure 7).

    Returns:
        picture, multiply_adds_m, true colourfulness and, on scenes, number of objects; at most 2 x count rows.
    """
    rows = tables.results(run_of(method))
    rows = rows[(rows["protocol"] == hints) & (rows["repeat"] == 0)].assign(picture=rows["dataset"] + "/" + rows["image"])
    rows = rows.reindex(columns=["picture", "multiply_adds_m", "true_cf_signed", "objects"]).sort_values("multiply_adds_m")
    return pd.concat([rows.head(count), rows.tail(count)]).drop_duplicates("picture").reset_index(drop=True)


def adaptivity() -> pd.DataFrame:
    """What every deciding network keeps: shares, their targets and how they vary from picture to picture, at 10 hints."""
    rows = []
    for name in config.runs(PAPER):
        cfg = config.load(name)
        found = tables.results(name)
        if "patch_ratio" not in found:
            continue
        for dataset, part in found[found["protocol"] == "10"].groupby("dataset"):
            row: dict[str, object] = {"run": name.split("/")[1], "pictures": dataset, "n": len(part)}
            kinds = {"patch_ratio": "beta1", "layer_ratio": "beta2", "head_ratio": "head_ratio", "multiply_adds_m": ""}
            for kind, target in kinds.items():
                if kind not in part or part[kind].isna().all():
                    continue
                row |= {kind: part[kind].mean(), f"{kind}_std": part[kind].std()}
                row |= {f"{kind}_target": _target(cfg.options, kind, target)} if target else {}
            where = [f"{what}_{place}" for what in ("kept", "share") for place in ("objects", "background")]
            row |= {name: part[name].mean() for name in where if name in part}
            rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["run", "pictures", "n"])


def _target(options: Mapping[str, Any], kind: str, beta: str) -> float | None:
    """The share of patches or layers that training aims at; DynamicViT's is the mean over its blocks."""
    if kind == "patch_ratio" and "keep_ratio" in options:
        depth = int(options["depth"])
        passed = [sum(block >= depth * quarter // 4 for quarter in (1, 2, 3)) for block in range(depth)]
        return float(np.mean([options["keep_ratio"] ** stages for stages in passed]))
    found = options.get(kind, options.get(beta))
    return None if found is None else float(found)


MORE = "objects minus background"


def disagreement(small: str, large: str, *, hints: str = "10") -> pd.DataFrame:
    """Where the larger network is nearer to the truth than the smaller, on background and objects (Figure 2).

    Returns:
        part, both networks and the difference of their errors in ab units with its 95% interval and n; the last row is how much
        more the larger one gains on objects than on background.
    """
    rows, gains = [], []
    for part in ("background", "objects"):
        one, other = (
            tables.tested(run_of(m), f"ab_error_{part}", dataset="scenes", protocol=hints, labels={"method": m, "part": part})
            for m in (small, large)
        )
        rows.append((part, tables.difference(one, other)))
        if isinstance(one.values, pd.Series) and isinstance(other.values, pd.Series):
            gains.append(Cell({"part": part}, one.metric, values=one.values - other.values))
    rows.append((MORE, tables.difference(gains[1], gains[0]) if len(gains) == 2 else None))
    about = {"smaller": small, "larger": large}
    told = [(part, dict(zip(("difference", "low", "high", "n"), found or (None,) * 4, strict=True))) for part, found in rows]
    return pd.DataFrame([{"part": part, **about, **numbers} for part, numbers in told])


def difference_map(small: str, large: str, label: str) -> "np.ndarray | None":
    """Mean absolute difference of two methods' sample pictures, (H, W) uint8, stretched so that 32 of 255 levels are white."""
    one, other = (tables.sample(run_of(m), label) for m in (small, large))
    if one is None or other is None:
        return None
    return np.clip(np.abs(one.astype(float) - other).mean(2) * 8, 0, 255).astype(np.uint8)


def kept_patches(method: str, label: str, plane: Literal["kept", "share"]) -> "np.ndarray | None":
    """A sample picture on which patches that lost their heavy part are pale (Figure 8).

    Args:
        method: As in `METHODS`.
        label: `<dataset>/<image>.<hints>`.
        plane: `kept` in block 3's feed-forward, or the `share` of branches that keep a patch, from the picture's least, pale, to
            its most.
    """
    shown, found = (tables.sample(run_of(method), label + suffix) for suffix in ("", f".{plane}"))
    if shown is None or found is None:
        return None
    weight = found.astype(float) / 255
    if plane == "share" and weight.max() > weight.min():
        weight = (weight - weight.min()) / (weight.max() - weight.min())
    return np.round(weight[..., None] * shown + (1 - weight[..., None]) * (shown / 4 + 150)).astype(np.uint8)


def latencies(methods: Sequence[str]) -> pd.DataFrame:
    """Cost of one picture at the published size, 224x224, on one thread, as the efficiency stage measured it, beside Table 2's.

    Returns:
        method, printed milliseconds and multiply-adds, our mean and standard deviation over rounds, and both ratios to
            iColoriT-T, ours of medians, which a disturbed round hardly moves.
    """
    measured = pd.read_csv(paths.root() / "reports" / "timings" / "efficiency.csv").set_index("run").to_dict("index")
    table = tables.published(PAPER, "table2")
    keys = zip(table["method"], table["metric"], strict=True)
    printed = dict(zip(keys, table["value"].astype(float), strict=True))
    rows = []
    runs = {
        method: f"{PAPER}/{METHODS[method]}" for method in ("iColoriT-T", *methods)
    }  # a network's time knows nothing of its loss
    for method in (m for m in methods if runs[m] in measured):
        ours, dense = measured[runs[method]], measured[runs["iColoriT-T"]]
        theirs = printed.get((method, "latency_ms"), np.nan)
        spread = table[(table["method"] == method) & (table["metric"] == "latency_ms")]["std"]
        row = {
            "method": method,
            "gflops_published": printed.get((method, "gflops"), np.nan),
            "gflops": ours["multiply_adds_g"],
            "ms_published": theirs,
            "ms_std_published": spread.iloc[0] if len(spread) else np.nan,
            "ms": ours["latency_mean_ms"],
            "ms_std": ours["latency_std_ms"],
            "speedup_published": round(printed["iColoriT-T", "latency_ms"] / theirs, 2),
            "speedup": round(dense["latency_ms"] / ours["latency_ms"], 2),
        }
        rows.append({**row, **{name: ours[name] for name in ("repeats", "machine", "note")}})
    return pd.DataFrame(rows)


def asking() -> float:
    """Time of AdaColViT-T that asks its own linear layers over one that is told the same decisions, from the efficiency stage."""
    table = pd.read_csv(paths.root() / "reports" / "timings" / "adacolvit_promises.csv")
    return float(table.loc[table["what"].str.contains("linear layers asked"), "value"].iloc[0])


def claims() -> list[tuple[str, str, tables.Side, tables.Side]]:
    """What the paper says of its networks, and what any of them must do, as differences in PSNR; for `tables.claims`."""
    dense, adaptive, baseline = map(run_of, ("iColoriT-T", "AdaColViT-T", BASELINE))
    counts = ("5", "10", "20", "50", "100", "200")
    asked = [(f"the dense network beats spreading {n} hints", (dense, n), (baseline, n)) for n in counts]
    asked += [(f"AdaColViT beats spreading {n} hints", (adaptive, n), (baseline, n)) for n in counts]
    others = {
        "AdaColViT above its dense parent (Table 2)": "icolorit_t",
        "AdaColViT above SwinIR, which trained shorter (Table 2)": "swinir_s",
        "AdaColViT above DynamicViT, which costs more (Table 3)": "dynamicvit",
        "AdaColViT above AdaViT, which costs more (Table 3)": "adavit",
        "learned selection above random at about equal cost (Figure 6)": "adacolvit_t_random",
        "two groups above four at about equal cost (Table 4)": "adacolvit_t_g4",
        "two groups above eight at about equal cost (Table 4)": "adacolvit_t_g8",
    }
    asked += [(claim, (adaptive, "10"), (f"{PAPER}/{run}", "10")) for claim, run in others.items()]
    asked.append(("deeper and trained longer helps (Figure 2)", (dense, "10"), (f"{PAPER}/icolorit_t_d6", "10")))
    return [(claim, "psnr", one, other) for claim, one, other in asked]

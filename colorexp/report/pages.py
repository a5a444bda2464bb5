"""Tables and figures -> Markdown, LaTeX and one static page. Nothing is computed, nothing is fetched from elsewhere."""

import html
from pathlib import Path

import pandas as pd

from colorexp import config, paths
from colorexp.absent import NOT_RUN
from colorexp.report import tables

PAPERS = {
    "adacolvit": "AdaColViT",
    "exemplar": "Yes, Attention Is All You Need, for Exemplar based Colorization",
    "user_guided": "User Guided Image Colorization",
    "disco": "DISCO: Disentangled Image Colorization via Global Anchors",
}
CAPTIONS = {
    "adacolvit_hints": "PSNR by number of hinted cells; the dashed line is no network.",
    "adacolvit_table1": "Quality at 10 hints on pictures that training did not see.",
    "adacolvit_table2": "PSNR at 10 hints and multiply-adds, means and deviations over draws of hints.",
    "adacolvit_table3": "AdaColViT beside other ways to prune the same network.",
    "adacolvit_adaptivity": "Shares of patches and layers kept, their targets, and their spread over pictures.",
    "adacolvit_claims": "Claims as differences in PSNR over the same test pictures, first minus second.",
    "adacolvit_balance": "The pull to the target shares over the Huber term, in the first and the last epoch.",
    "adacolvit_patchwork": "PSNR along the borders of patches and the variance of the error between them, at 10 hints.",
    "adacolvit_figure2": "Where a shallow network differs from the dense one, and how much larger its error is there.",
    "adacolvit_figure4": "PSNR and LPIPS against multiply-adds at 5, 10, 20 and 50 hints; a stand-in says so.",
    "adacolvit_figure5": "The same pictures with 1, 5, 10 and 50 hints: dense, adaptive, and hints spread without a network.",
    "adacolvit_table4": "Channel groups at nearly equal cost.",
    "adacolvit_by_share": "Latency and multiply-adds of AdaColViT-T over the dense network's, by the share that is kept.",
    "adacolvit_promises": "What is promised of AdaColViT's speed and number format, and what was measured.",
    "adacolvit_latency": "One picture at the published size on one thread, beside Table 2.",
    "adacolvit_figure6": "Trained networks swept at inference: patches, layers or both, learned, and both at random, at 10 hints.",
    "adacolvit_figure7": "Of the sample pictures, those that took the least (left) and the most multiply-adds (right).",
    "adacolvit_figure8": "Patches without the heavy part are pale: of block 3's feed-forward, then by branches (stretched).",
    "disco_superpixels": "What chroma is lost if superpixels, or squares of the same size, have one colour each.",
    "disco_table1": "What the paper rates in words, measured: four frameworks and the true pictures.",
    "disco_table3": "Quality of pictures; FID where there are pictures enough, KID otherwise, stand-ins named so.",
    "disco_table4": "What each part is for: the network without it, and anchors located in other ways.",
    "disco_table5": "Parameters, multiply-adds and time of one picture of 256x256 at the published sizes.",
    "disco_scenes": "On scenes: spread of chroma inside objects, difference of two colourings, share of modes reached.",
    "disco_claims": "Claims as differences over the same test pictures, first minus second; held where the interval is above 0.",
    "disco_figure1": "Two scenes by classification, regression, autoregression and DISCO.",
    "disco_figure3": "Borders of superpixels, the chroma they reconstruct, and that of squares of the same size.",
    "disco_figure4": "Clusters of true colours and of learned features; stars are their anchors.",
    "disco_figure5": "Anchors that contradict each other, or are missing: spread inside the object before and after refinement.",
    "disco_figure6": "Photographs and scenes by classification, regression, autoregression and DISCO.",
    "disco_figure7": "Gray photographs without a truth; those of the default profile are scikit-image's.",
    "disco_figure8": "Which colours the surest and the least sure anchors could have, and their peaks.",
    "disco_figure9": "Automatic, two further distinct colourings, one anchor recoloured, one anchor moved.",
    "disco_figure10": "The same pictures with one part taken away.",
    "disco_figure11": "Trained with 5, 8 and 11 anchors, asked with 3 to 14: colourfulness, chroma error and KID.",
    "disco_figure12": "The same pictures with 3 to 14 anchors.",
    "disco_figure14": "Chosen by rule: the scenes of the most objects, and the pictures of the largest chroma error.",
    "user_guided_figure2": "Accuracy and loss by epoch, training on the left and validation on the right.",
    "user_guided_figure3": "Test photographs and scenes: hints on gray, ground truth, predictions, hints spread without a network.",
    "user_guided_table1": "Accuracy and loss of the three networks, in training and on test pictures.",
    "user_guided_table2": "What hints are worth: given, never seen in training, withheld at the test, spread without a network.",
    "user_guided_claims": "Claims as differences over the same scenes, first minus second; held where the interval is above 0.",
    "user_guided_object_size": "Accuracy inside the objects of scenes, by share of the picture: small < 1.5%, medium < 4%.",
    "user_guided_quality": "Every run's coloured test pictures, by the measures of the paper and by those that it does not print.",
    "disco_blocks": "The three blocks of DISCO at 256x256: parameters, multiply-adds and time, printed and ours.",
    "disco_promises": "What the project promises of DISCO's speed and memory, and what was measured.",
    "efficiency": "Networks at the papers' sizes: parameters, billions of multiply-adds, latency of one picture.",
    "foundation": "What the project promises of its own machinery, and what was measured.",
}
"""One sentence for every exhibit, by the stem of its file."""
_STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --line: #ccc; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --soft: #999; --line: #444; --paper: #161616; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin-top: 2.5rem } h3 { font-size: 1rem; margin: 1.5rem 0 .4rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.number { text-align: right } p { margin: .4rem 0 } img { max-width: 100%; background: #fff } p.soft { color: var(--soft) }
"""


def build(out: str | Path) -> list[str]:
    """Write every table of reports/tables as Markdown and LaTeX, but that of deviations, which is text; and the page.

    Args:
        out: The folder of reports, relative to the project.

    Returns:
        What was written, relative to `out`.
    """
    source, target = paths.resolve("reports"), paths.resolve(out)
    written = []
    for table in sorted(path for path in (source / "tables").glob("*.csv") if path.stem != "deviations"):
        frame = pd.read_csv(table)
        for suffix, text in ((".md", tables.markdown(frame)), (".tex", tables.latex(frame))):
            file = target / "tables" / (table.stem + suffix)
            paths.write_atomically(file, text.encode())
            written.append(file.relative_to(target).as_posix())
    paths.write_atomically(target / "index.html", page(source).encode())
    return [*written, "index.html"]


def page(reports: Path) -> str:
    """The page that shows every figure and table below `reports`, by paper."""
    params = config.read()
    parts = [f"<h1>colorexp</h1><p>Profile <b>{params['profile']}</b>, seed {params['seed']}. {_sentence()}</p>"]
    if (glance := reports / "scorecard_summary.csv").is_file():
        parts += [_section(glance), "<p>Claims by verdict; all of them are in <a href='scorecard.md'>scorecard.md</a>.</p>"]
    for paper in (name for name in config.papers() if name in PAPERS):
        parts.append(f"<h2 id='{paper}'>{html.escape(PAPERS[paper])}</h2>")
        for figure in sorted((reports / "figures").glob(f"{paper}_*.png")):
            title = _title(figure.stem)
            parts.append(f"<h3>{title}</h3>{_caption(figure.stem)}<img src='figures/{figure.name}' alt='{title}'>")
        parts += [_section(table) for table in sorted((reports / "tables").glob(f"{paper}_*.csv"), key=_exhibits_first)]
    parts.append("<h2 id='efficiency'>What it costs</h2>")
    parts += [_section(table) for table in sorted((reports / "timings").glob("*.csv"))]
    body = "\n".join(parts)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>colorexp</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _sentence() -> str:
    return (
        "Published numbers stand on the papers' data, measured ones on what <i>dataset</i> names: compare orderings, not values. "
        "Square brackets are 95% bootstrap intervals over pictures, round ones the published value. "
        "What a run was and where its numbers come from is in artifacts/runs/&lt;paper&gt;/&lt;run&gt;/run.json."
    )


def _section(path: Path) -> str:
    frame = pd.read_csv(path)
    left_out = 0
    if "note" in frame:
        absent = frame["note"].fillna("").str.startswith(NOT_RUN)
        frame = frame.assign(note=frame["note"].mask(absent, NOT_RUN))
        absent &= frame["published"].isna() if "published" in frame else True
        left_out, frame = int(absent.sum()), frame[~absent]
    labels = list(frame.columns[: list(frame.columns).index("published")]) if "published" in frame else []
    if spread := next((name for name in ("quantity", "object", "hints") if name in labels), None):
        frame = tables.wide(frame, rows=[label for label in labels if label != spread], column=spread)
    frame = frame[[name for name in frame if frame[name].fillna("").astype(str).any()]]  # a column of nothing says nothing
    note = f"<p class='soft'>{left_out} cells belong to runs outside this profile.</p>" if left_out else ""
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in frame.itertuples(index=False))
    header = "".join(f"<th>{html.escape(str(name))}</th>" for name in frame.columns)
    shown = f"<div class='scroll'><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>"
    link = path.name if path.parent.name == "reports" else f"{path.parent.name}/{path.name}"
    return f"<h3>{_title(path.stem)} <a href='{link}'>csv</a></h3>{_caption(path.stem)}{shown}{note}"


def _caption(stem: str) -> str:
    return f"<p>{html.escape(CAPTIONS[stem])}</p>" if stem in CAPTIONS else ""


def _exhibits_first(path: Path) -> tuple[bool, str]:
    """The paper's own tables before what is added to them."""
    return "_table" not in path.stem, path.stem


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "<td></td>" if pd.isna(value) else f"<td class='number'>{round(value, 9):.5g}</td>"
    return f"<td>{html.escape(str(value))}</td>"


def _title(stem: str) -> str:
    paper = next((name for name in PAPERS if stem.startswith(f"{name}_")), None)
    rest = stem.removeprefix(f"{paper}_") if paper else stem
    for word in ("table", "figure"):
        if rest.startswith(word):
            return f"{word.capitalize()} {rest.removeprefix(word)}"
    return rest.replace("_", " ").capitalize()

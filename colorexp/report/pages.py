"""Tables -> Markdown and LaTeX, and everything -> static pages, with the words that stand beside exhibits. Nothing is computed."""

from pathlib import Path

import pandas as pd

from colorexp import paths
from colorexp.report import site, tables

PAPERS = {
    "adacolvit": "AdaColViT",
    "exemplar": "Yes, Attention Is All You Need, for Exemplar based Colorization",
    "user_guided": "User Guided Image Colorization",
    "disco": "DISCO: Disentangled Image Colorization via Global Anchors",
}
CAPTIONS = {
    "adacolvit_hints": "PSNR by number of hinted cells; the dotted line is no network.",
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
    "adacolvit_figure7": "The test pictures that took the least (left) and the most multiply-adds (right).",
    "adacolvit_figure8": "Patches without the heavy part are pale: of block 3's feed-forward, then by branches (stretched).",
    "disco_superpixels": "What chroma is lost if superpixels, or squares of the same size, have one colour each.",
    "disco_table1": "What the paper rates in words, measured: four frameworks and the true pictures.",
    "disco_table2": "What people preferred, as the paper asked them; without answers there is nothing of ours.",
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
    "disco_figure13": "Which part of parameters, multiply-adds and time falls to each block, printed and ours.",
    "disco_pictures": "Time of one picture of 256x256 in DISCO and its rivals, mean over pictures.",
    "disco_blocks": "The three blocks of DISCO at 256x256: parameters, multiply-adds and time, printed and ours.",
    "disco_promises": "What the project promises of DISCO's speed and memory, and what was measured.",
    "exemplar_promises": "What the project promises of the exemplar network's speed and memory, and what was measured.",
    "efficiency": "Networks at the papers' sizes: parameters, billions of multiply-adds, latency of one picture where it is timed.",
    "adacolvit_figure1": "One block: what all patches go through, what informative ones alone, and what is skipped as a whole.",
    "adacolvit_figure3": "AdaColViT at its published size: output shapes, parameters and multiply-adds of the built network.",
    "disco_figure2": "DISCO at its published size: output shapes, parameters and multiply-adds of the built network.",
    "exemplar_table1": "How much of the reference's histogram is transferred (HIS), and what that does to the pictures.",
    "exemplar_table2": "What people preferred, as the paper asked them; without answers there is nothing of ours.",
    "exemplar_table3": "What each part is for: the network without it, by references that are related and independent.",
    "exemplar_by_kind": "The same measures by kind of reference.",
    "exemplar_gate": "How sharply the gate decides with and without the sparse loss, and whose colours it takes.",
    "exemplar_claims": "Claims as differences over the same pairs, first minus second; held where the interval is above 0.",
    "exemplar_figure1": "Related references, independent ones and palettes, by ours and its rivals.",
    "exemplar_figure3": "From the likelihood of the database's colours to the posterior, where the prior changes most.",
    "exemplar_figure5": "Related pairs in which ours has the lowest HIS, beside histogram matching, which has 1 by construction.",
    "exemplar_figure6": "Independent references and palettes without the database.",
    "exemplar_figure7": "Independent references and palettes without the histogram as a prior.",
    "exemplar_figure8": "The same pictures with and without the sparse loss.",
    "exemplar_correspondence": "Where in the reference marked pixels find their colours: the brighter, the more.",
    "exemplar_sparse": "Sparse and histogram loss by epoch, of networks trained with and without the sparse loss.",
    "exemplar_stage1": "Losses of the first stage, which trains without references.",
    "exemplar_stage2": "Losses of the second stage; all but the critic's are the network's.",
    "exemplar_figure2": "The exemplar network with a reference of 256x256: output shapes, parameters and multiply-adds as built.",
    "exemplar_figure4": "How the gate weighs colours of the reference (r) and of the database (d) at every position.",
    "user_guided_figure1": "ResUNet at its published size: output shapes, parameters and multiply-adds of the built network.",
    "foundation": "What the project promises of its own machinery, and what was measured.",
}
"""One sentence for every exhibit, by the stem of its file."""
LEADS = {
    "adacolvit": "adacolvit_figure5",
    "disco": "disco_figure6",
    "exemplar": "exemplar_figure1",
    "user_guided": "user_guided_figure3",
}
"""The figure by which a paper is introduced; the first one where none is named."""
OPENINGS = {
    "adacolvit": ["figures/adacolvit_figure3.png", "figures/adacolvit_figure1.png"],
    "disco": ["figures/disco_figure2.png"],
    "user_guided": ["figures/user_guided_figure1.png"],
    "exemplar": ["figures/exemplar_figure2.png", "figures/exemplar_figure4.png"],
}
"""Exhibits by which a paper's page begins: its networks."""


def build(out: str | Path) -> list[str]:
    """Write tables as Markdown and LaTeX, but that of deviations, which is text; index.html and site/<paper>.html.

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
    return [*written, *site.write(source, target, titles=PAPERS, captions=CAPTIONS, leads=LEADS, openings=OPENINGS)]

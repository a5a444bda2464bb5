"""The pipeline itself, in the smoke profile: what it makes, what it skips, how it fails and heals."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from project import Project, check_out, environment


def test_exhibits_are_made(smoke: Project) -> None:
    table = pd.read_csv(smoke.root / "reports/tables/user_guided_table1.csv")
    ours = table[(table["model"] == "ResUNet") & (table["split"] == "test, scenes")]
    assert set(ours["quantity"]) == {"accuracy", "loss"}
    assert ours["measured"].notna().all()
    assert ours["published"].tolist() == [0.6074, 3.1884]
    for name in (
        "figures/user_guided_figure2.png",
        "figures/user_guided_figure3.png",
        "tables/user_guided_table2.md",
        "index.html",
    ):
        assert (smoke.root / "reports" / name).stat().st_size > 500, name


def test_point_interactive_exhibits_are_made(smoke: Project) -> None:
    table = pd.read_csv(smoke.root / "reports/tables/adacolvit_table2.csv")
    ours = table[(table["method"] == "AdaColViT-T") & (table["pictures"] == "scenes")].set_index("quantity")
    assert ours.loc[["gflops", "psnr@10"], "measured"].notna().all()
    printed = table[(table["method"] == "AdaColViT-T") & (table["pictures"] == "ctest10k")].set_index("quantity")
    assert printed.loc[["gflops", "psnr@10"], "published"].tolist() == [0.78, 28.83]
    assert table[table["method"] == "Uformer-S"]["measured"].isna().all()
    assert (table["method"] == "hints spread, no network").any()
    kept = pd.read_csv(smoke.root / "reports/tables/adacolvit_adaptivity.csv")
    assert kept["patch_ratio"].between(0, 1).all()
    latency = pd.read_csv(smoke.root / "reports/timings/adacolvit_latency.csv").set_index("method")
    assert latency.loc["iColoriT-T", "speedup"] == 1
    assert latency.loc["AdaColViT-T", "gflops"] == pytest.approx(0.78, abs=0.02)
    for number in (2, 4, 5, 6, 7, 8):
        assert (smoke.root / f"reports/figures/adacolvit_figure{number}.png").stat().st_size > 500, number


def test_exhibits_of_disco_are_made(smoke: Project) -> None:
    table = pd.read_csv(smoke.root / "reports/tables/disco_table3.csv").set_index(["method", "pictures", "quantity"])
    assert table.loc[("DISCO", "coco", "colorfulness"), "published"] == 52.85
    assert table.loc[("DISCO", "scenes", "colorfulness"), "measured"] > 0
    assert table.loc[("CIColor", "scenes", "psnr"), "note"].startswith("not run in this profile")
    kept = pd.read_csv(smoke.root / "reports/tables/disco_superpixels.csv")
    assert set(kept["pictures"]) == {"scenes", "photos"}
    claims = pd.read_csv(smoke.root / "reports/tables/disco_claims.csv")
    assert claims["difference"].notna().any()
    for number in (1, *range(3, 13), 14):
        assert (smoke.root / f"reports/figures/disco_figure{number}.png").stat().st_size > 500, number


def test_a_second_run_does_nothing(smoke: Project) -> None:
    assert "up to date" in smoke.run("dvc repro")
    assert smoke.run("git status --porcelain") == ""


def test_a_run_outside_the_profile_says_so_everywhere(smoke: Project) -> None:
    card = json.loads((smoke.root / "artifacts/runs/user_guided/trans_unet/run.json").read_text())
    assert card["status"] == "not run in this profile"
    assert "trans_unet belongs to cpu, gpu, paper" in card["reason"]
    assert pd.read_parquet(smoke.root / "artifacts/results/user_guided/trans_unet.parquet").empty
    table = pd.read_csv(smoke.root / "reports/tables/user_guided_table1.csv")
    absent = table[table["model"] == "TransUNet"]
    assert absent["measured"].isna().all()
    assert absent["note"].str.startswith("not run in this profile").all()


def test_runs_whose_artifacts_are_deleted_show_as_not_run(changed: Project) -> None:
    """Those on which most rests: figures ask their networks, and whole tables stand beside them."""
    gone = ("user_guided/res_unet", "adacolvit/icolorit_t", "adacolvit/adacolvit_t", "disco/disco", "exemplar/exemplar")
    for run in gone:
        changed.run(f"rm -r artifacts/runs/{run} artifacts/results/{run}.*")
    for paper in dict.fromkeys(run.split("/")[0] for run in gone):
        changed.run(f"python -m colorexp.nb notebooks/{paper}.ipynb reports/notebooks/{paper}.ipynb out=reports")
    changed.run("colorexp report")
    tables = changed.root / "reports/tables"
    for name, row, run in (("exemplar_table1", ("method", "Ours"), gone[4]), ("disco_table4", ("variant", "Dual branch"), gone[3])):
        notes = pd.read_csv(tables / f"{name}.csv").query("pictures == 'scenes'").set_index(row[0]).loc[row[1], "note"]
        assert set(notes) == {f"not run: {run} has no results; dvc repro makes them"}
    card = pd.read_csv(changed.root / "reports/scorecard.csv")
    of_them = card["note"].str.contains("|".join(f"not run: {run} has no results" for run in gone))
    assert of_them.sum() > 20
    assert set(card.loc[of_them, "verdict"]) <= {"not testable here", "the paper contradicts itself"}
    assert "not run: disco/disco has no results" in (changed.root / "reports/site/disco.html").read_text()


def test_changing_one_run_touches_that_run_and_what_reads_it(changed: Project) -> None:
    changed.edit("params.yaml", "power: 2.0", "power: 3.0")
    readers = {"user_guided", "efficiency", "adacolvit", "disco", "report"}  # adacolvit and disco show latencies
    assert set(changed.repro()) == {"sources", "train_user_guided@spread", "evaluate_user_guided@spread", *readers}


def test_changing_a_family_touches_its_runs_alone(changed: Project) -> None:
    """Of those that the profile runs: spread has a network of its own, the others are not run."""
    changed.edit("colorexp/models/unet.py", "IN_CHANNELS = 3", "IN_CHANNELS = 1 + 2")
    changed.run("dvc repro -s sources")
    assert changed.changed() == {"train_user_guided@res_unet", "evaluate_user_guided@res_unet", "efficiency"}


def test_a_remark_re_runs_nothing(changed: Project) -> None:
    changed.edit("colorexp/models/unet.py", "IN_CHANNELS = 3", "IN_CHANNELS = 3  # L, a, b")
    assert changed.repro() == ["sources"]


def test_saving_a_notebook_retrains_nothing(changed: Project) -> None:
    """JupyterLab writes outputs and metadata into the source notebook."""
    path = changed.root / "notebooks" / "train.ipynb"
    notebook = json.loads(path.read_text())
    notebook["metadata"]["language_info"] = {"name": "python"}
    notebook["cells"][1]["execution_count"] = 7
    path.write_text(json.dumps(notebook))
    assert changed.repro() == ["sources"]


def test_a_failing_notebook_fails_its_stage_and_is_kept(changed: Project) -> None:
    changed.edit("notebooks/report.ipynb", "written = pages.build(out)", "raise RuntimeError('no such luck')")
    output = changed.run("dvc repro", code=255)
    assert "open reports/notebooks/report.ipynb" in output
    assert "no such luck" in (changed.root / "reports/notebooks/report.ipynb").read_text()


def test_photographs_heal_and_own_files_survive(changed: Project) -> None:
    bundled = changed.root / "data/bundled"
    own = changed.root / "data/mine/cat.jpg"
    own.parent.mkdir()
    own.write_bytes(b"mine")
    true = (bundled / "china.jpg").read_bytes()
    (bundled / "china.jpg").write_bytes(b"altered")
    (bundled / "coffee.png").unlink()
    assert "is altered" in changed.run("colorexp prepare photos", code=1)
    changed.run("dvc repro")
    assert (bundled / "china.jpg").read_bytes() == true
    assert (bundled / "coffee.png").is_file()
    changed.run("rm -r data/bundled && dvc repro")
    assert (bundled / "china.jpg").read_bytes() == true
    assert own.read_bytes() == b"mine"


def test_a_killed_training_resumes_and_ends_bit_equal(changed: Project) -> None:
    changed.edit("params.yaml", "      epochs: 2\n", "      epochs: 12\n      checkpoint_every: 3\n")
    changed.run("dvc repro -s sources")
    stage = "train_user_guided@res_unet"
    folder = changed.root / "artifacts/runs/user_guided/res_unet"
    command = ["dvc", "repro", "-s", stage]
    running = subprocess.Popen(
        command, cwd=changed.root, env=environment(changed.root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.kill(wait_for_kernel(changed.root), signal.SIGKILL)
    assert running.wait(timeout=60) != 0
    assert not (folder / "model.safetensors").exists()
    assert list((changed.root / "scratch").rglob("last.ckpt")), "it was killed while training"
    changed.run(f"dvc repro -s {stage}")
    assert not list((changed.root / "scratch").rglob("last.ckpt")), "it went on from there"
    resumed = {path.name: path.read_bytes() for path in folder.iterdir()}
    changed.run(f"dvc repro -f -s {stage}")
    assert resumed == {path.name: path.read_bytes() for path in folder.iterdir()}


def wait_for_kernel(root: Path) -> int:
    """The process that trains: a kernel whose working folder is `root`, once a second checkpoint has been written."""
    written: set[float] = set()
    for _ in range(6000):
        written |= {path.stat().st_mtime for path in (root / "scratch").rglob("last.ckpt")}
        if len(written) >= 2:
            return next(pid for pid in pids("ipykernel_launcher") if Path(f"/proc/{pid}/cwd").resolve() == root.resolve())
        time.sleep(0.01)
    raise TimeoutError("no training began")


def pids(word: str) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and word in (process / "cmdline").read_text():
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return found


def test_stages_have_stable_bytes(changed: Project) -> None:
    lock = (changed.root / "dvc.lock").read_text()
    changed.run("dvc repro -f -s evaluate_user_guided@res_unet && dvc repro -f -s user_guided && dvc repro -f -s prepare@photos")
    assert (changed.root / "dvc.lock").read_text() == lock


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("dvc metrics show", "scenes.accuracy"),
        ("dvc plots show", "index.html"),
        ("dvc exp show --md --drop '.*' --keep '.*accuracy|^profile$'", "scenes.accuracy"),
    ],
)
def test_dvc_shows_something_worth_reading(smoke: Project, command: str, shown: str) -> None:
    assert shown in smoke.run(command)


def test_committed_results_belong_to_the_committed_code(tmp_path: Path) -> None:
    """A fresh clone has nothing to do beyond what is not in git; checked without doing it."""
    output = check_out(tmp_path / "colorexp").run("dvc repro --dry --allow-missing")
    assert "Running stage" not in output, output


@pytest.mark.parametrize("name", ["own_picture", "hints"])
def test_notebooks_for_playing_run(smoke: Project, name: str) -> None:
    """They are outside dvc.yaml, so nothing else would notice."""
    smoke.run(f"python -m colorexp.nb notebooks/explore/{name}.ipynb scratch/{name}.ipynb")
    assert smoke.run("git status --porcelain") == ""

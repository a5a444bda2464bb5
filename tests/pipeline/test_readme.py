"""Every command of README.md but the two is run, in order, in the smoke profile."""

import re
import shutil
import time
import urllib.request
from pathlib import Path
from subprocess import DEVNULL, Popen

from project import ROOT, Project, environment

INSTEAD = {
    "wandb sync wandb/offline-run-*": "wandb sync --dry-run wandb/offline-run-*",  # would send them
}


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_every_command_runs(changed: Project) -> None:
    pictures = changed.root / "data" / "mine"
    shutil.copytree(changed.root / "data/bundled", pictures)
    changed.edit("params.yaml", "root: data/bundled\n    in: [gpu, paper]", "root: data/mine\n    in: [gpu, paper]")
    assert len(commands()) > 10
    for command in commands():
        output = changed.run(INSTEAD.get(command, command))
        if command.startswith("wandb sync"):
            assert "offline-run" in output
    assert (changed.root / "scratch/rocket-hinted.png").read_bytes() != (changed.root / "scratch/rocket.png").read_bytes()


def test_lab_opens(changed: Project) -> None:
    """`make lab`, without a browser and on a port of its own, on loopback."""
    command = ["jupyter", "lab", "notebooks", "--no-browser", "--port=8917", "--IdentityProvider.token=x", "--allow-root"]
    server = Popen(command, cwd=changed.root, env=environment(changed.root), stdout=DEVNULL, stderr=DEVNULL)
    try:
        assert wait_for("http://127.0.0.1:8917/api/contents?token=x")
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for(url: str) -> bool:
    for _ in range(300):
        try:
            return b"user_guided.ipynb" in urllib.request.urlopen(url, timeout=5).read()
        except OSError:
            time.sleep(0.2)
    return False


def test_make_help_lists_the_targets() -> None:
    output = Project(ROOT).run("make help")
    for target in ("repro", "test", "lab", "lint", "smoke", "report", "bench", "clean"):
        assert re.search(rf"(?m)^{target}\b", output), target


def test_the_picture_exists() -> None:
    linked = re.findall(r"!\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text())
    assert linked
    assert all(Path(ROOT / name).is_file() for name in linked)

"""A copy of the project in which commands are run as a user would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Project:
    """A copy of the project in which commands are run as a user would."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, command: str, *, code: int | None = 0, timeout: float = 900) -> str:
        """Run a shell line; returns stdout and stderr, asserts the exit code."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.root, env=environment(self.root), capture_output=True, text=True, timeout=timeout
        )
        output = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{command}: exit {done.returncode}\n{output[-4000:]}"
        return output

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1))

    def repro(self, *, code: int = 0) -> list[str]:
        """`dvc repro`; returns the stages it ran."""
        output = self.run("dvc repro", code=code)
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]

    def changed(self) -> set[str]:
        """The stages whose own inputs differ from dvc.lock."""
        return set(json.loads(self.run("dvc status --json")))

    def copy(self, target: Path) -> "Project":
        """The same state elsewhere, cache and artifacts included."""
        shutil.copytree(self.root, target, symlinks=True)
        return Project(target)


def environment(root: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "DVC", "PYTHONPATH"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    identity = {
        f"GIT_{who}_{what}": f"test{'@example.org' * (what == 'EMAIL')}"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return {**kept, **identity, "PATH": path, "PYTHONPATH": str(root), "DVC_NO_ANALYTICS": "1"}


def check_out(target: Path) -> Project:
    """The working tree as a fresh clone would have it: tracked files and those about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    project = Project(target)
    project.run("git init -q -b main && git add -A && git commit -q -m start")
    return project

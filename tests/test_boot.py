"""Importing torch and Lightning through `boot` leaves the process as a user expects it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from colorexp import boot

CODE = """
import gc, json, os, warnings
warnings.simplefilter("error")
from colorexp import boot
import torchvision
names = ("GOMP_SPINCOUNT", "WANDB_MODE", "WANDB_SILENT")
print(json.dumps({"collects": gc.isenabled(), **{name: os.environ[name] for name in names}}))
"""


def test_boot_imports_torchvision_and_overrides_no_setting() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "GOMP"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(boot.__file__).parents[1],
        env=environment | {"WANDB_MODE": "disabled"},
    )
    settings = json.loads(done.stdout)
    assert settings == {"collects": True, "GOMP_SPINCOUNT": "5000", "WANDB_MODE": "disabled", "WANDB_SILENT": "true"}

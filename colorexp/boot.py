"""torch and Lightning, imported fast, quiet and steady. Whatever computes imports this module before anything heavy."""

import ctypes
import gc
import importlib.util
import logging
import os
import sys
import warnings
from pathlib import Path

# How long threads wait awake for work. On two cores a training step of AdaColViT took a tenth longer with 1,000 and as long with
# 100,000, but then seven times as long as with this once another process took a core.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def _keep_freed_memory() -> None:
    """Ask glibc to reuse freed blocks rather than hand them back to the kernel.

    Tensors of a few megabytes are freed and taken again at every step; page faults otherwise take half of a training step and
    nine tenths of a colour conversion on the CPU.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            m_trim_threshold, m_mmap_max = -1, -4
            libc.mallopt(m_mmap_max, 0)
            libc.mallopt(m_trim_threshold, 2**31 - 1)


def _declare_torchvision_operators() -> None:
    """Declare the two operators whose absence stops `import torchvision`.

    The registry's torchvision wheel is linked against a CUDA torch. With a CPU-only torch its compiled operators cannot load,
    and torchvision, torchmetrics, lpips and lightning fail at import. None of those operators is used here.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")  # finds the package without importing it
    assert spec is not None and spec.origin is not None, "torchvision is a dependency of colorexp"
    try:
        for compiled in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(compiled)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_library"] = library  # an operator lives as long as its library


_keep_freed_memory()
_collecting = gc.isenabled()
gc.disable()  # the imports make millions of long-lived objects; collecting between them costs as much as the imports
_declare_torchvision_operators()
import pytorch_lightning  # noqa: E402, F401

gc.freeze()
if _collecting:
    gc.enable()

for _name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero", "lightning.pytorch"):
    logging.getLogger(_name).setLevel(logging.ERROR)
for _message in (
    ".*LeafSpec.*",
    ".*Checkpoint directory.*exists and is not empty.*",
    ".*resuming from a checkpoint that ended before.*",
    ".*does not have many workers.*",
    ".*anonymous setting.*",
):
    warnings.filterwarnings("ignore", message=_message)

"""Other methods to leave out patches of iColoriT: DynamicViT, AdaViT and A-ViT, which AdaColViT is compared with.

Source: Real-Time User-guided Adaptive Colorization with Vision Transformer, Table 3.
"""

from colorexp.models.pruned_vit.ada import AdaViT, HeadColoured, HeadDecisions
from colorexp.models.pruned_vit.body import Coloured, Decisions
from colorexp.models.pruned_vit.dynamic import DynamicViT, Sparsified
from colorexp.models.pruned_vit.halting import AViT, Halted

__all__ = [
    "AViT",
    "AdaViT",
    "Coloured",
    "Decisions",
    "DynamicViT",
    "Halted",
    "HeadColoured",
    "HeadDecisions",
    "Sparsified",
]

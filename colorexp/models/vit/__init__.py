"""iColoriT, and AdaColViT, which leaves out of it what a picture does not need."""

from colorexp.models.vit.adaptive import AdaColViT, Coloured, PreparedAdaColViT
from colorexp.models.vit.decisions import Decisions
from colorexp.models.vit.dense import IColoriT, PreparedIColoriT

__all__ = ["AdaColViT", "Coloured", "Decisions", "IColoriT", "PreparedAdaColViT", "PreparedIColoriT"]

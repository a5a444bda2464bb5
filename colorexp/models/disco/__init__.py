"""DISCO, disentangled colorization via global anchors: backbone, colour modeler, anchors, colour generator, RefineNet."""

from colorexp.models.disco.anchors import Anchor
from colorexp.models.disco.body import Coloured
from colorexp.models.disco.network import Disco

__all__ = ["Anchor", "Coloured", "Disco"]

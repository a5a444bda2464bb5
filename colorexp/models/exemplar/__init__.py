"""Exemplar colorization by attention: semantic colour module, database colour module, gate and decoder."""

from colorexp.models.exemplar.network import Colored, Exemplar

__all__ = ["Colored", "Exemplar"]

"""colorexp: four image-colorization papers, reimplemented and re-run with one `dvc repro`.

Importing the package stays light: torch is imported by the modules that compute.
"""

__version__ = "0.1.0"

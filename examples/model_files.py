"""Where the examples' models and series lie: inside of packages on PyPI, which nobody imports.

Not here: the models, which the repository does not copy, and the packages' code (package_code.py).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import seqcore as sc


def model_file(package: str, name: str, install: str, what: str = "trained model") -> Path:
    """Find a file of an installed package; if it is missing, exit saying what to install.

    Parameters
    ----------
    package : str
        As it is imported.
    name : str
        The file within the package.
    install : str
        What to give to ``pip install``.
    what : str
        What the file is, for who lacks it.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, name)
        if path.is_file():
            return path
    # --no-deps: only the file is wanted, not the framework that the package would bring along.
    sys.exit(f"This example needs the {what} in {install}: pip install --no-deps {install}")


def kept_by(model: sc.Model | sc.Seq2Seq | sc.Generator, *names: str) -> list[Any]:
    """Return what a model keeps beside its weights; if it lacks some of it, exit saying so."""
    absent = [name for name in names if name not in model.assets]
    if absent:
        sys.exit(f"This example's model file has {', '.join(names)}; this one lacks {absent[0]}")
    return [model.assets[name] for name in names]

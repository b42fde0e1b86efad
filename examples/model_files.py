"""Where the examples' trained models lie: inside of packages on PyPI, which are never imported.

Not here: the models, which the repository does not copy, and anything of seqcore.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def model_file(package: str, name: str, install: str) -> Path:
    """Find a file of an installed package; if it is missing, exit saying what to install.

    Parameters
    ----------
    package : str
        As it is imported.
    name : str
        The file within the package.
    install : str
        What to give to ``pip install``.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, name)
        if path.is_file():
            return path
    # --no-deps: only the file is wanted, not the framework that the package would bring along.
    sys.exit(f"This example needs the trained model in {install}: pip install --no-deps {install}")

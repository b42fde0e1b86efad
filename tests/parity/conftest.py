"""What the parity tests share: the path to the helpers above, every instruction set, sizes.

The sizes straddle the vector widths 4, 8 and 16. `case` deals them out so that a short list covers
every one of them without the full product.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pytest

import seqcore as sc


@pytest.fixture(params=sc.cpu_info()["isas"])
def isa(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(251)

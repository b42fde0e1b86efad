"""What the parity tests need before a framework is imported: Keras's backend, the helpers' path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("", "importers")]

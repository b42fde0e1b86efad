"""What stands before and behind a model of text or of a series: `sc.sequence`, public names only.

Rows of one length are batches.py, tokens vocabulary.py, scales of features scaling.py.
"""

from .batches import pad, windows
from .scaling import Scaler
from .vocabulary import Vocabulary

__all__ = ["Scaler", "Vocabulary", "pad", "windows"]

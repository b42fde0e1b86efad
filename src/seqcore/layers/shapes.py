"""Layers that move values and compute nothing: Flatten."""

from __future__ import annotations

from .base import Plain

__all__ = ["Flatten"]


class Flatten(Plain):
    """All axes but the batch in one, (B, ...) to (B, n). Refuses lengths at a call."""

    op = "flatten"

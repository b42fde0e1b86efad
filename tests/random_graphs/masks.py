"""Readers that make masks, or merge by them. Who reads a mask besides its input is elsewhere."""

from __future__ import annotations

from dataclasses import replace

from .elements import Elements
from .graph import CONSTANTS, ROWS, Value


class Masks(Elements):
    """Masks from ids, features and masks."""

    def mask_ids(self, v: Value) -> Value:
        name = self.name()
        self.add("mask_ids", [v.name], [name], **self.lengths(v))
        if v.inner:
            return replace(self.of_axes(v, v.axes), name=name, rows=ROWS)
        return replace(v, name=name, kind="mask", channels=0, rows=ROWS)

    def masking(self, v: Value) -> Value:
        name, attrs = self.name(), {"value": self.draw.choice(CONSTANTS)}
        self.add("masking", [v.name], [name], attrs, **self.lengths(v))
        return replace(v, name=name)

    def mask_merge(self, v: Value) -> Value:
        """Masks of the same frames; that of a single frame is there for all of them."""
        masks = [u for u in self.values if u.kind in ("mask", "maybe")]
        fitting = [u for u in masks if replace(u, kind=v.kind).fits(v)]
        fitting += [u for u in masks if set(u.frames) == {1} and u.fixed and not u.lengths]
        merged, made = self.joined(v, fitting)
        attrs = {"all": self.draw.random() < 0.5}
        self.add("mask_merge", [u.name for u in merged], [made.name], attrs)
        sure = any if attrs["all"] else all
        return replace(made, kind="mask" if sure(u.kind == "mask" for u in merged) else "maybe")

    def masked_merge(self, v: Value) -> Value:
        others = [u for u in self.values if u.fits(v) or self.is_single(u, v)]
        others = [u for u in others if len({u.channels, v.channels, 1}) < 3]
        other, name = self.draw.choice(others), self.name()
        pair = [v, other] if self.draw.random() < 0.5 else [other, v]
        masks = [self.mask_for(u) for u in pair]
        attrs = {"function": self.draw.choice(["multiply", "maximum", "minimum"])}
        inputs = [*(u.name for u in pair), *masks]
        self.add("masked_merge", inputs, [name], attrs, **self.lengths(*pair))
        channels = other.channels if v.channels == 1 else v.channels
        depth = max(v.depth, other.depth)
        made = replace(v, name=name, channels=channels, depth=depth)
        return self.squash(made) if attrs["function"] == "multiply" else made

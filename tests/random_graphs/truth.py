"""Readers that make truths, choose by them, or read no number at all: constants.

A comparison has a side, which rounding must not decide: what is compared are numbers that both
sides of a test have in full, or numbers far from each other.
"""

from __future__ import annotations

from dataclasses import replace

from .graph import CONSTANTS, Value
from .parts import Parts

COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
FAR = [100, -100, "inf", "-inf", "nan"]
CHOICES = [None, 0, -1.5, 0.25]


class Truth(Parts):
    """Comparisons, connectives, choices and constants."""

    def is_exact(self, v: Value) -> bool:
        """Whether float32 has the numbers of a value as they are: inputs, and truths."""
        return v.name in self.exact or v.name.startswith("x") or v.kind in ("ids", "mask")

    def truth(self, v: Value, name: str) -> Value:
        """A value of ones and zeros in the shape of `v`."""
        self.exact.add(name)
        if v.kind == "ids":
            made = replace(v, name=name, kind="mask", channels=0)
            return replace(self.of_axes(v, v.axes), name=name) if v.inner else made
        return replace(v, name=name, depth=0)

    def compare(self, v: Value) -> Value:
        name, exact = self.name(), self.is_exact(v)
        others = [u for u in self.values if u.fits(v) and u.channels == v.channels]
        others = [u for u in others if exact and self.is_exact(u) and v.kind != "ids"]
        function, number = self.draw.choice(COMPARISONS), None
        joined = [v, self.draw.choice(others)] if others and self.draw.random() < 0.4 else [v]
        if len(joined) == 1:
            number = self.draw.choice([*CONSTANTS, -0.25] if exact else FAR)
        attrs = {"function": function, "number": number}
        self.add("compare", [j.name for j in joined], [name], attrs, **self.lengths(*joined))
        return self.truth(v, name)

    def remainder(self, v: Value) -> Value | None:
        """Of numbers that both sides of a test have in full, by such: it jumps, as quotients do."""
        alike = [u for u in self.values if u.fits(v) and u.channels == v.channels]
        others = [u for u in alike if u.name.startswith("x")]
        if not self.is_exact(v) or v.kind in ("ids", "mask") or not others:
            return None
        joined, name = [v, self.draw.choice(others)], self.name()
        attrs = {"rounding": self.draw.choice(["floor", "trunc"])}
        self.add("remainder", [j.name for j in joined], [name], attrs, **self.lengths(*joined))
        return replace(v, name=name, depth=0)

    def logical(self, v: Value) -> Value | None:
        if not self.is_exact(v) or v.kind == "ids":
            return None
        others = [u for u in self.values if u.fits(v) and u.channels == v.channels]
        others = [u for u in others if self.is_exact(u)]
        name, function = self.name(), self.draw.choice(["and", "or", "xor", "not"])
        joined = [v] if function == "not" else [v, self.draw.choice(others)]
        attrs = {"function": function}
        self.add("logical", [j.name for j in joined], [name], attrs, **self.lengths(*joined))
        return self.truth(v, name)

    def where(self, v: Value) -> Value:
        """`v` or something like it, by what can be compared; of one channel, it is for all."""
        alike = [u for u in self.values if u.fits(v)]
        truths = [u for u in alike if self.is_exact(u) and u.channels in (v.channels, 1)]
        condition = self.draw.choice(truths) if truths else self.compare(v)
        numbers = [self.draw.choice(CHOICES), self.draw.choice(CHOICES)]
        fitting = [u for u in alike if u.channels in (v.channels, 1)]
        values = [
            u for n, u in zip(numbers, [v, self.draw.choice(fitting)], strict=True) if n is None
        ]
        name, joined = self.name(), [condition, *values]
        attrs = dict(zip("ab", numbers, strict=True))
        self.add("where", [j.name for j in joined], [name], attrs, **self.lengths(*joined))
        channels = [j.channels for j in joined if j.channels != 1]
        depth = max([u.depth for u in values], default=0)
        made = replace(v, name=name, channels=channels[0] if channels else 1, depth=depth)
        return replace(made, kind="line") if v.kind == "mask" else made

    def constant(self, v: Value) -> Value:
        name, units = self.name(), self.draw.choice([1, 3, 16, 20])
        weights = {"W": self.weight(units)}
        self.add("constant", [v.name], [name], {"shape": [units]}, weights)
        if v.kind == "frames":
            return replace(v, name=name, channels=units, depth=0, inner=())
        return Value(name, "vector", units)

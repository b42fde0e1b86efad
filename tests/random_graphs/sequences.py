"""Readers that look at several frames: recurrent layers, windows, pooling, attention, products."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from seqcore import reference as ref

from .elements import Elements
from .graph import BOUNDED, MAX_CHANNELS, MAX_DEPTH, PADS, ROWS, Value

GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
BOUNDED_GATES = [
    ["tanh", 0, 0], ["sigmoid", 0, 0], ["hard_sigmoid", 0.2, 0.5], ["softsign", 0, 0],
    ["softmax", 0, 0],
]  # fmt: skip


class Sequences(Elements):
    """Layers over time."""

    # ---- Recurrent layers ------------------------------------------------------------------------

    def recurrent(self, v: Value) -> Value | None:
        """Over features, or over ids for their one-hot vectors."""
        ids = v.kind == "ids"
        if v.depth == MAX_DEPTH or (ids and (not v.rows or v.inner)):
            return None
        op = self.draw.choice(list(GATES))
        vectors = [u.channels for u in self.values if u.kind == "vector" and u.channels]
        if self.stacked is not None:
            vectors.append(self.stacked["shape"][1])
        units = self.draw.choice([1, 3, 16, 20, 33, 70])
        if vectors and self.draw.random() < 0.5:
            units = self.draw.choice(vectors)
        projection = self.draw.choice([0, 0, 0, 1, 3, 16, 20, 33, 70]) if op == "lstm" else 0
        sizes = {"lstm": [projection or units, units]}.get(op, [units])
        states = [self.initial_state(size) for size in sizes]
        depth = max([v.depth] + [u.depth for u in self.values if u.name in states]) + 1
        if depth > MAX_DEPTH:
            return None
        attrs, weights = self.cell(op, v.rows if ids else v.channels, units, projection)
        attrs |= self.one_hot_of(v)
        outputs = [
            self.name() if self.draw.random() < wanted else None
            for wanted in (0.85, *[0.4] * len(states))
        ]
        inputs, mask = [v.name, *states], self.mask_for(v)
        if mask is not None:
            inputs.append(mask)
            attrs["zero_output_for_mask"] = self.draw.random() < 0.5
        self.add(op, inputs, outputs, attrs, weights, **self.lengths(v))
        y, *last = outputs
        for name, size in zip(last, sizes, strict=True):
            if name is not None:
                self.values.append(Value(name, "vector", size, depth=depth))
        if y is None:
            return None
        if not attrs["return_sequences"]:
            return Value(y, "vector", sizes[0], depth=depth)
        made = replace(v, name=y, channels=sizes[0], depth=depth)
        return replace(made, kind="sequence", rows=ROWS) if ids else made

    def initial_state(self, units: int) -> str | None:
        """Nothing, an input, a part of the stacked input, or a value of this graph."""
        source = self.draw.choice(["none", "input", "stacked", "value", "value"])
        if source == "input":
            return self.state(units)["name"]
        if source == "stacked" and self.stacked is not None and self.stacked["shape"][1] == units:
            name, stacked, index = self.name(), self.stacked["name"], self.draw.randrange(2)
            if self.draw.random() < 0.6:
                self.add("select", [stacked], [name], {"index": index})
                return name
            turned = self.name()
            self.add("batch_first", [stacked], [turned])
            self.add("index", [turned], [name], {"axis": 1, "index": index})
            return name
        fitting = [u.name for u in self.values if u.kind == "vector" and u.channels == units]
        return self.draw.choice(fitting) if source == "value" and fitting else None

    def cell(
        self, op: str, channels: int, units: int, projection: int
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Attributes and weights; the recurrent ones are small enough for errors to fade."""
        width, state = GATES[op] * units, projection or units
        weights = self.kernel(channels, width)
        weights["U"] = self.weight(state, width, scale=0.4 * state**-0.5)
        attrs = {
            "units": units,
            "activation": ["tanh", 0, 0] if self.draw.random() < 0.5 else self.activation_spec(),
            "reverse": self.draw.random() < 0.4,
            "realign": self.draw.random() < 0.5,
            "return_sequences": self.draw.random() < 0.6,
        }
        if op != "simple_rnn":
            gates = [["sigmoid", 0, 0]] * 4 + [["hard_sigmoid", 0.2, 0.5], ["softmax", 0, 0]]
            attrs["recurrent_activation"] = self.draw.choice(gates)
        if op == "lstm" and (projection or self.draw.random() < 0.5):  # old graphs do not say 0
            attrs["projection"] = projection
        if projection:
            weights["P"] = self.weight(units, projection, scale=units**-0.5)
        if op == "gru":
            attrs["reset_after"] = self.draw.random() < 0.6
            if attrs["reset_after"]:
                weights["bn"] = self.weight(units)
        self.fill_cell(op, units, attrs, weights)
        return attrs, weights

    def fill_cell(
        self, op: str, units: int, attrs: dict[str, Any], weights: dict[str, str]
    ) -> None:
        """Give every third cell some of the options of cells in full.

        They are drawn apart, so that a seed's graph is the same with them and without. Epsilons
        are large: the smaller one is, the more a norm makes of errors.
        """
        draw = random.Random(units + 97 * len(self.graph.tensors))
        if draw.random() < 0.65:
            return
        options: dict[str, Any] = {"clip": draw.choice([0.3, 1.5])}
        letters = {"lstm": "ifgoh", "gru": "rzn", "simple_rnn": ""}[op]
        if letters:
            some = draw.sample(letters, draw.randint(1, len(letters)))
            options["gate_activations"] = {letter: draw.choice(BOUNDED_GATES) for letter in some}
        if op == "gru":
            options["update_keeps"] = draw.random() < 0.5
        norm = draw.choice([None, None, "products", "gates"]) if op == "lstm" else None
        if op == "lstm":
            options |= {"cell_clip": draw.choice([0.2, 1.0]), "input_forget": draw.random() < 0.5}
        if attrs.get("projection"):
            options["projection_clip"] = draw.choice([0.1, 0.7])
        attrs |= {key: value for key, value in options.items() if draw.random() < 0.5}
        if attrs.get("input_forget"):  # nothing is said of a gate f that there is not
            attrs.get("gate_activations", {}).pop("f", None)
            norm = norm and "gates"
        if norm is not None:
            state = draw.choice(["none", "kept", "output"])
            attrs |= {"layer_norm": norm, "epsilon": draw.choice([0.5, 1.0]), "norm_state": state}
            parts = {"products": ["input", "recurrent"], "gates": ["gate"]}[norm]
            sizes = dict.fromkeys(parts, 4 * units) | ({} if state == "none" else {"state": units})
            for part, size in sizes.items():
                weights[f"{part}_scale"] = self.weight(size)
                weights[f"{part}_offset"] = self.weight(size)
        elif op == "lstm" and draw.random() < 0.5:
            weights["peepholes"] = self.weight(3, units, scale=0.3)

    # ---- Windows ---------------------------------------------------------------------------------

    def windows(self, v: Value, made: Value, size: int, strides: int, padding: Any) -> Value:
        """`made` with the frames and lengths behind windows of `size` frames over `v`."""
        return self.mapped(v, made, lambda n: ref.window_length(n, size, strides, padding))

    def convolved(self, v: Value, filters: int) -> tuple[Value, dict[str, Any]]:
        """The value behind a convolution, and its attributes."""
        size, strides, dilation = (self.draw.randint(1, most) for most in (4, 3, 3))
        padding = self.draw.choice(["valid", "same", *["causal"] * 2, self.draw.choice(PADS)])
        made = replace(v, name=self.name(), channels=filters, depth=v.depth + 1)
        attrs = {
            "kernel_size": size, "strides": strides, "dilation": dilation, "padding": padding,
            "activation": self.activation_spec(),
        }  # fmt: skip
        return self.windows(v, made, (size - 1) * dilation + 1, strides, padding), attrs

    def conv1d(self, v: Value) -> Value | None:
        if v.depth == MAX_DEPTH:
            return None
        groups = self.draw.choice([g for g in (1, 1, 1, 2, 3) if v.channels % g == 0])
        filters = groups * self.draw.choice([1, 3, 17])
        made, attrs = self.convolved(v, filters)
        weights = self.kernel(attrs["kernel_size"], v.channels // groups, filters)
        attrs |= {"filters": filters, "groups": groups}
        return self.add_mapped("conv1d", v, made, attrs, weights)

    def depthwise_conv1d(self, v: Value) -> Value | None:
        multiplier = self.draw.choice([1, 1, 2, 3])
        filters = v.channels * multiplier
        if v.depth == MAX_DEPTH or not 0 < filters <= MAX_CHANNELS:
            return None
        made, attrs = self.convolved(v, filters)
        weights = self.kernel(attrs["kernel_size"], v.channels, multiplier)
        weights["b"] = self.weight(filters)
        return self.add_mapped(
            "depthwise_conv1d", v, made, attrs | {"multiplier": multiplier}, weights
        )

    def conv1d_transpose(self, v: Value) -> Value | None:
        if v.depth == MAX_DEPTH or max(v.frames, default=0) > 100:
            return None
        size, strides, dilation = (self.draw.randint(1, most) for most in (5, 3, 3))
        dilation = dilation if strides == 1 else 1
        filters = self.draw.choice([1, 3, 17])
        attrs = {
            "filters": filters, "kernel_size": size, "strides": strides, "dilation": dilation,
            "crop": self.draw.randint(0, 4), "tail": self.draw.randint(0, 6),
            "activation": self.activation_spec(),
        }  # fmt: skip
        made = replace(v, name=self.name(), channels=filters, depth=v.depth + 1)
        made = self.mapped(v, made, lambda n: (n - 1) * strides + attrs["tail"] if n else 0)
        weights = self.kernel(size, v.channels, filters)
        return self.add_mapped("conv1d_transpose", v, made, attrs, weights)

    def pool1d(self, v: Value) -> Value:
        """Windows of some frames; with dilation those that the padding could leave without any."""
        op = self.draw.choice(["max_pool1d", "avg_pool1d"])
        size, strides = self.draw.randint(1, 4), self.draw.randint(1, 3)
        attrs = {"pool_size": size, "strides": strides}
        attrs["padding"] = self.draw.choice(["valid", "same", *(p for p in PADS if max(p) < size)])
        if not isinstance(attrs["padding"], str):
            attrs["ceil_mode"] = self.draw.random() < 0.6
            if op == "avg_pool1d":
                attrs["count_include_pad"] = self.draw.random() < 0.6
        elif op == "max_pool1d" and attrs["padding"] == "valid":
            attrs["dilation"] = self.draw.choice([1, 2, 3])
        made = replace(v, name=self.name())
        return self.add_mapped(
            op, v, self.mapped(v, made, lambda n: ref.LENGTHS[op](n, attrs)), attrs
        )

    def adaptive_pool1d(self, v: Value) -> Value:
        name, n = self.name(), self.draw.choice([1, 2, 3, 7])
        attrs = {"function": self.draw.choice(["mean", "max"]), "n": n}
        self.add("adaptive_pool1d", [v.name], [name], attrs, **self.lengths(v))
        frames = (n,) * len(self.graph.times)
        return replace(v, name=name, frames=frames, fixed=True, lengths=None)

    def pad1d(self, v: Value) -> Value:
        left, right = (self.draw.choice([-2, -1, 0, 0, 1, 2, 3]) for _ in range(2))
        attrs: dict[str, Any] = {"left": left, "right": right}
        modes = ["zero", "constant"] + (["replicate"] * 2 if min(left, right) >= 0 else [])
        if min(left, right) >= 0 and v.lengths is None and min(v.frames) > max(left, right):
            modes += ["reflect", "circular"] * 2
        if self.draw.random() < 0.8:  # else a graph of before there were modes
            attrs["mode"] = self.draw.choice(modes)
        if attrs.get("mode") == "constant":
            attrs["value"] = self.draw.choice([0.25, -1.5])
        made = replace(v, name=self.name())
        made = self.mapped(v, made, lambda n: ref.LENGTHS["pad1d"](n, attrs))
        return self.add_mapped("pad1d", v, made, attrs)

    def global_pool(self, v: Value) -> Value:
        name, op = self.name(), self.draw.choice(["global_avg_pool1d", "global_max_pool1d"])
        mask = self.mask_for(v) if op == "global_avg_pool1d" else None
        self.add(op, [v.name, mask] if mask else [v.name], [name], **self.lengths(v))
        kind = "flat" if mask else "vector"  # NaN of a row of which no frame counts
        return Value(name, kind, v.channels, depth=v.depth)

    # ---- Attention and products ------------------------------------------------------------------

    def attention(self, v: Value) -> Value | None:
        """A query over a key of as many features, and a value that ends where the key does."""
        sequences = [u for u in self.values if u.kind == "sequence"]
        key = self.draw.choice([u for u in sequences if u.channels == v.channels])
        value = self.draw.choice([u for u in sequences if u.fits(key)])
        depth = max(v.depth, key.depth, value.depth) + 1
        if depth > MAX_DEPTH:
            return None
        parts = [
            h for h in (0, 0, 1, 2, 3) if v.channels % (h or 1) == value.channels % (h or 1) == 0
        ]
        attrs = {
            "score": self.draw.choice(["dot", "additive"]) if v.channels else "dot",
            "masking": self.draw.choice(["subtract", "replace", "zero"]),
            "heads": self.draw.choice(parts), "scale": max(v.channels, 1) ** -0.5,
            "causal": self.draw.random() < 0.4,
        }  # fmt: skip
        weights = {}
        if attrs["score"] == "additive":
            attrs |= {"heads": 0, "shared": self.draw.random() < 0.5}
            weights["W"] = self.weight(1 if attrs["shared"] else v.channels, scale=0.3)
        name, scores = self.name(), self.name() if self.draw.random() < 0.3 else None
        inputs = [v.name, value.name, key.name, self.mask_for(v), self.mask_for(value)]
        entry = self.lengths(v, value, key)
        self.add("attention", inputs, [name, scores], attrs, weights, **entry)
        if scores is not None:
            self.values.append(Value(scores, "flat", 0, depth=depth))
        return replace(v, name=name, channels=value.channels, depth=depth)

    def cosine(self, v: Value) -> Value:
        alike = [u for u in self.values if u.kind == "vector" and u.channels == v.channels]
        other, name = self.draw.choice(alike), self.name()
        attrs = {"axes": [self.draw.choice([1, -1]), 1], "normalize": True}
        self.add("dot", [v.name, other.name], [name], attrs)
        return replace(v, name=name, channels=1, depth=max(v.depth, other.depth))

    def products(self, v: Value) -> Value | None:
        """The same by hand: cosines of all frames, and sums of those of the other value."""
        others = [u for u in self.values if u.kind == "sequence" and u.channels == v.channels]
        others = [u for u in others if u.fixed and u.lengths is None and u.depth < MAX_DEPTH]
        if not others or v.depth == MAX_DEPTH:
            return None
        other = self.draw.choice(others)
        cosines, name = self.name(), self.name()
        entry = self.lengths(v, other)
        attrs = {"axes": [self.draw.choice([2, -1]), 2], "normalize": True}
        self.add("dot", [v.name, other.name], [cosines], attrs, **entry)
        self.add("batch_matmul", [cosines, other.name], [name], **entry)
        made = replace(v, name=name, depth=max(v.depth, other.depth) + 1)
        return self.activation(made, self.draw.choice(BOUNDED))

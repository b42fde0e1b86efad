"""Cells in full beside the plain ones: what peepholes, clips, norms and other activations cost.

    python bench/cells.py [variant ...] [--isa avx2] [--seconds S] [--units N ...] [--batch B ...]

Every variant of an LSTM or GRU is timed beside the plain cell of its size, as many features as
units, one thread. Short rounds alternate, so that a drift of the machine meets all alike. The
figure is the plain cell's median over the variant's: 1.00 is equally fast, 0.70 the least allowed.
Whether they are right is asked by tests/test_cells_core.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqcore as sc
from seqcore._binding import Plan

GATES = {"lstm": 4, "gru": 3}
SIGMOID, TANH = ["sigmoid", 0, 0], ["tanh", 0, 0]
HARD, RELU, SOFTSIGN = ["hard_sigmoid", 0.2, 0.5], ["relu", 0, 0], ["softsign", 0, 0]
PRODUCTS = {"layer_norm": "products", "epsilon": 1e-5}
GATES_NORM = {"layer_norm": "gates", "epsilon": 1e-5}
EVERYTHING = {"clip": 3.0, "cell_clip": 2.0, "input_forget": True}

# Attributes by variant; an LSTM's weights follow from them, but for peepholes, which have a name.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "lstm": {
        "peepholes": {"peepholes": True},
        "clip": {"clip": 3.0},
        "cell_clip": {"cell_clip": 2.0},
        "coupled": {"input_forget": True},
        "mixed": {"gate_activations": {"f": HARD, "g": RELU, "h": SOFTSIGN}},
        "hard": {"recurrent_activation": HARD},
        "swapped": {"recurrent_activation": TANH, "activation": SIGMOID},
        "everything": EVERYTHING | {"peepholes": True},
        "products": PRODUCTS,
        "products, kept": PRODUCTS | {"norm_state": "kept"},
        "products, output": PRODUCTS | {"norm_state": "output"},
        "gates": GATES_NORM,
        "gates, kept": GATES_NORM | {"norm_state": "kept"},
    },
    "gru": {
        "clip": {"clip": 3.0},
        "update": {"update_keeps": False},
        "mixed": {"gate_activations": {"r": HARD, "n": RELU}},
        "hard": {"recurrent_activation": HARD},
        "swapped": {"recurrent_activation": TANH, "activation": SIGMOID},
        "everything": {"clip": 3.0, "update_keeps": False, "gate_activations": {"z": HARD}},
    },
}


def weights_of(op: str, units: int, attrs: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Draw a cell's weights, of as many features as units."""
    rng, wide = np.random.default_rng(units), GATES[op] * units
    shapes: dict[str, tuple[int, ...]] = {"W": (units, wide), "U": (units, wide), "b": (wide,)}
    if op == "gru":
        shapes["bn"] = (units,)
    if attrs.get("peepholes"):
        shapes["peepholes"] = (3, units)
    norms = {"products": ("input", "recurrent"), "gates": ("gate",)}
    for part in norms.get(attrs.get("layer_norm", ""), ()):
        shapes |= {f"{part}_scale": (wide,), f"{part}_offset": (wide,)}
    if "norm_state" in attrs:
        shapes |= {"state_scale": (units,), "state_offset": (units,)}
    made = {name: rng.standard_normal(shape) / units**0.5 for name, shape in shapes.items()}
    made |= {name: 1 + made[name] for name in made if name.endswith("scale")}
    return {name: array.astype(np.float32) for name, array in made.items()}


def plan_of(op: str, units: int, attrs: dict[str, Any], isa: str | None) -> Plan:
    """Return a plan of one cell over whole sequences, one thread."""
    own = {
        "units": units, "activation": TANH, "recurrent_activation": SIGMOID, "reverse": False,
        "realign": False, "return_sequences": True,
    }  # fmt: skip
    own |= {"reset_after": True} if op == "gru" else {}
    own |= {key: value for key, value in attrs.items() if key != "peepholes"}
    tensors = weights_of(op, units, attrs)
    node = {
        "op": op, "layer": "cell", "inputs": ["x"], "outputs": ["y"], "attrs": own,
        "weights": {name: name for name in tensors},
    }  # fmt: skip
    shape = [None, units]
    document = {
        "format": "seqcore", "version": 1, "nodes": [node],
        "inputs": [{"name": "x", "kind": "data", "dtype": "float32", "shape": shape}],
        "outputs": [{"name": "y", "value": "y"}],
    }  # fmt: skip
    return Plan(json.dumps(document).encode(), tensors, isa=isa, threads=1)


def medians(plans: list[Plan], x: NDArray[np.float32], seconds: float) -> list[float]:
    """Return the median time of a call of each plan; rounds of some calls alternate."""
    out = np.empty_like(x)
    times: list[list[float]] = [[] for _ in plans]

    def once(plan: Plan) -> float:
        begin = time.perf_counter()
        plan.run_one(x, out)
        return time.perf_counter() - begin

    repeats = max(1, int(1e-3 / min(once(plans[0]) for _ in range(5))))
    end = time.perf_counter() + seconds * len(plans)
    while time.perf_counter() < end:
        for plan, taken in zip(plans, times, strict=True):
            once(plan)  # its weights are in the caches then
            taken.extend(once(plan) for _ in range(repeats))
    return [1e6 * statistics.median(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = sorted({name for variants in VARIANTS.values() for name in variants})
    parser.add_argument("variants", nargs="*", metavar="variant", help=", ".join(names))
    parser.add_argument("--isa", help="of cpu_info()['isas']; the best one otherwise")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each measurement")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--units", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    options = parser.parse_args()
    wanted = options.variants or names
    sizes = [(units, batch) for units in options.units for batch in options.batch]
    print(f"{options.isa or sc.cpu_info()['isa']}, {options.frames} frames; plain / variant\n")
    print(
        "| cell | " + " | ".join(f"{units} units, batch {batch}" for units, batch in sizes) + " |"
    )
    print("| --- |" + " ---: |" * len(sizes))
    for op, all_variants in VARIANTS.items():
        variants = {name: attrs for name, attrs in all_variants.items() if name in wanted}
        rows = [f"| {op}, plain (us)", *(f"| {op}, {name}" for name in variants)]
        for units, batch in sizes:
            plans = [plan_of(op, units, attrs, options.isa) for attrs in ({}, *variants.values())]
            shape = batch, options.frames, units
            x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            plain, *others = medians(plans, x, options.seconds)
            figures = [f"{plain:,.0f}", *(f"{plain / other:.2f}" for other in others)]
            rows = [f"{row} | {figure}" for row, figure in zip(rows, figures, strict=True)]
        print("\n".join(f"{row} |" for row in rows), flush=True)


if __name__ == "__main__":
    main()

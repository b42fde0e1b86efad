"""What does a trained LSTM remember while it reads? Its gates, frame by frame, and a picture.

    python examples/look_inside.py microsoft.com vlurgpeddygdy.com --picture gates.png

The network is that of classify_domains.py. It pools its characters in twos before its LSTM reads
them, and reads on over the padding behind the name. Left out, the picture goes to a new file in the
folder for temporary files; its path is printed. It needs matplotlib: pip install seqcore[plots]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence

import numpy as np
from classify_domains import encode, load
from matplotlib.figure import Figure

import seqcore as sc

TOGETHER = 2  # characters that the pooling joins into a frame
PADDING = "·"


def characters(domain: str, frames: int) -> list[str]:
    """Return what stands at each frame that the LSTM reads."""
    pairs = [domain[k : k + TOGETHER] for k in range(0, len(domain), TOGETHER)]
    return pairs + [PADDING] * (frames - len(pairs))


def table(trace: sc.Trace, row: int, domain: str) -> str:
    """Return lines of what is kept at each frame of the name, and on average in the padding.

    With a forget gate of f at every frame, a unit would remember 1 / (1 - f) frames.
    """
    kept = trace["f"][row].mean(axis=1, dtype=np.float64)
    named = -(-len(domain) // TOGETHER)
    columns = [*kept[:named], *([kept[named:].mean()] if named < len(kept) else [])]
    heads = [*characters(domain, named), "padding"][: len(columns)]
    lines = [
        ("characters", heads),
        ("forget gate", [f"{f:.2f}" for f in columns]),
        ("memory", [f"{1 / (1 - f):.1f}" for f in columns]),
    ]
    return "\n".join(f"  {name:<12}" + " ".join(f"{v:>5}" for v in line) for name, line in lines)


def picture(trace: sc.Trace, domains: Sequence[str]) -> Figure:
    """Draw the forget gates of every name, one under the other."""
    figure = Figure(figsize=(10, 0.5 + 2 * len(domains)), layout="constrained")
    axes = figure.subplots(len(domains), squeeze=False)[:, 0]
    for row, (domain, ax) in enumerate(zip(domains, axes, strict=True)):
        labels = characters(domain, trace.lengths[row])
        sc.plots.gates(trace, row, labels, "f", ax=ax)
        ax.set_title(f"forget gates: {domain}", loc="left", fontsize="medium")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the LSTM keeps, character by character, and draw it."""
    parser = argparse.ArgumentParser(description="Look into the LSTM of a classifier of domains.")
    parser.add_argument("domains", nargs="*")
    parser.add_argument("--picture", help="where the PNG goes")
    given = parser.parse_args(arguments)
    domains = given.domains or ["microsoft.com", "vlurgpeddygdy.com", "wikipedia.com"]
    model, ids = load(), encode(domains)
    trace = model.trace(ids)
    print(trace, end="\n\n")
    for row, (domain, (probability,)) in enumerate(zip(domains, model(ids), strict=True)):
        print(f"{domain}: machine-made with probability {probability:.4f}")
        print(table(trace, row, domain), end="\n\n")
    memory = trace.memory()
    print(f"units remember {memory.min():.1f} to {memory.max():.1f} frames")
    for name, (shut, opened) in trace.saturation().items():
        print(f"gate {name}: shut at {shut.mean():.1%} of the frames, open at {opened.mean():.1%}")
    path = given.picture
    if path is None:
        with tempfile.NamedTemporaryFile(suffix=".png", prefix="gates-", delete=False) as file:
            path = file.name
    picture(trace, domains).savefig(path)
    print(f"picture: {path}")


if __name__ == "__main__":
    main()

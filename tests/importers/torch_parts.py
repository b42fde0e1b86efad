"""torch's own modules that are not recurrent, by options: what test_torch_parts.py runs through.

Each takes frames (B, T, 4), channels (B, 4, T) or rows of a vector (B, 4), behind a module that
says so: an importer that has no example must know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pairs import pairwise
from torch import nn

Row = dict[str, Any]
CHANNELS, TIME, IDS = 4, 8, 7


def always(row: Row) -> bool:
    del row
    return True


@dataclass(frozen=True)
class Family:
    """One class of modules.

    Attributes
    ----------
    kind : str
    options : mapping of str to sequence
        Values of each, none of which gives the same numbers as another one.
    given : dict
        Options that are the same in all rows.
    takes : "frames", "channels" or "vectors"
    fits : callable
        Whether torch makes a module of these options.
    wraps : callable, optional
        Applied to the module.
    label : str
        Of what is not told by its kind.
    fixed : bool
        Whether an export fixes the number of frames.
    """

    kind: str
    options: Mapping[str, Sequence[Any]]
    given: Row = field(default_factory=dict)
    takes: str = "channels"
    fits: Callable[[Row], bool] = always
    wraps: Callable[[nn.Module], nn.Module] | None = None
    label: str = ""
    fixed: bool = False

    @property
    def name(self) -> str:
        return f"{self.label or self.kind}-{self.takes}"

    def rows(self) -> list[Row]:
        return pairwise(self.options, self.fits) if self.options else [{}]

    def make(self, row: Row) -> nn.Module:
        """Make the module; its weights are the same wherever they have one name and shape."""
        module: nn.Module = getattr(nn, self.kind)(**self.given, **row)
        randomise(module)
        return (self.wraps(module) if self.wraps else module).eval()

    def chain(self, row: Row) -> nn.Sequential:
        """Make a Sequential of it that tells its input."""
        if self.kind == "Embedding":
            return nn.Sequential(self.make(row)).eval()
        head = HEADS[self.takes]()
        randomise(head)
        return nn.Sequential(head, self.make(row)).eval()


HEADS: Mapping[str, Callable[[], nn.Module]] = {
    "frames": lambda: nn.Embedding(IDS, CHANNELS),
    "channels": lambda: nn.Conv1d(CHANNELS, CHANNELS, 1),
    "vectors": lambda: nn.Linear(CHANNELS, CHANNELS),
}


def randomise(module: nn.Module) -> None:
    """Give weights and statistics values that show where they are misplaced."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            torch.manual_seed(sum(name.encode()))
            low = 0.5 if "var" in name else -1.5
            tensor.copy_(torch.empty_like(tensor).uniform_(low, 1.5))


def inputs_for(takes: str, batch: int, time: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    shapes = {"frames": (batch, time, CHANNELS), "channels": (batch, CHANNELS, time),
              "vectors": (batch, CHANNELS), "ids": (batch, time)}  # fmt: skip
    if takes == "ids":
        return torch.randint(0, IDS, shapes[takes])
    return 2 * torch.randn(shapes[takes])


def input_of(family: Family, batch: int, time: int, seed: int = 0) -> torch.Tensor:
    """Return an input of the module itself."""
    takes = "ids" if family.kind == "Embedding" else family.takes
    return inputs_for(takes, batch, time, seed)


def chain_input(family: Family, batch: int, time: int, seed: int = 0) -> torch.Tensor:
    """Return an input of the module's chain."""
    takes = "ids" if family.takes == "frames" else family.takes
    return inputs_for(takes, batch, time, seed)


class Several(nn.Module):
    """Modules side by side on one input."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Any) -> list[Any]:
        return [part(x) for part in self.parts]


BIAS = {"bias": (True, False)}
NORMS: Mapping[str, Callable[..., nn.Module]] = {
    "old": nn.utils.weight_norm,
    "new": nn.utils.parametrizations.weight_norm,
}


def of_channels(row: Row) -> bool:
    """`same` wants a step of one; padding of other modes fits into the frames."""
    return row["padding"] != "same" or row["stride"] == 1


def transposed(row: Row) -> bool:
    """A stride and a dilation at once are refused."""
    if row["stride"] > 1 and row["dilation"] > 1:
        return False
    return bool(row["output_padding"] < max(row["stride"], row["dilation"]))


def pooled(row: Row) -> bool:
    return row["padding"] * 2 <= row["kernel_size"]


def activation(kind: str, **options: Sequence[Any]) -> list[Family]:
    return [Family(kind, options, takes=takes) for takes in ("frames", "vectors")]


FAMILIES = [
    *(
        Family("Linear", {"out_features": (3, 5), **BIAS}, {"in_features": CHANNELS}, takes)
        for takes in ("frames", "vectors")
    ),
    Family(
        "Embedding",
        {"embedding_dim": (3, 5), "padding_idx": (None, 0)},
        {"num_embeddings": IDS}, "frames",
    ),
    Family(
        "Conv1d",
        {
            "kernel_size": (3, 2), "stride": (1, 2), "padding": (0, 2, "same"),
            "dilation": (1, 2), "groups": (1, 2, 4), "out_channels": (4, 8),
            "padding_mode": ("zeros", "reflect", "replicate", "circular"), **BIAS,
        },
        {"in_channels": CHANNELS}, fits=of_channels,
    ),
    Family(
        "ConvTranspose1d",
        {
            "kernel_size": (3, 4), "stride": (1, 2, 3), "padding": (0, 1),
            "output_padding": (0, 1), "dilation": (1, 2), "groups": (1, 2, 4),
            "out_channels": (4, 8), **BIAS,
        },
        {"in_channels": CHANNELS}, fits=transposed,
    ),
    Family(
        "MaxPool1d",
        {
            "kernel_size": (3, 2), "stride": (None, 1), "padding": (0, 1), "dilation": (1, 2),
            "ceil_mode": (False, True),
        },
        fits=pooled, fixed=True,
    ),
    Family(
        "AvgPool1d",
        {
            "kernel_size": (3, 2), "stride": (None, 1), "padding": (0, 1),
            "ceil_mode": (False, True), "count_include_pad": (True, False),
        },
        fits=pooled, fixed=True,
    ),
    Family("AdaptiveAvgPool1d", {"output_size": (1, 3, 5)}),
    Family("AdaptiveMaxPool1d", {"output_size": (1, 3, 5)}),
    *(
        Family(
            kind,
            {"eps": (1e-5, 0.3), "elementwise_affine": (True, False), **more},
            {"normalized_shape": CHANNELS}, takes,
        )
        for kind, more in (("LayerNorm", BIAS), ("RMSNorm", {}))
        for takes in ("frames", "vectors")
    ),
    *(
        Family(
            "BatchNorm1d", {"eps": (1e-5, 0.3), "affine": (True, False)},
            {"num_features": CHANNELS}, takes,
        )
        for takes in ("channels", "vectors")
    ),
    Family(
        "GroupNorm",
        {"num_groups": (2, 1, 4), "eps": (1e-5, 0.3), "affine": (True, False)},
        {"num_channels": CHANNELS},
    ),
    # Two numbers less their mean are one and minus one but for a larger eps.
    Family(
        "GroupNorm",
        {"num_groups": (2, 1), "eps": (0.1, 0.3), "affine": (True, False)},
        {"num_channels": CHANNELS}, "vectors",
    ),
    Family(
        "InstanceNorm1d",
        {
            "eps": (1e-5, 0.3), "affine": (False, True), "track_running_stats": (False, True),
        },
        {"num_features": CHANNELS},
    ),
    *activation("ReLU"), *activation("ReLU6"), *activation("Tanh"), *activation("Sigmoid"),
    *activation("LeakyReLU", negative_slope=(0.01, 0.4)),
    *activation("ELU", alpha=(1.0, 0.6)), *activation("SELU"), *activation("CELU", alpha=(1.0, 2)),
    *activation("GELU", approximate=("none", "tanh")), *activation("SiLU"), *activation("Mish"),
    *activation("Softplus", beta=(1, 2.5), threshold=(20, 1.0)), *activation("Softsign"),
    *activation("Hardtanh", min_val=(-1.0, -0.5), max_val=(1.0, 1.5)),
    *activation("Hardsigmoid"), *activation("Hardswish"),
    *activation("Hardshrink", lambd=(0.5, 1.0)), *activation("Softshrink", lambd=(0.5, 1.0)),
    *activation("Tanhshrink"), *activation("LogSigmoid"),
    *activation("Threshold", threshold=(0.1, -0.5), value=(7.0, 3)),
    *activation("PReLU", num_parameters=(1,)),
    Family("PReLU", {"num_parameters": (1, CHANNELS)}, label="PReLU-channels"),
    *activation("GLU", dim=(-1,)),
    Family("GLU", {"dim": (1,)}),  # halves of time are refused
    *(Family(kind, {"dim": (-1, 1)}, takes=takes)
      for kind in ("Softmax", "LogSoftmax") for takes in ("frames", "channels")),
    *activation("Softmax", dim=(-1,)),
    Family("ConstantPad1d", {"padding": ((1, 2), 3, (2, 0), (-1, 2), (-1, -2)), "value": (0.5, -2)},
           fixed=True),
    Family("ZeroPad1d", {"padding": ((1, 2), 3)}),
    *(Family(kind, {"padding": ((1, 2), 3)})
      for kind in ("ReflectionPad1d", "ReplicationPad1d", "CircularPad1d")),
    Family("Upsample", {"scale_factor": (2, 3)}),
    Family("Flatten", {"start_dim": (1, 2), "end_dim": (-1, 1)},
           fits=lambda row: (row["start_dim"], row["end_dim"]) != (2, 1)),
    Family("Unflatten", {"dim": (1,), "unflattened_size": ((2, 2), (1, 4), (4, -1))}),
    Family("Unflatten", {"dim": (2,), "unflattened_size": ((2, 2), (4, 1))}, takes="frames"),
    *(Family(kind, {"p": (0.5,)})
      for kind in ("Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout")),
    Family("Identity", {}),
    *(
        Family(kind, {**options, **BIAS}, given, takes, wraps=wraps, label=f"{form}-normed-{kind}")
        for form, wraps in NORMS.items()
        for kind, options, given, takes in (
            ("Linear", {"out_features": (3, 5)}, {"in_features": CHANNELS}, "frames"),
            ("Conv1d", {"out_channels": (4, 8)}, {"in_channels": CHANNELS, "kernel_size": 3},
             "channels"),
        )
    ),
]  # fmt: skip

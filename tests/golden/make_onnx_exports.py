"""Writes onnx/torch<version>_<exporter>_<module>.onnx: what torch's two exporters make of modules.

The scripting one traces (``dynamo=False``), the other decomposes a torch.export program and needs
onnxscript. Every size of batch and time is free. The numbers to compare with are onnxruntime's of
the file and torch's of the module; where they differ, this says so and the file's are right.

    pip install torch==2.13.0 onnx onnxruntime onnxscript
    python tests/golden/make_onnx_exports.py
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = Path(__file__).parent / "onnx"


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(ids))[0][:, -1]).softmax(-1)


class Streaming(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(8, 6, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.gru = nn.GRU(6, 7, num_layers=2, batch_first=True)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.gru(self.front(x.transpose(1, 2)).transpose(1, 2), h)
        return self.head(y), h


class States(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, num_layers=2, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.lstm(x, (h, c))
        return y.tanh(), h, c


class TimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.norm = nn.GRU(4, 6, bidirectional=True), nn.LayerNorm(12)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.gru(x)[0])
        return self.head(F.gelu(y).mean(0) + y.amax(0))


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (h, _) = self.lstm(packed)
        return pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0], h


class Pooled(nn.Module):
    """Attention over time with a query that is learned; frames past the lengths are masked."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(4, 6, nonlinearity="relu", bidirectional=True, batch_first=True)
        self.keys, self.query = nn.Linear(12, 5), nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        scores = torch.tanh(self.keys(y)) @ self.query
        there = torch.arange(x.shape[1])[None] < lengths[:, None]
        weights = scores.masked_fill(~there, -torch.inf).softmax(1)
        return torch.bmm(weights.unsqueeze(1), y).squeeze(1)


class Step(nn.Module):
    """One step of a decoder: cells, attention over what an encoder made."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell = nn.Embedding(9, 4), nn.GRUCell(10, 6)
        self.lstm, self.head = nn.LSTMCell(6, 5), nn.Linear(5, 9)

    def forward(self, token: Tensor, h: Tensor, c: Tensor, memory: Tensor) -> Any:
        scores = torch.einsum("bd,btd->bt", h, memory)
        context = (scores.softmax(-1)[..., None] * memory).sum(1)
        h = self.cell(torch.cat([self.embedding(token), context], -1), h)
        top, c = self.lstm(h, (c, c))
        return F.log_softmax(self.head(top), -1), h, c


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.lstm, self.norm = nn.LSTM(8, 8, batch_first=True), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        return self.lstm(y)[0] + y


class Dilated(nn.Module):
    """Causal convolutions with gates, as WaveNet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 6, 1)
        self.gated = nn.ModuleList(nn.Conv1d(6, 12, 2, dilation=2**k) for k in range(3))
        self.skip = nn.Conv1d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        total = 0
        for k, layer in enumerate(self.gated):
            a, b = layer(F.pad(y, (2**k, 0))).chunk(2, 1)
            y = y + torch.tanh(a) * torch.sigmoid(b)
            total = total + self.skip(y)
        return total


class UpAndDown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(4, 6, 4, stride=2, groups=2)
        self.up = nn.ConvTranspose1d(6, 4, 4, stride=2)
        self.norm, self.alone = nn.GroupNorm(2, 6), nn.InstanceNorm1d(6, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(F.pad(x, (3, 3), mode="reflect"))
        y = F.leaky_relu(self.norm(y), 0.1) + F.elu(self.alone(y))
        return self.up(F.avg_pool1d(F.pad(y, (1, 1), mode="replicate"), 3, 1))


class Shapes(nn.Module):
    """Batch and time joined and divided, parts taken, put together, turned round."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.LSTM(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, time, features = x.shape
        y = self.one(x.reshape(batch * time, features)).view(batch, time, 3, 2)
        a, b = y.unbind(-1)
        z = torch.stack([a, b.flip(1)], 2).flatten(2)
        z = torch.cat([z[:, 1:], z[:, :1]], 1) + torch.arange(time)[None, :, None]
        state = torch.zeros(1, batch, 3)
        last, _ = self.two(z.transpose(0, 1), (state, state + 1))
        values, places = last.topk(2, -1)
        return values.transpose(0, 1), places.transpose(0, 1), last[-1].argmax(-1)


class Unrolled(nn.Module):
    """A cell that forward calls for each of five frames."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], 4)
        made = []
        for t in range(5):
            h, c = self.cell(x[:, t], (h, c))
            made.append(h)
        return torch.stack(made, 1)


B, T = Dim("batch", min=1, max=64), Dim("time", min=2, max=512)
BATCH_FIRST, TIME_FIRST, BATCH, STATE = {0: B, 1: T}, {0: T, 1: B}, {0: B}, {1: B}


def floats(*sizes: int) -> Tensor:
    return torch.randn(*sizes)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], tuple[Any, ...]]] = {
    "classifier": (Classifier, (torch.randint(0, 20, (3, 7)),), (BATCH_FIRST,)),
    "streaming": (Streaming, (floats(3, 8, 4), floats(2, 3, 7)), (None, STATE)),
    "states": (States, (floats(3, 7, 4), floats(2, 3, 6), floats(2, 3, 6)),
               (BATCH_FIRST, STATE, STATE)),
    "time_first": (TimeFirst, (floats(7, 3, 4),), (TIME_FIRST,)),
    "packed": (Packed, (floats(3, 7, 4), torch.tensor([7, 3, 5])), (BATCH_FIRST, BATCH)),
    "pooled": (Pooled, (floats(3, 7, 4), torch.tensor([7, 3, 5])), (BATCH_FIRST, BATCH)),
    "step": (Step, (torch.tensor([1, 5, 2]), floats(3, 6), floats(3, 5), floats(3, 7, 6)),
             (BATCH, BATCH, BATCH, BATCH_FIRST)),
    "heads": (Heads, (floats(3, 7, 8),), (BATCH_FIRST,)),
    "dilated": (Dilated, (floats(2, 3, 9),), ({0: B, 2: T},)),
    "up_and_down": (UpAndDown, (floats(2, 4, 16),), (None,)),
    "shapes": (Shapes, (floats(3, 7, 4),), (BATCH_FIRST,)),
    "unrolled": (Unrolled, (floats(3, 5, 3),), (BATCH,)),
}  # fmt: skip
# Where the length of time is halved, torch.export wants it to be said.
HALF = Dim("half", min=2, max=200)
CASES["streaming"] = (*CASES["streaming"][:2], ({0: B, 1: 2 * HALF}, STATE))
CASES["up_and_down"] = (*CASES["up_and_down"][:2], ({0: B, 2: 2 * HALF},))


def strip(path: Path) -> None:
    """Take out what the exporter remembers of the code: lines of it, and where it lay."""
    model = onnx.load(path)
    model.graph.ClearField("doc_string")
    model.ClearField("metadata_props")
    graph = model.graph
    for part in (
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
        graph,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


def export(name: str, dynamo: bool) -> str:
    """Write one file; return what there is to say of it."""
    make, arguments, dims = CASES[name]
    torch.manual_seed(1)
    module = make().eval()
    inputs = module.forward.__code__.co_varnames[1 : 1 + len(arguments)]
    kind = "export" if dynamo else "script"
    path = HERE / f"torch{torch.__version__.split('+')[0]}_{kind}_{name}.onnx"
    options: dict[str, Any] = {"input_names": list(inputs)}
    if dynamo:
        options |= {"dynamic_shapes": dims, "external_data": False, "optimize": True}
    else:
        made = module(*arguments)
        outputs = [f"out{k}" for k in range(len(made) if isinstance(made, tuple) else 1)]
        options |= {
            "output_names": outputs, "opset_version": 17,
            "dynamic_axes": {i: {a: _named(d) for a, d in each.items()}
                             for i, each in zip(inputs, dims, strict=True)},
        }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, arguments, str(path), dynamo=dynamo, verbose=False, **options)
    strip(path)
    session = onnxruntime.InferenceSession(str(path))
    feeds = {i.name: a.numpy() for i, a in zip(session.get_inputs(), arguments, strict=True)}
    with torch.no_grad():
        wanted = module(*arguments)
    off = max(
        float(np.abs(a - b.numpy()).max())
        for a, b in zip(
            session.run(None, feeds), wanted if isinstance(wanted, tuple) else [wanted], strict=True
        )
    )
    return f"{path.stat().st_size:7} bytes, {off:.1e} from torch"


def _named(dim: Any) -> str:
    return str(getattr(dim, "__name__", dim)).replace("*", "x")


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name in CASES:
        for dynamo in (False, True):
            try:
                said = export(name, dynamo)
            except Exception as error:  # what an exporter cannot do is no file, and said
                said = f"not exported: {type(error).__name__}: {str(error)[:300]}"
            print(f"{name:12} {'export' if dynamo else 'script'}: {said}", flush=True)


if __name__ == "__main__":
    main()

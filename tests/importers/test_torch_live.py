"""Live modules as Programs: torch runs the program, on other sizes than the example's too.

tests/programs_in_torch.py runs it, packing the rows that "seqcore.ragged.default" marks, so what
packed sequences become is compared with the module's own packed sequences.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from programs_in_torch import RAGGED, UNPADDED, run
from tolerances import FLOAT32, close
from torch import nn
from torch.nn.modules import rnn as rnn_modules
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqcore.errors import UnsupportedLayerError
from seqcore.importers.torch.live import export_program


class Calling(nn.Module):
    """A module whose forward is a function of it and its inputs."""

    def __init__(self, forward: Any, **parts: Any) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def same(module: nn.Module, program: Any, *inputs: Any) -> None:
    """The program's outputs are the module's; time ends where torch's does."""
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module.eval()(*inputs))
    found = run(program, *inputs)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        wanted = theirs.numpy()
        assert all(m >= n for m, n in zip(ours.shape, wanted.shape, strict=True))
        inside = tuple(slice(n) for n in wanted.shape)
        assert not np.delete(ours, np.s_[: wanted.shape[1]], 1).any() if wanted.ndim > 1 else True
        close(ours[inside], wanted, FLOAT32[3])


def targets(program: Any) -> list[str]:
    return [node.target for node in program.nodes]


# ---- Sizes that may vary -------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self, kind: str = "LSTM", **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.rnn = getattr(nn, kind)(4, 3, 2, dropout=0.5, **options)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(self.rnn.hidden_size * (2 if self.rnn.bidirectional else 1), 5)

    def forward(self, ids: Any) -> Any:
        out, state = self.rnn(self.embedding(ids))
        return self.head(torch.relu(out)), state


RECURRENT = [
    ("LSTM", {"batch_first": True, "bidirectional": True}, "aten.lstm.input"),
    ("LSTM", {"proj_size": 2}, "aten.lstm.input"),
    ("GRU", {"bidirectional": True, "bias": False}, "aten.gru.input"),
    ("RNN", {"batch_first": True}, "aten.rnn_tanh.input"),
    ("RNN", {"nonlinearity": "relu"}, "aten.rnn_relu.input"),
]


@pytest.mark.parametrize(("kind", "options", "target"), RECURRENT)
def test_batch_and_time_vary(kind, options, target):
    torch.manual_seed(1)
    module = Tagger(kind, **options)
    if "proj_size" in options:
        module.head = nn.Linear(2, 5)
    program = export_program(module, (torch.randint(0, 9, (3, 4)),))
    assert targets(program).count(target) == 1
    rows, steps = program.inputs[0].shape
    assert type(rows) is str
    assert type(steps) is str
    assert rows != steps
    for shape in ((3, 4), (5, 9), (1, 1), (7, 1)):
        same(module, program, torch.randint(0, 9, shape))
    schema = getattr(torch.ops.aten, target.split(".")[1]).input._schema
    (node,) = (node for node in program.nodes if node.target == target)
    assert list(node.arguments) == [argument.name for argument in schema.arguments]
    assert node.module == "rnn"


def test_sizes_that_are_alike_in_the_example_are_not_one():
    program = export_program(nn.Tanh(), (torch.zeros(4, 4, 4),))
    assert len(set(program.inputs[0].shape)) == 3


@pytest.mark.parametrize(
    ("shape", "batch_first"), [((1, 4), True), ((4, 1), True), ((1, 1), True), ((4, 1), False)]
)
def test_an_example_of_one_row_or_step(shape, batch_first):
    module = Tagger(batch_first=batch_first)
    program = export_program(module, (torch.zeros(shape, dtype=torch.int64),))
    assert [type(size) for size in program.inputs[0].shape] == [str, str]
    same(module, program, torch.randint(0, 9, (5, 6)))


@pytest.mark.parametrize(
    ("shape", "batch_first"), [((1, 4), True), ((1, 1), True), ((4, 1), False), ((1, 1), False)]
)
def test_states_of_one_row(shape, batch_first):
    """A state's axis of layers is not repeated with the rows."""
    lstm = nn.LSTM(5, 3, batch_first=batch_first)
    module = Calling(lambda self, x, h, c: self.lstm(x, (h, c)), lstm=lstm)
    rows = shape[0 if batch_first else 1]
    h = torch.zeros(1, rows, 3)
    program = export_program(module, (torch.zeros(*shape, 5), h, h.clone()))
    sizes = [given.shape for given in program.inputs]
    assert sizes[1] == sizes[2] == (1, sizes[0][0 if batch_first else 1], 3)
    assert [type(size) for size in sizes[0]] == [str, str, int]
    x = torch.randn(6, 2, 5)
    rows = 6 if batch_first else 2
    same(module, program, x, torch.randn(1, rows, 3), torch.randn(1, rows, 3))


def test_features_of_one_stay_one():
    module = nn.Sequential(nn.Linear(1, 3), nn.LSTM(3, 2, batch_first=True))
    program = export_program(module, (torch.zeros(1, 1),))
    assert program.inputs[0].shape[1] == 1
    assert type(program.inputs[0].shape[0]) is str


def test_what_the_module_fixes_is_fixed():
    cell = nn.GRUCell(3, 2)

    def forward(self: Any, x: Any) -> Any:
        h = None
        for step in range(x.shape[1]):
            h = self.cell(x[:, step], h)
        return h

    module = Calling(forward, cell=cell)
    program = export_program(module, (torch.zeros(2, 4, 3),))
    assert program.inputs[0].shape[1:] == (4, 3)
    assert type(program.inputs[0].shape[0]) is str
    assert targets(program).count("aten.gru_cell.default") == 4
    same(module, program, torch.randn(5, 4, 3))


def test_static_where_sizes_cannot_vary():
    module = Calling(lambda _, x: x.reshape(torch.Size([int(n) for n in x.shape][::-1])))
    program = export_program(module, (torch.randn(2, 3),))
    assert program.inputs[0].shape == (2, 3)
    same(module, program, torch.randn(2, 3))


def test_conditions_on_sizes_are_told():
    """Where forward does one thing or another by a size, the program is right for one alone."""
    module = Calling(lambda _, x: x * 2 if x.shape[0] <= 10 and x.shape[1] % 2 == 0 else x)
    program = export_program(module, (torch.ones(4, 4),))
    assert program.ranges[program.inputs[0].shape[0]] == (2, 10)
    assert [guard for guard in program.guards if "% 2) == 0" in guard]
    assert targets(program) == ["aten.mul.Tensor"]


class Result(NamedTuple):
    double: Any
    more: Any


def test_inputs_and_outputs_of_any_nesting():
    class Nested(nn.Module):
        def forward(self, given: Any, *, scale: float, flag: Any = None) -> Any:
            return Result(given["x"] * scale, {"y": [given["y"][0] + 1, None], "flag": flag})

    given = {"x": torch.randn(2, 3), "y": (torch.randn(4),)}
    program = export_program(Nested(), (given,), {"scale": 2.5, "flag": None})
    assert [entry.dtype for entry in program.inputs] == ["float32", "float32", None, None]
    assert [entry.value for entry in program.inputs[2:]] == [2.5, None]
    double, more, *rest = run(program, given["x"], *given["y"])
    np.testing.assert_array_equal(double, given["x"].numpy() * np.float32(2.5))
    np.testing.assert_array_equal(more, given["y"][0].numpy() + 1)
    assert rest == [None, None]


# ---- Packed sequences ----------------------------------------------------------------------------


class Ragged(nn.Module):
    def __init__(
        self,
        kind: str = "LSTM",
        *,
        given: bool = True,
        ordered: bool = False,
        packs: bool = True,
        pads: bool = True,
        between: Any = None,
        total: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4, padding_idx=0)
        self.rnn = getattr(nn, kind)(4, 3, **options)
        self.between = between
        self.second = nn.GRU(3 * (2 if self.rnn.bidirectional else 1), 2)
        self.given, self.ordered, self.packs, self.pads = given, ordered, packs, pads
        self.total = total

    def forward(self, ids: Any, lengths: Any = None, h: Any = None) -> Any:
        if not self.given:
            lengths = (ids != 0).sum(1)
        x = self.embedding(ids)
        x = x if self.packs else x.transpose(0, 1)
        packed = pack_padded_sequence(x, lengths.cpu(), self.packs, enforce_sorted=self.ordered)
        out, state = self.rnn(packed, h)
        first, _ = pad_packed_sequence(out, self.pads)
        if self.between is not None:
            out = PackedSequence(self.between(out.data), *out[1:])
        again, _ = self.second(out)
        length = ids.shape[1] if self.total else None
        last, lengths = pad_packed_sequence(again, self.pads, total_length=length)
        return first, state, last, lengths


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {"batch_first": True, "bidirectional": True}),
    ("LSTM", {"given": False, "packs": False}),
    ("LSTM", {"between": nn.Dropout(0.5), "pads": False}),
    ("GRU", {"between": nn.Linear(6, 6), "bidirectional": True, "total": True}),
    ("GRU", {"ordered": True, "packs": False, "pads": False, "between": nn.Sequential(nn.ReLU())}),
    ("RNN", {"given": False, "nonlinearity": "relu", "num_layers": 2}),
    ("RNN", {"packs": False, "between": nn.LayerNorm(3), "bias": False}),
]


@pytest.mark.parametrize(("kind", "options"), WAYS)
def test_packed_sequences(kind, options):
    torch.manual_seed(2)
    module = Ragged(kind, **options)
    lengths = torch.tensor([4, 2, 2])
    given = (lengths,) if module.given else ()
    program = export_program(module, (torch.ones(3, 4, dtype=torch.int64), *given))
    assert targets(program).count(RAGGED) == 2
    ours = {target for target in targets(program) if "seqcore" in target}
    assert ours == {RAGGED, UNPADDED}
    assert not {"aten.sort.default", "aten.index_select.default"} & set(targets(program))
    rows = program.inputs[0].shape[0]
    assert [type(size) for size in program.inputs[0].shape] == [str, str]
    assert all(entry.shape == (rows,) for entry in program.inputs[1:])
    for row_lengths in ([4, 2, 2], [6, 5, 1, 1, 6], [1], [7, 3]):
        numbers = sorted(row_lengths, reverse=True) if module.ordered else row_lengths
        lengths = torch.tensor(numbers)
        ids = torch.randint(1, 9, (len(numbers), 7 if module.total else max(numbers)))
        ids[torch.arange(ids.shape[1]) >= lengths[:, None]] = 0
        same(module, program, ids, *((lengths,) if module.given else ()))


def test_states_of_packed_sequences():
    module = Ragged("GRU", num_layers=2)
    lengths, h = torch.tensor([1, 4, 2]), torch.randn(2, 3, 3)
    ids = torch.randint(1, 9, (3, 4))
    program = export_program(module, (ids, lengths, h))
    assert program.inputs[2].shape == (2, program.inputs[0].shape[0], 3)
    same(module, program, ids, lengths, h)


def test_rows_of_other_lengths_than_the_inputs():
    """The padding may be longer than the longest row: torch cuts it off, the program has zeros."""
    module = Ragged()
    program = export_program(module, (torch.ones(3, 4, dtype=torch.int64), torch.tensor([4, 2, 2])))
    ids, lengths = torch.randint(1, 9, (2, 8)), torch.tensor([3, 5])
    same(module, program, ids, lengths)
    assert run(program, ids, lengths)[0].shape[1] == 8


def test_zeros_behind_rows_that_no_layer_ran():
    """What is padded is marked again, as a bias fills the padding."""
    linear = nn.Linear(3, 2)

    def forward(self: Any, x: Any, lengths: Any) -> Any:
        packed = pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        return pad_packed_sequence(PackedSequence(self.linear(packed.data), *packed[1:]), True)

    module = Calling(forward, linear=linear)
    x, lengths = torch.randn(3, 4, 3), torch.tensor([1, 4, 2])
    program = export_program(module, (x, lengths))
    assert targets(program)[-2:] == [RAGGED, UNPADDED]
    marked = program.nodes[-2].arguments
    np.testing.assert_array_equal(
        torch.ops.seqcore.ragged(module.linear(x), lengths, True).detach().numpy(),
        module(x, lengths)[0].detach().numpy(),
    )
    assert marked["batch_first"] is True


def packs(forward: Any) -> nn.Module:
    return Calling(forward, lstm=nn.LSTM(4, 3, batch_first=True))


def pack(x: Any, lengths: Any, **options: Any) -> Any:
    return pack_padded_sequence(x, lengths, True, **options)


def changed(packed: Any) -> Any:
    return PackedSequence(packed.data * 2, *packed[1:])


@pytest.mark.parametrize(
    ("forward", "match"),
    [
        (
            lambda _, x, n: pack(x, n).data.sum(),
            r"the data or batch_sizes of .*aten\.sum",
        ),
        (lambda _, x, n: pack(x, n).batch_sizes + 1, r"the data or batch_sizes of .* aten\.add"),
        (
            lambda _, x, n: pack(x, n, enforce_sorted=False).sorted_indices + 1,
            r"the sorted_indices of .* aten\.add\.Tensor takes \(test_torch_live\.py:\d+\)",
        ),
        (
            lambda _, x, n: x[pack(x, n, enforce_sorted=False).unsorted_indices * 1],
            "sorted_indices",
        ),
        (lambda _, x, n: x[pack(x, n, enforce_sorted=False)[2]], "the sorted_indices of"),
        (lambda _, x, n: pack(x, n), "returns a PackedSequence"),
        (lambda s, x, n: s.lstm(pack(x, n)), "returns a PackedSequence"),
        (lambda s, x, n: s.lstm(changed(pack(x, n)))[1], "data that forward has changed"),
        (
            lambda s, x, n: s.lstm(PackedSequence(pack(x, n).data, pack(x, n + 1).batch_sizes))[1],
            "data that forward has changed",
        ),
        (
            lambda s, x, n: pad_packed_sequence(s.lstm(pack(x, n))[0], padding_value=-1.0),
            r"padding_value=-1.0\) is not supported",
        ),
        (
            lambda s, x, n: pad_packed_sequence(s.lstm(pack(x, n))[0], total_length=9),
            r"total_length=\) of another length",
        ),
        (lambda s, x, _: s.lstm(rnn.pack_sequence([x[0], x[1]]))[1], "pack_sequence of a list"),
        (lambda s, x, _: s.lstm(pack(x, [4, 2, 1]))[1], "lengths of a packed sequence are fixed"),
        (lambda s, x, n: s.lstm(pack(x, n.tolist()))[1], r"exported by torch\.export: Could not"),
    ],
)
def test_what_cannot_be_followed_is_refused(forward, match):
    with pytest.raises(UnsupportedLayerError, match=match):
        export_program(packs(forward), (torch.randn(3, 4, 4), torch.tensor([4, 2, 1])))


def test_total_length_of_the_input():
    """A fixed one that is the example's fixes the time."""
    module = packs(lambda s, x, n: pad_packed_sequence(s.lstm(pack(x, n))[0], True, 0.0, 4))
    inputs = (torch.randn(3, 4, 4), torch.tensor([3, 2, 1]))
    program = export_program(module, inputs)
    assert program.inputs[0].shape[1] == 4
    same(module, program, *inputs)


def test_a_packed_sequence_as_input_is_refused_with_advice():
    packed = pack_padded_sequence(torch.randn(4, 3, 5), torch.tensor([4, 2, 1]))
    for args, kwargs in [((packed,), {}), (({"x": [packed]},), {}), ((), {"input": packed})]:
        with pytest.raises(UnsupportedLayerError, match="takes the padded tensor and its lengths"):
            export_program(nn.LSTM(5, 3), args, kwargs)


# ---- The module is left as it was ----------------------------------------------------------------


def test_the_module_is_left_as_it_was(capfd):
    module = Tagger("GRU", batch_first=True)
    module.norm.eval()
    module.train()
    module.norm.training = False
    seen = []
    module.rnn.register_forward_hook(lambda *_: seen.append(1))
    state = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [part.training for part in module.modules()]
    attributes = [dict(vars(part)) for part in module.modules()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = export_program(module, (torch.zeros(1, 1, dtype=torch.int64),))
    assert [part.training for part in module.modules()] == flags
    for part, before in zip(module.modules(), attributes, strict=True):
        assert vars(part).keys() == before.keys()
        # torch.export gives an nn.GRU new lists of the same weights.
        made = {name for name, value in vars(part).items() if value is not before[name]}
        assert made <= {"_flat_weights", "_flat_weights_names", "_flat_weight_refs", "_all_weights"}
        for old, new in zip(
            before.get("_flat_weights", ()), vars(part).get("_flat_weights", ()), strict=True
        ):
            assert old is new
    for name, value in module.state_dict().items():
        assert torch.equal(value, state[name])
    assert all(type(weight) is nn.Parameter for weight in module.rnn._flat_weights)
    assert "int" not in vars(rnn_modules)
    assert torch.is_grad_enabled()
    assert capfd.readouterr() == ("", "")
    dropout = next(node for node in program.nodes if node.target == "aten.gru.input")
    assert dropout.arguments["train"] is False


def test_failures_leave_it_as_it_was_too(capfd):
    module = Calling(lambda _, x: x * 2 if x.sum() > 0 else x)
    with pytest.raises(UnsupportedLayerError, match=r"by torch\.export: Could not guard"):
        export_program(module, (torch.ones(3),))
    assert module.training
    assert "int" not in vars(rnn_modules)
    assert capfd.readouterr() == ("", "")


def test_hooks_are_part_of_it():
    module = nn.LSTM(4, 3)
    module.register_forward_hook(lambda _, inputs, out: (out[0] * 2, inputs[0] + 1))
    x = torch.randn(5, 2, 4)
    same(module, export_program(module, (x,)), x)


def test_batch_norm_as_in_eval():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    with torch.no_grad():
        module[0].running_mean.normal_()
        module[0].running_var.uniform_(0.5, 2)
    program = export_program(module, (torch.randn(4, 3),))
    (norm,) = (node for node in program.nodes if node.target == "aten.batch_norm.default")
    assert norm.arguments["training"] is False
    same(module, program, torch.randn(6, 3))


def test_errors_have_their_cause():
    def forward(*_: Any) -> Any:
        raise ValueError("my own\nsecond line")

    with pytest.raises(UnsupportedLayerError, match=r"by torch\.export: ") as caught:
        export_program(Calling(forward), (torch.ones(3),))
    assert str(caught.value).endswith("torch.export: my own")
    assert isinstance(caught.value.__cause__, ValueError)


def test_state_that_changes_is_refused():
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return x * self.calls

    with pytest.raises(UnsupportedLayerError, match=r"^the module changes its own 'calls' "):
        export_program(Counts(), (torch.ones(3),))


def test_inputs_that_are_written_are_refused():
    module = Calling(lambda _, x: x.relu_())
    with pytest.raises(UnsupportedLayerError, match="writes into its input"):
        export_program(module, (torch.ones(3),))


def test_weights_are_copies():
    module = nn.Linear(3, 2)
    program = export_program(module, (torch.ones(1, 3),))
    before = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.zero_()
    np.testing.assert_array_equal(program.constants["p_weight"], before.numpy())

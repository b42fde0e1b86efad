"""Functions of elements, powers, reductions and running sums, against torch in double precision.

What is exact is compared bit by bit, what is not by units in the last place or by the tolerance.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from frameworks import floats, on_every_isa
from stream_models import check_steps
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore import reference as ref
from seqcore._binding import Plan
from seqcore.layers import Cumsum, Power, Reduce, Unary

INF, NAN = float("inf"), float("nan")
LENGTHS = np.array([7, 0, 3, 1, 6, 2])
ULP = 2  # of what the C library computes
SPECIAL = np.float32([0, -0.0, INF, -INF, NAN, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 8388609, 1e30])


def model_of(layer, *shape):
    source = sc.Input(shape)
    return sc.Model(source, layer(source))


def of_reference(model, x, lengths=None):
    given = {model.inputs[0]: x}
    if lengths is not None:
        given[f"{model.inputs[0]}:lengths"] = lengths
    return ref.run(model._graph.document, model._graph.tensors, given)[0]


def in_double(function, x, *args, **options):
    return function(torch.from_numpy(x.astype(np.float64)), *args, **options).numpy()


# ---- Functions of elements -----------------------------------------------------------------------

EXACT = {
    "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "trunc": torch.trunc,
    "sign": torch.sign,
}  # fmt: skip
# Those that have roundings, and how far out numbers are drawn.
ROUNDED = {
    "exp": (torch.exp, 86), "sin": (torch.sin, 1e4), "cos": (torch.cos, 1e4), "erf": (torch.erf, 3),
    "log1p": (torch.log1p, 1e6), "expm1": (torch.expm1, 86),
}  # fmt: skip


def drawn(rng, most):
    """Of both signs and all sizes up to `most`, small ones too; none is a denormal."""
    x = rng.uniform(-1, 1, 4001) * most
    x[::3] *= 10.0 ** rng.uniform(-30, 0, len(x[::3]))
    return x.astype(np.float32)


@pytest.mark.parametrize("function", EXACT)
def test_steps_of_numbers(rng, function):
    x = np.concatenate([SPECIAL, drawn(rng, 10), drawn(rng, 1e7), np.arange(-9, 9) / np.float32(2)])
    x = np.float32(x)[None]
    expected = EXACT[function](torch.from_numpy(x)).numpy()
    model = model_of(Unary(function), x.shape[1])
    for isa, planned in on_every_isa(model):
        np.testing.assert_array_equal(planned(x), expected, isa)
    np.testing.assert_array_equal(of_reference(model, x), expected)


@pytest.mark.parametrize("function", ROUNDED)
def test_functions_that_round(rng, function):
    theirs, most = ROUNDED[function]
    x = np.concatenate([SPECIAL, drawn(rng, 1), drawn(rng, most)])
    if function == "log1p":
        x = np.where(x < -1, -x, x)
    x = x[None]
    expected = in_double(theirs, x)
    model = model_of(Unary(function), x.shape[1])
    close(*(np.nan_to_num(y, posinf=0, neginf=0) for y in (of_reference(model, x), expected)), 1e-9)
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float32)
    normal = ~(np.abs(expected) < np.finfo(np.float32).tiny)  # the others are zeros
    for isa, planned in on_every_isa(model):
        y = planned(x)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected), isa)
        finite = normal & np.isfinite(expected)
        np.testing.assert_array_equal(y[~finite & normal], expected[~finite & normal], isa)
        np.testing.assert_array_max_ulp(y[finite], expected[finite], ULP)


@pytest.mark.parametrize("exponent", [2, 0.5, 3, -1, 0, 1, 0.1, -2.5, 1e3, -0.0, INF, -INF, NAN])
def test_powers(rng, exponent):
    """Rounded once, of an exponent that is a float32; as torch's at every special number."""
    x = np.concatenate([SPECIAL, drawn(rng, 1), drawn(rng, 20), drawn(rng, 1e9)])[None]
    e = float(np.float32(exponent))
    expected = in_double(torch.pow, x, e)
    model = model_of(Power(exponent), x.shape[1])
    of_ref = of_reference(model, x)
    np.testing.assert_array_equal(np.isnan(of_ref), np.isnan(expected))
    with np.errstate(over="ignore", under="ignore"):
        expected = expected.astype(np.float32)
    shown = ~(np.abs(expected) < np.finfo(np.float32).tiny) | (expected == 0)
    for isa, planned in on_every_isa(model):
        y = planned(x)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected), isa)
        numbers = shown & np.isfinite(expected)
        np.testing.assert_array_equal(np.isposinf(y), np.isposinf(expected), isa)
        np.testing.assert_array_equal(np.isneginf(y), np.isneginf(expected), isa)
        np.testing.assert_array_max_ulp(y[numbers], expected[numbers], 1)


@pytest.mark.parametrize("layer", [*map(Unary, (*EXACT, *ROUNDED)), Power(2), Power(0.3)])
def test_elements_are_alone(rng, layer, isa):
    """Of any place among others, and stepped."""
    x = np.abs(floats(rng, 3, 5, 37))
    model = model_of(layer, None, 37).with_options(isa=isa, threads=1)
    y = model(x)
    assert model(x[1:2, 2:]).tobytes() == y[1:2, 2:].tobytes()
    check_steps(model, [x], layer.kind)


# ---- Reductions ----------------------------------------------------------------------------------

REDUCTIONS = {
    "prod": lambda x, axes: np.prod(x, axis=axes, keepdims=True),
    "norm1": lambda x, axes: torch.linalg.vector_norm(torch.tensor(x), 1, axes, True).numpy(),
    "norm2": lambda x, axes: torch.linalg.vector_norm(torch.tensor(x), 2, axes, True).numpy(),
    "logsumexp": lambda x, axes: torch.logsumexp(torch.tensor(x), axes, True).numpy(),
}
SPREADS = {"var": torch.var, "std": torch.std}
AXES = [(1,), (2,), (3,), (1, 2), (2, 3), (1, 3), (1, 2, 3)]


def agrees(function, expected, x, axes, **options):
    for keepdims in (False, True):
        wanted = expected if keepdims else expected.squeeze(axes)
        model = model_of(Reduce(function, axes, keepdims=keepdims, **options), *x.shape[1:])
        for isa, planned in on_every_isa(model):
            y = planned(x)
            assert planned(x[1:2]).tobytes() == y[1:2].tobytes(), isa
            close(y, wanted, 2e-7, isa)
        close(of_reference(model, x), wanted, 1e-12)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("function", REDUCTIONS)
def test_reductions(rng, function, axes):
    for shape in ((4, 3, 2), (7, 5, 67), (1, 130, 1), (3, 1, 65)):
        x = floats(rng, 3, *shape) + np.float32(0.5 if function == "prod" else 0)
        if function == "prod":
            x = np.tanh(x)
        agrees(function, REDUCTIONS[function](x.astype(np.float64), axes), x, axes)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("function", SPREADS)
def test_spreads(rng, function, correction, axes):
    """With a mean a thousand times the deviation, which must not cancel."""
    for shape in ((4, 3, 2), (7, 5, 67), (9, 2, 65)):
        x = floats(rng, 3, *shape) + np.float32(1000)
        expected = in_double(SPREADS[function], x, dim=axes, correction=correction, keepdim=True)
        agrees(function, expected, x, axes, correction=correction)


def test_the_spread_of_one_number(rng):
    """0/0 with torch's correction, and none without."""
    x = floats(rng, 3, 1, 5)
    for function in SPREADS:
        assert np.isnan(model_of(Reduce(function, 1), 1, 5)(x)).all()
        assert not model_of(Reduce(function, 1, correction=0), 1, 5)(x).any()


def test_sums_of_exponentials_do_not_overflow():
    """Nor do infinite ones and NaN get lost; all as in torch."""
    rows = np.float32([
        [1000, 1000, 999], [-1000, -1000, -1001], [-INF, -INF, -INF], [INF, 1, -INF],
        [NAN, 1, 2], [-INF, 1, 2], [88, 3e38, -3e38],
    ])  # fmt: skip
    expected = torch.logsumexp(torch.tensor(rows, dtype=torch.float64), 1).float().numpy()
    for isa, planned in on_every_isa(model_of(Reduce("logsumexp", 1), 3)):
        np.testing.assert_array_equal(planned(rows), expected, isa)


@pytest.mark.parametrize("function", [*REDUCTIONS, *SPREADS])
def test_reductions_of_rows(rng, function):
    model = model_of(Reduce(function, 1, correction=0), None, 5)
    x = floats(rng, 6, 7, 5)
    x[np.arange(7) >= LENGTHS[:, None]] = NAN
    y = model(x, lengths=LENGTHS)
    close(y, of_reference(model, x, LENGTHS), FLOAT32[0])
    for m, n in enumerate(LENGTHS):
        np.testing.assert_array_equal(y[m], model(x[m : m + 1, :n])[0])
    assert not y[1].any()
    with pytest.raises(sc.UnsupportedLayerError, match="whole sequence"):
        model.stream()


# ---- Running sums --------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
def test_running_sums(rng, axis):
    for shape in ((4, 3, 2), (7, 5, 67), (300, 2, 1), (3, 1, 130)):
        x = floats(rng, 3, *shape) * 100
        expected = in_double(torch.cumsum, x, axis)
        model = model_of(Cumsum(axis), *shape)
        for isa, planned in on_every_isa(model):
            y = planned(x)
            np.testing.assert_array_equal(y, expected.astype(np.float32), isa)
            assert planned(x[1:2]).tobytes() == y[1:2].tobytes(), isa
        close(of_reference(model, x), expected, 1e-12)


def test_running_sums_of_rows_and_in_steps(rng):
    x = floats(rng, 6, 7, 5)
    for axis in (1, 2):
        model = model_of(Cumsum(axis, name="guilty"), None, 5)
        padded = x.copy()
        padded[np.arange(7) >= LENGTHS[:, None]] = NAN
        y = model(padded, lengths=LENGTHS)
        for m, n in enumerate(LENGTHS):
            np.testing.assert_array_equal(y[m, :n], model(x[m : m + 1, :n])[0])
            assert not y[m, n:].any()
        if axis == 2:
            check_steps(model, [x], "features")
            continue
        with pytest.raises(sc.UnsupportedLayerError, match=r"'guilty'.*all frames so far"):
            model.stream()


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Unary("tan", name="guilty"),
        lambda: Power("2", name="guilty"),
        lambda: Power(None, name="guilty"),
        lambda: Power(1e39, name="guilty"),
        lambda: Cumsum(0, name="guilty"),
        lambda: Cumsum(1.5, name="guilty"),
        lambda: model_of(Cumsum(3, name="guilty"), 2, 2),
        lambda: model_of(Cumsum(-3, name="guilty"), 2, 2),
        lambda: Reduce("median", 1, name="guilty"),
        lambda: Reduce("var", 1, correction=2, name="guilty"),
        lambda: Reduce("var", 1, correction=-1, name="guilty"),
        lambda: Reduce("var", 1, correction=True, name="guilty"),
    ],
)
def test_bad_options(make):
    with pytest.raises(sc.OptionError, match="guilty"):
        make()


REDUCE = {"axes": [1], "keepdims": False}


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("power", {}), ("power", {"exponent": None}), ("power", {"exponent": "two"}),
        ("power", {"exponent": 1e300}), ("cumsum", {}), ("cumsum", {"axis": 0}),
        ("cumsum", {"axis": 3}), ("cumsum", {"axis": -1}), ("unary", {"function": "tan"}),
        ("reduce", REDUCE | {"function": "var"}), ("reduce", REDUCE | {"function": "any"}),
        ("reduce", REDUCE | {"function": "std", "correction": 2}),
        ("reduce", REDUCE | {"function": "std", "correction": -1}),
        ("reduce", REDUCE | {"function": "std", "correction": 0.5}),
    ],
)  # fmt: skip
def test_attributes_that_no_layer_has(op, attrs):
    node = {"op": op, "layer": "guilty", "inputs": ["x"], "outputs": ["y"], "attrs": attrs}
    document = {
        "format": "seqcore", "version": 1, "nodes": [node],
        "inputs": [{"name": "x", "kind": "data", "dtype": "float32", "shape": [None, 2]}],
        "outputs": [{"name": "y", "value": "y"}],
    }  # fmt: skip
    with pytest.raises(sc.GraphError, match="'guilty'"):
        Plan(json.dumps(document).encode(), {})

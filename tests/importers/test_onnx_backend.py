"""The Backend API of onnx: dtypes, shapes, and inputs that are bound when a model is run."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import graph, model, node, run_onnxruntime

import seqcore as sc
import seqcore.onnx_backend as backend

EYE = np.arange(12.0).reshape(3, 4)


def same(built, feeds, **options):
    """Assert what onnxruntime makes: dtypes, shapes and numbers that float32 holds."""
    found = backend.prepare(built, **options).run([np.asarray(each) for each in feeds.values()])
    expected = run_onnxruntime(built, feeds)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)
    return found


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int32", "int64"])
def test_outputs_have_the_dtypes_of_the_graph(kind):
    built = model([node("Add", "x y", "z")], {"x": (("n", 4), kind), "y": ((4,), kind)}, "z")
    same(built, {"x": EYE.astype(kind), "y": np.array([1, 2, 3, 4], kind)})


@pytest.mark.parametrize("kind", ["bool", "uint8", "int8", "int32", "float64"])
def test_what_is_passed_on_keeps_its_dtype(kind):
    built = model([node("Identity", "x", "z")], {"x": (("n", 4), kind)}, "z")
    same(built, {"x": (EYE % 3).astype(kind)})


def test_bfloat16_comes_and_goes():
    built = model([node("Add", "x x", "z")], {"x": ("n", 4)}, "z")
    kind = onnx.TensorProto.BFLOAT16
    for each in (*built.graph.input, *built.graph.output):
        each.type.tensor_type.elem_type = kind
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    (found,) = backend.prepare(built).run([EYE.astype(dtype)])
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(np.float32), 2 * EYE)


def test_an_output_of_no_known_dtype_is_as_the_model_makes_it():
    built = model([node("Add", "x x", "z")], {"x": (("n", 4), "float64")}, "z")
    built.graph.output[0].ClearField("type")
    (found,) = backend.run_model(built, [EYE])
    assert found.dtype == np.float32


def test_outputs_have_names_as_well():
    nodes = [node("Add", "x x", "sum"), node("Relu", "x", "rest")]
    found = backend.run_model(model(nodes, {"x": ("n", 4)}, "sum rest"), EYE - 5)
    np.testing.assert_array_equal(found["sum"], 2 * (EYE - 5))
    np.testing.assert_array_equal(found.rest, np.maximum(EYE - 5, 0))


# ---- Rows ----------------------------------------------------------------------------------------


def test_a_call_that_is_a_row_has_the_shapes_of_the_graph():
    built = model([node("Reshape", "x all", "z")], {"x": ("n", 4)}, "z", {"all": [-1]})
    (found,) = same(built, {"x": EYE.astype(np.float32)})
    assert found.shape == (12,)


def test_a_graph_of_constants_alone_is_run():
    nodes = [node("Add", "a b", "z"), node("Shape", "z", "s")]
    built = model(nodes, {}, "z s", {"a": EYE.astype(np.float32), "b": np.float32([1, 2, 3, 4])})
    same(built, {})


def test_whole_numbers_that_float32_does_not_hold_are_refused_and_not_rounded():
    built = model([node("Identity", "a", "z")], {}, "z", {"a": np.array([1 << 24, (1 << 24) + 1])})
    with pytest.raises(sc.UnsupportedLayerError, match="whole numbers"):
        backend.prepare(built)


# ---- Inputs whose numbers must be known ----------------------------------------------------------


def shaped(rows="n"):
    inputs = {"x": (rows, 4), "to": ((2,), "int64")}
    return model([node("Reshape", "x to", "z"), node("Add", "z z", "w")], inputs, {"w": "float32"})


def test_a_shape_that_is_an_input_is_bound_when_it_is_run():
    rep = backend.prepare(shaped(6))
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    for to in ([8, 3], [-1, 4], [2, -1], [8, 3], [0, 0]):
        (found,) = rep.run([x, np.array(to)])
        (expected,) = run_onnxruntime(shaped(6), {"x": x, "to": np.array(to)})
        np.testing.assert_array_equal(found, expected)


def test_models_are_kept_by_their_numbers_and_not_without_bound(monkeypatch):
    made = []
    real = backend.model_of
    monkeypatch.setattr(backend, "model_of", lambda *given: made.append(1) or real(*given))
    rep = backend.prepare(shaped(60))
    before = len(made)
    x = np.zeros((60, 4), np.float32)
    for _ in range(3):
        rep.run([x, np.array([2, 120])])
    assert len(made) == before + 1
    for rows in (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 20):
        rep.run([x, np.array([rows, -1])])
    assert len(made) == before + 13  # (2, -1) is another key than (2, 120)
    assert rep._kept.cache_info().currsize == backend._KEPT


def test_constants_are_no_inputs_of_a_call():
    rep = backend.prepare(shaped(), constants={"to": [-1, 2]})
    (found,) = rep.run([np.ones((3, 4), np.float32)])
    assert found.shape == (6, 2)
    with pytest.raises(sc.ShapeError, match=r"inputs are \['x'\]; found 2 arrays"):
        rep.run([np.ones((3, 4), np.float32), np.array([-1, 2])])
    with pytest.raises(sc.OptionError, match="constants name 'absent'"):
        backend.prepare(shaped(), constants={"absent": 1})


def test_what_no_number_can_help_is_refused_at_once():
    nodes = [node("Reshape", "x to", "z"), node("NoSuchThing", "z", "w")]
    inputs = {"x": ("n", 4), "to": ((2,), "int64")}
    built = helper.make_model(graph(nodes, inputs, {"w": "float32"}))
    built.opset_import[0].version = 17
    rep = backend.prepare(built)  # what the second node takes is not known yet
    with pytest.raises(sc.UnsupportedLayerError, match="NoSuchThing, opset 17"):
        rep.run([EYE.astype(np.float32), np.array([-1, 2])])
    built.graph.node[0].CopyFrom(node("Relu", "x", "z"))
    with pytest.raises(sc.UnsupportedLayerError, match="NoSuchThing, opset 17"):
        backend.prepare(built)
    assert not backend.is_compatible(built)


def test_threads_share_a_rep(monkeypatch):
    monkeypatch.undo()  # what conftest.py looks at while models are made is for one thread
    rep = backend.prepare(shaped(60))
    x = np.arange(240, dtype=np.float32).reshape(60, 4)

    def run(number):
        rows = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15)[number % 10]
        (found,) = rep.run([x, np.array([rows, -1])])
        np.testing.assert_array_equal(found, 2 * x.reshape(rows, -1))
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(80))) == list(range(80))


# ---- Arguments -----------------------------------------------------------------------------------


def added():
    return model([node("Add", "x y", "z")], {"x": ("n", 4), "y": ("n", 4)}, "z")


def test_inputs_go_by_order_or_by_name():
    rep = backend.prepare(added())
    x, y = EYE, np.ones((3, 4))
    for given in ([x, y], (x, y), {"y": y, "x": x}):
        (found,) = rep.run(given)
        np.testing.assert_array_equal(found, EYE + 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([EYE], r"inputs are \['x', 'y'\]; found 1 arrays"),
        ({"x": EYE}, r"inputs are \['x', 'y'\]; found \['x'\]"),
        ({"x": EYE, "y": EYE, "w": EYE}, r"inputs are \['x', 'y'\]; found \['x', 'y', 'w'\]"),
        ([EYE, EYE[0]], "'y' must have 2 axes"),
    ],
)
def test_other_inputs_are_refused(given, words):
    with pytest.raises(sc.ShapeError, match=words):
        backend.prepare(added()).run(given)


def test_strings_are_no_input():
    with pytest.raises(sc.DtypeError, match="expected real numbers"):
        backend.prepare(added()).run([EYE, EYE.astype(str)])


def test_options_that_nobody_knows_are_refused():
    with pytest.raises(sc.OptionError, match="there is no option fast"):
        backend.prepare(added(), fast=True)
    with pytest.raises(sc.OptionError, match=r"there are no options; found \['fast'\]"):
        backend.prepare(added()).run([EYE, EYE], fast=True)


def test_the_device_is_a_cpu():
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    assert not backend.supports_device("CUDA:1")
    with pytest.raises(sc.OptionError, match="expected 'CPU'; found 'CUDA'"):
        backend.prepare(added(), "CUDA")
    assert backend.is_compatible(added())
    assert not backend.is_compatible(added(), "CUDA")


def test_a_node_is_run_by_itself():
    relu = helper.make_node("Relu", ["a"], ["b"])
    (found,) = backend.run_node(relu, [EYE.astype(np.float64) - 5])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.maximum(EYE - 5, 0))
    add = helper.make_node("Add", ["a", "a"], ["b"])  # one input, which it reads twice
    (found,) = backend.run_node(
        add, {"a": EYE}, outputs_info=[(np.float32, (3, 4))], opset_version=9
    )
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, 2 * EYE)
    with pytest.raises(sc.ShapeError, match=r"Add: inputs are \['a'\]; found 2 arrays"):
        backend.run_node(add, [EYE, EYE])


def test_without_onnx_the_extra_is_named():
    code = "import sys; sys.modules['onnx'] = None; import seqcore.onnx_backend"
    environment = os.environ | {"PYTHONPATH": str(Path(sc.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert "pip install seqcore[onnx]" in done.stderr

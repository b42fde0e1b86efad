"""Attacks on the importer of Keras models by options, operations, Keras 1 and weights.

As test_keras_configs.py, which has the graphs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hostile_configs import (
    ARGUMENTS,
    FILE,
    ODD,
    Entry,
    chain,
    given,
    graph,
    layer,
    loaded,
    operation,
    refused,
    relu,
    survives,
    tensor,
)

import seqcore as sc
from seqcore.formats.hdf5 import parse_config
from seqcore.formats.keras_trees import WeightTree
from seqcore.importers import keras as importer

# ---- Options -------------------------------------------------------------------------------------
KINDS: dict[str, tuple[Entry, tuple[Any, ...]]] = {
    "Dense": ({"units": 3}, (None, None, 3)),
    "LSTM": ({"units": 3}, (None, None, 3)),
    "GRU": ({"units": 3, "reset_after": True}, (None, None, 3)),
    "Embedding": ({"input_dim": 3, "output_dim": 3, "mask_zero": True}, (None, None)),
    "Masking": ({"mask_value": 0.0}, (None, None, 3)),
    "Conv1D": ({"filters": 3, "kernel_size": 2, "strides": 1, "dilation_rate": 1, "groups": 1,
                "padding": "same"}, (None, None, 3)),
    "Conv1DTranspose": ({"filters": 3, "kernel_size": 2, "strides": 1, "dilation_rate": 1,
                         "output_padding": None}, (None, None, 3)),
    "DepthwiseConv1D": ({"kernel_size": 2, "depth_multiplier": 1}, (None, 8, 3)),
    "MaxPooling1D": ({"pool_size": 2, "strides": 2, "padding": "same"}, (None, 8, 3)),
    "AveragePooling1D": ({"pool_size": 2, "strides": 2, "padding": "valid"}, (None, None, 3)),
    "GlobalAveragePooling1D": ({"keepdims": False}, (None, None, 3)),
    "Cropping1D": ({"cropping": [1, 1]}, (None, 8, 3)),
    "ZeroPadding1D": ({"padding": [1, 1]}, (None, 8, 3)),
    "UpSampling1D": ({"size": 2}, (None, 8, 3)),
    "RepeatVector": ({"n": 2}, (None, 3)),
    "Reshape": ({"target_shape": [8, 3]}, (None, 8, 3)),
    "Permute": ({"dims": [2, 1]}, (None, 8, 3)),
    "EinsumDense": ({"equation": "abc,cd->abd", "output_shape": [None, 3], "bias_axes": "d"},
                    (None, 8, 3)),
    "BatchNormalization": ({"axis": -1, "epsilon": 1e-3, "center": True, "scale": True},
                           (None, 8, 3)),
    "LayerNormalization": ({"axis": [-1], "epsilon": 1e-3}, (None, 8, 3)),
    "GroupNormalization": ({"groups": 1, "axis": -1}, (None, 8, 3)),
    "UnitNormalization": ({"axis": -1}, (None, 8, 3)),
    "Normalization": ({"axis": -1, "mean": [1.0] * 3, "variance": [1.0] * 3, "invert": False},
                      (None, 8, 3)),
    "Rescaling": ({"scale": 2.0, "offset": [1.0, 2.0, 3.0]}, (None, 8, 3)),
    "PReLU": ({"shared_axes": [1]}, (None, 8, 3)),
    "ReLU": ({"max_value": 6.0, "negative_slope": 0.1, "threshold": 0.0}, (None, 8, 3)),
    "LeakyReLU": ({"negative_slope": 0.1}, (None, 8, 3)),
    "ELU": ({"alpha": 1.0}, (None, 8, 3)),
    "Softmax": ({"axis": -1}, (None, 8, 3)),
    "InputLayer": ({"batch_shape": [None, 3], "dtype": "float32"}, (None, 3)),
}  # fmt: skip
CALLED: dict[str, Entry] = {
    "Concatenate": {"axis": -1},
    "Dot": {"axes": [1, 1], "normalize": False},
    "Attention": {"use_scale": False, "score_mode": "dot", "dropout": 0.0, "seed": 3},
    "AdditiveAttention": {"use_scale": True},
    "MultiHeadAttention": {"num_heads": 1, "key_dim": 2, "value_dim": 2, "output_shape": 3},
}


def fits(config: Any, kind: str = "") -> sc.Model:
    """Load with the weights that the layer `a` says it has, as long as they are small."""
    parsed = parse_config(json.dumps(config), FILE)
    reader = importer.ModelReader(FILE, importer._version(FILE, "3.15.1", parsed))
    with importer._about(FILE):
        network = reader.read(parsed)
    lists = {}
    for inner in network.layers:
        slots = inner.keras_weights()
        shapes = [tuple(3 if n is None else n for n in slot.shape or ()) for slot in slots]
        if kind == "PReLU":
            shapes = [(1, 3)]
        if sum(np.prod([float(n) for n in shape]) for shape in shapes) < 1e5:
            lists[reader.names[inner]] = [
                (slot.role, np.ones(shape, np.float32))
                for slot, shape in zip(slots, shapes, strict=True)
            ]
    return loaded(config, lists)


@pytest.mark.parametrize("kind", KINDS)
def test_options_of_layers(kind: str) -> None:
    options, shape = KINDS[kind]
    dtype = "int32" if kind == "Embedding" else "float32"
    if kind != "InputLayer":
        fits(chain(given(shape=shape, dtype=dtype), layer(kind, "a", **options)), kind)
    for option in [*options, "dtype", "name", "trainable", "batch_shape", "data_format", "unknown"]:
        for value in ODD:
            made = layer(kind, "a", **options)
            made["config"][option] = value
            first = [made] if kind == "InputLayer" else [given(shape=shape, dtype=dtype), made]
            survives(partial(fits, chain(*first, relu("r"))))


@pytest.mark.parametrize("kind", CALLED)
def test_options_of_layers_of_two_inputs(kind: str) -> None:
    for option in CALLED[kind]:
        for value in [CALLED[kind][option], *ODD]:
            made = layer(kind, "a", [tensor("x"), tensor("x")], **{**CALLED[kind], option: value})
            if kind == "MultiHeadAttention":
                made["inbound_nodes"] = [{"args": [tensor("x"), tensor("x")], "kwargs": {}}]
            survives(partial(fits, graph(given(shape=(None, 8, 3)), made)))


def test_sizes_whose_products_overflow() -> None:
    """Sizes that no memory holds are refused as the plan is made, or need no memory."""
    huge = (1 << 31) - 1
    for layers in (
        [layer("RepeatVector", "a", n=huge), layer("UpSampling1D", "b", size=huge)],
        [
            layer("RepeatVector", "a", n=huge),
            layer("Flatten", "b"),
            layer("RepeatVector", "c", n=huge),
        ],
        [layer("Reshape", "a", target_shape=[huge] * 5)],
        [layer("RepeatVector", "a", n=huge), layer("ZeroPadding1D", "b", padding=[huge, huge])],
        [layer("Reshape", "a", target_shape=[3, 1]), layer("Dot", "b", axes=9)],
    ):
        survives(partial(loaded, chain(given(shape=(None, 3)), *layers)))


def test_equations_of_any_length() -> None:
    for equation in (
        "a" * 100_000 + ",b->c", "..." * 30_000, "abc,cd->abd" * 10_000, "a" * 50_000,
        "ab,bc->ac\n", "ab,bc->a" + "c" * 100_000, ",".join("a" * 50_000), "ä,äb->b",
    ):  # fmt: skip
        made = layer("EinsumDense", "a", equation=equation, output_shape=[None, 3])
        refused(chain(given(), made), "equation|no dense")


# ---- Operations ----------------------------------------------------------------------------------
def test_arguments_of_operations() -> None:
    from seqcore.importers.keras.booleans import BOOLEANS
    from seqcore.importers.keras.operations import OPERATIONS

    messages = 0
    for name in {*OPERATIONS, *BOOLEANS}:
        for value in ARGUMENTS:
            for args, kwargs in (
                ([tensor("x"), value], {}),
                ([value, tensor("x")], {}),
                ([tensor("x")], {"axis": value}),
                ([tensor("x"), -1], {"keepdims": value, "axis": 1}),
            ):
                made = operation(name, "a", *args, **kwargs)
                config = graph(given(shape=(None, 8, 3)), made, relu("r", "a"))
                messages += not survives(partial(loaded, config))
    assert messages > 1000


@pytest.mark.parametrize("kind", ["TFOpLambda", "SlicingOpLambda"])
@pytest.mark.parametrize(
    "function", [None, 5, [], {}, "", "os.system", "math.add" * 99, "io.read_file"], ids=repr
)
def test_functions_of_keras_2_that_are_none(kind: str, function: Any) -> None:
    made = layer(kind, "a", function=function)
    made["inbound_nodes"] = [["x", 0, 0, {"y": 1.0}]]
    refused(graph(given(), made), "function|operation", version="2.15.0")


def test_numbers_past_float32() -> None:
    """Keras would compute with infinity there; nothing is rounded to it silently."""
    for kind in ("Add", "Multiply", "Subtract", "TrueDivide"):
        for value in (1e39, -1e300, [1.0, 1e39, 0.0], "1.0", True, None):
            refused(
                graph(given(), operation(kind, "a", tensor("x"), value)), "not supported|constant"
            )
    for value in (0.0, 1e-320, [1.0, 0.0, 2.0]):
        made = operation("TrueDivide", "a", tensor("x"), value)
        refused(graph(given(), made), "division by 0|constant")


def test_constants_that_would_join_the_batch() -> None:
    value = {"class_name": "__numpy__", "config": {"value": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}}
    made = operation("Add", "a", tensor("x"), value)
    refused(graph(given(shape=(None, 3)), made), "")


def test_masks_and_values_in_each_others_places() -> None:
    compare = operation("NotEqual", "e", tensor("x"), 0.0)
    mask = operation("Any", "m", tensor("e"), axis=-1)
    for reader in (
        relu("a", "m"), relu("a", "e"), operation("Add", "a", tensor("m"), tensor("x")),
        operation("LogicalOr", "a", tensor("m"), tensor("x")), layer("LSTM", "a", "m", units=2),
        operation("Any", "a", tensor("x"), axis=-1),
        operation("Concatenate", "a", [tensor("m"), tensor("x")]),
    ):  # fmt: skip
        refused(graph(given(), compare, mask, reader), "")
    refused(graph(given(), compare, mask), "")  # a mask as an output
    lstm = layer("LSTM", "a", "x", units=2)
    for value in (True, 1.0, [True], tensor("x"), tensor("e"), [[tensor("m")]]):
        lstm["inbound_nodes"][0]["kwargs"] = {"mask": value}
        refused(graph(given(), compare, mask, lstm), "")


# ---- Keras 1 -------------------------------------------------------------------------------------


def merge(layers: Any, **options: Any) -> Entry:
    return {"class_name": "Merge", "config": {"name": "merge", "layers": layers, **options}}


def branch(name: str) -> Entry:
    dense = {"class_name": "Activation", "config": {
        "name": name, "activation": "relu", "batch_input_shape": [None, 3]}}  # fmt: skip
    return {"class_name": "Sequential", "config": [dense]}


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "4wEAAAABAAAAAQAAAEMAAABz"}, {"mode": "sum", "mode_type": "lambda"},
        {"mode": ["sum"]}, {"mode": {}}, {"mode": None}, {"mode": 5}, {"mode": "cos"},
        {"mode": "concat", "concat_axis": 0}, {"mode": "concat", "concat_axis": "x"},
        {"mode": "dot", "dot_axes": [[1], [1], [1]]}, {"mode": "sum", "mode_type": ["raw"]},
        {"mode": "concat", "concat_axis": 9}, {"mode": "dot", "dot_axes": None},
    ],
    ids=repr,
)  # fmt: skip
def test_merges_of_keras_1(options: Entry) -> None:
    config = {"class_name": "Sequential", "config": [merge([branch("a"), branch("b")], **options)]}
    refused(config, "", {}, "1.2.2")


@pytest.mark.parametrize(
    "layers",
    [
        None, [], {}, [None], [[]], [{}], [chain()], [branch("a"), branch("a")],
        [{"class_name": "Sequential", "config": {}}],
    ],
    ids=repr,
)  # fmt: skip
def test_branches_of_keras_1_that_are_none(layers: Any) -> None:
    config = {"class_name": "Sequential", "config": [merge(layers, mode="sum")]}
    refused(config, "", {}, "1.2.2")


def test_a_merge_of_many_branches() -> None:
    branches = [branch(f"b{k}") for k in range(4000)]
    config = {"class_name": "Sequential", "config": [merge(branches, mode="sum")]}
    assert len(loaded(config, {}, "1.2.2").inputs) == 4000


def test_weights_of_gates_that_do_not_fit_together() -> None:
    lstm = {"class_name": "LSTM", "config": {
        "name": "l", "output_dim": 2, "batch_input_shape": [None, None, 3], "activation": "tanh",
        "inner_activation": "sigmoid"}}  # fmt: skip
    config = {"class_name": "Sequential", "config": [lstm]}
    for shapes in ([(3, 2), (4, 2)], [(), ()], [(3, 2), (3,)]):
        arrays = [
            (f"l_W_{gate}", np.zeros(shape, "f4")) for gate, shape in zip("if", shapes, strict=True)
        ]
        refused(config, "weight", {"l": arrays}, "1.2.2")
    twice = [("l_W_i", np.zeros((3, 2), "f4")), ("other/l_W_i", np.ones((3, 2), "f4"))]
    refused(config, "two weights", {"l": twice}, "1.2.2")
    refused(config, "weight", {"l": [("W" * 100_000, np.zeros(3, "f4"))]}, "1.2.2")


# ---- Weights -------------------------------------------------------------------------------------

DENSE = chain(given(), layer("Dense", "d", units=2))
KERNEL, BIAS = np.ones((3, 2), np.float32), np.zeros(2, np.float32)


@pytest.mark.parametrize(
    "arrays",
    [
        [], [KERNEL], [KERNEL, BIAS, BIAS], [BIAS, KERNEL], [KERNEL.astype(int), BIAS],
        [KERNEL.astype(complex), BIAS], [KERNEL.astype(bool), BIAS], [KERNEL[:0], BIAS],
        [KERNEL[:, :0], BIAS[:0]], [KERNEL[None], BIAS], [KERNEL.astype("U"), BIAS],
        [KERNEL.astype(object), BIAS], [KERNEL * np.float64(1e60), BIAS], [np.float32(1), BIAS],
        [np.ones((4, 2), np.float32), BIAS], [np.ones((3, 3), np.float32), BIAS],
    ],
    ids=lambda arrays: " ".join(f"{np.dtype(a.dtype).name}{np.shape(a)}" for a in arrays),
)  # fmt: skip
def test_arrays_that_do_not_fit(arrays: list[Any]) -> None:
    arrays = [np.asarray(array) for array in arrays]
    for names in (
        ["kernel", "bias", "bias"],
        ["d/kernel:0", "d/bias:0", "e/bias:0"],
        ["a", "b", "c"],
    ):
        refused(DENSE, "", {"d": list(zip(names, arrays, strict=False))})
    refused(
        DENSE, "", WeightTree(groups={"layers": WeightTree(groups={"dense": WeightTree(arrays)})})
    )


def test_numbers_that_are_not_finite_are_weights() -> None:
    weights = {"d": [("kernel", KERNEL * np.nan), ("bias", BIAS + np.inf)]}
    assert np.isnan(loaded(DENSE, weights)(np.ones((1, 1, 3), np.float32))).all()


def test_negative_variances() -> None:
    norm = chain(given(), layer("BatchNormalization", "b"))
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    refused(norm, "variance", {"b": [(role, -np.ones(3, "f4")) for role in roles]})


def test_names_that_match_two_weights() -> None:
    both = chain(
        given(),
        layer("Bidirectional", "b", layer=layer("SimpleRNN", "r", units=2), merge_mode="sum"),
    )
    shapes = [(3, 2), (2, 2), (2,)]
    roles = ("kernel", "recurrent_kernel", "bias")
    twice = [(role, np.ones(shape, "f4")) for role, shape in zip(roles, shapes, strict=True)] * 2
    loaded(both, {"b": twice})  # in their order
    refused(both, "b", {"b": [twice[0], *twice[:5]]})
    refused(both, "b", {"b": [("forward_r/backward_r/kernel", np.ones((3, 2), "f4"))] * 6})


def dense_tree(**more: WeightTree) -> WeightTree:
    layers = WeightTree(groups={"dense": WeightTree([KERNEL, BIAS])})
    return WeightTree(groups={"layers": layers, **more})


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.groups["layers"].groups.update(lstm=WeightTree([KERNEL])),
        lambda tree: tree.groups["layers"].groups.update(dense_1=WeightTree([KERNEL])),
        lambda tree: tree.groups.update(layers=WeightTree(groups={"dense_1": WeightTree([BIAS])})),
        lambda tree: tree.groups["layers"].groups["dense"].groups.update(cell=WeightTree([KERNEL])),
        lambda tree: tree.groups["layers"].groups["dense"].vars.reverse(),
        lambda tree: tree.groups["layers"].vars.append(KERNEL),
        lambda tree: tree.vars.append(KERNEL),
        lambda tree: tree.groups.update(other=WeightTree([KERNEL])),
        lambda tree: setattr(tree.groups["layers"].groups["dense"], "name", "e"),
        lambda tree: tree.groups.clear(),
    ],
)  # fmt: skip
def test_trees_of_weights_that_are_not_the_models(change: Callable[[WeightTree], Any]) -> None:
    tree = dense_tree()
    loaded(DENSE, tree)
    change(tree)
    refused(DENSE, "", tree)


def test_a_group_of_weights_for_a_layer_without() -> None:
    config = chain(given(), relu("r"), layer("Dense", "d", units=2))
    tree = dense_tree()
    tree.groups["layers"].groups["activation"] = WeightTree([BIAS])
    refused(config, "expected 0 arrays", tree)


def test_names_of_weights_in_masses() -> None:
    """A model inside of another has all weights in one list."""
    inner = chain(*(layer("Dense", f"d{k}", units=3) for k in range(2000)), name="inner")
    config = chain(given(), inner)
    arrays = [
        (f"inner/d{k}/{role}:0", np.full(shape, k, np.float32))
        for k in range(2000)
        for role, shape in (("kernel", (3, 3)), ("bias", (3,)))
    ]
    random.Random(3).shuffle(arrays)
    loaded(config, {"inner": arrays})
    refused(config, "and 3992 more", {"inner": [("x" * 65_000, arrays[0][1])] * 3})

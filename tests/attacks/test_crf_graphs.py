"""Graphs of the op crf that lie, given to the core itself, and in files.

What the op computes: test_crf.py. Random ones are in twisted_graphs.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_graphs import data, graph, node, ones, plan_of

import seqcore as sc
from seqcore.errors import GraphError, ModelFileError, ShapeError, WeightsError

WEIGHTS = {"W": "W", "start": "s", "end": "e"}
TENSORS = {"W": ones(3, 3), "s": ones(3), "e": ones(3)}
X = data("x", None, 3)


def crf(attrs=None, inputs="x", outputs=("tags", "score"), weights=None):
    return node("crf", inputs, list(outputs), attrs or {"tags": 3}, weights or WEIGHTS)


@pytest.mark.parametrize("tags", [0, -1, 1.5, "3", None, True, [3], 2**25, 2**53, 1e300])
def test_a_number_of_tags_that_is_none(tags):
    with pytest.raises(GraphError, match=r"my_crf.*attribute 'tags'"):
        plan_of(graph([X], [crf({"tags": tags})], "tags"), TENSORS)


def test_no_number_of_tags():
    with pytest.raises(GraphError, match=r"my_crf.*attribute 'tags'"):
        plan_of(graph([X], [crf({"units": 3})], "tags"), TENSORS)


@pytest.mark.parametrize("role", WEIGHTS)
@pytest.mark.parametrize(
    "change",
    [ones(4), ones(3, 4), ones(2, 3), ones(9), np.float32(1), np.ones((3, 3), np.int64), ones(0)],
    ids=lambda a: f"{a.dtype} {a.shape}",
)
def test_weights_of_another_shape(role, change):
    with pytest.raises(WeightsError, match=rf"my_crf.*weight '{role}' must be float32 of shape"):
        plan_of(graph([X], [crf()], "tags"), TENSORS | {WEIGHTS[role]: np.asarray(change)})


@pytest.mark.parametrize("role", WEIGHTS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_scores(role, value):
    wrong = TENSORS[WEIGHTS[role]].copy()
    wrong.flat[-1] = value
    with pytest.raises(WeightsError, match=rf"my_crf.*weight '{role}' must hold numbers, or -inf"):
        plan_of(graph([X], [crf()], "tags"), TENSORS | {WEIGHTS[role]: wrong})


@pytest.mark.parametrize("role", WEIGHTS)
def test_weights_that_are_missing(role):
    document = graph([X], [crf(weights={r: n for r, n in WEIGHTS.items() if r != role})], "tags")
    with pytest.raises(GraphError, match=rf"my_crf.*weight '{role}' is not named"):
        plan_of(document, TENSORS)
    gone = {name: a for name, a in TENSORS.items() if name != WEIGHTS[role]}
    with pytest.raises(WeightsError, match=rf"my_crf.*weight '{role}' is missing"):
        plan_of(graph([X], [crf()], "tags"), gone)
    plan = plan_of(graph([X], [crf()], "tags", "score"), gone, shapes_only=True)
    assert plan.value_shape("tags") == (None, None)
    assert plan.value_shape("score") == (None,)


@pytest.mark.parametrize("shape", [(), (3,), (None, 4), (None, 3, 3), (None, 1)])
def test_inputs_of_another_shape(shape):
    with pytest.raises(ShapeError, match=r"my_crf' \(crf\): input must"):
        plan_of(graph([data("x", *shape)], [crf()], "tags"), TENSORS)


def test_the_number_of_scores_is_checked_at_the_call():
    plan = plan_of(graph([data("x", None, None)], [crf()], "tags", "score"), TENSORS)
    assert plan.run([ones(2, 4, 3)])[0].tolist() == [[0] * 4] * 2
    for scores in (0, 1, 2, 4, 100):
        with pytest.raises(ShapeError, match=f"for each of 3 tags, found {scores}"):
            plan.run([ones(2, 4, scores)])


def test_more_or_fewer_values_than_it_has():
    for inputs in ("", "x m m"):
        mask = {"name": "m", "kind": "mask", "of": "x"}
        with pytest.raises(GraphError, match=r"my_crf.*inputs"):
            plan_of(graph([X, mask], [crf(inputs=inputs)], "tags"), TENSORS)
    with pytest.raises(GraphError, match=r"my_crf.*1 to 2 names"):
        plan_of(graph([X], [crf(outputs=("tags", "score", "more"))], "tags"), TENSORS)


def test_outputs_that_nobody_wants():
    x = np.float32([[[3, 1, 9], [0, 7, 2]]])
    for outputs, expected in ((["v", None], [[2, 1]]), (["v"], [[2, 1]]), ([None, "v"], [19])):
        plan = plan_of(graph([X], [crf(outputs=outputs)], "v"), TENSORS)
        assert plan.run([x])[0].tolist() == expected
    nothing = graph([X], [crf(outputs=[None, None])], "x")
    assert plan_of(nothing, TENSORS).run([x])[0].tolist() == x.tolist()


def test_past_a_rows_end_stand_zeros():
    """Also where no output says that its rows end."""
    ends = {"name": "n", "kind": "lengths", "of": "x"}
    plan = plan_of(graph([X, ends], [crf() | {"lengths": "n"}], "tags", "score"), TENSORS)
    x = np.full((3, 4, 3), np.nan, np.float32)
    x[:, :2] = [0, 0, 1]
    for _ in range(2):  # the second call finds the memory of the first
        tags, score = plan.run([x, np.array([2, 0, 1])])
        assert tags.tolist() == [[2, 2, 0, 0], [0] * 4, [2, 0, 0, 0]]
        assert score.tolist() == [5, 0, 3]


def test_tags_are_whole_numbers_and_scores_are_not():
    for name, op, attrs in (("tags", "activation", {"activation": ["tanh", 0, 0]}),
                            ("score", "mask_ids", {})):  # fmt: skip
        with pytest.raises(GraphError, match=f"my_{op}.*'{name}' is"):
            plan_of(graph([X], [crf(), node(op, name, ["y"], attrs)], "y"), TENSORS)


def test_more_frames_than_memory_has():
    """Of a batch without a row there is nothing to keep; else an error, and no overflow."""
    many = node("repeat", "x", ["r"], {"axis": 1, "repeats": 2**22})
    for wanted in ("tags", "score"):
        plan = plan_of(graph([X], [many, crf(inputs="r")], wanted), TENSORS)
        with pytest.raises(MemoryError):
            plan.run([ones(1, 2**16, 3)])
        with pytest.raises(ShapeError, match="too large"):
            plan.run([ones(1, 2**21, 3)])
    plan = plan_of(graph([X], [crf()], "score"), TENSORS)
    assert plan.run([np.empty((0, 2**40, 3), np.float32)])[0].shape == (0,)
    with pytest.raises(ShapeError, match=r"my_crf.*too large"):
        plan.run([np.empty((0, 2**44, 3), np.float32)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"tags":3', b'"tags":0'), (b'"tags":3', b'"tags":4'), (b'"tags":3', b'"tags":9e15'),
        (b'"tags":3', b'"tags":"3"'), (b'"tags":3', b'"tag":3'), (b'"crf.W"', b'"crf.V"'),
        (b'"start":"crf.start"', b'"start":"crf.W"'), (b'["x","x:mask"]', b'["x:mask","x"]'),
        (b'["x","x:mask"]', b'["x","x"]'), (b'["crf","crf:score"]', b'["crf","crf"]'),
    ],
)  # fmt: skip
def test_a_file_is_named(old, new, tmp_path):
    import safetensors.numpy as safetensors

    path, x = tmp_path / "model.safetensors", sc.Input((None, 3), name="x")
    layer = sc.CRF(ones(3, 3), return_score=True, name="crf")
    sc.Model(x, list(layer(x))).save(path)
    tensors = safetensors.load_file(path)
    text = tensors["__graph__"].tobytes()
    assert old in text
    tensors["__graph__"] = np.frombuffer(text.replace(old, new, 1), np.uint8)
    safetensors.save_file(tensors, path)
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        sc.load(path)

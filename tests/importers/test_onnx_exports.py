"""Files of torch's two exporters and of tf2onnx, against onnxruntime, in sizes left open."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from seqcore import ShapeError, UnsupportedLayerError
from seqcore.importers.onnx import from_onnx

FOLDER = Path(__file__).parent.parent / "golden" / "onnx"
LOOP = "keras3_gru.onnx"
FILES = sorted(path.name for path in FOLDER.glob("*.onnx") if path.name != LOOP)
TOLERANCE = 1e-5
EVEN = 8  # frames, of which pooling leaves half
# Files in which the exporter left the length of its example, and what it was.
BAKED = {
    "torch2.13.0_export_shapes.onnx": 7,
    "torch2.13.0_export_time_first.onnx": 7,
    "torch2.13.0_script_heads.onnx": 7,
}


def _session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _feeds(session, batch, time, rng):
    """Return an array for every input, by its name."""
    feeds = {}
    for given in session.get_inputs():
        shape = [_size(size, k, batch, time) for k, size in enumerate(given.shape)]
        if "int" in given.type:
            most = 9 if "lengths" not in given.name else time + 1
            array = rng.integers(1, most, shape)
            kind = np.int32 if "int32" in given.type else np.int64
        else:
            array, kind = rng.normal(size=shape), np.float32
        feeds[given.name] = array.astype(kind)
    return feeds


def _size(size, place, batch, time):
    if isinstance(size, int):
        return size
    if size is None or size.startswith("unk"):
        return batch if place == 0 else time
    return batch if size == "batch" else time


@pytest.mark.parametrize("name", FILES)
def test_equals_onnxruntime(name):
    session = _session(FOLDER / name)
    model = from_onnx(FOLDER / name)
    rng = np.random.default_rng(len(name))
    fixed = BAKED.get(name)
    for batch, time in ((3, EVEN), (1, 2 * EVEN), (8, EVEN - 2)):
        time = fixed or time
        feeds = _feeds(session, batch, time, rng)
        wanted = session.run(None, feeds)
        made = model(*feeds.values())
        made = made if isinstance(made, (list, tuple)) else [made]
        assert len(made) == len(wanted)
        for one, other in zip(made, wanted, strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("name", BAKED)
def test_a_length_that_the_exporter_left_is_the_only_one(name):
    model = from_onnx(FOLDER / name)
    (given,) = _feeds(_session(FOLDER / name), 3, 7, np.random.default_rng(0)).values()
    time = given.shape.index(7)
    with pytest.raises(ShapeError, match="7"):
        model(np.delete(given, 0, time))


def test_there_are_files_of_every_exporter():
    kinds = {name.split("_")[0] + name.split("_")[1] * name.startswith("torch") for name in FILES}
    assert kinds == {"keras2", "keras3", "torch2.13.0export", "torch2.13.0script"}
    assert len(FILES) > 25


def test_a_loop_is_refused_by_name():
    with pytest.raises(UnsupportedLayerError, match=r"Loop, opset 17 \(is not supported\)") as info:
        from_onnx(FOLDER / LOOP)
    assert all("Loop" in name for name, _ in info.value.layers)

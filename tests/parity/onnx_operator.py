"""One RNN, LSTM or GRU of ONNX, as onnxruntime computes it."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def run_onnx(op, arrays, x, states, lengths, **attributes):
    """Return Y as (B, T, directions, H) and the final states as (directions, B, H)."""
    feed = {"X": x.transpose(1, 0, 2), "lengths": lengths.astype(np.int32)}
    feed |= {f"{letter}0": state for letter, state in zip("hc", states, strict=False)}
    names = ["X", "W", "R", "B", "lengths", *list(feed)[2:], *(["P"] if "P" in arrays else [])]
    results = ["Y", "Y_h", "Y_c"][: 1 + len(states)]
    units = arrays["R"].shape[2]
    node = helper.make_node(op, names, results, hidden_size=units, **attributes)
    graph = helper.make_graph(
        [node], "cell",
        [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
         for k, v in feed.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in results],
        [numpy_helper.from_array(array, key) for key, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    y, *last = session.run(None, feed)
    return y.transpose(2, 0, 1, 3), last

"""Arrays compared as bits, for the tests of this folder."""

from __future__ import annotations

import numpy as np
import torch


def assert_owned(array: np.ndarray) -> None:
    assert type(array) is np.ndarray
    assert array.flags.owndata
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert array.dtype.isnative


def assert_same(found: dict, expected: dict) -> None:
    """Same names, dtypes, shapes and bits; every array owns its memory."""
    assert list(found) == list(expected)
    for name, array in found.items():
        want = np.ascontiguousarray(expected[name]).reshape(np.shape(expected[name]))
        assert_owned(array)
        assert array.shape == want.shape, name
        assert array.dtype == want.dtype.newbyteorder("="), name
        assert array.tobytes() == want.astype(want.dtype.newbyteorder("=")).tobytes(), name
    for a in found.values():
        for b in found.values():
            assert a is b or not np.shares_memory(a, b)


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()

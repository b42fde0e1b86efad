"""Every tolerance of the numerical tests, by dtype and depth, and why it has its size.

`close` compares: equal shapes, and |actual - expected| <= tolerance * (1 + |expected|) everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# float64 against float64: both sides round at 1e-16, over some hundreds of additions.
FLOAT64 = 1e-12

# Scaled features against scikit-learn, which multiplies before it subtracts: 1e-16, times values up
# to some thousands of their spread, times ranges up to some hundreds.
SCALED = 1e-9

# float32 against a framework's float32, by the number of recurrent layers that a value has passed.
# Each side is off by some ulp (6e-8) of sums of up to a hundred products, and a layer passes on
# what it receives.
FLOAT32 = {0: 2e-6, 1: 4e-6, 2: 8e-6, 3: 1.6e-5}

# Random graphs of a dozen operators, quotients and powers among them, which pass on what they
# receive.
RANDOM_GRAPH = 2e-4

# Our error over torch's, both against float64, in float32: the median over all cases, and the worst
# case by its largest error. The two sides add the same products in other orders.
ACCURACY_MEDIAN, ACCURACY_WORST = 1.25, 2.0


def close(actual: ArrayLike, expected: ArrayLike, tolerance: float, where: str = "") -> None:
    """Assert that `actual` is `expected` within `tolerance`; `where` begins the message."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{where} shape {actual.shape}, not {expected.shape}"
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance, equal_nan=False, err_msg=where
    )

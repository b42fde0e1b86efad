"""The onnx package's node tests, as they stand, of every operator that is supported.

Each passes, or is listed with the reason for which it is refused (onnx_node_tests.py).
"""

from __future__ import annotations

import onnx
import pytest
from onnx_node_tests import (
    REFUSED,
    backend,
    by_operator,
    is_as_listed,
    node_tests,
    outcome,
    refusal_of,
    told,
)

from seqcore.importers.onnx.operators import OPERATORS

PASSED, LISTED = 1197, 96  # of onnx 1.23.2; `make onnx-nodes` says by operator

# Those of which onnx has none, or only beside sequences at a graph's ends.
UNTESTED = frozenset(["ConcatFromSequence", "GlobalLpPool", "SequenceAt", "SequenceConstruct"])


@pytest.fixture(scope="module")
def outcomes():
    """What every node test raises; None of those that pass."""
    return {name: outcome(name) for name in node_tests()}


def test_each_passes_or_is_refused_for_the_reason_that_is_listed(outcomes):
    wrong = {name: told(e) for name, e in outcomes.items() if not is_as_listed(name, e)}
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())


def test_their_number(outcomes):
    passed = [name for name, error in outcomes.items() if error is None]
    print(f"onnx {onnx.__version__}: {len(passed)} of {len(outcomes)} node tests pass")
    assert (len(passed), len(outcomes) - len(passed)) == (PASSED, LISTED)


def test_nothing_is_listed_for_nothing():
    for refusal in REFUSED:
        assert any(refusal_of(name) is refusal for name in node_tests()), refusal.why


def test_every_operator_has_node_tests():
    assert set(OPERATORS) - set(by_operator()) == UNTESTED


def test_a_wrong_number_does_not_pass(monkeypatch):
    """The package's own code compares: it sees what a rep gives."""
    run = backend.SeqcoreRep.run
    monkeypatch.setattr(
        backend.SeqcoreRep, "run", lambda self, given: tuple(1.01 * y for y in run(self, given))
    )
    assert isinstance(outcome("test_add"), AssertionError)
    monkeypatch.setattr(
        backend.SeqcoreRep, "run", lambda self, given: tuple(y[None] for y in run(self, given))
    )
    assert isinstance(outcome("test_add"), AssertionError)

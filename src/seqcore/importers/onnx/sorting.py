"""Rows that are sorted by their lengths and put back, as torch's pack_padded_sequence has it.

A `TopK` of all rows' lengths gives an `Order` of the rows, by which Gather takes those of other
tensors; a ScatterElements of 0, 1, 2 ... is its inverse, by which Gather puts them back. What is
computed of sorted rows alone is the same rows in that order, because no operator lets rows meet.
So nothing is moved: the values are those of the rows as they came, and the order is only
remembered, to refuse what would show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...formats.onnx_programs import OnnxNode
from ..aten.reader import Rows, has
from ..aten.sizes import AnySize
from ..aten.tensors import Axis, Constant, RefusedError, Traced
from .operators.table import vector

__all__ = ["Order", "common_order", "of_orders", "sorted_rows"]


@dataclass(frozen=True, eq=False)
class Order:
    """An order of the rows of a batch: which row stands where. Its inverse puts them back."""

    size: AnySize
    inverse_of: Order | None = None
    inverses: list[Order] = field(default_factory=list)


def common_order(orders: Sequence[Order | None]) -> Order | None:
    """Return the order in which the rows of all inputs of a node are.

    Raises
    ------
    RefusedError
        They are in different ones, so that rows would meet other rows.
    """
    if len(set(orders)) > 1:
        raise RefusedError("rows that are sorted meet rows that are not")
    return orders[0] if orders else None


def sorted_rows(node: OnnxNode, given: Sequence[Any], batch: Axis) -> tuple[Any, ...] | None:
    """Return the values and the order that TopK makes of all rows; None if it is another node."""
    if node.op != "TopK" or len(given) != 2 or not isinstance(given[0], Traced):
        return None
    values, count = given
    if values.dims != ((batch,),) or not isinstance(count, Constant) or count.array.size != 1:
        return None
    if count.array.reshape(()).item() != batch.size:
        return None
    return values, Order(batch.size)


def of_orders(
    node: OnnxNode, given: Sequence[Any], order: Order | None, batch: Axis
) -> tuple[Any, Order | None]:
    """Return what a node makes of an order of the rows, or their numbers, and in which order it is.

    Raises
    ------
    RefusedError
        It would show the order.
    """
    first, *rest = given
    if node.op in ("Cast", "Identity") and isinstance(first, (Order, Rows)):
        return first, None
    if node.op == "Shape" and isinstance(first, Order):
        return vector([first.size]), None
    if node.op == "Gather" and isinstance(first, Traced) and has(rest, Order):
        axis = node.attributes.get("axis", 0) % len(first.dims)
        if first.dims[axis] != (batch,):
            raise RefusedError("by the order of rows, along another axis")
        return first, _behind(order, rest[0])
    if (
        node.op == "ScatterElements" and len(rest) == 2 and isinstance(first, Constant)
        and isinstance(rest[0], Order) and _counts(rest[1], batch.size)
    ):  # fmt: skip
        return _inverse(rest[0]), None
    raise RefusedError("computes with the numbers of the batch's rows")


def _behind(order: Order | None, taken: Order) -> Order | None:
    """Return the order of rows that are taken by another."""
    if order is None:
        return taken
    if taken.inverse_of is order or order.inverse_of is taken:
        return None
    raise RefusedError("rows that are sorted are put in another order")


def _inverse(order: Order) -> Order:
    if not order.inverses:
        order.inverses.append(Order(order.size, order))
    return order.inverses[0]


def _counts(value: Any, size: AnySize) -> bool:
    """Tell whether a value is 0, 1, 2 ... of all rows."""
    if isinstance(value, Rows):
        return True
    if not isinstance(value, Constant) or not isinstance(size, int):
        return False
    return value.sizes == (size,) and np.array_equal(value.full(), np.arange(size))

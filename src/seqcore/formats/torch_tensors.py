"""Tensors as torch pickles them, in an archive or in a stream: views on storages, not yet copied.

A tensor is (storage, offset, sizes, strides), offset and strides in elements. Several may share a
storage. Where the bytes of a storage lie is the business of torch_archive and torch_legacy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ModelFileError
from .arrays import Budget, count_of, own, shorten, widen_bfloat16
from .numpy_pickles import Inert, constructors, find_in
from .pickles import Constructor, Stub
from .values import Pending, Unreadable, refuse_stub

__all__ = [
    "MAX_OFFSET", "PendingTensor", "Storage", "Tensors", "TorchDtype", "TypedStorage",
    "is_supported",
]  # fmt: skip

MAX_OFFSET = 1 << 62

# dtype name in torch -> (NumPy's code, name of its storage). bfloat16 is read as bits and widened.
_DTYPES = {
    "float64": ("f8", "DoubleStorage"),
    "float32": ("f4", "FloatStorage"),
    "float16": ("f2", "HalfStorage"),
    "bfloat16": ("u2", "BFloat16Storage"),
    "int64": ("i8", "LongStorage"),
    "int32": ("i4", "IntStorage"),
    "int16": ("i2", "ShortStorage"),
    "int8": ("i1", "CharStorage"),
    "uint8": ("u1", "ByteStorage"),
    "bool": ("b1", "BoolStorage"),
    "uint16": ("u2", None),
    "uint32": ("u4", None),
    "uint64": ("u8", None),
}


def is_supported(name: str) -> bool:
    """Whether tensors of a dtype of torch can be read, "float32" or "bfloat16"."""
    return name in _DTYPES


class TorchDtype(Inert):
    """`torch.float32`, or the class of its storages."""

    def __init__(self, name: str) -> None:
        super().__init__(f"torch.{name}")
        self.code = _DTYPES[name][0]
        self.is_bfloat16 = name == "bfloat16"


class Storage(ABC):
    """Raw bytes, read when a tensor needs them: tensors may share them."""

    nbytes: int

    @abstractmethod
    def read(self) -> bytes | memoryview:
        """All `nbytes` of it; raises ModelFileError where the file has another number."""


class TypedStorage:
    """A part of a storage as a persistent id names it.

    Attributes
    ----------
    storage : Storage
    dtype : TorchDtype or None
        None is an untyped one.
    start, nbytes : int
        The part, in bytes; all of it but for the views of old files.
    """

    def __init__(self, storage: Storage, dtype: TorchDtype | None, start: int, nbytes: int) -> None:
        self.storage, self.dtype, self.start, self.nbytes = storage, dtype, start, nbytes


class PendingTensor(Pending):
    """A view on a storage, copied out when the file is known to want it."""

    def __init__(
        self,
        storage: object,
        dtype: object,
        view: tuple[object, object, object],
        order: str,
        budget: Budget,
    ) -> None:
        self.storage, self.dtype, self.view = storage, dtype, view
        self.order, self.budget = order, budget

    def build(self, state: object) -> None:
        """Leave out what is set on a Parameter: requires_grad and hooks, never its numbers."""

    def finish(self) -> np.ndarray:
        offset, shape, strides = self.view
        what = f"tensor of shape {shorten(shape)}"
        refuse_stub(self.storage, f"the storage of a {what}")
        if isinstance(self.storage, Unreadable):
            self.storage.finish()
        refuse_stub(self.dtype, f"the dtype of a {what}")
        if not isinstance(self.storage, TypedStorage) or not isinstance(self.dtype, TorchDtype):
            raise ModelFileError(f"{what}: its storage or dtype is not one")
        dtype = np.dtype(self.order + self.dtype.code)
        count = count_of(shape, dtype.itemsize, what)
        _check_view(offset, shape, strides, count, self.storage.nbytes // dtype.itemsize, what)
        self.budget.charge(count * dtype.itemsize * (3 if self.dtype.is_bfloat16 else 1), what)
        if count == 0:
            array = np.empty(shape, dtype)  # type: ignore[call-overload]
        else:
            array = np.ndarray(
                shape,  # type: ignore[arg-type]
                dtype,
                buffer=self.storage.storage.read(),
                offset=self.storage.start + offset * dtype.itemsize,  # type: ignore[operator]
                strides=[n * dtype.itemsize for n in strides],  # type: ignore[attr-defined]
            )
        array = own(array, what)
        return widen_bfloat16(array) if self.dtype.is_bfloat16 else array


def _check_view(
    offset: object, shape: object, strides: object, count: int, available: int, what: str
) -> None:
    """Refuses a view that leaves its storage of `available` elements, or that repeats them."""
    assert isinstance(shape, tuple)  # count_of has checked it
    if type(offset) is not int or not 0 <= offset <= MAX_OFFSET:
        raise ModelFileError(f"{what}: offset {shorten(offset)}")
    if (
        not isinstance(strides, tuple)
        or len(strides) != len(shape)
        or any(type(n) is not int or not 0 <= n <= MAX_OFFSET for n in strides)
    ):
        raise ModelFileError(f"{what}: strides {shorten(strides)} do not fit")
    if count == 0:
        return
    if any(size > 1 and stride == 0 for size, stride in zip(shape, strides, strict=True)):
        raise ModelFileError(f"{what}: an expanded tensor (stride 0); save tensor.contiguous()")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # More elements than the storage has can only be a view whose rows overlap.
    if last >= available or count > available:
        raise ModelFileError(
            f"{what}: offset {offset} and strides {shorten(strides)} reach element {last} of a "
            f"storage of {available}"
        )


class Tensors:
    """The constructors of tensors, and the storages of one file.

    Parameters
    ----------
    order : "<" or ">"
        Of the bytes in storages.
    budget : Budget
        Charged for the arrays.
    make_storage : callable
        Gets a key, made of ASCII letters and digits, and a number of bytes; called once a key.
    """

    def __init__(
        self, order: str, budget: Budget, make_storage: Callable[[str, int], Storage]
    ) -> None:
        self.order, self.budget, self.make_storage = order, budget, make_storage
        self.storages: dict[str, Storage] = {}
        self.table = constructors(budget) | self.torch_table()

    def find_global(self, module: str, name: str) -> object | None:
        """As `pickles.loads` asks for it."""
        return find_in(self.table, module, name)

    def torch_table(self) -> dict[tuple[str, str], object]:
        tensors = [
            Constructor("torch._utils._rebuild_tensor", self.tensor, 4, 4),
            Constructor("torch._utils._rebuild_tensor_v2", self.tensor, 4, 7),
            Constructor("torch._utils._rebuild_tensor_v3", self.tensor_v3, 7, 8),
        ]
        classes = {
            ("torch", "Tensor"): Inert("torch.Tensor"),
            # Called with a tensor by torch 0.3, which then sets requires_grad on it.
            ("torch.nn.parameter", "Parameter"): Constructor("Parameter", _parameter, 1, 2),
            ("torch.autograd.variable", "Variable"): Constructor("Variable", _parameter, 1, 1),
            ("torch.nn.parameter", "Buffer"): Inert("torch.nn.parameter.Buffer"),
        }

        def from_type(function: object, kind: object, arguments: object, _: object) -> object:
            # Only a known tensor function, so that calls cannot be nested without end.
            if function in tensors and kind in classes.values() and type(arguments) is tuple:
                return function(arguments)
            name = getattr(kind, "name", type(kind).__name__)
            return Unreadable(f"a tensor of class {shorten(name, 250)} is not supported")

        table: dict[tuple[str, str], object] = {
            **{("torch._utils", c.name.rsplit(".", 1)[1]): c for c in tensors},
            **classes,
            ("torch._utils", "_rebuild_parameter"): Constructor(
                "torch._utils._rebuild_parameter", _parameter, 3, 3
            ),
            ("torch._utils", "_rebuild_parameter_with_state"): Constructor(
                "torch._utils._rebuild_parameter_with_state", _parameter, 4, 4
            ),
            ("torch._tensor", "_rebuild_from_type_v2"): Constructor(
                "torch._tensor._rebuild_from_type_v2", from_type, 4, 4
            ),
            ("torch", "Size"): Constructor("torch.Size", _size, 0, 1),
            ("torch.storage", "UntypedStorage"): _UNTYPED,
        }
        for name, (_, storage) in _DTYPES.items():
            table["torch", name] = dtype = TorchDtype(name)
            if storage is not None:
                table["torch", storage] = dtype
        return table

    def storage(self, kind: object, name: object, location: object, count: object) -> object:
        """What the persistent id of a storage of `count` elements stands for.

        The location is where its tensors lay, such as "cuda:0", and means nothing here; only
        "meta" says that there are no numbers.
        """
        if isinstance(kind, Stub):  # of a dtype that is not supported: refused where it is used
            return kind
        if not isinstance(kind, TorchDtype) and kind is not _UNTYPED:
            raise ModelFileError("persistent id: its kind of storage is not one")
        # Keys are numbers, as text; a path must not be made of anything else.
        if not isinstance(name, str) or not name.isalnum() or not name.isascii():
            raise ModelFileError(f"storage key {shorten(name)}")
        if type(count) is not int or not 0 <= count <= MAX_OFFSET:
            raise ModelFileError(f"storage {name!r} of {shorten(count)} elements")
        dtype = kind if isinstance(kind, TorchDtype) else None
        nbytes = count * (np.dtype(dtype.code).itemsize if dtype else 1)
        if location == "meta":
            return Unreadable("a tensor on the meta device has no values")
        if name not in self.storages:
            self.storages[name] = self.make_storage(name, nbytes)
        if self.storages[name].nbytes != nbytes:
            raise ModelFileError(
                f"storage {name!r} has {self.storages[name].nbytes} bytes, then {nbytes}"
            )
        return TypedStorage(self.storages[name], dtype, 0, nbytes)

    # Left out below: requires_grad and backward hooks, which torch puts before dtype and metadata.

    def tensor(
        self, storage: object, offset: object, size: object, stride: object, *more: object
    ) -> Pending:
        dtype = storage.dtype if isinstance(storage, TypedStorage) else None
        return self.view(
            storage, dtype, (offset, size, stride), more[2] if len(more) == 3 else None
        )

    def tensor_v3(
        self, storage: object, offset: object, size: object, stride: object, *more: object
    ) -> Pending:
        return self.view(
            storage, more[2], (offset, size, stride), more[3] if len(more) == 4 else None
        )

    def view(
        self, storage: object, dtype: object, view: tuple[Any, Any, Any], metadata: object
    ) -> Pending:
        # Marks such as {"conj": True} or {"neg": True}: the storage holds other numbers.
        if metadata:
            return Unreadable(f"a tensor with the marks {shorten(metadata)} is not supported")
        return PendingTensor(storage, dtype, view, self.order, self.budget)


_UNTYPED = Inert("torch.storage.UntypedStorage")


def _parameter(data: object, *_: object) -> object:
    refuse_stub(data, "the tensor of a Parameter")
    if not isinstance(data, Pending):
        raise ModelFileError(f"a Parameter of {type(data).__name__}, expected a tensor")
    return data


def _size(sizes: object = ()) -> object:
    if not isinstance(sizes, tuple):
        raise ModelFileError(f"torch.Size of {type(sizes).__name__}, expected a tuple")
    return sizes

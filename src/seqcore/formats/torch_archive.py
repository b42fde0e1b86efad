"""Reads what torch.save writes since torch 1.6: a zip archive of one pickle and raw storages.

    <root>/data.pkl     the pickle; a storage stands in it as a persistent id
    <root>/data/<key>   the bytes of one storage
    <root>/byteorder    "little" or "big"; absent before torch 2.1, when it was little

A tensor is (storage, offset, sizes, strides), offset and strides in elements. Several may share a
storage. TorchScript, torch.export and files from before 1.6 are refused elsewhere, by `weights`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelFileError
from .arrays import Budget, count_of, own, shorten, widen_bfloat16
from .numpy_pickles import Inert, constructors, find_in
from .pickles import Constructor, Limits, Stub, loads
from .values import Pending, Unreadable, refuse_stub
from .zips import Archive

_MAX_OFFSET = 1 << 62

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


class Storage:
    """One member of raw bytes, read when a tensor needs it, then kept: tensors may share it."""

    def __init__(self, archive: Archive, member: str, nbytes: int) -> None:
        self._archive, self._member, self.nbytes = archive, member, nbytes
        self._data: bytes | None = None

    def read(self) -> bytes:
        if self._data is None:
            stored = self._archive.size(self._member)
            if stored != self.nbytes:
                raise ModelFileError(
                    f"storage {self._member!r}: {self.nbytes} bytes expected, {stored} stored"
                )
            self._data = self._archive.read(self._member)
        return self._data


class TypedStorage:
    """A storage as one persistent id names it; dtype None is an untyped one."""

    def __init__(self, storage: Storage, dtype: TorchDtype | None) -> None:
        self.storage, self.dtype = storage, dtype


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

    def finish(self) -> np.ndarray:
        offset, shape, strides = self.view
        what = f"tensor of shape {shorten(shape)}"
        refuse_stub(self.storage, f"the storage of a {what}")
        refuse_stub(self.dtype, f"the dtype of a {what}")
        if not isinstance(self.storage, TypedStorage) or not isinstance(self.dtype, TorchDtype):
            raise ModelFileError(f"{what}: its storage or dtype is not one")
        dtype = np.dtype(self.order + self.dtype.code)
        count = count_of(shape, dtype.itemsize, what)
        available = self.storage.storage.nbytes // dtype.itemsize
        _check_view(offset, shape, strides, count, available, what)
        self.budget.charge(count * dtype.itemsize * (3 if self.dtype.is_bfloat16 else 1), what)
        if count == 0:
            array = np.empty(shape, dtype)  # type: ignore[call-overload]
        else:
            array = np.ndarray(
                shape,  # type: ignore[arg-type]
                dtype,
                buffer=self.storage.storage.read(),
                offset=offset * dtype.itemsize,  # type: ignore[operator]
                strides=[n * dtype.itemsize for n in strides],  # type: ignore[attr-defined]
            )
        array = own(array, what)
        return widen_bfloat16(array) if self.dtype.is_bfloat16 else array


def _check_view(
    offset: object, shape: object, strides: object, count: int, available: int, what: str
) -> None:
    """Refuses a view that leaves its storage of `available` elements, or that repeats them."""
    assert isinstance(shape, tuple)  # count_of has checked it
    if type(offset) is not int or not 0 <= offset <= _MAX_OFFSET:
        raise ModelFileError(f"{what}: offset {shorten(offset)}")
    if (
        not isinstance(strides, tuple)
        or len(strides) != len(shape)
        or any(type(n) is not int or not 0 <= n <= _MAX_OFFSET for n in strides)
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


class _Reader:
    """The constructors and persistent ids of one archive."""

    def __init__(self, archive: Archive, root: str, budget: Budget) -> None:
        self.archive, self.root, self.budget = archive, root, budget
        self.order = self.read_order()
        self.storages: dict[str, Storage] = {}
        self.table = constructors(budget) | self.torch_table()

    def read_order(self) -> str:
        member = f"{self.root}/byteorder"
        text = b"little" if member not in self.archive else self.archive.read(member)
        if text not in (b"little", b"big"):
            raise ModelFileError(f"{member}: {shorten(text)}, expected little or big")
        return "<" if text == b"little" else ">"

    def torch_table(self) -> dict[tuple[str, str], object]:
        tensors = [
            Constructor("torch._utils._rebuild_tensor", self.tensor, 4, 4),
            Constructor("torch._utils._rebuild_tensor_v2", self.tensor, 4, 7),
            Constructor("torch._utils._rebuild_tensor_v3", self.tensor_v3, 7, 8),
        ]
        classes = {
            ("torch", "Tensor"): Inert("torch.Tensor"),
            ("torch.nn.parameter", "Parameter"): Inert("torch.nn.parameter.Parameter"),
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

    def persistent_load(self, key: object) -> object:
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage":
            raise ModelFileError(f"persistent id of type {type(key).__name__} names no storage")
        _, kind, name, _, count = key
        if isinstance(kind, Stub):  # of a dtype that is not supported: refused where it is used
            return kind
        if not isinstance(kind, TorchDtype) and kind is not _UNTYPED:
            raise ModelFileError("persistent id: its kind of storage is not one")
        # Keys are numbers, as text; a path must not be made of anything else.
        if not isinstance(name, str) or not name.isalnum() or not name.isascii():
            raise ModelFileError(f"storage key {shorten(name)}")
        if type(count) is not int or not 0 <= count <= _MAX_OFFSET:
            raise ModelFileError(f"storage {name!r} of {shorten(count)} elements")
        dtype = kind if isinstance(kind, TorchDtype) else None
        nbytes = count * (np.dtype(dtype.code).itemsize if dtype else 1)
        if name not in self.storages:
            self.storages[name] = Storage(self.archive, f"{self.root}/data/{name}", nbytes)
        if self.storages[name].nbytes != nbytes:
            raise ModelFileError(
                f"storage {name!r} has {self.storages[name].nbytes} bytes, then {nbytes}"
            )
        return TypedStorage(self.storages[name], dtype)

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


def load_torch(archive: Archive, root: str, budget: Budget) -> object:
    """The object of a torch archive, with a Pending for each tensor; not settled.

    Parameters
    ----------
    archive : Archive
    root : str
        The folder that holds data.pkl.
    budget : Budget
        Charged for the pickle, for storages when they are read, and for the arrays.

    Raises
    ------
    ModelFileError
        The archive contradicts itself or uses what is not supported.
    """
    reader = _Reader(archive, root, budget)
    return loads(
        archive.read(f"{root}/data.pkl"),
        find_global=lambda module, name: find_in(reader.table, module, name),
        persistent_load=reader.persistent_load,
        limits=Limits(total_bytes=budget.total),
    )

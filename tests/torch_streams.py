"""Files of torch written piece by piece, so that every field can be wrong."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import torch

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


class Storage:
    """Pickled as a persistent id, of which every part can be a lie."""

    def __init__(self, *pid):
        self.pid = pid


class Call:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None


def pickled(value, protocol=2) -> bytes:
    data = io.BytesIO()
    _Pickler(data, protocol).dump(value)
    return data.getvalue()


def stored(key="0", count=24, kind=torch.FloatStorage, location="cpu", view=None) -> Storage:
    """The persistent id of the legacy format."""
    return Storage("storage", kind, key, location, count, view)


def tensor(storage=None, offset=0, size=(4, 6), stride=(6, 1), *more) -> Call:
    more = more or (False, collections.OrderedDict())
    storage = stored() if storage is None else storage
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, *more)


def legacy(value, storages=None, *, keys=None, system=SYSTEM, magic=MAGIC, version=1001) -> bytes:
    """A file as torch wrote it before 1.6; storages are arrays, or (count, bytes) as they stand."""
    if storages is None:
        storages = {"0": np.arange(24, dtype=np.float32)}
    parts = [
        pickled(magic),
        pickled(version),
        pickled(system),
        value if isinstance(value, bytes) else pickled(value),
        pickled(list(storages) if keys is None else keys),
    ]
    for array in storages.values():
        count, data = array if isinstance(array, tuple) else (array.size, array.tobytes())
        parts += [struct.pack("<q", count), data]
    return b"".join(parts)


def archive(data_pkl, storages=None, **members: bytes) -> bytes:
    """A zip archive as torch writes it today; `members` are below its root."""
    if storages is None:
        storages = {"0": np.arange(24, dtype=np.float32).tobytes()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        raw = data_pkl if isinstance(data_pkl, bytes) else pickled(data_pkl)
        file.writestr("archive/data.pkl", raw)
        for name, content in members.items():
            file.writestr("archive/" + name, content)
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content)
        file.writestr("archive/version", "3\n")
    return data.getvalue()

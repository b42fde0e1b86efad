"""An interpreter of pickle streams that can only build data.

Nothing is imported and nothing of a file is called. A global is looked up in the caller's table of
constructors, which are functions of this package; one that is not there becomes a Stub, which holds
its arguments and does nothing. Only the opcodes that protocols 2 to 5 write for plain data, arrays
and objects are known; the rest (text opcodes, the extension registry, buffers kept elsewhere) is
refused by name.

A stream has no loops, so time is linear in its length; every list of the interpreter has a cap, and
a size in the stream is compared with what is left of it before anything is allocated. What comes
back may still contain itself or be shared many times over: `values.settle` deals with that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import ModelFileError
from .arrays import shorten


@dataclass(frozen=True)
class Limits:
    """What one stream may ask for.

    Attributes
    ----------
    operations : int
        Opcodes executed.
    memo : int
        Entries of the memo.
    stack : int
        Values on the stack, marks included.
    string : int
        Bytes of one string or bytes object.
    name : int
        Characters of a global's module or name.
    keys : int
        Dict keys that are neither str nor bytes, in the whole stream. Hashes of numbers are not
        salted, so a file could choose them to collide.
    total_bytes : int
        Bytes of all strings and containers together, approximately.
    """

    operations: int = 5_000_000
    memo: int = 2_000_000
    stack: int = 1_000_000
    string: int = 1 << 31
    name: int = 200
    keys: int = 1 << 17
    total_bytes: int = 1 << 30


class Constructor:
    """A global that this package implements: harmless to call with any arguments.

    Parameters
    ----------
    name : str
        As in the stream, for messages.
    call : callable
        Gets `least` to `most` arguments of any type, and checks them.
    """

    __slots__ = ("call", "least", "most", "name")

    def __init__(self, name: str, call: Callable[..., object], least: int, most: int) -> None:
        self.name, self.call, self.least, self.most = name, call, least, most

    def __call__(self, arguments: tuple[Any, ...]) -> object:
        if not self.least <= len(arguments) <= self.most:
            raise ModelFileError(
                f"{self.name} is given {len(arguments)} arguments, "
                f"expected {self.least} to {self.most}"
            )
        return self.call(*arguments)


class Stub:
    """An unknown global, or the inert result of calling one.

    Attributes
    ----------
    name : str
        ``module.name`` as in the stream; nothing of that name was looked for.
    arguments : tuple or None
        What it was called with; None for the global itself.
    states, entries : list
        What was set on the object afterwards.
    """

    __slots__ = ("arguments", "entries", "name", "states")

    def __init__(self, name: str, arguments: tuple[Any, ...] | None = None) -> None:
        self.name, self.arguments = name, arguments
        self.states: list[object] = []
        self.entries: list[object] = []

    def build(self, state: object) -> None:
        self.states.append(state)


def loads(
    data: bytes,
    *,
    find_global: Callable[[str, str], object | None],
    persistent_load: Callable[[object], object] | None = None,
    limits: Limits = Limits(),
) -> object:
    """Interprets one pickle stream.

    Parameters
    ----------
    data : bytes
        The stream, whole; nothing may follow its end.
    find_global : callable
        Gets module and name; gives a Constructor, any other inert object, or None for a Stub.
    persistent_load : callable, optional
        Gets a persistent id and gives the object; without it such ids are refused.
    limits : Limits

    Returns
    -------
    object
        None, bool, int, float, str, bytes, bytearray, list (of a set too), tuple, dict, and what
        `find_global`, its constructors and `persistent_load` gave. Containers may be shared or
        contain themselves.

    Raises
    ------
    ModelFileError
        The stream is truncated, malformed, uses an opcode that is not known, or passes a limit.
    """
    value, end = load_first(
        data, 0, find_global=find_global, persistent_load=persistent_load, limits=limits
    )
    if end != len(data):
        raise ModelFileError(f"pickle, byte {end}: {len(data) - end} bytes follow the end")
    return value


def load_first(
    data: bytes,
    start: int,
    *,
    find_global: Callable[[str, str], object | None],
    persistent_load: Callable[[object], object] | None = None,
    limits: Limits = Limits(),
) -> tuple[object, int]:
    """Interprets the pickle stream that begins at `start`; anything may follow its end.

    Returns
    -------
    object
        As of `loads`, whose other parameters and errors these are too.
    int
        Where it ends.
    """
    machine = _Machine(data, start, find_global, persistent_load, limits)
    return machine.run(), machine.position


# What an object, an empty container or a memo entry costs in CPython, roughly: charged so that a
# stream of "]" does not become a hundred times its size.
_OBJECT_BYTES = 64
_KEYS = (str, bytes)
_RARE_KEYS = (int, bool, float, type(None))


class _Machine:
    """The stack, the memo and one method an opcode."""

    def __init__(
        self,
        data: bytes,
        start: int,
        find_global: Callable[[str, str], object | None],
        persistent_load: Callable[[object], object] | None,
        limits: Limits,
    ) -> None:
        self.data, self.limits = data, limits
        self.find_global, self.persistent_load = find_global, persistent_load
        self.start = self.position = start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.floor = 0  # the stack's height at the last mark: nothing below it may be popped
        self.memo: dict[int, object] = {}
        self.used = 0
        self.keys = 0

    def run(self) -> object:
        data, left = self.data, self.limits.operations
        if data[self.start : self.start + 1] != b"\x80":
            self.fail("expected a protocol from 2 to 5 at the start")
        while True:
            if self.position >= len(data):
                self.fail("the stream is truncated: it has no end")
            if left == 0:
                self.fail(f"more than {self.limits.operations} operations")
            left -= 1
            code = data[self.position]
            self.position += 1
            if code == _STOP:
                return self.stop()
            operation = _OPERATIONS[code]
            if operation is None:
                self.fail(f"opcode {_REFUSED.get(code, hex(code))} is not allowed")
            operation(self)

    def stop(self) -> object:
        if len(self.stack) != 1 or self.marks:
            self.fail(f"{len(self.stack)} values on the stack at the end, expected one")
        return self.stack[0]

    # Parts of every operation

    def fail(self, message: str) -> NoReturn:
        raise ModelFileError(f"pickle, byte {self.position}: {message}")

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            self.fail(f"truncated: {count} bytes wanted, {len(self.data) - self.position} left")
        chunk = self.data[self.position : end]
        self.position = end
        return chunk

    def take_size(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def take_string(self, width: int) -> bytes:
        size = self.take_size(width)
        if size > self.limits.string:
            self.fail(f"a string of {size} bytes, at most {self.limits.string}")
        self.charge(size + _OBJECT_BYTES)
        return self.take(size)

    def take_line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + self.limits.name + 1)
        if end < 0:
            self.fail(f"a global's name is truncated or longer than {self.limits.name}")
        line = self.take(end - self.position)
        self.position = end + 1
        return self.decode(line)

    def decode(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.fail(f"a string is not UTF-8: {error.reason}")

    def charge(self, count: int) -> None:
        self.used += count
        if self.used > self.limits.total_bytes:
            self.fail(f"unpacks to more than {self.limits.total_bytes} bytes")

    def push(self, value: object) -> None:
        if len(self.stack) >= self.limits.stack:
            self.fail(f"more than {self.limits.stack} values on the stack")
        self.stack.append(value)

    def need(self, count: int) -> None:
        if len(self.stack) - self.floor < count:
            self.fail(f"{count} values wanted, {len(self.stack) - self.floor} on the stack")

    def pop(self) -> Any:
        self.need(1)
        return self.stack.pop()

    def top(self) -> Any:
        self.need(1)
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            self.fail("no mark on the stack")
        start = self.marks.pop()
        self.floor = self.marks[-1] if self.marks else 0
        values = self.stack[start:]
        del self.stack[start:]
        return values

    # Scalars, strings and containers

    def proto(self) -> None:
        version = self.take_size(1)
        if self.position != self.start + 2 or not 2 <= version <= 5:
            self.fail(f"protocol {version}; expected 2 to 5, once, at the start")

    def frame(self) -> None:
        size = self.take_size(8)
        if size > len(self.data) - self.position:
            self.fail(f"truncated: a frame of {size} bytes, {len(self.data) - self.position} left")

    def mark(self) -> None:
        if len(self.marks) + len(self.stack) >= self.limits.stack:
            self.fail(f"more than {self.limits.stack} values on the stack")
        self.floor = len(self.stack)
        self.marks.append(self.floor)

    def bin_int(self) -> None:
        self.push(int.from_bytes(self.take(4), "little", signed=True))

    def long1(self) -> None:
        self.push(int.from_bytes(self.take(self.take_size(1)), "little", signed=True))

    def bin_float(self) -> None:
        self.push(struct.unpack(">d", self.take(8))[0])

    def unicode(self, width: int) -> None:
        self.push(self.decode(self.take_string(width)))

    def bytes_array(self) -> None:
        self.push(bytearray(self.take_string(8)))

    def byte_string(self, width: int) -> None:
        # A str of Python 2: text where it is ASCII, else bytes. (Its length is signed, and a
        # negative one reads here as one past any file.)
        raw = self.take_string(width)
        self.push(raw.decode("ascii") if raw.isascii() else raw)

    def container(self, value: object) -> None:
        self.charge(_OBJECT_BYTES)
        self.push(value)

    def last_tuple(self, count: int) -> None:
        self.need(count)
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.container(values)

    def add_items(self, values: Sequence[object]) -> None:
        target = self.top()
        if type(target) is list:
            target.extend(values)
        elif type(target) is Stub:
            target.entries.extend(values)
        else:
            self.fail(f"APPEND to {type(target).__name__}, expected a list")

    def add_to_set(self, values: Sequence[object]) -> None:
        if type(self.top()) is not list:
            self.fail(f"ADDITEMS to {type(self.top()).__name__}, expected a set")
        self.top().extend(values)

    def set_items(self, values: Sequence[object]) -> None:
        target = self.top()
        if len(values) % 2:
            self.fail("a key without a value")
        if type(target) is Stub:
            target.entries.extend(values)
            return
        if type(target) is not dict:
            self.fail(f"SETITEM on {type(target).__name__}, expected a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            self.check_key(key)
            target[key] = value

    def check_key(self, key: object) -> None:
        # Tuples are hashed through and through: one shared fifty levels deep would never end. So
        # keys are flat.
        if type(key) in _KEYS:
            return
        self.keys += 1
        if self.keys > self.limits.keys:
            self.fail(f"more than {self.limits.keys} dict keys that are not strings")
        parts: tuple[Any, ...] = key if type(key) is tuple else (key,)
        if len(parts) > 16 or any(type(part) not in _KEYS + _RARE_KEYS for part in parts):
            self.fail(f"a dict key of type {type(key).__name__}, expected a string or a number")

    # The memo

    def put(self, index: int) -> None:
        self.charge(_OBJECT_BYTES)
        self.memo[index] = self.top()
        if len(self.memo) > self.limits.memo:
            self.fail(f"more than {self.limits.memo} values in the memo")

    def get(self, index: int) -> None:
        if index not in self.memo:
            self.fail(f"memo entry {index} was never stored")
        self.push(self.memo[index])

    # Globals and what is made by them: the caller's constructors, or nothing

    def lookup(self, module: str, name: str) -> None:
        found = self.find_global(module, name)
        if found is None:
            self.charge(_OBJECT_BYTES)
            found = Stub(f"{module}.{name}")
        self.push(found)

    def global_(self) -> None:
        module = self.take_line()
        self.lookup(module, self.take_line())

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        for text in (module, name):
            if type(text) is not str or len(text) > self.limits.name:
                self.fail(f"a global is named by {shorten(text)}")
        self.lookup(module, name)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple:
            self.fail(f"a call's arguments are a {type(arguments).__name__}, expected a tuple")
        # Constructors may copy a container that they are given, which the memo can give many times.
        parts = sum(len(part) for part in arguments if type(part) in (list, tuple))
        self.charge(_OBJECT_BYTES * (1 + parts))
        if type(function) is Constructor:
            self.push(function(arguments))
        elif type(function) is Stub and function.arguments is None:
            self.push(Stub(function.name, arguments))
        else:
            self.fail(f"a call of {type(function).__name__}, which is no class or function")

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if type(target) is dict:
            # Attributes of an OrderedDict, such as torch's _metadata: not data.
            return
        if not hasattr(type(target), "build"):
            self.fail(f"BUILD on {type(target).__name__}, which has no state")
        target.build(state)

    def persistent_id(self) -> None:
        key = self.pop()
        if self.persistent_load is None:
            self.fail("a persistent id, which has no meaning in this file")
        else:
            self.push(self.persistent_load(key))


_STOP = ord(".")

_KNOWN: dict[int, Callable[[_Machine], object]] = {
    0x80: _Machine.proto,
    0x95: _Machine.frame,
    ord("("): _Machine.mark,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): _Machine.bin_int,
    ord("K"): lambda m: m.push(m.take_size(1)),
    ord("M"): lambda m: m.push(m.take_size(2)),
    0x8A: _Machine.long1,
    ord("G"): _Machine.bin_float,
    0x8C: lambda m: m.unicode(1),
    ord("X"): lambda m: m.unicode(4),
    0x8D: lambda m: m.unicode(8),
    ord("C"): lambda m: m.push(m.take_string(1)),
    ord("B"): lambda m: m.push(m.take_string(4)),
    0x8E: lambda m: m.push(m.take_string(8)),
    0x96: _Machine.bytes_array,
    ord("U"): lambda m: m.byte_string(1),
    ord("T"): lambda m: m.byte_string(4),
    ord("]"): lambda m: m.container([]),
    ord("a"): lambda m: m.add_items([m.pop()]),
    ord("e"): lambda m: m.add_items(m.pop_to_mark()),
    # Sets become lists, so that nothing of a file need be hashed.
    0x8F: lambda m: m.container([]),
    0x90: lambda m: m.add_to_set(m.pop_to_mark()),
    0x91: lambda m: m.container(m.pop_to_mark()),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.last_tuple(1),
    0x86: lambda m: m.last_tuple(2),
    0x87: lambda m: m.last_tuple(3),
    ord("t"): lambda m: m.container(tuple(m.pop_to_mark())),
    ord("}"): lambda m: m.container({}),
    ord("s"): lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),
    ord("q"): lambda m: m.put(m.take_size(1)),
    ord("r"): lambda m: m.put(m.take_size(4)),
    0x94: lambda m: m.put(len(m.memo)),
    ord("h"): lambda m: m.get(m.take_size(1)),
    ord("j"): lambda m: m.get(m.take_size(4)),
    ord("c"): _Machine.global_,
    0x93: _Machine.stack_global,
    ord("R"): _Machine.reduce,
    0x81: _Machine.reduce,  # NEWOBJ: a class and its arguments, as in a call
    ord("b"): _Machine.build,
    ord("Q"): _Machine.persistent_id,
}
_OPERATIONS = [_KNOWN.get(code) for code in range(256)]

# For messages only.
_REFUSED = {
    ord("0"): "POP", ord("1"): "POP_MARK", ord("2"): "DUP", ord("F"): "FLOAT", ord("I"): "INT",
    ord("L"): "LONG", ord("S"): "STRING", ord("V"): "UNICODE", ord("P"): "PERSID",
    ord("d"): "DICT", ord("l"): "LIST", ord("g"): "GET", ord("p"): "PUT", ord("i"): "INST",
    ord("o"): "OBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x8B: "LONG4",
    0x92: "NEWOBJ_EX",
    0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}  # fmt: skip

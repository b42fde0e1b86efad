"""Assets: what a model keeps beside its weights, through everything that becomes of a model, and in
files that lie. What kinds of assets mean is tested with their own modules.
"""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqcore as sc
from seqcore import assets as module
from seqcore._binding import Plan, read_model_file, write_model_file
from seqcore.assets import Assets
from seqcore.cli import main

PLAIN = {
    "labels": ["cat", "dög", '"\\\n\0', "\U0001f600", ""],
    "é": {"a": [1, -2.5e-300, True, False, None, 2**63 - 1, -(2**63)], "": {}, "kind": "scaler"},
    "word": "",
    "n": 0,
    "off": False,
}


class Scale:
    """An asset of a kind of its own, for the tests."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def to_json(self) -> dict[str, Any]:
        return {"kind": "scale", "scale": self.scale}

    @classmethod
    def from_json(cls, data: dict[str, Any], source: str) -> Scale:
        if set(data) != {"kind", "scale"}:
            raise sc.ModelFileError(f"{source}: expected a scale")
        return cls(data["scale"])


@pytest.fixture
def scale_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["seqcore"], "a_module", sys.modules[__name__], raising=False)
    monkeypatch.setitem(sys.modules, "seqcore.a_module", sys.modules[__name__])
    monkeypatch.setitem(module._KINDS, "scale", (".a_module", "Scale"))


@pytest.fixture
def model(rng: np.random.Generator) -> sc.Model:
    return sc.Sequential([sc.Dense(rng.normal(size=(3, 2)))])


def same(x: np.ndarray, a: sc.Model, b: sc.Model) -> bool:
    return bool(np.array_equal(a(x), b(x)))


# ---- Kept ---------------------------------------------------------------------------------------


def saved(model: sc.Model, folder: Path) -> sc.Model:
    model.save(folder / "model")
    return sc.load(folder / "model")


def saved_packed(model: sc.Model, folder: Path) -> sc.Model:
    model.save(folder / "packed", packed=True)
    loaded = sc.load(folder / "packed", mmap=True)
    assert loaded.plan["bytes_in_place"] > 0  # assets do not make another model of it
    return loaded


@pytest.mark.parametrize(
    "becomes",
    [
        lambda model, _: model,
        saved,
        saved_packed,
        lambda model, _: pickle.loads(pickle.dumps(model)),
        lambda model, _: copy.copy(model),
        lambda model, _: copy.deepcopy(model),
        lambda model, _: model.with_options(threads=2, isa="scalar"),
        lambda model, folder: saved(saved(model, folder), folder),
    ],
)
def test_assets_are_kept(
    becomes: Callable[[sc.Model, Path], sc.Model], model: sc.Model, tmp_path: Path
) -> None:
    x = np.ones((4, 3))
    kept = becomes(model.with_assets(**PLAIN), tmp_path)
    assert list(kept.assets) == list(PLAIN)
    assert dict(kept.assets) == PLAIN
    assert [type(item) for item in kept.assets["é"]["a"]] == [type(i) for i in PLAIN["é"]["a"]]  # type: ignore[index]
    assert np.allclose(kept(x), model(x))
    assert not model.assets


@pytest.mark.usefixtures("scale_is_known")
def test_objects_are_kept(model: sc.Model, tmp_path: Path) -> None:
    scale = Scale(2.5)
    more = model.with_assets(scale=scale, plain=[1])
    assert more.assets["scale"] is scale
    assert more.with_assets(plain=None, other=1).assets["scale"] is scale
    for kept in (saved(more, tmp_path), pickle.loads(pickle.dumps(more))):
        assert type(kept.assets["scale"]) is Scale
        assert (kept.assets["scale"].scale, kept.assets["plain"]) == (2.5, [1])


def test_a_model_shares_its_plan_with_one_that_has_more_assets(model: sc.Model) -> None:
    first = model.with_assets(a=1, b=2)
    second = first.with_assets(b=3, c=4, a=None)
    assert first._plan is model._plan is second._plan
    assert (dict(first.assets), dict(second.assets)) == ({"a": 1, "b": 2}, {"b": 3, "c": 4})
    assert type(second) is sc.Sequential
    assert same(np.ones((2, 3)), second, model)


def test_a_null_in_a_file_is_kept(model: sc.Model) -> None:
    text = b'{"nothing":{"kind":"json","value":null}}'
    kept = model.with_all_assets(Assets.from_text(text, "here")).with_assets(a=1)
    assert dict(kept.assets) == {"nothing": None, "a": 1}
    assert dict(kept.with_assets(nothing=None).assets) == {"a": 1}


def test_what_is_kept_does_not_change(model: sc.Model) -> None:
    given = {"a": [1, {"b": 2}]}
    kept = model.with_assets(data=given)
    given["a"].append(3)
    kept.assets["data"]["a"].append(4)
    assert kept.assets["data"] == {"a": [1, {"b": 2}]}
    with pytest.raises(TypeError):
        kept.assets["data"] = 1  # type: ignore[index]
    with pytest.raises(AttributeError):
        kept.assets = {}  # type: ignore[misc]


def test_a_file_without_assets_is_as_it_was(model: sc.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "before")
    model.with_assets(a=1).with_assets(a=None).save(tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
    assert list(read_model_file(tmp_path / "before")[0]) == ["__graph__"]


def test_millions_of_words(model: sc.Model, tmp_path: Path) -> None:
    words = [f"[{i}],wörd" for i in range(2_000_000)]
    kept = saved(model.with_assets(words=words), tmp_path)
    assert kept.assets["words"] == words


# ---- The package's own --------------------------------------------------------------------------


def test_names_of_the_package(model: sc.Model, tmp_path: Path) -> None:
    wiring = {"end": 3, "carry": ["a"]}
    more = model.with_assets(a=1)
    own = more.with_all_assets(more._assets.changed({"__wiring__": wiring}))
    for kept in (own, own.with_assets(b=2), saved(own, tmp_path), copy.copy(own)):
        assert kept._assets.own("__wiring__") == wiring
        assert "__wiring__" not in kept.assets
        assert "__wiring__" not in list(kept.assets)
        with pytest.raises(KeyError):
            kept.assets["__wiring__"]
    assert own._assets.own("__other__") is None
    assert len(own.assets) == 1
    only = model.with_all_assets(Assets({"__wiring__": wiring}))
    assert not only.assets
    assert saved(only, tmp_path)._assets.own("__wiring__") == wiring
    for name in ("__wiring__", "__"):
        with pytest.raises(sc.OptionError, match="'__"):
            model.with_assets(**{name: 1})


def test_layers_do_not_take_the_names_of_model_files(rng: np.random.Generator) -> None:
    for name in ("__graph__", "__packed__"):
        with pytest.raises(sc.GraphError, match=name):
            sc.Sequential([sc.Dense(rng.normal(size=(3, 2)), name=name)])


# ---- Refused ------------------------------------------------------------------------------------


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def thing(data: Any) -> Any:
    """Return an object that writes itself so."""
    return type("Thing", (), {"to_json": lambda _: data})()


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: (1, 2), "changes when it is written"),
        (lambda: {1: 2}, "changes when it is written"),
        (lambda: [{"a": {None: 1}}], "changes when it is written"),
        (lambda: {1: 1, "1": 1}, "repeats a key"),
        (lambda: float("nan"), "finite numbers"),
        (lambda: [float("-inf")], "finite numbers"),
        (lambda: 1 << 63, "64 bits"),
        (lambda: 10**5000, "digits|64 bits"),
        (lambda: np.zeros(2), "ndarray"),
        (lambda: {1, 2}, "set"),
        (lambda: b"a", "bytes"),
        (lambda: "\ud800", "surrogates"),
        (lambda: circle(), "[Cc]ircular|nested"),
        (lambda: deep(63), "nested deeper"),
        (lambda: deep(100_000), "nested deeper|Circular"),
        (lambda: Scale(1.0), "found Scale"),
        (lambda: thing(3), "found Thing"),
        (lambda: thing({"kind": "json", "value": 1}), "found Thing"),
        (lambda: thing({"kind": ["json"]}), "found Thing"),
        (lambda: [[]] * (1 << 21), "objects and arrays"),
        (lambda: [0] * (2 + (1 << 23)), "values"),
    ],
)
def test_what_is_no_asset_is_refused(make: Callable[[], Any], cause: str, model: sc.Model) -> None:
    value = make()
    with pytest.raises(sc.OptionError, match=cause) as caught:
        model.with_assets(fine=1, thing=value)
    assert len(str(caught.value)) < 600


@pytest.mark.usefixtures("scale_is_known")
def test_what_only_says_that_it_is_of_a_kind_is_refused(model: sc.Model) -> None:
    liar = thing({"kind": "scale", "scale": 1.0})
    with pytest.raises(sc.OptionError, match=r"'thing'.*found Thing"):
        model.with_assets(thing=liar)


def test_there_is_nothing_to_take_away(model: sc.Model) -> None:
    with pytest.raises(sc.OptionError, match=r"'b'.*'a'"):
        model.with_assets(a=1).with_assets(b=None)


def test_too_many_bytes(model: sc.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_BYTES", 100)
    model.with_assets(a="é" * 30)
    with pytest.raises(sc.OptionError, match="bytes as JSON; at most 100"):
        model.with_assets(a="é" * 50)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "expected an object"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1}', "asset 'a': expected an object with a kind"),
        (b'{"a": {}}', "asset 'a': expected an object with a kind"),
        (b'{"a": {"kind": 3}}', "asset 'a': expected an object with a kind"),
        (b'{"a": {"kind": ["json"]}}', "asset 'a': expected an object with a kind"),
        (b'{"a": {"kind": "os.system"}}', r"asset 'a' is of kind 'os.system'; known are \['json'"),
        (b'{"a": {"kind": "json"}}', "asset 'a': expected kind and value"),
        (b'{"a": {"kind": "json", "value": 1, "b": 2}}', "asset 'a': expected kind and value"),
        (b'{"a": {"kind": "scale"}}', "asset 'a': expected a scale"),
        (b'{"__a__": {"kind": "what"}}', "asset '__a__' is of kind 'what'"),
        (b'{"a": {"kind": "json", "value": 1}, "a": {"kind": "json", "value": 1}}', "repeats"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper"),
        (b'{"a": ' + b"[" * 10**6 + b"]" * 10**6 + b"}", "nested deeper"),
        (b'{"a": [' + b"[]," * (1 << 21) + b"0]}", "objects and arrays"),
        (b'{"a": [' + b"0," * (1 << 23) + b"00,0]}", "values"),
        (b'{"a": 1e999}', "float64"),
    ],
    ids=itertools.count(),
)
@pytest.mark.usefixtures("scale_is_known")
def test_files_that_lie(text: bytes, cause: str, model: sc.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    texts, tensors = read_model_file(path)
    write_model_file(path, texts | {"__assets__": text}, tensors)
    with pytest.raises(sc.ModelFileError, match=rf"model\.safetensors: .*{cause}"):
        sc.load(path)
    with pytest.raises(sc.ModelFileError, match=cause):
        Assets.from_text(text, "here")


# ---- Further graphs -----------------------------------------------------------------------------


@pytest.fixture
def parts(model: sc.Model, tmp_path: Path, rng: np.random.Generator) -> tuple[Path, sc.Model]:
    """A file of two graphs, packed for the first, with assets; and the second's model."""
    path = tmp_path / "parts.safetensors"
    x = sc.Input((None, 4), name="frames")
    lstm = sc.LSTM(rng.normal(size=(4, 20)), rng.normal(size=(5, 20)), name="part_lstm")
    second = sc.Model(x, lstm(x))
    model.with_assets(a=1).save(path, packed=True)
    texts, tensors = read_model_file(path)
    texts["__graph__.encoder"] = second._graph.to_json()
    write_model_file(path, texts, tensors | dict(second._graph.tensors))
    return path, second


def test_the_main_graph_knows_nothing_of_others(
    parts: tuple[Path, sc.Model], model: sc.Model, tmp_path: Path
) -> None:
    path, second = parts
    for mmap in (False, True):
        loaded = sc.load(path, mmap=mmap)
        assert same(np.ones((2, 3)), loaded, model)
        assert (loaded.plan["bytes_in_place"] > 0) == mmap
        loaded.save(tmp_path / "again")
        assert dict(loaded.assets) == {"a": 1}
        assert set(read_model_file(tmp_path / "again")[1]) == set(model._graph.tensors)
    texts, tensors = read_model_file(path)
    assert list(texts) == ["__graph__", "__assets__", "__graph__.encoder"]
    plan = Plan(texts["__graph__.encoder"], tensors, in_place=True)
    assert plan.nbytes_in_place == 0  # what is packed is of the main graph
    x = np.ones((2, 3, 4), np.float32)
    assert np.array_equal(plan.run_one(x), second(x))


def test_a_header_has_all_of_a_file(parts: tuple[Path, sc.Model], tmp_path: Path) -> None:
    path, _ = parts
    assert main(["export-c", str(path), str(tmp_path / "net.h")]) == 0
    text = (tmp_path / "net.h").read_text(encoding="ascii")
    words = text[text.index("[] = {") :].replace(",", " ").split()
    data = b"".join(int(w, 16).to_bytes(8, "little") for w in words if w.startswith("0x"))
    assert data[: path.stat().st_size] == path.read_bytes()
    comment = text[: text.index("*/")]
    main_at, part_at = comment.index("input   input:"), comment.index("part    encoder")
    assert main_at < part_at < comment.index("input   frames: float32 (?, ?, 4)")
    size = len(json.dumps({"a": {"kind": "json", "value": 1}}, separators=(",", ":")))
    assert f"assets  {size} bytes" in comment

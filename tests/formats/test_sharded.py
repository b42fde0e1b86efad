"""Weights in several files by their index, and indexes that lie."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from bits import assert_same
from safetensors.numpy import save_file

from seqcore.errors import ModelFileError
from seqcore.formats import read_weights

ONE = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "more": np.ones(1, np.float32)}
TWO = {"a": np.arange(4, dtype=np.int64), "c.d": np.float16([1.5, 2.5])}
MAP = {"b": "one", "a": "two", "c.d": "two"}


@pytest.fixture
def folder(tmp_path):
    inner = tmp_path / "model"
    inner.mkdir()
    save_file(ONE, inner / "one")
    save_file(TWO, inner / "two")
    return inner


def index(folder, places, **more):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places} | more))
    return path


def test_safetensors(folder):
    expected = {"a": TWO["a"], "b": ONE["b"], "c.d": TWO["c.d"]}
    assert_same(read_weights(index(folder, MAP)), expected)
    assert_same(read_weights(index(folder, MAP), prefix="c"), {"d": TWO["c.d"]})


@pytest.mark.parametrize("legacy", [False, True])
def test_torch(folder, legacy):
    for name, arrays in (("one", ONE), ("two", TWO)):
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        torch.save(tensors, folder / name, _use_new_zipfile_serialization=not legacy)
    expected = {"a": TWO["a"], "b": ONE["b"], "c.d": TWO["c.d"]}
    assert_same(read_weights(index(folder, MAP)), expected)


def test_the_index_is_found_by_its_content(folder, monkeypatch):
    path = index(folder, MAP)
    path.write_text("\n \t" + path.read_text())
    path.rename(folder / "weights")
    monkeypatch.chdir(folder)
    assert list(read_weights("weights")) == ["a", "b", "c.d"]


def test_a_shard_may_be_a_link_within_the_folder(folder):
    (folder / "link").symlink_to("one")
    assert_same(read_weights(index(folder, {"b": "link"})), {"b": ONE["b"]})


@pytest.mark.parametrize(
    ("places", "match"),
    [
        ({"b": "three"}, r"index\.json: shard 'three' is missing"),
        ({"b": "one", "x": "two"}, r"index\.json: .*two: tensor 'x' is missing from this shard"),
        ({"b": "two"}, "tensor 'b' is missing"),
        ({"b": "../outside"}, "'../outside' is not the name of a file"),
        ({"b": "inner/one"}, "is not the name"),
        ({"b": "/etc/passwd"}, "is not the name"),
        ({"b": "C:one"}, "is not the name"),
        ({"b": "..\\one"}, "is not the name"),
        ({"b": ".."}, "is not the name"),
        ({"b": "."}, "is not the name"),
        ({"b": ""}, "is not the name"),
        ({"b": "one\0"}, "is not the name"),
        ({"b": "link"}, "shard 'link' is a link to another folder"),
        ({"b": "pipe"}, "not a regular file"),
        ({"b": "model.safetensors.index.json"}, "this seems to be JSON"),
        ({}, "names no tensor"),
        ({str(k): f"s{k}" for k in range(5000)}, "5000 shards, at most 4096"),
        ({"b": ["one"]}, "this seems to be JSON"),  # Keras's, of .h5
        ([], "this seems to be JSON"),
        (None, "this seems to be JSON"),
    ],
)
def test_indexes_that_lie(folder, places, match):
    save_file(ONE, folder.parent / "outside")
    (folder / "link").symlink_to("../outside")
    os.mkfifo(folder / "pipe")
    with pytest.raises(ModelFileError, match=match):
        read_weights(index(folder, places))


def test_a_folder_that_is_a_link(folder):
    index(folder, MAP)
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert len(read_weights(link / "model.safetensors.index.json")) == 3


def test_a_tensor_that_is_named_twice(folder):
    path = folder / "x.json"
    path.write_text('{"weight_map": {"b": "one", "b": "two"}}')
    with pytest.raises(ModelFileError, match=r"x\.json: this JSON gives a name twice"):
        read_weights(path)


def test_truncation_at_every_byte(folder):
    path = index(folder, MAP)
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(ModelFileError, match=r"index\.json: "):
            read_weights(path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"weight_map":' * 50_000, "{" * 9, '{"a": 1e999}']
)
def test_odd_json(folder, text):
    path = folder / "x.json"
    path.write_text("{" + text if text[0] == "[" else text)
    with pytest.raises(ModelFileError, match=r"x\.json: this seems to be JSON"):
        read_weights(path)


def test_a_damaged_shard_is_named(folder):
    (folder / "one").write_bytes((folder / "one").read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=r"index\.json: .*one: "):
        read_weights(index(folder, MAP))


def test_the_budget_holds_for_all_together(folder):
    for name in ("one", "two"):
        save_file({name: np.zeros(1 << 18, np.float32)}, folder / name)
    path = index(folder, {"one": "one", "two": "two"})
    assert len(read_weights(path, max_bytes=7 << 20)) == 2
    with pytest.raises(ModelFileError, match="more than 5242880 bytes"):
        read_weights(path, max_bytes=5 << 20)
    only = index(folder, {"one": "one"})
    assert len(read_weights(only, max_bytes=5 << 20)) == 1

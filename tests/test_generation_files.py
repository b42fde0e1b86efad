"""Generator and Seq2Seq as files and pickles: what comes back, and what hostile files are told."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import decoding_truth as truth
import numpy as np
import pytest
from decoding_truth import NETWORKS

import seqcore as sc
from seqcore._binding import read_model_file, write_model_file


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest, rng: np.random.Generator) -> Any:
    return NETWORKS[request.param](rng).model


def given(model: Any, rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(model, sc.Generator):
        return (), {"batch": 3}
    if model._wired.before.inputs == ("image",):
        return (rng.normal(size=(3, 5)).astype(np.float32),), {}
    return (rng.integers(0, 11, (3, 6)),), {"lengths": [6, 2, 4]}


def same(one: sc.Decoded, other: sc.Decoded) -> None:
    assert one.ids.tobytes() == other.ids.tobytes()
    assert one.scores.tobytes() == other.scores.tobytes()
    assert one.end == other.end
    for name, array in one.extras.items():
        assert array.tobytes() == other.extras[name].tobytes()


def test_what_is_saved_comes_back(model: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    source, options = given(model, rng)
    expected = model.beam(*source, **options, width=3, extras=True)
    path = tmp_path / "model.safetensors"
    kept = model.with_assets(letters=["a", "b"])
    kept.save(path)
    again = type(model).load(path)
    assert again.assets["letters"] == ["a", "b"]
    assert not model.assets
    for name in ("start", "end", "max_length", "scores", "states", "extras", "contexts"):
        assert getattr(again, name) == getattr(model, name)
    same(again.beam(*source, **options, width=3, extras=True), expected)
    scalar = type(model).load(path, isa="scalar", threads=1)
    np.testing.assert_array_equal(
        scalar.greedy(*source, **options).ids, model.greedy(*source, **options).ids
    )
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_pickles_and_copies(model: Any, rng: np.random.Generator) -> None:
    source, options = given(model, rng)
    expected = model.beam(*source, **options, width=3)
    kept = model.with_assets(letters=["a"])
    for other in (pickle.loads(pickle.dumps(kept)), copy.copy(kept), copy.deepcopy(kept)):
        assert type(other) is type(model)
        assert other.assets["letters"] == ["a"]
        same(other.beam(*source, **options, width=3), expected)


def test_the_parts_are_models_of_their_own(rng: np.random.Generator, tmp_path: Path) -> None:
    net = truth.bahdanau(rng)
    path = tmp_path / "model.safetensors"
    net.model.save(path)
    texts, tensors = read_model_file(path)
    assert list(texts) == ["__graph__", "__graph__.encoder", "__assets__"]
    assert {name.split("/")[0] for name in tensors} == {"encoder", "decoder"}
    step = json.loads(texts["__graph__"])
    assert [s["name"] for s in step["inputs"] if s.get("context")] == ["memory", "look:memory"]
    with pytest.raises(sc.ModelFileError, match=r"seqcore\.Seq2Seq\.load"):
        sc.load(path)


def test_another_kind_of_file_is_told_apart(rng: np.random.Generator, tmp_path: Path) -> None:
    plain, text = tmp_path / "plain.safetensors", tmp_path / "text.safetensors"
    sc.Sequential([sc.Dense(np.eye(2))]).save(plain)
    truth.text(rng).model.save(text)
    with pytest.raises(sc.ModelFileError, match="expected a Seq2Seq; found a 'Model'"):
        sc.Seq2Seq.load(plain)
    with pytest.raises(sc.ModelFileError, match="expected a Seq2Seq; found a 'Generator'"):
        sc.Seq2Seq.load(text)
    with pytest.raises(FileNotFoundError):
        sc.Generator.load(tmp_path / "nothing")
    with pytest.raises(sc.ModelFileError, match="not a regular file"):
        sc.Generator.load(tmp_path)


CHANGES: list[dict[str, Any]] = [
    {"contexts": {}}, {"contexts": None}, {"contexts": {"memory": "nothing", "look:memory": None}},
    {"contexts": {"memory": 3, "look:memory": None}}, {"lengths": {"memory": "=nothing"}},
    {"lengths": {"memory": 1}}, {"lengths": {"other": "source"}}, {"lengths": []},
    {"states": {"h": "nothing"}}, {"states": {"x": "h0"}}, {"states": {"h": []}}, {"turned": ["x"]},
    {"turned": {}}, {"turned": [[]]}, {"encodes": 1}, {"encodes": None}, {"max_length": 0},
    {"max_length": 1e300}, {"max_length": None}, {"start": -1}, {"end": "x"}, {"end": [2, 3]},
    {"scores": "odds"}, {"scores": 1},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_wiring_that_does_not_fit_is_refused(
    rng: np.random.Generator, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "model.safetensors"
    truth.bahdanau(rng).model.save(path)
    texts, tensors = read_model_file(path)
    assets = json.loads(texts["__assets__"])
    assets["__sequence__"]["value"].update(change)
    write_model_file(path, {**texts, "__assets__": json.dumps(assets).encode()}, tensors)
    with pytest.raises(sc.ModelFileError, match=r"model\.safetensors"):
        sc.Seq2Seq.load(path)


def test_parts_that_are_missing_or_others_are_refused(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    truth.bahdanau(rng).model.save(path)
    texts, tensors = read_model_file(path)
    encoder = texts.pop("__graph__.encoder")
    write_model_file(path, texts, tensors)
    with pytest.raises(sc.ModelFileError, match=r"model\.safetensors"):
        sc.Seq2Seq.load(path)
    turned = {**texts, "__graph__": encoder, "__graph__.encoder": texts["__graph__"]}
    write_model_file(path, turned, tensors)
    with pytest.raises(sc.ModelFileError, match=r"model\.safetensors"):
        sc.Seq2Seq.load(path)
    few = dict(list(tensors.items())[:3])
    write_model_file(path, {**texts, "__graph__.encoder": encoder}, few)
    with pytest.raises(sc.ModelFileError, match=r"model\.safetensors"):
        sc.Seq2Seq.load(path)


def test_every_change_of_a_graph_is_refused_or_decodes(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    """Whatever a step's roles are changed to: a clear error, or results of the right shape."""
    path = tmp_path / "model.safetensors"
    truth.bahdanau(rng).model.save(path)
    texts, tensors = read_model_file(path)
    refused = 0
    for place, spec in enumerate(json.loads(texts["__graph__"])["inputs"]):
        for key in ("context", "next", "dtype", "shape", "kind", "of", "name"):
            for value in (None, True, False, 3, "scores", "cell:h", "h", [], [None], [17], {}):
                document = json.loads(texts["__graph__"])
                if document["inputs"][place].get(key, "absent") == value:
                    continue
                document["inputs"][place][key] = value
                changed = {**texts, "__graph__": json.dumps(document).encode()}
                write_model_file(path, changed, tensors)
                try:
                    model = sc.Seq2Seq.load(path)
                    made = model(np.array([[1, 2, 3]]))
                except sc.SeqcoreError:
                    refused += 1
                else:
                    assert made.ids.ndim == 2, (spec, key, value)
    assert refused > 100

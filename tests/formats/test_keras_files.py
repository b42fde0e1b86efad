"""`.keras` archives and files of weights: everything comes out as Keras wrote it, in one form.

Keras's own store classes and h5py are the independent side. Hostile and broken files are in
tests/attacks/test_keras_archive.py; what the layers mean in tests/importers.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.saving import saving_lib

from seqcore.errors import MissingExtraError, ModelFileError, OptionError
from seqcore.formats import read_weights
from seqcore.formats.keras_archive import KerasWeights, read_keras_archive, read_keras_weights
from seqcore.formats.keras_trees import WeightTree

GOLDEN = Path(__file__).parents[1] / "golden"
Groups = dict[str, dict[str, np.ndarray]]  # arrays by path of their owner, then by number


def made_model() -> keras.Model:
    """A layer named like another's class, nesting, cells in cells, attributes with underscores."""
    keras.utils.clear_session()  # names count what a process has made
    inner = keras.Sequential(
        [keras.Input((None, 4)), layers.Dropout(0.5), layers.GRU(2, return_sequences=True)],
        name="inside",
    )
    x = inputs = keras.Input((None, 3))
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(x)
    x = layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(4)]), True)(x)
    x = inner(x)
    x = layers.Dense(5, name="dense_1")(x)
    x = layers.Dense(4, name="dense")(x)
    x = layers.BatchNormalization(trainable=False)(x)
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3)(x, x))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    built = made_model()
    rng = np.random.default_rng(1)
    built.set_weights([rng.normal(size=w.shape).astype(w.dtype) for w in built.get_weights()])
    built.compile("adam", "mse", metrics=["mae"])
    built.fit(np.zeros((2, 4, 3)), np.zeros((2, 4, 4)), verbose=0)  # the optimizer has slots now
    return built


@pytest.fixture(scope="module")
def archive(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(path)
    return path


def h5_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Return all arrays by path as h5py finds them, without the level `vars`."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name.replace("/vars/", "/")] = item[()]

    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(keep)
    return found


def texts(names: Any) -> list[str]:
    """Return names that are bytes in the files of h5py 2, and text in those of h5py 3."""
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)
        assert array.flags.owndata
        assert array.flags.writeable


def made_h5(groups: Groups, names: dict[str, str] | None = None) -> bytes:
    """Write a tree by Keras's own store."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        store = saving_lib.H5IOStore("x", archive=file, mode="w")
        for path, arrays in groups.items():
            entry = store.make(path, {"name": names[path]} if path in (names or {}) else None)
            for number, array in arrays.items():
                entry[number] = array
        store.close()
        return file.read("x")


def made_npz(groups: Groups) -> bytes:
    """Write a tree by Keras's own store; NumPy arrays are what tf_keras gives it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        store = saving_lib.NpzIOStore("x", archive=file, mode="w")
        for path, arrays in groups.items():
            store.make(path).update(arrays)
        store.close()
        return file.read("x")


def made_archive(path: Path, method: int = zipfile.ZIP_STORED, **members: bytes | None) -> Path:
    """Write an archive; members by name without a suffix, None to leave one out."""
    names = {"metadata": "metadata.json", "config": "config.json"}
    names |= {"h5": "model.weights.h5", "npz": "model.weights.npz"}
    contents = {"metadata": b'{"keras_version": "2.15.0"}', "config": b'{"class_name": "X"}'}
    with zipfile.ZipFile(path, "w", method) as file:
        for key, content in (contents | members).items():
            if content is not None:
                file.writestr(names[key], content)
    return path


def some_groups() -> Groups:
    rng = np.random.default_rng(2)
    return {
        "": {},
        "layers/dense": {str(k): rng.normal(size=(k + 1, 2)) for k in range(12)},
        "layers/dense_1": {"0": np.arange(3, dtype=">i4"), "1": np.float16([1, 2])},
        "layers/sequential/layers/gru/cell": {"0": rng.normal(size=(2, 3)).astype("f4")},
    }


# ---- Archives -----------------------------------------------------------------------------------


def test_an_archive_comes_out_whole(archive: Path) -> None:
    found = read_keras_archive(archive)
    with zipfile.ZipFile(archive) as file:
        assert found.config == json.loads(file.read("config.json"))
        expected = h5_arrays(file.read("model.weights.h5"))
    kept = {name: array for name, array in expected.items() if name.startswith("layers/")}
    assert 20 < len(kept) < len(expected)
    same(found.weights.arrays(), kept)
    assert found.version == keras.__version__
    assert found.source == str(archive)


def test_weights_are_those_of_the_layers(archive: Path, model: keras.Model) -> None:
    """By Keras's own arrays, so that no file is trusted on which group is which."""
    top = read_keras_archive(archive).weights.groups["layers"].groups
    cells = [
        top["bidirectional"].groups[f"{way}_layer"].groups["cell"]
        for way in ("forward", "backward")
    ]
    for found, name in (
        ([*cells[0].vars, *cells[1].vars], "both"),
        (top["dense"].vars, "dense_1"),  # the first Dense is called dense_1
        (top["dense_1"].vars, "dense"),
        (top["sequential"].groups["layers"].groups["gru"].groups["cell"].vars, "inside"),
    ):  # fmt: skip
        expected = model.get_layer(name).get_weights()
        assert len(found) == len(expected) > 0
        for array, own in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, own)


def test_names_are_those_of_the_objects(archive: Path) -> None:
    weights = read_keras_archive(archive).weights
    top = weights.groups["layers"].groups
    assert {group: tree.name for group, tree in top.items()} == {
        "bidirectional": "both", "rnn": "rnn", "sequential": "inside", "dense": "dense_1",
        "dense_1": "dense", "batch_normalization": "batch_normalization",
        "multi_head_attention": "multi_head_attention",
    }  # fmt: skip
    cells = top["rnn"].groups["cell"].groups["cells"].groups
    assert list(cells) == ["gru_cell", "lstm_cell"]


def test_what_training_alone_needs_is_not_looked_at(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    with zipfile.ZipFile(archive) as file:
        path.write_bytes(file.read("model.weights.h5"))
    with h5py.File(path, "a") as file:
        assert "vars" in file["optimizer"]
        file["optimizer/link"] = h5py.SoftLink("/layers")
    same(read_keras_weights(path).weights.arrays(), read_keras_archive(archive).weights.arrays())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_both_kinds_of_weights(tmp_path: Path, kind: str, method: int) -> None:
    groups = some_groups()
    data = made_h5(groups) if kind == "h5" else made_npz(groups)
    found = read_keras_archive(made_archive(tmp_path / "x.keras", method, **{kind: data}))
    expected = {f"{path}/{k}": a for path, arrays in groups.items() for k, a in arrays.items()}
    native = {path: array.astype(array.dtype.newbyteorder("=")) for path, array in expected.items()}
    same(found.weights.arrays(), native)
    assert [len(array) for array in found.weights.groups["layers"].groups["dense"].vars] == list(
        range(1, 13)  # by number: 2 comes before 10
    )
    assert found.version == "2.15.0"


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    layer = layers.Dense(3, dtype="bfloat16")
    model = keras.Sequential([keras.Input((4,)), layer])
    model.save(tmp_path / "x.keras")
    (dense,) = read_keras_archive(tmp_path / "x.keras").weights.groups["layers"].groups.values()
    expected = layer.kernel.value.detach().float().numpy()
    np.testing.assert_array_equal(dense.vars[0], expected, strict=True)


def test_variables_of_keras_3_in_npz_are_refused(model: keras.Model, tmp_path: Path) -> None:
    saving_lib.save_model(model, tmp_path / "x.keras", weights_format="npz")
    with pytest.raises(ModelFileError, match=r"Variable.*weights_format='h5'"):
        read_keras_archive(tmp_path / "x.keras")


# ---- One form of all versions -------------------------------------------------------------------


def test_the_tree_of_keras_2_13(tmp_path: Path) -> None:
    """Layers with weights were counted twice, those without once; some attributes were private."""
    old, one = "_layer_checkpoint_dependencies", np.ones
    groups: Groups = {
        f"{old}/dense": {"0": one(1)},
        f"{old}/dense_2": {"0": one(2)},
        f"{old}/dense_10": {"0": one(3)},
        f"{old}/sequential": {},  # counted, without weights
        f"{old}/sequential_1/{old}/dropout": {},
        f"{old}/sequential_1/{old}/gru/cell": {"0": one(4)},
        f"{old}/bidirectional/layer": {},
        f"{old}/multi_head_attention/_query_dense": {"0": one(5)},
    }
    found = read_keras_archive(
        made_archive(tmp_path / "x.keras", h5=made_h5(groups, dict.fromkeys(groups, "some")))
    )
    assert {path: len(array) for path, array in found.weights.arrays().items()} == {
        "layers/dense/0": 1,
        "layers/dense_1/0": 2,
        "layers/dense_2/0": 3,
        "layers/sequential_1/layers/gru/cell/0": 4,
        "layers/multi_head_attention/query_dense/0": 5,
    }


def test_gaps_of_later_versions_are_left(tmp_path: Path) -> None:
    """There, a number says which layer of its class it is; one without weights has no group."""
    data = made_h5({"layers/sequential_3": {"0": np.ones(1)}})
    found = read_keras_archive(made_archive(tmp_path / "x.keras", h5=data))
    assert list(found.weights.arrays()) == ["layers/sequential_3/0"]


def test_all_versions_have_one_tree() -> None:
    """One model with the same numbers, by four ways of writing it and three versions of Keras."""
    names = ["2.13.1_nested.keras", "2.15.0_nested.keras", "2.15.0_nested_npz.keras"]
    names += ["2.15.0_nested_only.weights.h5", "3.0.5_nested.keras"]
    first, *others = (read_keras_weights(GOLDEN / f"keras{name}") for name in names)
    assert isinstance(first.weights, WeightTree)
    assert first.version == "2.13.1"
    assert {"layers/dense/0", "layers/dense_1/1"} <= first.weights.arrays().keys()
    for other in others:
        assert isinstance(other.weights, WeightTree)
        same(other.weights.arrays(), first.weights.arrays())


def test_parts_of_attention_have_one_name() -> None:
    two, three = (
        read_keras_archive(GOLDEN / f"keras{v}_attention.keras") for v in ("2.15.0", "3.0.5")
    )
    assert "layers/multi_head_attention/query_dense/0" in two.weights.arrays()
    same(two.weights.arrays(), three.weights.arrays())


# ---- Weights alone ------------------------------------------------------------------------------


def test_weights_alone_are_the_archive_s(model: keras.Model, archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    expected = read_keras_archive(archive)
    for found in (read_keras_weights(path), read_keras_weights(archive)):
        assert isinstance(found, KerasWeights)
        assert isinstance(found.weights, WeightTree)
        same(found.weights.arrays(), expected.weights.arrays())
    assert read_keras_weights(path).version is None
    assert read_keras_weights(archive).version == keras.__version__


def test_an_npz_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.npz"
    path.write_bytes(made_npz(some_groups()))
    assert len(read_keras_weights(path).weights.arrays()) == 15


def legacy_file(path: Path, where: str, names: dict[str, list[str]], most: int | None) -> None:
    """Write weights by layer as Keras 2 does, lists of names in parts of `most`."""

    def listed(group: Any, key: str, texts: list[str]) -> None:
        data = np.array([text.encode() for text in texts])  # of fixed length, as Keras has it
        if most is None:
            group.attrs[key] = data
        for number, start in enumerate(range(0, len(data), most) if most else ()):
            group.attrs[f"{key}{number}"] = data[start : start + most]

    with h5py.File(path, "w") as file:
        top = file.require_group(where)
        file.attrs["keras_version"] = b"2.2.4"
        listed(top, "layer_names", list(names))
        for k, (layer, weights) in enumerate(names.items()):
            group = top.create_group(layer)
            listed(group, "weight_names", weights)
            for i, weight in enumerate(weights):
                group[weight] = np.full(2, 1000 * k + i, "f4")


@pytest.mark.parametrize("where", ["/", "model_weights"])
def test_weights_by_layer(tmp_path: Path, where: str) -> None:
    """In the file's order: Keras writes trainable weights first, frozen ones behind."""
    names = {"norm": ["norm/gamma:0", "norm/mean:0", "norm/beta:0"], "a": ["a/kernel:0"]}
    legacy_file(tmp_path / "x.h5", where, names, None)
    found = read_keras_weights(tmp_path / "x.h5")
    assert found.version == "2.2.4"
    assert isinstance(found.weights, dict)
    assert {layer: [name for name, _ in own] for layer, own in found.weights.items()} == names
    assert [array[0] for own in found.weights.values() for _, array in own] == [0, 1, 2, 1000]


def test_lists_past_64512_bytes(tmp_path: Path) -> None:
    """HDF5 keeps no attribute past 64 KB, so Keras splits names into name0, name1 ..."""
    long = "x" * 500
    names = {f"layer_{long}_{k:03}": [f"w{k}/kernel:0"] for k in range(140)}
    names["cells"] = [f"cell_{long}_{k:03}/kernel:0" for k in range(140)]
    legacy_file(tmp_path / "x.h5", "/", names, 120)
    with h5py.File(tmp_path / "x.h5") as file:
        parts = [file.attrs[f"layer_names{k}"] for k in range(2)]
        assert sum(part.nbytes for part in parts) > 64512
    found = read_keras_weights(tmp_path / "x.h5").weights
    assert isinstance(found, dict)
    assert {layer: [name for name, _ in own] for layer, own in found.items()} == names


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.h5")), ids=lambda path: path.name)
def test_files_of_every_version(path: Path) -> None:
    """All names in their order, and all arrays, as h5py finds them."""
    found = read_keras_weights(path).weights
    with h5py.File(path) as file:
        if isinstance(found, WeightTree):
            assert "layer_names" not in file.attrs
            same(found.arrays(), h5_arrays(path.read_bytes()))
            return
        top = file if "layer_names" in file.attrs else file["model_weights"]
        assert list(found) == texts(top.attrs["layer_names"])
        for layer, own in found.items():
            names = [name for name, _ in own]
            assert names == texts(top[layer].attrs["weight_names"])
            same(dict(own), {name: top[layer][name][()] for name in names})


def test_frozen_weights_stand_behind_all_others() -> None:
    """Of a nested model, whose normalisation is in the middle: an order that is not the layers'."""
    found = read_keras_weights(GOLDEN / "keras2.2.4_nested.h5").weights
    assert isinstance(found, dict)
    owners = [name.split("/")[0] for name, _ in found["sequential_1"]]
    assert list(dict.fromkeys(owners)) == ["dense_1", "lstm_1", "batch_normalization_1"]


# ---- Arrays by path -----------------------------------------------------------------------------


def test_read_weights_of_an_archive(archive: Path, tmp_path: Path) -> None:
    """By the paths of its HDF5 file, as read_weights has them for the file alone."""
    path = tmp_path / "model.weights.h5"
    with zipfile.ZipFile(archive) as file:
        path.write_bytes(file.read("model.weights.h5"))
    found = read_weights(archive)
    same(found, read_weights(path))
    assert "layers/dense/vars/0" in found
    assert any(name.startswith("optimizer/") for name in found)


def test_read_weights_of_npz(tmp_path: Path) -> None:
    """The same names, whether in an archive or alone."""
    groups = some_groups() | {"": {"0": np.ones(1)}, "optimizer": {"0": np.ones(2)}}
    (tmp_path / "x.npz").write_bytes(made_npz(groups))
    made_archive(tmp_path / "npz.keras", npz=made_npz(groups))
    made_archive(tmp_path / "h5.keras", h5=made_h5(groups))
    found = [read_weights(tmp_path / name) for name in ("x.npz", "npz.keras", "h5.keras")]
    assert {"vars/0", "layers/dense/vars/11", "optimizer/vars/0"} <= found[0].keys()
    same(found[1], found[0])
    same(found[2], found[0])


# ---- What is refused, and how -------------------------------------------------------------------


def test_shards_are_refused_by_name(model: keras.Model, tmp_path: Path) -> None:
    model.save_weights(tmp_path / "x.weights.json", max_shard_size=1)
    with pytest.raises(ModelFileError, match=r"several files.*save_weights\('x.weights.h5'\)"):
        read_keras_weights(tmp_path / "x.weights.json")


def test_max_bytes(archive: Path) -> None:
    assert read_keras_archive(archive, max_bytes=1 << 20).version
    with pytest.raises(ModelFileError, match="max_bytes"):
        read_keras_archive(archive, max_bytes=10_000)
    with pytest.raises(OptionError, match="max_bytes"):
        read_keras_archive(archive, max_bytes=0)


def test_h5py_is_an_extra(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"seqcore\[keras\]"):
        read_keras_archive(archive)

"""Folders and checkpoints of TensorFlow: refused with the line that converts them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import seqcore as sc
from seqcore.errors import ModelFileError
from seqcore.formats import read_weights
from seqcore.formats.keras_archive import read_keras_weights

READERS = [sc.load, read_weights, read_keras_weights]


def folder(path: Path, *members: str) -> Path:
    path.mkdir(parents=True)
    for member in members:
        (path / member).write_bytes(b"\x08\x01\x12")
    return path


def checkpoint(path: Path) -> Path:
    """Make a folder with a checkpoint as model.save_weights("weights") of Keras 2 leaves it."""
    folder(path, "weights.index", "weights.data-00000-of-00001")
    (path / "checkpoint").write_text('model_checkpoint_path: "weights"\n')
    return path


def refused(read: Callable[[Path], object], path: Path, *words: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("member", ["saved_model.pb", "saved_model.pbtxt"])
def test_saved_models(tmp_path: Path, read: Callable[[Path], object], member: str) -> None:
    path = folder(tmp_path / "saved", member, "keras_metadata.pb")
    line = f"tf.keras.models.load_model({str(path)!r}).save('model.keras')"
    refused(read, path, "SavedModel", "up to 2.15", line)


@pytest.mark.parametrize("read", [sc.load, read_weights])
@pytest.mark.parametrize("member", ["saved_model.pb", "keras_metadata.pb"])
def test_a_file_of_a_saved_model(
    tmp_path: Path, read: Callable[[Path], object], member: str
) -> None:
    path = folder(tmp_path / "saved", "saved_model.pb", "keras_metadata.pb")
    refused(read, path / member, f"tf.keras.models.load_model({str(path)!r})")


@pytest.mark.parametrize("read", READERS)
def test_checkpoints_by_folder_and_by_prefix(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path = checkpoint(tmp_path / "run")
    line = f"model.load_weights({str(path / 'weights')!r}); model.save('model.keras')"
    for given in (path, path / "weights"):
        refused(read, given, "checkpoint", line)


@pytest.mark.parametrize("read", [sc.load, read_weights])
@pytest.mark.parametrize("name", ["weights.index", "weights.data-00000-of-00001", "checkpoint"])
def test_the_files_of_a_checkpoint(
    tmp_path: Path, read: Callable[[Path], object], name: str
) -> None:
    refused(read, checkpoint(tmp_path / "run") / name, "TensorFlow checkpoint", "load_weights(")


@pytest.mark.parametrize("read", [sc.load, read_weights])
def test_a_frozen_graph(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = folder(tmp_path / "frozen", "frozen.pb") / "frozen.pb"
    refused(read, path, "TensorFlow graph", "model.save('model.keras')")


@pytest.mark.parametrize("read", READERS)
def test_a_folder_of_keras(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = folder(tmp_path / "model", "config.json", "metadata.json", "model.weights.h5")
    refused(read, path, f"keras.saving.load_model({str(path)!r}).save('model.keras')")


@pytest.mark.parametrize("read", READERS)
def test_any_other_folder_and_no_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    refused(read, folder(tmp_path / "empty"), "a folder")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_is_not_opened(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "checkpoint")
    refused(read, tmp_path / "checkpoint", "not a regular file")


def test_content_goes_before_names(tmp_path: Path) -> None:
    """A model whose name is like a checkpoint's is a model."""
    model = sc.Sequential([sc.Dense([[2.0]])])
    path = tmp_path / "model.index"
    model.save(path)
    assert sc.load(path)([[3.0]]) == 6
    assert list(read_weights(path)) != []

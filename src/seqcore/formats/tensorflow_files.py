"""TensorFlow's models and checkpoints: not read, but told apart, with the line that converts them.

SavedModel   a folder with saved_model.pb, variables/, assets/
checkpoint   x.index and x.data-00000-of-00001 beside each other; "x" is what TensorFlow is given
Keras        a folder with the members of a .keras archive (zipped=False)
"""

from __future__ import annotations

import os
import re

__all__ = ["foreign_kind"]

_OLD_KERAS = "where tf.keras is Keras 2 (TensorFlow up to 2.15, or the package tf_keras)"
_CHECKPOINT_FILE = re.compile(r"(.+?)\.(?:index|data-[0-9]{5}-of-[0-9]{5})", re.DOTALL)
_CHECKPOINT_LIST = b"model_checkpoint_path:"
_GRAPHS = (".pb", ".pbtxt")


def foreign_kind(path: str | os.PathLike[str]) -> str | None:
    """Say what a path seems to be and which line converts it, or None for any other file.

    Names decide, so it is asked last, about what no reader takes. A path that does not exist may be
    a checkpoint's.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        name = os.fsdecode(name)
    if os.path.isdir(name):
        return _folder(name)
    base = os.path.basename(name)
    if not os.path.exists(name):
        return _checkpoint(name) if base and os.path.exists(name + ".index") else None
    if match := _CHECKPOINT_FILE.fullmatch(name):
        return _checkpoint(match[1])
    if base == "checkpoint" and _begins_as_list(name):
        return _checkpoint(os.path.join(os.path.dirname(name), "..."))
    if base.startswith("saved_model.pb") or base == "keras_metadata.pb":
        return _saved_model(os.path.dirname(name) or ".")
    if base.endswith(_GRAPHS):
        return (
            "this seems to be a TensorFlow graph, which is not supported; save the model that it "
            "was made of: model.save('model.keras')"
        )
    return None


def _folder(name: str) -> str:
    members = set(os.listdir(name))
    if members & {"saved_model.pb", "saved_model.pbtxt"}:
        return _saved_model(name)
    if {"config.json", "metadata.json"} <= members:
        return (
            "this is a folder that Keras wrote with zipped=False; convert it: "
            f"keras.saving.load_model({name!r}).save('model.keras')"
        )
    indices = sorted(member for member in members if member.endswith(".index"))
    if indices:
        return _checkpoint(os.path.join(name, indices[-1].removesuffix(".index")))
    return "this is a folder, not a regular file"


def _saved_model(folder: str) -> str:
    return (
        f"this is a TensorFlow SavedModel, which is not supported; convert it {_OLD_KERAS}: "
        f"tf.keras.models.load_model({folder!r}).save('model.keras')"
    )


def _checkpoint(prefix: str) -> str:
    return (
        "this is a TensorFlow checkpoint, which holds variables and no network, and is not "
        f"supported; build the model {_OLD_KERAS}, then model.load_weights({prefix!r}); "
        "model.save('model.keras')"
    )


def _begins_as_list(name: str) -> bool:
    if not os.path.isfile(name):  # opening a pipe would wait for a writer
        return False
    with open(name, "rb") as file:
        return file.read(len(_CHECKPOINT_LIST)) == _CHECKPOINT_LIST

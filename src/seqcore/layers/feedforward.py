"""Layers that treat every frame alone: Dense, Embedding, Activation.

Each has Keras's constructor, or takes its weights as arrays in place of its sizes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .. import layouts
from ..errors import ModelFileError, OptionError, WeightsError
from ..graph import ActivationSpec, GraphBuilder, Mask, Site, Value, told
from .base import Array, Layer, Shape, Slot, flag, is_size, several, whole

__all__ = ["Activation", "ActivationLike", "Affine", "Dense", "Embedding", "features", "zeros"]

ActivationLike = ActivationSpec | str | None


def features(size: int | None, label: str) -> int:
    """Return the number of input features that a shape tells, of a layer without weights."""
    if size is None:
        raise OptionError(f"{label}: the number of input features is not known")
    return size


def zeros(size: int) -> Array:
    bias = np.zeros(size, np.float32)
    bias.flags.writeable = False
    return bias


A = TypeVar("A", bound="Affine")


class Affine(Layer):
    """A kernel and a bias, one number for each unit: what Dense and the convolutions share."""

    W: Array | None = None
    b: Array | None = None

    def _take(self, kernel: ArrayLike, bias: ArrayLike | None, use_bias: bool, rank: int) -> int:
        """Keep the weights given to a constructor and return the number of units."""
        self.W = layouts.weight(kernel, self.label, "kernel", (None,) * rank)
        units = self._units(self.W.shape)
        self.use_bias = flag(use_bias, self.label, "use_bias") and bias is not None
        if bias is None:
            self.b = zeros(units)
        elif not use_bias:
            raise OptionError(f"{self.label}: a bias is given and use_bias is False")
        else:
            self.b = layouts.weight(bias, self.label, "bias", (units,))
        return units

    @staticmethod
    def _units(kernel: Sequence[int]) -> int:
        """Return the number of units, from the shape of a kernel."""
        return kernel[-1]

    def _size(self, units: Any, bias: Any, use_bias: bool, option: str) -> int:
        """Check the sizes given to a constructor instead."""
        if bias is not None:
            raise OptionError(f"{self.label}: a bias needs a kernel in place of {option}")
        self.use_bias = flag(use_bias, self.label, "use_bias")
        return whole(units, self.label, option)

    @classmethod
    def from_keras(cls: type[A], arrays: Sequence[ArrayLike], **options: Any) -> A:
        """Make the layer from a Keras layer's ``get_weights()``, with the constructor's options."""
        given: Any = layouts.keras_affine(arrays, ("kernel", "bias"), options, cls.__name__)
        return cls(*given, **options)

    @property
    def built(self) -> bool:
        return self.W is not None

    def _slots(self, *kernel: int | None) -> list[Slot]:
        return [Slot("kernel", kernel), Slot("bias", kernel[-1:])][: 1 + self.use_bias]


class Dense(Affine):
    """``activation(x @ W + b)`` over the last axis.

    Parameters
    ----------
    units : int or array (I, N)
        The number of units, or the kernel W.
    bias : array (N,), optional
        With a kernel. Left out, there is no bias.
    activation : str, ActivationSpec or None
    use_bias : bool
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError

    Examples
    --------
    >>> import numpy as np, seqcore as sc
    >>> model = sc.Sequential([sc.Dense(np.ones((3, 2)), np.zeros(2))])
    >>> model(np.array([[1, 2, 3]])).tolist()
    [[6.0, 6.0]]
    """

    framewise = True
    keeps_mask = True

    def __init__(
        self,
        units: int | ArrayLike,
        bias: ArrayLike | None = None,
        *,
        activation: ActivationLike = None,
        use_bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.activation = ActivationSpec.of(activation, f"{self.label}: activation")
        if is_size(units):
            self.units = self._size(units, bias, use_bias, "units")
        else:
            self.units = self._take(units, bias, use_bias, rank=2)

    @classmethod
    def from_torch(
        cls, weights: Mapping[str, ArrayLike], prefix: str = "", **options: Any
    ) -> Dense:
        """Make the layer from an nn.Linear's ``<prefix>.weight`` and ``<prefix>.bias``."""
        return cls(*layouts.torch_dense(weights, prefix, options.get("name") or "Dense"), **options)

    def input_spec(self) -> tuple[Shape, str] | None:
        return None if self.W is None else ((self.W.shape[0],), "float32")

    def parameters(self, shape: Shape) -> int:
        inputs = features(shape[-1], self.label) if self.W is None else self.W.shape[0]
        return self.units * (inputs + self.use_bias)

    def keras_weights(self) -> list[Slot]:
        return self._slots(None, self.units)

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"units": self.units, "activation": self.activation.attr()}
        return graph.node("dense", site, inputs, weights={"W": self.W, "b": self.b}, attrs=attrs)


class Embedding(Layer):
    """A row of a table for each token id, (B, ...) int64 to (B, ..., D).

    Parameters
    ----------
    input_dim : int or array (rows, D)
        The size of the vocabulary, or the table.
    output_dim : int, optional
        D; left out when the table is given.
    mask_zero : bool
        Whether frames of id 0 are masked. Their output is row 0 of the table all the same.
    name : str, optional

    Raises
    ------
    OptionError, WeightsError, DtypeError
        And at a call IdRangeError for an id below 0 or not below the vocabulary's size.

    Attributes
    ----------
    missing : tuple of str
        Of a layer made by `from_vectors`: the tokens that the file has no vector of.
    """

    framewise = True
    missing: tuple[str, ...] = ()

    def __init__(
        self,
        input_dim: int | ArrayLike,
        output_dim: int | None = None,
        *,
        mask_zero: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.mask_zero = flag(mask_zero, self.label, "mask_zero")
        self.W: Array | None = None
        if is_size(input_dim):
            self.input_dim = whole(input_dim, self.label, "input_dim")
            self.output_dim = whole(output_dim, self.label, "output_dim")
        elif output_dim is not None:
            raise OptionError(f"{self.label}: a table is given; it tells output_dim itself")
        else:
            self.W = layouts.weight(input_dim, self.label, "table", (None, None), "(rows, units)")
            self.input_dim, self.output_dim = self.W.shape

    @classmethod
    def from_keras(cls, arrays: Sequence[ArrayLike], **options: Any) -> Embedding:
        """Make the layer from a Keras Embedding's ``get_weights()``."""
        name = options.get("name") or "Embedding"
        given = layouts.keras_arrays(arrays, name, ("embeddings",))
        if len(given) != 1:
            raise WeightsError(f"layer {name!r}: expected one array, found {len(given)}")
        return cls(given[0], **options)

    @classmethod
    def from_torch(
        cls, weights: Mapping[str, ArrayLike], prefix: str = "", **options: Any
    ) -> Embedding:
        """Make the layer from an nn.Embedding's ``<prefix>.weight``."""
        name = options.get("name") or "Embedding"
        return cls(layouts.torch_embedding(weights, prefix, name), **options)

    @classmethod
    def from_vectors(
        cls,
        path: str | os.PathLike[str],
        vocabulary: Iterable[str] | None = None,
        *,
        missing: str | ArrayLike = "zeros",
        **options: Any,
    ) -> Embedding:
        """Make the layer from a file of word vectors: word2vec, GloVe or fastText's ``.vec``.

        Parameters
        ----------
        path : str or path-like
            Any that `seqcore.read_vectors` reads.
        vocabulary : Vocabulary or iterable of str, optional
            Row i of the table is of its token i, and no other row of the file is kept. Left out,
            the table is the file's, in its order.
        missing : "zeros", "mean", "error" or array (D,)
            What a token gets that the file has no vector of: zeros, the mean of those of the
            vocabulary that are found, an error that lists them, or this vector. Rows of the
            vocabulary's padding are zeros in any case, and never missing.
        **options
            Those of the constructor: `mask_zero`, `name`.

        Returns
        -------
        Embedding
            Its `missing` has the tokens that were not found.

        Raises
        ------
        ModelFileError
            As `seqcore.read_vectors`; also where the file has none of the tokens.
        WeightsError
            Tokens are missing, or the array for them has another shape.
        OptionError, DtypeError
        """
        label = options.get("name") or "Embedding"
        table, absent = _vectors_table(path, vocabulary, missing, label)
        layer = cls(table, **options)
        layer.missing = absent
        return layer

    @property
    def built(self) -> bool:
        return self.W is not None

    def input_spec(self) -> tuple[Shape, str]:
        return (None,), "int64"

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002
        return self.input_dim * self.output_dim

    def keras_weights(self) -> list[Slot]:
        return [Slot("embeddings", (self.input_dim, self.output_dim))]

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        attrs = {"rows": self.input_dim, "units": self.output_dim}
        return graph.node("embedding", site, inputs, weights={"W": self.W}, attrs=attrs)

    def mask(self, inputs: Sequence[Value]) -> Mask | None:
        return Mask("ids", (inputs[0].name,)) if self.mask_zero else None


def _vectors_table(
    path: str | os.PathLike[str], vocabulary: Iterable[str] | None, missing: Any, label: str
) -> tuple[Array, tuple[str, ...]]:
    """Return a row for each token of a vocabulary, and the tokens that a file has no vector of."""
    from ..formats.word_vectors import read_vectors  # on first use, as all readers

    if isinstance(missing, str) and missing not in ("zeros", "mean", "error"):
        raise OptionError(
            f"{label}: missing is 'zeros', 'mean', 'error' or a vector; found {told(missing)}"
        )
    if vocabulary is None:
        return read_vectors(path)[1], ()
    tokens = several(vocabulary, f"{label}: vocabulary")
    found, vectors = read_vectors(path, tokens)
    if not found:
        raise ModelFileError(
            f"{os.fsdecode(path)}: has no vector of any of the {len(tokens)} tokens"
        )
    padding = getattr(vocabulary, "padding", None)
    places = {token: place for place, token in enumerate(found)}
    absent = tuple(dict.fromkeys(t for t in tokens if t not in places and t != padding))
    if absent and isinstance(missing, str) and missing == "error":
        some = ", ".join(map(told, absent[:8]))
        raise WeightsError(
            f"{label}: {os.fsdecode(path)} has no vectors of {len(absent)} of {len(tokens)} "
            f"tokens: {some}{', ...' if len(absent) > 8 else ''}"
        )
    width = vectors.shape[1]
    if not isinstance(missing, str):
        default = layouts.weight(missing, label, "missing", (width,))
    elif missing == "mean":
        default = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    else:
        default = np.zeros(width, np.float32)
    table = np.tile(default, (len(tokens), 1))
    for row, token in enumerate(tokens):
        if token in places:
            table[row] = vectors[places[token]]
        elif token == padding:
            table[row] = 0
    return table, absent


class Activation(Layer):
    """An activation alone, of any shape.

    Parameters
    ----------
    activation : str, ActivationSpec or None
    name : str, optional

    Raises
    ------
    OptionError
    """

    framewise = True
    keeps_mask = True

    def __init__(self, activation: ActivationLike, *, name: str | None = None) -> None:
        super().__init__(name)
        self.activation = ActivationSpec.of(activation, f"{self.label}: activation")

    def lower(self, graph: GraphBuilder, site: Site, inputs: Sequence[Value]) -> list[Value]:
        return graph.node("activation", site, inputs, attrs={"activation": self.activation.attr()})

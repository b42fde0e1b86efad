"""Runs the Python in the documentation, block after block, and compares what it prints.

docs/keras.md, docs/pytorch.md and docs/onnx.md are compared with what their commands write.

A ```text block right behind a ```python block is what that block prints, to the letter. Not here:
examples in docstrings (test_model.py), and adding-a-layer.md, whose fragments are no programs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import pytest
import torch
from tolerances import FLOAT32, close

import seqcore as sc
from seqcore.importers.aten.operators import OPERATORS
from seqcore.importers.keras.classes import CLASSES
from seqcore.importers.keras.refused import REFUSED
from seqcore.importers.onnx.operators import OPERATORS as ONNX_OPERATORS
from seqcore.importers.torch.graph import model_of
from seqcore.importers.torch.modules import MODULES
from seqcore.importers.torch.refused import REFUSED as REFUSED_MODULES

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import keras_page  # noqa: E402
import onnx_page  # noqa: E402
import pages  # noqa: E402
import pytorch_page  # noqa: E402

BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


def save_sentiment_model():
    """Write the file that the README loads: 80 words of 5000 in, one score out."""
    layers = keras.layers
    network = [keras.Input((None,)), layers.Embedding(5000, 16), layers.LSTM(8), layers.Dense(1)]
    keras.Sequential(network).save("sentiment.h5")


def save_onnx_model():
    """Write the graph that the README loads: 40 features in, the output of an LSTM out."""
    example = (torch.zeros(2, 9, 40),)
    torch.onnx.export(
        torch.nn.LSTM(40, 8, batch_first=True).eval(), example, "speech.onnx", dynamo=False,
        input_names=["frames"], output_names=["scores"],
        dynamic_axes={"frames": {0: "batch", 1: "time"}},
    )  # fmt: skip


def blocks_of(text):
    """Return all Python blocks as matches: the code, and what it prints or None."""
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    assert sum(block[2] is not None for block in blocks) == text.count("```text")
    return blocks


@pytest.mark.filterwarnings("ignore")  # torch's, while it exports
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_code_of_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    text = (ROOT / page).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    save_sentiment_model()
    save_onnx_model()
    threads = sc.get_num_threads()
    namespace = {"__name__": "__main__"}
    try:
        for block in blocks_of(text):
            line = text.count("\n", 0, block.start(1))
            code = compile("\n" * line + block[1], page, "exec")  # errors name the page's line
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code, namespace)
            if block[2] is not None:
                assert printed.getvalue() == block[2], f"{page}, line {line}"
    finally:
        sc.set_num_threads(threads)
    assert "sc" in namespace


def test_links_and_paths_exist():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_public_layer_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [
        name for name in sc.__all__
        if isinstance(getattr(sc, name), type) and issubclass(getattr(sc, name), sc.Layer)
    ]  # fmt: skip
    missing = [name for name in names if name != "Layer" and f"`{name}`" not in text]
    assert not missing


# ---- What Keras can bring -----------------------------------------------------------------------

# Layers of Keras 2.15 and its experimental ones, by the names of their classes. Today's frameworks
# no longer have them all.
KERAS_2 = frozenset(
    """AbstractRNNCell Activation ActivityRegularization Add AdditiveAttention AlphaDropout
    Attention Average AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization
    Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D
    Cropping2D Cropping3D CuDNNGRU CuDNNLSTM Dense DenseFeatures DepthwiseConv1D
    DepthwiseConv2D Discretization Dot Dropout DynamicEmbedding DynamicLookup ELU EinsumDense
    Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization HashedCrossing Hashing Identity InputLayer
    InputSpec IntegerLookup LSTM LSTMCell Lambda Layer LayerNormalization LeakyReLU
    LocallyConnected1D LocallyConnected2D Masking MaxPooling1D MaxPooling2D MaxPooling3D
    Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute
    PreprocessingLayer RNN RandomBrightness RandomContrast RandomCrop RandomFlip
    RandomFourierFeatures RandomHeight RandomRotation RandomTranslation RandomWidth
    RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D
    SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells StringLookup Subtract SyncBatchNormalization
    TextVectorization ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D
    UpSampling2D UpSampling3D Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D""".split()  # noqa: SIM905
)
# Bases that compute nothing, and what is no layer: files name none of them.
BASES = frozenset("AbstractRNNCell InputSpec Layer PreprocessingLayer Wrapper".split())  # noqa: SIM905
GRAPHS = frozenset(["InputLayer"])  # what graphs.py makes


def keras_3():
    found = [getattr(keras.layers, name) for name in dir(keras.layers)]
    return {kind.__name__ for kind in found if isinstance(kind, type)}


@pytest.mark.filterwarnings("ignore")  # torch's, while it exports
@pytest.mark.parametrize("page", [keras_page, pytorch_page, onnx_page])
def test_page_is_what_its_command_writes(page):
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == pages.filled(text, page.TABLES), "run `make docs`"
    assert [found[2] for found in pages.PLACE.finditer(text)] == list(page.TABLES)


@pytest.mark.parametrize(("major", "names"), [(2, KERAS_2), (3, keras_3())])
def test_every_layer_of_keras_is_supported_or_refused_with_a_reason(major, names):
    supported = {kind for kind, known in CLASSES.items() if major in known.keras}
    assert supported <= names
    assert not supported & set(REFUSED)
    assert names - supported - set(REFUSED) <= BASES | GRAPHS


def test_page_asks_a_layer_what_it_does(monkeypatch):
    monkeypatch.setattr(sc.Dense, "keeps_mask", False)
    text = keras_page.PAGE.read_text(encoding="utf-8")
    assert keras_page.masks() not in text
    assert keras_page.merges() in text


# ---- What PyTorch can bring ---------------------------------------------------------------------

# What no forward calls: bases of classes, and one of the oldest torch's.
TORCH_BASES = frozenset(["Module", "Container", "RNNBase", "RNNCellBase"])


def torch_modules():
    found = {name: getattr(torch.nn, name) for name in dir(torch.nn)}
    kinds = [kind for kind in found.values() if isinstance(kind, type)]
    return {kind.__name__ for kind in kinds if issubclass(kind, torch.nn.Module)}


def test_every_module_of_torch_is_supported_or_refused_with_a_reason():
    known = [
        set(MODULES), set(pytorch_page.EXAMPLES), set(REFUSED_MODULES), TORCH_BASES,
        pytorch_page.CONTAINERS, pytorch_page.WRAPPERS,
    ]  # fmt: skip
    assert set().union(*known) == torch_modules()
    assert sum(map(len, known)) == len(torch_modules())  # each in one place
    text = pytorch_page.PAGE.read_text(encoding="utf-8")
    for name in torch_modules() - TORCH_BASES:
        assert re.search(rf"\b{name}\b", text), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", pytorch_page.EXAMPLES)
def test_modules_with_an_example_are_torchs(name):
    module, program = pytorch_page.exported(name)
    inputs = [torch.randn(shape) for shape in pytorch_page.EXAMPLES[name]]
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module(*inputs))
    found = model_of(program, name)(*(each.numpy() for each in inputs))
    results = found if isinstance(found, tuple) else (found,)
    for ours, theirs in zip(results, expected, strict=True):
        close(ours, theirs.numpy(), FLOAT32[3])


@pytest.mark.parametrize(
    "name", ["Conv2d", "MSELoss", "MaxUnpool1d", "ChannelShuffle", "LazyLinear"]
)
def test_a_refused_module_says_why(name):
    arguments = {
        "Conv2d": (3, 3, 2),
        "MaxUnpool1d": (2,),
        "ChannelShuffle": (2,),
        "LazyLinear": (3,),
    }
    module = getattr(torch.nn, name)(*arguments.get(name, ()))
    with pytest.raises((sc.UnsupportedLayerError, sc.WeightsError)) as caught:
        sc.from_torch(torch.nn.Sequential(torch.nn.ReLU(), module))
    if name != "LazyLinear":  # of which torch says before that there is nothing to read
        assert caught.value.layers == [(f"1 (nn.{name})", REFUSED_MODULES[name])]


def test_every_operator_is_on_the_page_with_its_refusals():
    text = pytorch_page.PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    told = {name: row[2] for row in rows for name in re.findall(r"`([\w.]+)`", row[0])}
    assert {pytorch_page.short(name) for name in OPERATORS} <= set(told)
    assert "in training mode" in told["lstm"]
    assert "with rounding_mode=" in told["div"]
    assert "with padding=" in told["conv_transpose1d"]
    assert "over the rows of the batch" in told["cumsum"]


# ---- What ONNX can bring ------------------------------------------------------------------------


def test_every_operator_of_onnx_is_on_the_page_with_its_opsets():
    text = onnx_page.PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    told = {}
    for row in rows:  # of operators first, then of their node tests
        for name in re.findall(r"`([\w.]+)`", row[0]):
            told.setdefault(name, row)
    assert set(ONNX_OPERATORS) <= set(told)
    assert "`Softmax` (1, 11, 13)" in text
    assert "`LSTM` (7, 14, 22)" in text
    assert "`layout`" in told["LSTM"][1]
    assert "in training mode" in told["Dropout"][3]

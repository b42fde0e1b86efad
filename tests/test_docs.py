"""Runs the Python in the documentation, block after block, and compares what it prints.

A ```text block right behind a ```python block is what that block prints, to the letter. Not here:
examples in docstrings (test_model.py), and adding-a-layer.md, whose fragments are no programs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import pytest

import seqcore as sc

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


def save_sentiment_model():
    """Write the file that the README loads: 80 words of 5000 in, one score out."""
    layers = keras.layers
    network = [keras.Input((None,)), layers.Embedding(5000, 16), layers.LSTM(8), layers.Dense(1)]
    keras.Sequential(network).save("sentiment.h5")


def blocks_of(text):
    """Return all Python blocks as matches: the code, and what it prints or None."""
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    assert sum(block[2] is not None for block in blocks) == text.count("```text")
    return blocks


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_code_of_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    text = (ROOT / page).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    save_sentiment_model()
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

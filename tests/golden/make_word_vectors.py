"""Makes the files gensim4.4.0_* of this folder: word vectors, and what gensim reads of them.

    Python 3.11   pip install gensim==4.4.0 numpy==2.4.6

    python tests/golden/make_word_vectors.py

words.txt, words.bin and words.glove are what gensim writes, with and without its header. repeated.*
are as the C programs write, blanks and ends of line behind the values, with a word that comes
twice; gensim reads them. The .npz holds the tokens and vectors of both, by gensim.
"""

from pathlib import Path

import gensim
import numpy as np
from gensim.models import KeyedVectors

FOLDER = Path(__file__).parent
WORDS = ["</s>", "the", "café", "日本", "5", "-0.25", "a_b", "x\u00a0y", "\u0085", "İ"]
WIDTH = 7


def path(name):
    return FOLDER / f"gensim{gensim.__version__}_{name}"


def as_c_programs_write(words, vectors, binary):
    """Return a file of word2vec.c or fastText: each row ends in a blank or in a line's end."""
    data = f"{len(words)} {vectors.shape[1]}\n".encode()
    for word, vector in zip(words, vectors, strict=True):
        values = vector.tobytes() if binary else b"".join(b"%.6g " % value for value in vector)
        data += word.encode() + b" " + values + b"\n"
    return data


random = np.random.default_rng(4)
vectors = random.normal(size=(len(WORDS), WIDTH)).astype(np.float32)
vectors[1] *= 1e-30
vectors[2] = 0
vectors[3] *= 1e30

words = KeyedVectors(WIDTH)
words.add_vectors(WORDS, vectors)
words.save_word2vec_format(path("words.txt"), binary=False)
words.save_word2vec_format(path("words.bin"), binary=True)
words.save_word2vec_format(path("words.glove"), binary=False, write_header=False)
read = {}
for kind in ("txt", "bin", "glove"):
    options = {"binary": kind == "bin", "no_header": kind == "glove"}
    read[kind] = KeyedVectors.load_word2vec_format(path(f"words.{kind}"), **options)
assert all(np.array_equal(each.vectors, vectors) for each in read.values())

repeated = [*WORDS[:4], WORDS[1], *WORDS[4:], WORDS[0]]
more = np.concatenate([vectors, random.normal(size=(2, WIDTH)).astype(np.float32)])
for kind in ("txt", "bin"):
    path(f"repeated.{kind}").write_bytes(as_c_programs_write(repeated, more, kind == "bin"))
    found = KeyedVectors.load_word2vec_format(path(f"repeated.{kind}"), binary=kind == "bin")
    read[f"repeated_{kind}"] = found

# Of a word that is ignored gensim leaves an empty place at the end.
np.savez(
    path("words.npz"),
    **{f"{kind}_tokens": np.array(list(found.key_to_index)) for kind, found in read.items()},
    **{f"{kind}_vectors": found.vectors[: len(found.key_to_index)] for kind, found in read.items()},
)

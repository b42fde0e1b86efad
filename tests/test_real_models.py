"""Real trained models, through the examples, against published answers, the NumPy code that came
with them, and float64.

Run as a script, this file computes everything where no framework can be imported, and writes it to
the .npz file that it is given; the tests run it so once for every instruction set, and compare.
The models are in the packages dgaintel, g2p-en and g2pM, which the tests require; the script never
imports them, and the tests only the last two.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

FRAMEWORKS = ("torch", "keras", "tensorflow")

DOMAINS = ["microsoft.com", "wikipedia.com", "vlurgpeddygdy.com"]
WORDS = ["activationist", "a", "recurrent"]
LONGEST_WORD = "pneumonoultramicroscopicsilicovolcanoconiosis"  # more phonemes than are made
ODD_WORDS = ["", "x" * 40, "o'clock", "naïve", "a b", LONGEST_WORD]
BEAM, BEAM_PARTS = 4, ("ids", "lengths", "scores")
SENTENCES = ["然而，他红了20年以后，他竟退出了大家的视线。", "银行行长走得很快。", "都"]
# Of all lengths; with characters that are read one way and another, Latin letters and digits, what
# no vocabulary has, and the bar by which g2pM parts what it joins.
MORE_SENTENCES = [
    "孩子们长大了，头发也长了。", "这首乐曲让人很快乐。", "他重新数了一遍，数量不重要。",
    "大夫说他得好好休息，还得还钱。", "为了大家，他为人民做了很多事。",
    "我觉得昨天睡觉睡得太晚了！", "音乐会上，朝阳公司的代表正朝我们走来。",
    "2026年3月14日，GRU和LSTM都在CPU上跑。", "鹅，鹅，鹅，曲项向天歌。",
    "A", "B和A", "a|b", "|", "||一||", "一|", "ok", "1", "🙂 都好 🙂", "시끝", "々○", "一" * 200,
]  # fmt: skip
WAYS = {f"{tone} {split}": (tone, split) for tone in (True, False) for split in (True, False)}

# ---- The script: no framework -------------------------------------------------------------------


class BlockedFrameworks:
    """A finder that stands before all others and refuses the frameworks."""

    def find_spec(self, name, path=None, target=None):  # noqa: ARG002
        if name.partition(".")[0] in FRAMEWORKS:
            raise ImportError(f"{name} must not be imported")


def compute(folder):
    """Return what the tests look at, by name; model files are written to `folder`."""
    import classify_domains
    import pronounce_chinese
    import spell_words

    from seqcore import Sequential, load

    classifier = classify_domains.load()
    ids = classify_domains.encode(DOMAINS)
    results = {
        "isa": classifier.plan["isa"],
        "domains": classifier(ids)[:, 0],
        "domains alone": [classifier(row[None])[0, 0] for row in ids],
    }

    model = spell_words.load()
    results["words"] = [" ".join(row) for row in spell_words.spell(model, WORDS)]
    for word in WORDS:
        letters = model.assets["letters"].encode(word, end=True)[None]
        results[f"logits of {word}"] = model.stream(letters).step([2])[0]
        results[f"{word} alone"] = " ".join(spell_words.spell(model, [word])[0])
        beam = model.beam(letters, width=BEAM, results=BEAM)
        results |= {f"beam {key} of {word}": getattr(beam, key) for key in BEAM_PARTS}
    thousand = spell_words.some_words(1000) + ODD_WORDS
    results["asked words"] = thousand
    results["thousand"] = [" ".join(row) for row in spell_words.spell(model, thousand)]
    model.save(folder / "spell.safetensors")
    model = type(model).load(folder / "spell.safetensors")
    results["thousand again"] = [" ".join(row) for row in spell_words.spell(model, thousand)]

    reader = pronounce_chinese.load()
    spoken = pronounce_chinese.pronounce(reader, SENTENCES)
    results["sentences"] = ["|".join(row) for row in spoken]
    network = Sequential(pronounce_chinese.layers())
    batch, lengths = reader.characters.encode_batch(SENTENCES, begin=True, end=True)
    results["readings"] = network(batch, lengths=lengths)
    for index, (row, length) in enumerate(zip(batch, lengths, strict=True)):
        results[f"readings {index} alone"] = network(row[None, :length])[0]
    made = pronounce_chinese.some_sentences(reader, 300)
    asked = SENTENCES + MORE_SENTENCES + made
    results["asked sentences"] = [json.dumps(asked)]
    reader.model.save(folder / "chinese.safetensors")
    again = pronounce_chinese.reader_of(load(folder / "chinese.safetensors"))
    for who, each in (("read", reader), ("again", again)):
        for way, (tone, split) in WAYS.items():
            rows = pronounce_chinese.pronounce(each, asked, tone=tone, char_split=split)
            results[f"{who} {way}"] = [json.dumps(rows)]
    return results


def main(path):
    sys.meta_path.insert(0, BlockedFrameworks())
    blocked = []
    for name in FRAMEWORKS:
        try:
            __import__(name)
        except ImportError as error:
            blocked += [name] if "must not be imported" in str(error) else []
    results = compute(Path(path).parent)
    loaded = [name for name in FRAMEWORKS if name in sys.modules]
    np.savez(path, blocked=blocked, loaded=loaded, **results)


if __name__ == "__main__":
    main(sys.argv[1])
    sys.exit()

# ---- The tests ----------------------------------------------------------------------------------

import functools  # noqa: E402

import decoding_truth as truth  # noqa: E402
import h5py  # noqa: E402
import pytest  # noqa: E402
import spell_words  # noqa: E402
from model_files import model_file  # noqa: E402
from package_code import import_package  # noqa: E402
from tolerances import FLOAT32, close  # noqa: E402

import seqcore as sc  # noqa: E402

PUBLISHED = [0.0005084535, 0.0003309245, 0.9760094]
PUBLISHED_DIGITS = 1e-6  # the last answer has seven digits


@pytest.fixture(scope="module", params=sc.cpu_info()["isas"])
def results(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "results.npz"
    environment = os.environ | {
        "PYTHONPATH": str(Path(sc.__file__).parents[1]),
        "SEQCORE_ISA": request.param,
    }
    done = subprocess.run(
        [sys.executable, __file__, path], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(path) as file:
        found = dict(file)
    assert found["isa"] == request.param
    return found


@pytest.fixture(scope="module")
def g2p_en():
    """The package's own way from a word to its phonemes, each word once."""
    return functools.cache(import_package("g2p_en", spell_words.NOT_NEEDED).G2p().predict)


@pytest.fixture(scope="module")
def g2pm():
    """The package's own answers to sentences, in each way once."""
    read = import_package("g2pM").G2pM()

    @functools.cache
    def answer(sentence, way):
        tone, split = WAYS[way]
        return read(sentence, tone=tone, char_split=split)

    return lambda sentences, way: [answer(sentence, way) for sentence in sentences]


def test_no_framework_is_imported(results):
    assert tuple(results["blocked"]) == FRAMEWORKS
    assert results["loaded"].size == 0


def test_domains_are_as_published(results):
    np.testing.assert_allclose(results["domains"], PUBLISHED, rtol=0, atol=PUBLISHED_DIGITS)


def test_domain_has_the_same_bits_alone(results):
    assert results["domains"].tobytes() == results["domains alone"].tobytes()


def test_words_are_as_published(results):
    assert results["words"][0] == "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"


def test_a_thousand_words_are_what_the_package_says(results, g2p_en):
    asked = results["asked words"].tolist()
    assert len(set(asked)) > 1000
    expected = [" ".join(g2p_en(word.lower())) for word in asked]
    assert results["thousand"].tolist() == expected
    assert len(set(expected)) > 900
    assert len(g2p_en(LONGEST_WORD)) == 20


def test_a_file_keeps_how_words_are_spelt(results):
    assert results["thousand again"].tolist() == results["thousand"].tolist()


def test_words_are_spelt_the_same_alone(results):
    assert list(results["words"]) == [results[f"{word} alone"] for word in WORDS]


def test_sentence_is_as_published(results):
    expected = """ran2 er2 ， ta1 hong2 le5 20 nian2 yi3 hou4 ， ta1 jing4 tui4 chu1 le5 da4 jia1
        de5 shi4 xian4 。"""
    assert results["sentences"][0].split("|") == expected.split()


def test_sentence_of_a_ragged_batch_has_the_same_bits_alone(results):
    for index, row in enumerate(results["readings"]):
        alone = results[f"readings {index} alone"]
        assert row[: len(alone)].tobytes() == alone.tobytes()
        assert not row[len(alone) :].any()


@pytest.mark.parametrize("way", WAYS)
def test_sentences_are_read_as_the_package_reads_them(results, way, g2pm):
    asked = json.loads(results["asked sentences"][0])
    found = json.loads(results[f"read {way}"][0])
    assert found == g2pm(asked, way)
    assert json.loads(results[f"again {way}"][0]) == found


# ---- The same networks in float64 ---------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, W, U, b):
    """All h of an LSTM over x (T, I); gates i, f, g, o, which Keras and torch share."""
    h = c = np.zeros(len(U))
    states = []
    for frame in x:
        i, f, g, o = np.split(frame @ W + h @ U + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


def gru(x, h, arrays, part):
    """The last h of a GRU over x (T, I); gates r, z, n and two biases, as in torch."""
    for frame in x:
        a = arrays[f"{part}_w_ih"] @ frame + arrays[f"{part}_b_ih"]
        u = arrays[f"{part}_w_hh"] @ h + arrays[f"{part}_b_hh"]
        (ar, az, an), (ur, uz, un) = np.split(a, 3), np.split(u, 3)
        z = sigmoid(az + uz)
        h = (1 - z) * np.tanh(an + sigmoid(ar + ur) * un) + z * h
    return h


def float64(arrays):
    return {name: np.asarray(array, np.float64) for name, array in arrays.items()}


DOMAIN_WEIGHTS = {
    "embeddings": "embedding_4/embedding_4/embeddings",
    "conv": "conv1d_4/conv1d_4/kernel",
    "conv bias": "conv1d_4/conv1d_4/bias",
    "W": "lstm_4/lstm_4/kernel",
    "U": "lstm_4/lstm_4/recurrent_kernel",
    "b": "lstm_4/lstm_4/bias",
    "dense": "dense_4/dense_4/kernel",
    "dense bias": "dense_4/dense_4/bias",
}


def test_domains_in_float64(results):
    path = model_file("dgaintel", "domain_classifier_model.h5", "dgaintel==2.3")
    with h5py.File(path) as file:
        group = file["model_weights"]
        w = float64({name: group[f"{place}:0"] for name, place in DOMAIN_WEIGHTS.items()})
    alphabet = "-.0123456789_abcdefghijklmnopqrstuvwxyz"
    expected = []
    for domain in DOMAINS:
        x = w["embeddings"][[alphabet.index(c) for c in domain] + [0] * (82 - len(domain))]
        padded = np.pad(x, ((1, 1), (0, 0)))
        x = sum(padded[k : k + 82] @ w["conv"][k] for k in range(3)) + w["conv bias"]
        x = np.maximum(x, 0).reshape(41, 2, -1).max(axis=1)
        h = lstm(x, w["W"], w["U"], w["b"])[-1]
        expected.append(sigmoid(h @ w["dense"] + w["dense bias"])[0])
    close(results["domains"], expected, FLOAT32[1])


@pytest.fixture(scope="module")
def speller():
    """The encoder and decoder of g2p-en as equations, for decoding_truth."""
    with np.load(model_file("g2p_en", "checkpoint20.npz", "g2p-en==2.1.0")) as file:
        arrays = float64(file)

    def begin(word):
        letters = [3 + ord(c) - ord("a") for c in word] + [2]
        return {"h": gru(arrays["enc_emb"][letters], np.zeros(256), arrays, "enc")}

    def step(token, state):
        h = gru(arrays["dec_emb"][[token]], state["h"], arrays, "dec")
        return arrays["fc_w"] @ h + arrays["fc_b"], {"h": h}, None

    return truth.Network(None, begin, step, None, start=2, end=3, longest=20)


def test_logits_of_words_in_float64(results, speller):
    for word in WORDS:
        expected, _, _ = speller.step(2, speller.begin(word))
        close(results[f"logits of {word}"], expected, FLOAT32[2], word)


def test_beams_of_words_in_float64(results, speller):
    for word in WORDS:
        expected = truth.beam(speller, word, BEAM)
        ids, lengths = (results[f"beam {key} of {word}"][0] for key in ("ids", "lengths"))
        found = [row[:n].tolist() for row, n in zip(ids, lengths, strict=True)]
        assert found == [made.ids for made in expected]
        scores = [made.score for made in expected]
        close(results[f"beam scores of {word}"][0], scores, FLOAT32[3], word)


def test_readings_in_float64(results):
    # Python's own pickle, so that the numbers do not come through the reader under test.
    weights, places = (
        pickle.loads(model_file("g2pM", name, "g2pM==0.1.2.5").read_bytes())
        for name in ("np_ckpt.pkl", "char2idx.pkl")
    )
    arrays = float64(weights)

    def direction(x, suffix):
        biases = arrays[f"lstm.bias_ih_l0{suffix}"] + arrays[f"lstm.bias_hh_l0{suffix}"]
        names = (f"lstm.weight_ih_l0{suffix}", f"lstm.weight_hh_l0{suffix}")
        return lstm(x, *(arrays[name].T for name in names), biases)

    for index, sentence in enumerate(SENTENCES):
        ids = [2, *(places.get(character, 1) for character in sentence), 3]
        x = arrays["embedding.weight"][ids]
        both = np.hstack([direction(x, ""), direction(x[::-1], "_reverse")[::-1]])
        hidden = both @ arrays["logit_layer.0.weight"].T + arrays["logit_layer.0.bias"]
        logits = np.maximum(hidden, 0) @ arrays["logit_layer.2.weight"].T
        logits += arrays["logit_layer.2.bias"]
        close(results["readings"][index, : len(x)], logits, FLOAT32[1], sentence)

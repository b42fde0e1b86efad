"""The repository's own trained models, through the examples, against torch's modules.

tests/golden has them and the scripts that trained them, whose modules are what is compared with:
answers, log-probabilities and attention. test_trained_examples.py runs the examples.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import ACCURACY_WORST, FLOAT32, close

import seqcore as sc

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "examples"), str(ROOT / "tests" / "golden")]

import describe_digits  # noqa: E402
import normalise_dates  # noqa: E402
import spell_numbers  # noqa: E402
import train_captions  # noqa: E402
import train_dates  # noqa: E402
import train_numbers  # noqa: E402
import train_text  # noqa: E402
import trained_here  # noqa: E402
import write_text  # noqa: E402
from training import END, START, padded  # noqa: E402

ISAS = sc.cpu_info()["isas"]
ROWS = 60  # that are looked at in detail
DEPTH = 3  # an encoder, and a cell that is fed what was made of its own state


@dataclass
class Task:
    """A model of a sequence, as the example makes it and as torch does."""

    example: ModuleType
    model: sc.Seq2Seq
    module: Any
    given: Any  # as the example's functions take them
    right: list[str]
    answers: Callable[..., list[str]]  # ours; of model, given and width
    torch_answers: Callable[[Any, Any], list[str]]
    tokens: list[str]
    words_of: Callable[[str], list[str]]  # of an answer, as tokens
    attends: bool = True

    def source(self, rows: slice) -> tuple[Any, Any]:
        """Return ids and lengths, or vectors and None."""
        if not self.attends:
            return self.given[rows] / 16, None
        (letters, _) = self.model.assets.values()
        return letters.encode_batch(self.given[rows])

    def said(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the right answers as ids, from START to END, and their lengths."""
        known = [self.words_of(answer) for answer in self.right[rows]]
        return padded([[START, *map(self.tokens.index, words), END] for words in known])

    def torch_source(self, rows: slice) -> tuple[torch.Tensor, ...]:
        """Return what the module takes, made by the functions of its script."""
        if not self.attends:
            return (train_captions.vectors(self.given[rows]),)
        script = sys.modules[type(self.module).__module__]
        return padded([script.letters_of(text) for text in self.given[rows]])


def words_of_number(text: str) -> list[str]:
    return text.replace("-", " ").split()


def task_of(name: str) -> Task:
    facts = trained_here.trained(name)[1]
    given, right = map(list, zip(*facts["held_out"], strict=True))
    if name == "dates":
        return Task(
            normalise_dates, normalise_dates.load(), train_dates.trained(), given, right,
            normalise_dates.normalise, train_dates.normalise, train_dates.DIGITS, list,
        )  # fmt: skip
    if name == "numbers":
        return Task(
            spell_numbers, spell_numbers.load(), train_numbers.trained(), given, right,
            spell_numbers.spell, train_numbers.spell, train_numbers.WORDS, words_of_number,
        )  # fmt: skip
    greys = np.array([[int(level, 17) for level in image] for image in given])
    return Task(
        describe_digits, describe_digits.load(), train_captions.trained(), greys, right,
        describe_digits.describe, train_captions.describe, train_captions.LETTERS, list,
        attends=False,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["dates", "captions", "numbers"])
def task(request):
    return task_of(request.param), trained_here.trained(request.param)[1]


# ---- From one sequence to another ----------------------------------------------------------------


def test_held_out_rows_are_right_as_often_as_was_measured(task):
    case, facts = task
    greedy = case.answers(case.model, case.given)
    assert greedy == case.torch_answers(case.module, case.given)
    found = np.mean([a == b for a, b in zip(greedy, case.right, strict=True)])
    assert found == facts["accuracy"]
    assert found > 0.98
    assert max(map(case.right.count, set(case.right))) / len(case.right) < 0.13
    by_search = case.answers(case.model, case.given, width=5)
    assert np.mean([a == b for a, b in zip(by_search, case.right, strict=True)]) > 0.98


def root_mean_square(error: Any) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def softmax(logits: Any) -> Any:
    exact = np.exp(np.asarray(logits, np.float64))
    return exact / exact.sum(axis=-1, keepdims=True)


FED = slice(200)  # rows to which the right tokens are fed


@pytest.fixture(scope="module")
def logits(task):
    """Return torch's logits when the right tokens are fed, in float32 and in float64."""
    case, _ = task
    said = case.said(FED)[0][:, :-1]
    source = case.torch_source(FED)
    wide = [part.double() if part.is_floating_point() else part for part in source]
    with torch.no_grad():
        single = case.module(*source, said)
        return single.numpy(), copy.deepcopy(case.module).double()(*wide, said).numpy()


@pytest.mark.parametrize("isa", ISAS)
def test_each_step_is_torchs_when_the_right_tokens_are_fed(task, logits, isa):
    case, _ = task
    source, lengths = case.source(FED)
    stream = case.model.with_options(isa=isa).stream(source, lengths=lengths)
    made = [stream.step(tokens) for tokens in case.said(FED)[0][:, :-1].T.numpy()]
    found = np.stack([m[0] if isinstance(m, tuple) else m for m in made], axis=1)
    _, ends = case.said(FED)
    counts = np.arange(found.shape[1]) < ends.numpy()[:, None] - 1
    found, single, exact = (each[counts] for each in (found, *logits))
    close(softmax(found), softmax(single), FLOAT32[DEPTH])
    # Networks that look sharply and are fed what they made multiply what their parts are off by.
    # So no logit has a tolerance of its own: torch's float32 is off by as much.
    ours, theirs = (root_mean_square(each - exact) for each in (found, single))
    assert ours <= ACCURACY_WORST * theirs


@pytest.mark.parametrize("isa", ISAS)
def test_scores_are_the_log_probabilities_of_torch(task, isa):
    case, _ = task
    rows = slice(ROWS)
    said, ends = case.said(rows)
    with torch.no_grad():
        logits = case.module(*case.torch_source(rows), said[:, :-1]).double()
    logs = logits.log_softmax(-1).gather(2, said[:, 1:, None])[..., 0]
    counts = torch.arange(logs.shape[1]) < (ends - 1)[:, None]
    source, lengths = case.source(rows)
    forced = [row[1:end].tolist() for row, end in zip(said, ends, strict=True)]
    found = case.model.with_options(isa=isa).greedy(source, lengths=lengths, prefix=forced)
    assert found.tokens() == [row[:-1] for row in forced]
    close(found.scores, (logs * counts).sum(1).numpy(), FLOAT32[DEPTH])


def test_attention_is_that_of_torch(task):
    case, _ = task
    if not case.attends:
        assert case.model.extras == ()
        return
    rows = slice(ROWS)
    source, lengths = case.source(rows)
    made = case.model(source, lengths=lengths, extras=True)
    (found,) = made.extras.values()
    said = torch.cat([torch.full((ROWS, 1), START), torch.from_numpy(made.ids)], dim=1)
    with torch.no_grad():
        one, other, *memory = case.module.begin(*case.torch_source(rows))
        for t, token in enumerate(said[:, :-1].T):
            _, one, other, weights = case.module.decoder(token, one, other, *memory)
            going = t < made.lengths
            close(found[going, t], weights.numpy()[going], FLOAT32[DEPTH])
            assert not found[~going, t].any()
    behind = np.arange(source.shape[1]) >= lengths[:, None]
    assert behind.any()
    assert not found.swapaxes(1, 2)[behind].any()


def same(one: sc.Decoded, other: sc.Decoded) -> None:
    """Assert that all of it is the same, to the bit."""
    for name in ("ids", "lengths", "ended", "scores"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert list(one.extras) == list(other.extras)
    for name, array in one.extras.items():
        assert array.tobytes() == other.extras[name].tobytes()


def test_a_search_of_width_1_is_greedy(task):
    case, _ = task
    source, lengths = case.source(slice(None))
    greedy = case.model(source, lengths=lengths, extras=True)
    same(case.model.beam(source, lengths=lengths, width=1, extras=True), greedy)


@pytest.mark.parametrize("width", [1, 5])
def test_rows_of_a_batch_are_what_they_are_alone(task, width):
    case, _ = task
    source, lengths = case.source(slice(ROWS))
    together = case.model.beam(source, lengths=lengths, width=width, extras=True)
    assert len(set(together.lengths.tolist())) > 1 or case.example is normalise_dates
    for row in range(ROWS):
        only = slice(row, row + 1)
        end = None if lengths is None else lengths[row]
        alone = case.model.beam(source[only, :end], width=width, extras=True)
        n = int(alone.lengths[0])
        assert n == together.lengths[row]
        assert alone.ids[0, :n].tolist() == together.ids[row, :n].tolist()
        assert alone.scores.tobytes() == together.scores[only].tobytes()
        for name, array in alone.extras.items():
            assert array[0].tobytes() == together.extras[name][row, :n, :end].tobytes()


def test_a_saved_model_is_the_same_when_it_is_loaded(task, tmp_path):
    case, _ = task
    case.model.save(tmp_path / "model.safetensors")
    loaded = sc.Seq2Seq.load(tmp_path / "model.safetensors")
    assert dict(loaded.assets) == dict(case.model.assets)
    source, lengths = case.source(slice(ROWS))
    for width in (1, 5):
        same(
            *(m.beam(source, lengths=lengths, width=width, extras=True)
              for m in (case.model, loaded))
        )  # fmt: skip
    assert case.answers(loaded, case.given[:5]) == case.right[:5]


def test_the_likeliest_names_are_those_of_torch():
    model, module = describe_digits.load(), train_captions.trained()
    images, _ = describe_digits.held_out()
    spelt = [[START, *map(train_captions.LETTERS.index, n), END] for n in train_captions.NAMES]
    said, _ = padded(spelt)
    expected = np.empty((len(images), len(spelt)))
    for place, name in enumerate(spelt):
        tokens = said[place : place + 1, : len(name)].expand(len(images), -1)
        with torch.no_grad():
            logits = module(train_captions.vectors(images), tokens[:, :-1]).double()
        logs = logits.log_softmax(-1).gather(2, tokens[:, 1:, None])
        expected[:, place] = logs.sum((1, 2)).exp().numpy()
    for found, p in zip(describe_digits.likeliest(model, images), expected, strict=True):
        order = np.argsort(-p)
        assert found[0][0] == train_captions.NAMES[order[0]]
        named = [(name, value) for name, value in found if name in train_captions.NAMES]
        close([v for _, v in named], p[[train_captions.NAMES.index(n) for n, _ in named]],
              FLOAT32[DEPTH])  # fmt: skip


def test_what_the_script_writes_is_what_the_example_prints():
    words = [train_numbers.words_of(n) for n in range(1000)]
    vocabulary = spell_numbers.load().assets["words"]
    rows = [[*map(vocabulary.__getitem__, row), END] for row in words]
    made = sc.Decoded(sc.sequence.pad(rows)[0], *[np.zeros(0)] * 3, {}, (), END)
    found = spell_numbers.said(spell_numbers.load(), made)
    assert found == [train_numbers.sentence(row) for row in words]


# ---- Text ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def writer():
    return write_text.load(), train_text.trained(), trained_here.trained("text")[1]


@pytest.mark.parametrize("isa", ISAS)
def test_bits_per_character_are_those_of_torch(writer, isa):
    model, module, facts = writer
    text = facts["held_out"][:3000]
    found = write_text.bits(model.with_options(isa=isa), text)
    expected, _ = train_text.measure(module, train_text.ids_of(text))
    close(found, expected, FLOAT32[1])


def test_bits_per_character_are_those_that_were_measured(writer):
    model, _, facts = writer
    text = facts["held_out"]
    found = write_text.bits(model, text)
    close(found, facts["excerpt_bits"], FLOAT32[1])
    assert found < 2 < 4 < write_text.entropy(text) < facts["baseline_bits"]


@pytest.mark.parametrize("isa", ISAS)
def test_each_step_of_text_is_torchs(writer, isa):
    model, module, facts = writer
    ids = np.concatenate([[train_text.BREAK], train_text.ids_of(facts["held_out"][:2000])])
    stream = model.with_options(isa=isa).stream()
    found = np.stack([stream.step(ids[t : t + 1]) for t in range(len(ids))], axis=1)
    with torch.no_grad():
        single, exact = (
            each(torch.from_numpy(ids)[None])[0].numpy()
            for each in (module, copy.deepcopy(module).double())
        )
    close(softmax(found), softmax(single), FLOAT32[1])
    ours, theirs = (root_mean_square(each - exact) for each in (found, single))
    assert ours <= ACCURACY_WORST * theirs


def test_the_likeliest_characters_are_those_of_torch(writer):
    model, module, _ = writer
    prefix = train_text.ids_of("It is a truth")
    found = model.greedy(prefix=prefix, max_length=200)
    token, state, expected = torch.tensor([[train_text.BREAK]]), None, []
    with torch.no_grad():
        for t in range(200):
            logits, state = module(token, state)
            token = logits[:, -1:].argmax(-1)
            if t < len(prefix):
                token = torch.tensor([[prefix[t]]])
            expected.append(int(token))
    assert found.ids[0].tolist() == expected
    same(model.beam(prefix=prefix, max_length=200, width=1), found)


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_pieces_are_what_one_call_would_have_made(writer, piece, monkeypatch):
    model, _, _ = writer
    beginning, length = "Mr. Darcy", 130
    prefix = model.assets["characters"].encode(beginning)
    monkeypatch.setattr(write_text, "PIECE", piece)

    def sampling():
        rng = np.random.default_rng(5)
        return partial(model.sample, temperature=0.7, top_k=20, top_p=0.95, seed=rng)

    for call, again in ((sampling(), sampling()), (model.greedy, model.greedy)):
        pieces = list(write_text.written(model, beginning, length, call))
        whole = again(prefix=prefix, max_length=length)
        assert "".join(pieces) == model.assets["characters"].decode(whole.ids[0])
        assert "".join(pieces).startswith(beginning)
        assert len(pieces) == 1 + -(-(length - max(piece, 9)) // piece)
    assert "".join(write_text.written(model, beginning, 4, model.greedy)) == "Mr. "


def test_rows_of_text_are_what_they_are_alone(writer):
    model, _, _ = writer
    prefix = [train_text.ids_of(text).tolist() for text in ("Mr. Darcy", "I", "It is a truth")]
    for call, options in (
        (model.greedy, {}),
        (model.beam, {"width": 4}),
    ):
        together = call(prefix=prefix, max_length=60, **options)
        for row, own in enumerate(prefix):
            alone = call(prefix=[own], max_length=60, **options)
            assert alone.ids[0].tobytes() == together.ids[row].tobytes()
            assert alone.scores[0] == together.scores[row]


def test_a_saved_writer_is_the_same_when_it_is_loaded(writer, tmp_path):
    model, _, facts = writer
    model.save(tmp_path / "model.safetensors")
    loaded = sc.Generator.load(tmp_path / "model.safetensors")
    assert dict(loaded.assets) == dict(model.assets)
    same(*(m.sample(seed=3, max_length=100) for m in (model, loaded)))
    text = facts["held_out"][:1000]
    assert write_text.bits(loaded, text) == write_text.bits(model, text)

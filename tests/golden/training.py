"""What train_*.py of this folder share: seeds, padded rows, greedy decoding, files of weights.

Each of those scripts makes a module of torch, trains it and writes trained_<name>.safetensors, its
state_dict, and trained_<name>.json: what was measured, and held-out rows for tests and examples.
They need torch 2.13.0, safetensors and NumPy. One thread: then sums have one order on any machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FOLDER = Path(__file__).parent
PAD, START, END = 0, 1, 2


def begin(seed: int) -> np.random.Generator:
    """Fix whatever is random; return the generator of the data."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    return np.random.default_rng(seed)


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids (B, T), PAD behind the end of each row, and lengths (B,)."""
    lengths = [len(row) for row in rows]
    ids = np.full((len(rows), max(lengths)), PAD, np.int64)
    for row, known in zip(ids, rows, strict=True):
        row[: len(known)] = known
    return torch.from_numpy(ids), torch.tensor(lengths)


def greedy(step: Callable[[Tensor], Tensor], batch: int, max_length: int) -> list[list[int]]:
    """Feed `step`, tokens (B,) -> logits (B, V), its own best token until END, for each row."""
    token = torch.full((batch,), START)
    ended = torch.zeros(batch, dtype=torch.bool)
    tokens = []
    while len(tokens) < max_length and not ended.all():
        token = step(token).argmax(-1)
        tokens.append(token)
        ended |= token == END
    rows = torch.stack(tokens, 1).tolist()
    return [row[: row.index(END)] if END in row else row for row in rows]


def train(
    module: nn.Module, loss_of: Callable[[], Tensor], steps: int, rate: float, decay: float = 0.0
) -> float:
    """Take `steps` steps of AdamW with a one-cycle rate; return the seconds of the processor.

    Gradients are clipped to norm 1. Prints the mean loss of each tenth.
    """
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    begun = time.process_time()
    losses: list[float] = []
    module.train()
    for place in range(1, steps + 1):
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if place % max(steps // 10, 1) == 0:
            print(f"step {place}: loss {np.mean(losses):.4f}", flush=True)
            losses.clear()
    module.eval()
    return time.process_time() - begun


def save(module: nn.Module, name: str, facts: dict[str, object]) -> None:
    """Write trained_<name>.safetensors and trained_<name>.json."""
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    save_file(state, FOLDER / f"trained_{name}.safetensors")
    lines = [f"{json.dumps(key)}: {_written(value)}" for key, value in facts.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (FOLDER / f"trained_{name}.json").write_text(text, encoding="utf-8")


def _written(value: object) -> str:
    """Return JSON, a line for each row where there are rows."""
    if not (isinstance(value, list) and value and isinstance(value[0], list | tuple)):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(row) for row in value) + "\n]"


def load(module: nn.Module, name: str) -> nn.Module:
    """Return the module with the trained weights, ready to infer."""
    module.load_state_dict(load_file(FOLDER / f"trained_{name}.safetensors"))
    return module.eval()


def facts_of(name: str) -> dict:
    """Return what save was given."""
    return json.loads((FOLDER / f"trained_{name}.json").read_text(encoding="utf-8"))

"""The measurements of streaming.py as a page of Markdown: a table for each question, with targets.

Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from report import BUSY, facts
from results import Run
from tables import SHORT, table

LEGEND = f"""- `× peer`: the peer's median / seqcore's `step(x)`; above 1, ours is faster.
- {SHORT}: misses the target."""

# What the project asks for, and of which model
STEP_NS = {"LSTM 64→64": 1500.0}  # from Python, median
STEP_RATIO = {("LSTM 64→64", "onnxruntime"): 8.0}
LOOP_NS = {"LSTM 1→16": 75.0, "LSTM 1→32": 130.0, "LSTM 64→64": 1000.0}  # from C, mean
POOL_OVER_BATCH = 1.25  # at most
SEPARATE_OVER_POOL = 1.7  # at least


def _optional(value: float | None, form: Callable[[float], str]) -> str:
    return "–" if value is None else form(value)


def _us(ns: float) -> str:
    """Return us with two decimals, one from 10 on, none from 100 on."""
    value = ns * 1e-3
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _at_most(value: float, target: float | None, form: Callable[[float], str]) -> str:
    """Return a figure, marked when it misses its target by more than its last digit shows."""
    missed = target is not None and float(form(value).replace(",", "")) > target
    return form(value) + SHORT * missed


def _at_least(value: float | None, target: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" + SHORT * (target is not None and round(value, 2) < target)


def _stats(form: dict[str, Any]) -> list[str]:
    return [_us(form[name]) for name in ("mean", "p99", "p999", "worst")]


def _best(forms: list[dict[str, Any]]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return ours one by one, and of each peer its fastest form with the others."""
    rows: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    rows += [(form, []) for form in forms if form["runner"] == "seqcore"]
    peers = dict.fromkeys(form["runner"] for form in forms if form["runner"] != "seqcore")
    for peer in peers:
        best, *others = sorted(
            (form for form in forms if form["runner"] == peer), key=lambda form: form["median"]
        )
        rows.append((best, others))
    return rows


def _step_targets(title: str) -> str:
    ns, ratio = STEP_NS.get(title), STEP_RATIO.get((title, "onnxruntime"))
    parts = [f"{_us(ns)} us" if ns else "", f"{ratio:g}× ONNX Runtime" if ratio else ""]
    return ", ".join(filter(None, parts)) or "–"


def latency(found: dict[str, Any], titles: dict[str, str]) -> str:
    """Return the table of steps from Python."""
    heads = ["model", "runner and form", "median", "mean", "p99", "p99.9", "worst"]
    heads += ["slower form: median", "× peer", "target"]
    lines = []
    for model in found["models"]:
        title, ours = model["title"], model["forms"][0]["median"]
        for form, others in _best(model["forms"]):
            first = form is model["forms"][0]
            peer = form["runner"] != "seqcore"
            wanted = STEP_NS.get(title) if first else None
            line = [title if first else "", f"{titles[form['runner']]}, {form['form']}"]
            line += [_at_most(form["median"] * 1e-3, wanted and wanted * 1e-3, _plain_us)]
            line += _stats(form)
            line.append(", ".join(f"{each['form']}: {_us(each['median'])}" for each in others))
            ratio = form["median"] / ours if peer else None
            line.append(_at_least(ratio, STEP_RATIO.get((title, form["runner"]))) if peer else "")
            line.append(_step_targets(title) if first else "")
            lines.append(line)
    steps = {form["runner"]: form["steps"] for m in found["models"] for form in m["forms"]}
    counts = ", ".join(f"{titles[name]} {count:,}" for name, count in steps.items())
    shares = [form["cpu_share"] for model in found["models"] for form in model["forms"]]
    text = f"""us a step, one row, one thread, the state carried; each step between two looks at \
the clock, which alone cost {found["clock"]:.0f} ns (median, not subtracted). Steps: {counts}. The \
results of the first {found["compared"]} steps agree within {found["tolerance"]:g}. Of a peer's \
two forms the faster one counts."""
    if min(shares) < BUSY:
        text += (
            f"\n\n**The machine was busy**: a runner had as little as {min(shares):.0%} of a core. "
            "These figures are not to be quoted."
        )
    return f"{text}\n\n{table(heads, lines, texts=2)}"


def _plain_us(value: float) -> str:
    return _us(value * 1e3)


def native(found: list[dict[str, Any]]) -> str:
    """Return the table of steps from C."""
    heads = ["model", "loop: mean", "target", "single: median", "mean", "p99", "p99.9", "worst"]
    heads += ["clock"]
    lines = []
    for model in found:
        wanted = LOOP_NS.get(model["title"])
        line = [model["title"], _at_most(model["loop"], wanted, _ns), _optional(wanted, _ns)]
        line += [f"{model[name]:,.0f}" for name in ("median", "mean", "p99", "p999", "worst")]
        lines.append([*line, f"{model['clock']:.0f}"])
    steps = found[0]["steps"]
    text = f"""ns a step of `sc_stream_step`, one row, `threads = 1`: the mean of {steps:,} steps \
in a loop without a clock, and as many single steps between two looks at the clock, which alone \
cost what the last column says (median, not subtracted).

RTNeural, which is made for models this small, is compiled from source for each model and comes in \
no package: its row is left out, and no published figure stands in for it."""
    return f"{text}\n\n{table(heads, lines)}"


def _ns(value: float) -> str:
    return f"{value:,.0f}"


def pools(found: dict[str, Any]) -> str:
    """Return the table of pools."""
    heads = ["model", "threads", "pool, all", "pool, half", "batch", "separate steps"]
    heads += ["pool / batch", "separate / pool", "target"]
    lines = []
    alone = {m["title"]: m["row"].get("separate") for m in found["models"] if m["threads"] == 1}
    for model in found["models"]:
        row = model["row"]
        separate, asked = alone[model["title"]], model["threads"] == 1
        times = [row["all"], row["half"], row["batch"], row.get("separate")]
        over_batch, ratio = row["all"] / row["batch"], separate and separate / row["all"]
        target = f"≤ {POOL_OVER_BATCH:g}, ≥ {SEPARATE_OVER_POOL:g}" if asked else "–"
        lines.append(
            [model["title"], str(model["threads"])]
            + [_optional(time, lambda seconds: _us(seconds * 1e9)) for time in times]
            + [_at_most(over_batch, POOL_OVER_BATCH if asked else None, _two)]
            + [_at_least(ratio, SEPARATE_OVER_POOL if asked else None), target]
        )
    text = f"""us for each row, {found["streams"]:,} open streams. Pool: one step of all in a new \
random order each time, and of a random half. Batch: `model(x)` of as many rows, one frame, from a \
zero state. Separate: as many calls of `stream.step`, one thread, with which the pool of two \
threads is compared too."""
    return f"{text}\n\n{table(heads, lines)}"


def _two(value: float) -> str:
    return f"{value:.2f}"


def _callers_table(head: str, rows: list[dict[str, Any]]) -> str:
    numbers = list(rows[0]["rates"])
    heads = [head, *(f"{n} caller{'s' * (n != '1')}" for n in numbers)]
    heads += [f"× alone: {n}" for n in numbers[1:]]
    lines = []
    for row in rows:
        rates = row["rates"]
        line = [row["title"], *(f"{rates[n]:,.0f}" for n in numbers)]
        lines.append([*line, *(f"{rates[n] / rates['1']:.2f}" for n in numbers[1:])])
    return table(heads, lines)


def callers(found: dict[str, Any]) -> str:
    """Return the two tables of callers."""
    text = """Calls a second of all Python threads together; they share one model. A torch call \
holds one thread, as `set_num_threads(1)` says; an ONNX Runtime session is shared and has one \
thread for each call."""
    calls = _callers_table(f"{found['sequence']}, whole sequences", found["calls"])
    steps = _callers_table(f"{found['step']}, a stream for each caller, steps", found["steps"])
    return f"{text}\n\n{calls}\n\n{steps}"


def cold_start(found: dict[str, Any]) -> str:
    """Return the table of cold starts."""
    heads = ["process"]
    for case in found["cases"]:
        heads += [f"{case['title']}: prediction, ms", "exit, ms", "MiB (private)"]
    lines = []
    for children in zip(*(case["children"] for case in found["cases"]), strict=True):
        line = [children[0]["title"]]
        for child in children:
            line += [f"{child[name] * 1e3:,.1f}" for name in ("first", "whole")]
            known = "peak" in child
            line.append(f"{child['peak']:,.1f} ({child['private']:,.1f})" if known else "–")
        lines.append(line)
    text = f"""From the start of a process to its first prediction, {found["time"]} frames of one \
row on one thread, and to its exit: median of {found["runs"]} runs after one that filled the page \
cache. MiB: the most resident at once, with the pages of mapped files, which processes share; in \
brackets what is the process's own when it has predicted."""
    return f"{text}\n\n{table(heads, lines)}"


def report(document: dict[str, Any]) -> str:
    """Return the whole page as Markdown.

    Parameters
    ----------
    document : dict
        What streaming.py wrote as JSON. A question that was not asked has no section.
    """
    titles = {name: each["title"] for name, each in document["seqcore"]["runners"].items()}
    head = "# Streams, float32"
    if document["quick"]:
        head += (
            "\n\n**A quick run**: it shows that all of it works. Its figures are not to be quoted."
        )
    blocks = [head, facts(Run(document, [], {}), []), LEGEND]
    sections: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("latency", "A step from Python", lambda found: latency(found, titles)),
        ("native", "A step from C", native),
        ("pools", "A pool of streams", pools),
        ("callers", "Several callers", callers),
        ("cold_start", "Cold start", cold_start),
    )
    for name, title, form in sections:
        if name in document:
            found = document[name]
            why = isinstance(found, str)
            blocks += [f"## {title}", f"Not measured: {found}" if why else form(found)]
    return "\n\n".join(blocks) + "\n"

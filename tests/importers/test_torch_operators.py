"""Every operator of torch that is known, in modules of many, against torch itself.

A case is a function of a batch whose results are all outputs of one exported module: x and y (B, T,
4), n (B, T) whole numbers, z (B, T, 2, 3) and s, as x with what is no number. It runs in several
layouts, and as torch.export.save wrote it after ``run_decompositions``, which has other operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tolerances import FLOAT32, close
from torch import nn

import seqcore as sc
from seqcore.formats.pt2 import read_pt2
from seqcore.importers.aten.operators import OPERATORS
from seqcore.importers.torch.graph import model_of
from seqcore.importers.torch.live import export_program

INF, NAN = float("inf"), float("nan")
SEEN: set[str] = set()  # the operators of all modules here
_TABLES: dict[tuple[int, ...], torch.Tensor] = {}


def table(*shape: int) -> torch.Tensor:
    """Numbers that are the same at every call: a weight."""
    if shape not in _TABLES:
        numbers = np.random.default_rng(sum(shape)).standard_normal(shape)
        _TABLES[shape] = torch.from_numpy(numbers.astype(np.float32))
    return _TABLES[shape]


def inputs(rows: int, steps: int) -> tuple[torch.Tensor, ...]:
    made = torch.Generator().manual_seed(rows * 100 + steps)
    x, y, s = (torch.randn(rows, steps, 4, generator=made) for _ in range(3))
    z = torch.randn(rows, steps, 2, 3, generator=made)
    n = torch.randint(0, 9, (rows, steps), generator=made)
    for k, value in enumerate((NAN, INF, -INF, 0.0, -0.0)):
        s.view(-1)[k::7] = value
    return x, y, n, z, s


# ---- Element by element --------------------------------------------------------------------------

C = torch.tensor([1.0, -2.0, 0.5, 3.0])
SOME = torch.tensor([True, False, True, False])


def arithmetic(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del z, s
    small = torch.tanh(x) + 3  # of either sign elsewhere
    return (
        x + y, x + 1, 2 + x, x + C, torch.add(x, y, alpha=2), torch.add(C, x, alpha=3),
        torch.add(x, C, alpha=-0.5), x[:, :1] + y[..., :1], n + 1, n + n, n + x[..., 0],
        torch.add(n, n, alpha=2), x + INF, x * -INF, x - NAN, x - y, 2 - x, C - x, x - C, x - 1,
        torch.sub(x, y, alpha=2), torch.rsub(x, y, alpha=3), torch.rsub(x, 2), 1 - n,
        torch.subtract(x, C, alpha=2), x * y, x * 2, C * x, n * 2, n * x[..., 1], n * n, n * 0.5,
        torch.multiply(x, 3), x / small, x / 2, 2 / small, C / small, x / C, n / 2, n / (n + 1),
        torch.divide(x, 3), torch.true_divide(x, small), x / INF, x / 0.0,
        torch.addcmul(x, y, x, value=0.5), torch.addcmul(x, y, C),
        torch.addcdiv(x, y, small, value=0.5), torch.lerp(x, y, 0.3), torch.lerp(x, y, y),
        torch.lerp(C, x, 0.7), torch.frac(x), torch.positive(x), x * x.shape[1], x / n.shape[1],
        x[..., :1] + torch.full((4,), 2.0), torch.full((4,), 3.0) * x[..., :1],
    )  # fmt: skip


def whole(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del z, s
    many = n * 41
    return (
        n // 2, -n // 3, many // 41, torch.div(-many, 41, rounding_mode="trunc"), n % 3, -n % 4,
        torch.div(-n, 2, rounding_mode="floor"), torch.remainder(n, -4), torch.fmod(-n, 4),
        n // (n + 1), torch.div(x * 9, 0.3, rounding_mode="trunc"), x // 0.25, ~n, -n, n.abs(),
        (n * 1).floor_divide_(2), (-n).fmod_(5), (-n).remainder_(5), torch.floor_divide(n, 3),
        x % 0.3, x % -1.7, torch.fmod(x, 0.3), torch.fmod(-x, y), torch.remainder(y, x), 2.5 % x,
        (x * 1).fmod_(0.1), (x * 1).remainder_(y),
        (n > 2) + (n < 5), (n > 2) * (n < 5), (n > 2) + 1, (n > 2) * n,
    )  # fmt: skip


def powers(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del y, z
    p = x.abs() + 0.1
    return (
        x**2, x**3, p**0.5, p**-0.5, p**-1, x**0, x**1, p**1.7, n**2, 2**x, torch.pow(0.3, x),
        *(getattr(torch, k)(p) for k in ("sqrt", "rsqrt", "log", "log1p", "log2", "log10")),
        *(getattr(torch, k)(x) for k in (
            "abs", "neg", "negative", "square", "reciprocal", "sin", "cos", "tan", "sinh", "cosh",
            "floor", "ceil", "round", "sign", "sgn", "erf", "expm1", "trunc", "fix", "exp", "exp2",
        )),
        *(getattr(torch, k)(s) for k in (
            "abs", "neg", "square", "reciprocal", "floor", "ceil", "round", "sign", "erf", "exp",
            "expm1", "trunc", "sqrt", "rsqrt", "log", "log1p", "relu", "tanh", "sigmoid", "isnan",
            "isinf", "isfinite", "nan_to_num", "logical_not",
        )),
        torch.nan_to_num(s, 1.0, 2.0, 3.0), n.sqrt(), n.exp(), n.sign(), torch.sin(n), n.relu(),
    )  # fmt: skip


def extremes(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del z
    return (
        torch.maximum(x, y), torch.max(x, y), torch.minimum(x, C), torch.min(C, x),
        torch.maximum(n, n.flip(1)), torch.maximum(s, y), torch.minimum(y, s), torch.maximum(s, C),
        torch.fmax(s, y), torch.fmin(y, s), torch.fmax(y, s), x.clamp(-0.5, 0.5), x.clamp(min=0),
        x.clamp(max=0.3), torch.clamp(x, max=y), torch.clamp(x, C, y), n.clamp(1, 3),
        n.clamp(max=2), s.clamp(-1, 1), s.clamp(min=-0.2), x.clamp(0.5, -0.5), n.clamp(min=1.5),
        x.clip(0, 1), torch.clamp_min(x, 0.2), torch.clamp_max(x, 0.2), torch.logaddexp(x, y),
        torch.logaddexp(s.nan_to_num(0.5, INF, -INF), s.nan_to_num(0.25, INF, -INF)),
    )  # fmt: skip


def truth(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    a, b = x > 0, y > 0.5
    last = n.unsqueeze(-1)
    return (
        x == x.round(), n != n[:, :1], x < y, x <= y, x > y, y >= x, x > 0.2, x < 0.1, x <= C,
        x > C, n == 3, n > 2.5, n == 2.5, s == s, s != s, s < y, s >= 0, n < x[..., 0],
        n >= INF, a & b, a | b, a ^ b, ~a, a & True, a & SOME, torch.logical_and(x, last),
        torch.logical_or(a, last), torch.logical_xor(n, n > 2), torch.logical_not(n),
        torch.bitwise_and(a, b), torch.bitwise_or(b, a), torch.bitwise_xor(a, SOME),
        torch.bitwise_not(b), torch.logical_and(s, b), torch.where(a, x, y),
        torch.where(a, x, 0.0), torch.where(b, 1.0, y), torch.where(a, 1.0, -1.0),
        torch.where(n > 2, n, 0), torch.where(last > 2, x, -INF), torch.where(a, C, x),
        torch.where(s > 0, s, y), torch.where(last > 1, x[:, :1], C), torch.where(b, 1, 2),
        torch.where(a[..., :1], torch.full((4,), 2.0), y[..., :1]),
        torch.where(SOME, x, y), torch.where(a, b, SOME), x.masked_fill(a, -INF),
        x.masked_fill(last == 0, -1e9), x.masked_fill(last > 3, -INF).softmax(1),
        x.masked_fill(last >= 4, -INF).softmax(-1), n.masked_fill(n > 2, 7),
        x.masked_fill(b, NAN), x.masked_fill(SOME, 0.5), s.masked_fill(torch.isnan(s), 0.25),
        x.masked_fill(a, torch.tensor(2.0)), a.any(1), a.all(-1), x.any(-1), n.all(1), s.any(-1),
        a.any(2, True), a.sum(1), a.float().mean(1), torch.maximum(a, b), a.cumsum(1),
        torch.count_nonzero(n, 1), x.bool(), n.bool(), a.long(), a.to(torch.int32),
        z.gt(0).flatten(2).all(-1), torch.cat([a, b], 2), torch.cat([a, y], 2),
    )  # fmt: skip


def activations(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del y, n, z
    f = s.masked_fill(s == -INF, -3.0)  # of which silu is NaN to torch, and 0 here
    return (
        F.relu(s), F.relu6(s), F.selu(s), F.silu(f), F.mish(f), F.hardsigmoid(s), F.hardswish(f),
        F.logsigmoid(s), F.leaky_relu(s, 0.2), F.elu(x, 0.7), F.celu(x, 0.7), F.gelu(x),
        F.gelu(x, approximate="tanh"), F.softplus(x, 2.0, 1.0), F.softplus(f), F.hardtanh(s),
        F.hardtanh(x, -0.3, 0.6), F.hardtanh(x * 4, 0, 6), F.hardshrink(x, 0.3),
        F.softshrink(x, 0.3), F.threshold(x, 0.1, 5.0), F.softsign(x), F.tanhshrink(x),
        F.rrelu(x, 0.1, 0.4), F.prelu(x, torch.tensor([0.3])), F.prelu(x, torch.tensor([-0.3])),
        F.prelu(x.transpose(1, 2), C), F.softmin(x, -1), torch.special.expit(x), F.softplus(s),
        F.softplus(x * 30, 1.0, 0.5), F.softplus(x, 0.5, 30.0),
    )  # fmt: skip


def in_place(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del n, z, s
    made = []
    for change in (
        lambda a: a.add_(y, alpha=2), lambda a: a.sub_(1), lambda a: a.mul_(y),
        lambda a: a.div_(3), lambda a: a.pow_(2), lambda a: a.clamp_(-0.5, 0.5),
        lambda a: a.clamp_min_(0.1), lambda a: a.clamp_max_(0.1),
        lambda a: a.masked_fill_(y > 0, 2),
        lambda a: a.fill_(3.0), lambda a: a.zero_(), lambda a: a.relu_(), lambda a: a.tanh_(),
        lambda a: a.sigmoid_(), lambda a: F.elu_(a), lambda a: F.leaky_relu_(a),
        lambda a: F.hardtanh_(a), lambda a: F.celu_(a, 0.5), lambda a: F.selu_(a),
        lambda a: F.relu6(a, True), lambda a: F.silu(a, True), lambda a: F.mish(a, True),
        lambda a: F.hardswish(a, True), lambda a: F.hardsigmoid(a, True),
        lambda a: F.threshold_(a, 0.1, 2.0), lambda a: F.rrelu_(a),
        lambda a: a.requires_grad_(False),
        *(lambda a, k=k: getattr(a, f"{k}_")() for k in (
            "abs", "neg", "negative", "square", "reciprocal", "sin", "cos", "floor", "ceil",
            "round", "sign", "sgn", "erf", "expm1", "trunc", "fix", "exp",
        )),
        *(lambda a, k=k: getattr(a.abs_().add_(0.5), f"{k}_")() for k in (
            "sqrt", "rsqrt", "log", "log1p",
        )),
        lambda a: a.tril_(), lambda a: a.triu_(1),
    ):  # fmt: skip
        a = x * 1.5
        change(a)  # what it returns is not what is read
        made.append(a + 0 if a.dtype.is_floating_point else a)
    return made


# ---- Over dims -----------------------------------------------------------------------------------


def reductions(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del y
    return (
        x.mean(1), x.mean(-1), x.mean((1, 2)), x.mean((1, 2), True), x.sum(1, keepdim=True),
        z.sum((1, 3)), z.mean((-1, -2)), x.amax(1), x.amin(-1, True), z.amax((1, 2)),
        x.logsumexp(1), x.logsumexp((1, 2), True), x.prod(1), n.sum(1), n.float().mean(1),
        x.sum(1, dtype=torch.float64), n.prod(1), x.std(-1, unbiased=False), x.std(-1),
        x.var(-1, correction=0, keepdim=True), z.var((2, 3)), x.norm(dim=-1), x.norm(1, dim=1),
        torch.linalg.norm(x, dim=-1), x.norm(dim=(1, 2)), n.amax(1), x.norm(INF, dim=1),
        x.norm(3, dim=-1, keepdim=True), torch.linalg.vector_norm(x, -INF, -1), *x.max(1),
        *x.min(-1, True), x.min(1)[0], *n.max(1), x.argmax(1), x.argmin(-1, True), z.argmax(2),
        s.amax(1), s.amin(-1), s.max(1)[0], (n > 3).float().argmax(1), x.round().max(-1)[1],
        *x.topk(2), *x.topk(3, -1, largest=False), *z.topk(1, 3), *x.sort(-1),
        *torch.aminmax(x, dim=1),
        *x.sort(-1, descending=True), x.argsort(-1), x.argsort(-1, True), x.cumsum(1), x.cumsum(-1),
        z.cumsum(3), n.cumsum(1), *torch.std_mean(x, 2), *torch.var_mean(z, (2, 3), correction=0),
        (x * (n > 0).unsqueeze(-1)).sum(1) / (n > 0).sum(1, keepdim=True).clamp(min=1),
        torch.any(x > 1, 1), x.sum(1) / x.size(1), x.diff(dim=-1), x.diff(2), s.argmax(-1),
    )  # fmt: skip


def norms(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del y, n, s
    w, b, v = table(4), table(1, 4)[0], table(4).abs() + 0.1
    turned = x.transpose(1, 2)
    return (
        F.layer_norm(x, (4,)), F.layer_norm(x, (4,), w, b, 1e-2), F.layer_norm(x, (4,), w),
        F.layer_norm(z, (2, 3)), F.layer_norm(z, (2, 3), table(2, 3), eps=0.1),
        F.rms_norm(x, (4,)), F.rms_norm(x * 1e-3, (4,)), F.rms_norm(x, (4,), w, 0.1),
        F.rms_norm(z, (2, 3), table(2, 3)), F.batch_norm(turned, b, v), F.group_norm(turned, 2),
        F.batch_norm(turned, b, v, w, b, eps=0.1), F.batch_norm(x[:, 0], b, v, w),
        F.group_norm(turned, 2, w, b, 0.1), F.group_norm(turned, 4), F.instance_norm(turned),
        F.instance_norm(turned, weight=w, bias=b, eps=0.1), F.normalize(x, dim=-1),
        F.normalize(x, p=1, dim=1), F.instance_norm(turned, b, v, use_input_stats=False),
        x.softmax(-1), x.softmax(1), z.softmax(2), z.softmax(-2), x.log_softmax(-1),
        x.log_softmax(1), z.log_softmax(2),
        torch.softmax(x[..., 0].round().long(), 1, torch.float32),
    )  # fmt: skip


def products(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del n, s
    w, turned = table(4, 5), y.transpose(1, 2)
    heads = z.transpose(1, 2)
    return (
        x @ w, w.t() @ x.mT, x @ turned, x @ turned @ x, torch.bmm(x, turned), x @ w[:, 0],
        torch.matmul(z, z.transpose(-1, -2)), x[:, 0] @ w, torch.mm(x[:, 0], table(4, 3)),
        torch.addmm(table(5), x[:, 0], w, beta=2, alpha=0.5), torch.addmm(table(5), x[:, 1], w),
        torch.addmm(x[:, 0, :1], x[:, 0], w), torch.mv(x[:, 0], C), torch.inner(x, w.t()),
        torch.baddbmm(torch.ones(1, 1, 1), x, turned, beta=0.5, alpha=2),
        torch.baddbmm(x[:, :1, :1], x, turned, beta=0), F.linear(x, w.t(), table(5)),
        F.linear(x, table(3, 4)), F.linear(x[..., None, :2], table(3, 2)),
        F.bilinear(x, y, table(5, 4, 4), table(5)), torch.linalg.vecdot(x, y),
        torch.linalg.vecdot(x, y, dim=1), F.cosine_similarity(x, y, -1),
        F.cosine_similarity(x * 1e-6, y, 1, 1e-5), F.pairwise_distance(x, y),
        F.pairwise_distance(x, y, 1.0, 0.1, True),
        *(torch.einsum(e, x, y) for e in (
            "btd,bsd->bts", "btd,btd->bt", "btd,bte->bde", "btd,bsd->bt", "...d,...d->...",
            "btd,bse->btsde",
        )),
        *(torch.einsum(e, x, w) for e in ("btd,de->bte", "...d,de->...e", "bij,jk->bik")),
        *(torch.einsum(e, x) for e in ("btd->bdt", "btd->bt", "b...->b...")),
        torch.einsum("bij,jk", x, w), torch.einsum("de,btd->bte", w, x),
        torch.einsum("btd,d->btd", x, C), torch.einsum("bthd,hde->bthe", z, table(2, 3, 5)),
        torch.einsum("bthd,hde->bte", z, table(2, 3, 5)), torch.einsum("bthd,bshd->bhts", z, z),
        torch.einsum("bti,btj,ijk->btk", x, y, table(4, 4, 5)),
        F.scaled_dot_product_attention(x, y, y),
        F.scaled_dot_product_attention(heads, heads, heads),
        F.scaled_dot_product_attention(x, y, y, scale=0.3),
        F.scaled_dot_product_attention(x, x, y, is_causal=True),
        F.scaled_dot_product_attention(x, y, y, attn_mask=x @ turned),
    )  # fmt: skip


def attention_masks(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    """Rows that see nobody too; heads that are shared."""
    del s
    steps = x.shape[1]
    heads = torch.cat([z, z], 2).transpose(1, 2)
    scores = x @ y.mT
    later = torch.triu(torch.ones(steps, steps), 1).bool()
    attend = F.scaled_dot_product_attention
    return (
        attend(x, y, y, attn_mask=(n > 5)[:, None]), attend(x, y, y, attn_mask=(n > 2)[..., None]),
        attend(x, y, y, attn_mask=torch.where(n > 6, 0.0, -INF)[..., None]),
        attend(heads, heads[:, :2], heads[:, 1:3], enable_gqa=True), scores.tril(), scores.triu(1),
        scores.masked_fill(later, -INF).softmax(-1), scores.tril(-1),
        (scores + torch.full((steps, steps), -INF).triu(1)).softmax(-1),
        scores.masked_fill(torch.ones(steps, steps).tril() == 0, -INF).softmax(-1),
        F.embedding(n, table(9, 3)), F.embedding(n, table(9, 3), padding_idx=0),
        F.one_hot(n, 9), F.one_hot(n, 9).float() @ table(9, 2), attend(x, y, y, scores, scale=2.0),
    )  # fmt: skip


# ---- Moving elements -----------------------------------------------------------------------------


def views(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del s
    rows, steps = n.shape
    c = x.contiguous()
    return (
        c.view(rows, -1), x.flatten(1), z.flatten(2), z.flatten(1, 2), z.reshape(rows, steps, 6),
        x.unflatten(2, (2, 2)), x.unflatten(-1, (2, -1)), c.view(rows, steps, 2, 2),
        x.unsqueeze(1), x.unsqueeze(-1), x.unsqueeze(1).squeeze(1), x[:, :, None], x.swapdims(1, 2),
        z.transpose(1, 2), z.permute(0, 2, 3, 1), z.movedim(1, -1), z.swapaxes(1, 3), x.mT,
        x.permute(0, -1, 1), c.view_as(y), x.reshape_as(y), z.movedim((1, 2), (3, 1)),
        x.reshape(-1, 4).tanh().reshape(x.shape), c.flatten(0, 1).unflatten(0, (rows, -1)).sum(1),
        x.transpose(0, 1).reshape(-1, 4).exp().reshape(steps, rows, 4).sum(0), x[:, 0].t().t(),
        x.transpose(1, 2).reshape(rows, -1), z.permute(0, 2, 1, 3).reshape(rows, 2, -1),
        z.permute(0, 3, 1, 2).flatten(1), x[:, 0], x[:, -1], x[..., 1], x[..., -1:], x[:, 1:],
        x[:, :-1], x[:, ::2], x[..., 1:3], x[..., ::2], x[:, -2:], z[:, :, 0], z[:, :, 1, 1:],
        x.narrow(2, 1, 2), x.narrow(1, 0, 1), x.select(2, 1), x[:, 0, 1], x[:, -1:, ::3],
        *x.split(2, -1), *x.split([1, 3], 2), *x.chunk(2, -1), *x.unbind(-1), *z[..., :2].unbind(3),
        *x.chunk(3, -1), *torch.split_copy(x, 3, 2), *torch.unsafe_split(x, 2, 2),
        *torch.unsafe_chunk(x, 2, 2), x[:, :1].squeeze(1), x[..., :1].squeeze(-1), x.squeeze(2),
        x.unsqueeze(1).squeeze((1,)), x.adjoint(), x[:, 0, :1].squeeze(-1), F.glu(x),
        F.glu(z[..., :2], -1), x.contiguous().detach().clone(), x.cpu(),
        x.numel() // (4 * rows) + x,
        x.flip(1), x.flip(-1), x.flip(1, 2), n.flip(1), x.roll(1, -1), x.roll(-1, 2), x.roll(1, 1),
        x.roll((1, -1), (2, 1)), x.fliplr(), x.expand(2, rows, steps, 4)[1],
    )  # fmt: skip


def joins(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del s
    rows, steps = n.shape
    start = table(1, 1, 4)
    return (
        torch.cat([x, y], -1), torch.cat([x, y], 1), torch.cat([x, n[..., None]], 2),
        torch.stack([x, y], 1), torch.stack([x, y], -1), torch.stack([x, y], 2),
        torch.cat([x, start.expand(rows, -1, -1)], 1), torch.cat([start.repeat(rows, 1, 1), x], 1),
        torch.cat([x, torch.zeros_like(x)], 2), torch.cat([n, n], 1), torch.hstack([x, y]),
        torch.cat([x, torch.zeros(rows, 1, 4)], 1), torch.dstack([x, y]),
        torch.column_stack([x, y]),
        torch.concat([x, y], 2), torch.concatenate([y, x], 2), x.repeat(1, 2, 1), x.repeat(1, 1, 3),
        x[:, :1].repeat(1, 3, 1), x.tile(2), x.unsqueeze(1).expand(-1, 3, -1, -1),
        x.repeat_interleave(2, 1), x.repeat_interleave(3, -1), x[:, -1:].expand(-1, steps, -1),
        x[:, 0].unsqueeze(1).repeat(1, steps, 1), x[:, :1].expand_as(y),
        torch.broadcast_to(x[:, :1], y.shape), torch.cat([x.new_zeros(rows, 1, 4), x], 1),
        x + torch.ones_like(x), x * torch.full_like(x, 2.0), n + torch.zeros_like(n),
        x.new_full((rows, 4), 3.0) + x[:, 0], x.new_ones(4) * x, torch.arange(steps) * x[..., 0],
        x[..., 0] + torch.arange(1, steps + 1), x[..., 0] * torch.arange(steps - 1, -1, -1),
        (torch.arange(steps)[None] < n[:, :1]).float(), x[:, torch.arange(steps - 1, -1, -1)],
        F.pad(x, (1, 2)), F.pad(x, (0, 0, 1, 0)), F.pad(x, (1, 1, 2, 0), value=3.0),
        F.pad(z, (1, 1)),
        F.pad(x.mT, (1, 1), mode="replicate"), F.pad(x, (1, 2), mode="reflect"), F.pad(x, (0, -1)),
        F.pad(x, (1, 2), mode="circular"), F.pad(x, (0, 0, 1, -1)), F.pad(x, (2, -1), value=1.5),
        F.pad(n, (1, 0), value=2), F.pad(z, (0, 0, 1, 1, 2, 0)), F.pad(x[:, 0], (1, 1)),
        x.long(), x.int(), n.float(), n.double(), x.type_as(n), n.to(x), (x * 2.5).to(torch.int32),
    )  # fmt: skip


def picks(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    """By indices: computed, along every dim, and constant."""
    del n, s
    last = (y[:, :1, 0] > 0).long() * 1
    place = (y[..., :1] > 0).long() + (y[..., 1:2] > 0).long()
    rows = torch.arange(x.shape[0])
    return (
        x.gather(1, last.unsqueeze(-1).expand(-1, -1, 4)), x.gather(2, place),
        x.gather(2, torch.cat([place, place + 1], 2)),
        x.index_select(2, torch.tensor([3, 0, 0, 1])), x[..., [2, 1]],
        x[..., torch.tensor([-1, 0])],
        x[rows, last[:, 0]], x[rows, x.shape[1] - 1 - last[:, 0]], z[:, :, [1, 0, 1]],
        (x / (y > -INF).float()).gather(1, last.unsqueeze(-1).expand(-1, -1, 4)),
    )  # fmt: skip


def windows(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del y, n, z, s
    w, turned = table(6, 4, 3), x.transpose(1, 2)
    return (
        F.conv1d(turned, table(6, 4, 1)), F.conv1d(turned, w, table(6), padding=1),
        F.conv1d(turned, w, padding="same"), F.conv1d(turned, table(6, 4, 2), padding="same"),
        F.conv1d(turned, table(6, 2, 3), groups=2, padding=2, dilation=2),
        F.conv1d(turned, table(6, 2, 3), groups=2, padding=2, dilation=1),
        F.conv1d(turned, table(8, 1, 3), table(8), groups=4, padding=1),
        F.conv1d(turned, w, padding=1, stride=2), F.conv_transpose1d(turned, table(4, 3, 3)),
        F.conv_transpose1d(turned, table(4, 3, 3), table(3), stride=2, padding=1, output_padding=1),
        F.conv_transpose1d(turned, table(4, 3, 3), dilation=2), F.max_pool1d(x, 2),
        F.avg_pool1d(x, 2), F.max_pool1d(x, 3, 1, 1), F.avg_pool1d(x, 3, 2, 1),
        F.avg_pool1d(x, 3, 2, 1, count_include_pad=False), F.max_pool1d(x, 2, 1, 0, 2),
        F.adaptive_avg_pool1d(turned, 2),
        F.adaptive_max_pool1d(turned, 2),
        F.avg_pool1d(turned, 2, 1, 1), F.interpolate(turned, scale_factor=2),
        F.interpolate(x, scale_factor=3.0), F.adaptive_avg_pool1d(turned, 1),
    )  # fmt: skip


def fixed(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    """What lets torch.export fix sizes."""
    del y, n, z, s
    turned = x.transpose(1, 2)
    return (
        torch.take_along_dim(x, x.argsort(-1), -1), F.max_pool1d(turned, 2, 1, 1),
        F.max_pool1d(turned, 2, 2, 1, 1, True), F.avg_pool1d(turned, 2, ceil_mode=True),
    )  # fmt: skip


CASES = (
    arithmetic, whole, powers, extremes, truth, activations, in_place, reductions, norms, products,
    attention_masks, views, joins, picks, windows, fixed,
)  # fmt: skip


# ---- Layouts -------------------------------------------------------------------------------------


class Cases(nn.Module):
    """A case whose tensors come in another layout."""

    def __init__(self, case: Callable[..., Any], turn: Callable[[Any], Any]) -> None:
        super().__init__()
        self.case, self.turn = case, turn

    def forward(self, *given: Any) -> Any:
        x, y, n, z, s = map(self.turn, given)
        x, y, s = (each.reshape(*n.shape, 4) for each in (x, y, s))  # so many features, always
        return self.case(x, y, n, z.reshape(*n.shape, 2, 3), s)


def as_they_are(a: Any) -> Any:
    return a


def time_first(a: Any) -> Any:
    return a.transpose(0, 1)


def channels_first(a: Any) -> Any:
    return a.movedim(1, -1) if a.dim() > 2 else a


def from_channels_first(a: Any) -> Any:
    return a.movedim(-1, 1) if a.dim() > 2 else a


# How a tensor of a case becomes an input, and back.
LAYOUTS = {
    "batch first": (as_they_are, as_they_are),
    "time first": (time_first, time_first),
    "channels first": (channels_first, from_channels_first),
}
# What is asked of two steps at least, or of a size that torch.export fixes.
SHORTEST = {windows: 5, picks: 2, views: 2, reductions: 2, norms: 2, products: 2}


def same(model: sc.Model, module: nn.Module, given: tuple[Any, ...], where: str) -> None:
    """Results, their shapes and kinds are torch's; what is no number too."""
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(module(*given))
    found = model(*(each.numpy() for each in given))
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(wanted)
    for k, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        place = f"{where}, output {k}"
        assert (ours.dtype.kind == "i") == (theirs.numpy().dtype.kind == "i"), place
        numbers = theirs.numpy().astype(np.float64)
        odd = ~np.isfinite(numbers)
        assert ours.shape == numbers.shape, place
        np.testing.assert_array_equal(ours[odd], numbers[odd], place)
        close(np.where(odd, 0, ours), np.where(odd, 0, numbers), FLOAT32[2], place)


# In the other layouts those whose dims matter.
ELSEWHERE = {
    "time first": [reductions, views, joins, picks],
    "channels first": [views, windows],
}


@pytest.mark.parametrize(
    ("case", "layout"),
    [(case, "batch first") for case in CASES]
    + [(case, layout) for layout, cases in ELSEWHERE.items() for case in cases],
)
def test_cases(case: Callable[..., Any], layout: str) -> None:
    turned, back = LAYOUTS[layout]
    module = Cases(case, back).eval()
    example = tuple(turned(each).contiguous() for each in inputs(3, 5))
    with torch.no_grad():
        module(*example)  # tables are made
    program = export_program(module, example)
    SEEN.update(".".join(node.target.split(".")[:2]) for node in program.nodes)
    model = model_of(program, "case")
    shapes = ((3, 5), (2, 17), (1, SHORTEST.get(case, 1)), (4, 5))
    for rows, steps in shapes if case is not fixed else shapes[:1]:
        given = tuple(turned(each).contiguous() for each in inputs(rows, steps))
        same(model, module, given, f"{layout}, {rows} rows of {steps}")


# ---- What is not here ----------------------------------------------------------------------------

NOT_HERE = {
    **dict.fromkeys([
        "aten.gru", "aten.gru_cell", "aten.lstm", "aten.lstm_cell", "aten.rnn_relu",
        "aten.rnn_relu_cell", "aten.rnn_tanh", "aten.rnn_tanh_cell", "seqcore.ragged",
        "seqcore.unpadded",
        "aten.vstack",
        "seqcore.activation",
    ], "recurrent layers, and names like another's, have tests of their own"),
    **dict.fromkeys([
        "aten.alias", "aten.cpu", "aten.lift", "aten.lift_fresh", "aten.requires_grad_",
        "aten.resolve_conj", "aten.resolve_neg", "aten.native_dropout",
        "aten.alpha_dropout", "aten.feature_alpha_dropout", "aten.feature_dropout",
        "aten.dropout", "aten.dropout_",
    ], "they do nothing to a tensor, and older versions of torch write them"),
    **dict.fromkeys([
        "aten.float", "aten.long", "aten.norm", "aten.numel", "aten.numpy_T", "aten.special_exp2",
        "aten.special_expit_", "aten.log_sigmoid_", "aten.gelu_", "aten.addmm_", "aten.baddbmm_",
        "aten.bitwise_not_",
        "aten.native_batch_norm", "aten._unsafe_view", "aten.sym_numel", "aten._prelu_kernel",
        "aten._fused_rms_norm",
    ], "torch writes another operator for the same function"),
}  # fmt: skip


# ---- As files, after run_decompositions ----------------------------------------------------------


def decomposed(x: Any, y: Any, n: Any, z: Any, s: Any) -> Any:
    del z, s
    w, b, v, turned = table(4), table(1, 4)[0], table(4).abs() + 0.1, x.transpose(1, 2)
    return (
        F.layer_norm(x, (4,), w, b, 1e-2), F.rms_norm(x, (4,), w, 0.1), x.softmax(-1),
        F.batch_norm(turned, b, v, w, b, eps=0.1), x.log_softmax(-1), F.linear(x, table(3, 4)),
        F.conv1d(turned, table(6, 4, 3), table(6), padding=1), F.pad(x, (1, 2), value=2.0),
        F.conv1d(turned, table(6, 2, 3), groups=2), n.float(), F.prelu(x, torch.tensor([0.3])),
        F.conv_transpose1d(turned, table(4, 3, 3), stride=2), F.embedding(n, table(9, 3)),
        torch.einsum("btd,bsd->bts", x, y), x.flatten(1), F.hardtanh(x, -0.3, 0.6), F.gelu(x),
    )  # fmt: skip


def test_decomposed(tmp_path: Any) -> None:
    module = Cases(decomposed, as_they_are).eval()
    example = inputs(3, 5)
    module(*example)  # tables are made
    auto = torch.export.Dim.AUTO
    sizes = (tuple({0: auto, 1: auto} for _ in example),)
    exported = torch.export.export(module, example, dynamic_shapes=sizes).run_decompositions()
    torch.export.save(exported, tmp_path / "m.pt2")
    program = read_pt2(tmp_path / "m.pt2")
    SEEN.update(".".join(node.target.split(".")[:2]) for node in program.nodes)
    model = model_of(program, "case")
    for rows, steps in ((3, 5), (2, 9)):
        same(model, module, inputs(rows, steps), f"{rows} rows of {steps}")


def test_every_operator_is_seen() -> None:
    """By the cases above, or it is said why torch does not write it."""
    unseen = OPERATORS.keys() - SEEN
    assert sorted(unseen - NOT_HERE.keys()) == []
    assert sorted(NOT_HERE.keys() - unseen) == []

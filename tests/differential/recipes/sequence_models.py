"""Recurrent layers, attention, normalizations over the last axes, losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.control import graph

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ACTIVATIONS: dict[str, Callable[[Any, float, float], Any]] = {
    "Tanh": lambda x, a, b: np.tanh(x),
    "Sigmoid": lambda x, a, b: 1 / (1 + np.exp(-x)),
    "Relu": lambda x, a, b: np.maximum(x, 0),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: np.where(x < 0, a * x, x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "Softplus": lambda x, a, b: np.log1p(np.exp(x)),
}
ARGUMENTS = {"Affine": 2, "LeakyRelu": 1, "HardSigmoid": 2}


@recipe("RNN", "GRU", "LSTM")
def recurrent(d: Draw) -> Node:
    steps, batch, features, hidden = d.extent(1, 4), d.extent(1, 3), d.wide(1, 5, 40), d.wide(1, 5, 40)
    direction = d.choice(["forward", "reverse", "bidirectional"])
    ways = 2 if direction == "bidirectional" else 1
    gates, kind = GATES[d.op], d.kind()
    attrs: dict[str, Any] = {"hidden_size": hidden}
    if direction != "forward" or d.version == 1 or d.chance():
        attrs["direction"] = direction
    layout = d.integer(0, 1) if d.has("layout") and d.chance() else 0
    if layout:
        attrs["layout"] = 1
    names = DEFAULTS[d.op] * ways
    alphas: list[float] = []
    betas: list[float] = []
    if d.chance(0.3):
        names = [d.choice(list(ACTIVATIONS)) for _ in names]
        attrs["activations"] = names
        for name in names:
            if name in ARGUMENTS:
                alphas.append(d.real(0.1, 0.9))
            if ARGUMENTS.get(name) == 2:
                betas.append(d.real(0.1, 0.9))
        if alphas:
            attrs["activation_alpha"] = alphas
        if betas:
            attrs["activation_beta"] = betas
    if d.chance(0.3):
        attrs["clip"] = d.real(0.5, 2)
    attrs.update(d.attributes(linear_before_reset=lambda: d.integer(0, 1), input_forget=lambda: d.integer(0, 1)))
    if d.has("output_sequence"):
        attrs["output_sequence"] = 1
    x = d.array(kind, (batch, steps, features) if layout else (steps, batch, features), -1, 1)
    bound = min(1, 4 / max(hidden, features))  # unbounded activations must not run away
    state = (batch, ways, hidden) if layout else (ways, batch, hidden)
    inputs: list[Any] = [
        x,
        d.array(kind, (ways, gates * hidden, features), -bound, bound),
        d.array(kind, (ways, gates * hidden, hidden), -bound, bound),
        d.array(kind, (ways, 2 * gates * hidden), -1, 1) if d.chance(0.6) else None,
        d.rng.integers(1, steps + 1, batch).astype(np.int32) if d.chance(0.3) else None,
        d.array(kind, state, -1, 1) if d.chance() else None,
    ]
    if d.op == "LSTM":
        inputs.append(d.array(kind, state, -1, 1) if d.chance() else None)
        inputs.append(d.array(kind, (ways, 3 * hidden), -1, 1) if d.chance(0.3) else None)
    while inputs[-1] is None:
        inputs.pop()
    wanted = ["y", "h", "c"][: 3 if d.op == "LSTM" else 2]
    if d.version > 1:
        wanted = [name if d.chance(0.8) else "" for name in wanted]
        while wanted and not wanted[-1]:
            wanted.pop()
        d.need(bool(wanted))

    def expect(x: Any, w: Any, r: Any, *rest: Any) -> Any:
        found = _recur(d.op, attrs, names, layout, x, w, r, *rest)
        return [y.astype(types.dtype(kind)) for y, name in zip(found, wanted) if name]

    return Node(inputs, attrs, outputs=wanted, steps=256 + 8 * hidden, scale=2 + hidden / 8, expect=expect)


def _recur(
    op: str,
    attrs: dict[str, Any],
    names: list[str],
    layout: int,
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lens: Any = None,
    h0: Any = None,
    c0: Any = None,
    p: Any = None,
) -> list[Any]:
    """Outputs Y, Y_h and Y_c in double precision."""
    hidden, ways, gates = attrs["hidden_size"], w.shape[0], GATES[op]
    x = x.astype(np.float64)
    h0, c0 = (None if s is None else s.astype(np.float64) for s in (h0, c0))
    if layout:
        x = x.swapaxes(0, 1)
        h0, c0 = (None if s is None else s.swapaxes(0, 1) for s in (h0, c0))
    steps, batch, _ = x.shape
    lens = np.full(batch, steps) if lens is None else lens
    clip = attrs.get("clip", np.inf)
    alphas, betas = list(attrs.get("activation_alpha", [])), list(attrs.get("activation_beta", []))
    functions = []
    for name in names:
        count = ARGUMENTS.get(name, 0)
        functions.append((name, alphas.pop(0) if count else 0, betas.pop(0) if count == 2 else 0))

    def act(k: int, v: Any, most: float = clip) -> Any:
        name, alpha, beta = functions[k]
        return ACTIVATIONS[name](np.clip(v, -most, most), alpha, beta)

    y = np.zeros((steps, ways, batch, hidden))
    last_h, last_c = np.zeros((ways, batch, hidden)), np.zeros((ways, batch, hidden))
    for way in range(ways):
        first = way * len(functions) // ways
        wm, rm = (np.split(m[way].astype(np.float64), gates) for m in (w, r))
        bias = np.zeros(2 * gates * hidden) if b is None else b[way].astype(np.float64)
        bs = np.split(bias, 2 * gates)
        peep = np.split(np.zeros(3 * hidden) if p is None else p[way].astype(np.float64), 3)
        backward = attrs.get("direction") == "reverse" or way == 1
        for n in range(batch):
            h = np.zeros(hidden) if h0 is None else h0[way, n]
            c = np.zeros(hidden) if c0 is None else c0[way, n]
            order = range(lens[n])
            for t in reversed(order) if backward else order:
                xs = [m @ x[t, n] + bs[k] for k, m in enumerate(wm)]
                hs = [m @ h + bs[gates + k] for k, m in enumerate(rm)]
                if op == "RNN":
                    h = act(first, xs[0] + hs[0])
                elif op == "GRU":
                    z, reset = act(first, xs[0] + hs[0]), act(first, xs[1] + hs[1])
                    if attrs.get("linear_before_reset"):
                        new = act(first + 1, xs[2] + reset * hs[2])
                    else:
                        new = act(first + 1, xs[2] + rm[2] @ (reset * h) + bs[gates + 2])
                    h = (1 - z) * new + z * h
                else:
                    i = act(first, xs[0] + hs[0] + peep[0] * c)
                    f = 1 - i if attrs.get("input_forget") else act(first, xs[2] + hs[2] + peep[2] * c)
                    c = f * c + i * act(first + 1, xs[3] + hs[3])
                    h = act(first, xs[1] + hs[1] + peep[1] * c) * act(first + 2, c, np.inf)
                y[t, way, n] = h
            last_h[way, n], last_c[way, n] = h, c
    if layout:
        return [y.transpose(2, 0, 1, 3), last_h.swapaxes(0, 1), last_c.swapaxes(0, 1)]
    return [y, last_h, last_c]


@recipe("Attention")
def attention(d: Draw) -> Node:
    t1, t2 = d.kind("T1"), d.kind("T2")
    batch, groups, kv = d.extent(1, 2), d.choice([1, 1, 2, 3]), d.extent(1, 3)
    heads = groups * kv
    q_len, kv_len, size, v_size = d.wide(1, 5, 70), d.wide(1, 5, 70), 2 * d.wide(1, 4, 40), d.wide(1, 6, 40)
    flat = d.chance(0.3)
    attrs: dict[str, Any] = {}
    if flat:
        attrs.update(q_num_heads=heads, kv_num_heads=kv)
        q, k = d.array(t1, (batch, q_len, heads * size)), d.array(t1, (batch, kv_len, kv * size))
        v = d.array(t2, (batch, kv_len, kv * v_size))
    else:
        q, k = d.array(t1, (batch, heads, q_len, size)), d.array(t1, (batch, kv, kv_len, size))
        v = d.array(t2, (batch, kv, kv_len, v_size))
    past = d.extent(1, 4) if d.chance(0.3) else 0
    attrs.update(
        d.attributes(
            is_causal=lambda: d.integer(0, 1),
            scale=lambda: d.real(0.2, 1),
            softcap=lambda: d.choice([0.0, d.real(1, 5)]),
            left_window_size=lambda: d.integer(-1, 3),
            right_window_size=lambda: d.integer(-1, 3),
        )
    )
    u = d.kind("U")
    mask: Any = None
    if d.chance() or "U" in d.pinned:
        rows = d.choice([(q_len,), (1, q_len), (batch, heads, q_len), (1, 1, q_len)])
        mask = d.array(u, (*rows, past + kv_len), -2, 2)
        if types.element(u) == "bool":
            mask[..., 0] = True
    inputs: list[Any] = [q, k, v, mask]
    if past:
        inputs += [d.array(t1, (batch, kv, past, size)), d.array(t2, (batch, kv, past, v_size))]
    while inputs[-1] is None:
        inputs.pop()
    outputs = d.choice([1, 1, 3, 4]) if past else d.choice([1, 1, 4])
    wanted = ["y", "k", "v", "qk"][:outputs]
    if outputs == 4:
        attrs["qk_matmul_output_mode"] = d.integer(0, 3)
        if attrs["qk_matmul_output_mode"] == 0:  # whether the cap comes before what is shown changed over time
            attrs.pop("softcap", None)
        if not past:
            wanted = ["y", "", "", "qk"]
    kinds = [t1, t1, t2, u if mask is not None else None, t1, t2][: len(inputs)]
    like = None
    if mask is not None and types.is_integer(u):
        floats = [*kinds[:3], "tensor(float)", *kinds[4:]]
        like = Node([*inputs[:3], mask.astype(np.float32), *inputs[4:]], attrs, kinds=floats, version=d.version)
    return Node(inputs, attrs, kinds=kinds, outputs=wanted, steps=512, scale=8, roundings=4, single=t1 != t2, like=like)


@recipe("FlexAttention", domain="ai.onnx.preview")
def flex_attention(d: Draw) -> Node:
    kind = d.kind("T1")
    batch, groups, kv = d.extent(1, 2), d.choice([1, 2]), d.extent(1, 3)
    q_len, kv_len, size, v_size = d.extent(1, 5), d.extent(1, 5), d.extent(1, 8), d.extent(1, 6)
    q = d.array(kind, (batch, groups * kv, q_len, size), -2, 2)
    k, v = d.array(kind, (batch, kv, kv_len, size), -2, 2), d.array(kind, (batch, kv, kv_len, v_size), -2, 2)
    attrs: dict[str, Any] = d.attributes(scale=lambda: d.real(0.2, 1))
    inner = kind if types.element(kind) == "double" else "tensor(float)"
    for name, op in (("score_mod", "Tanh"), ("prob_mod", "Sqrt")):
        if d.chance(0.4):
            attrs[name] = graph([helper.make_node(op, ["s"], ["t"])], [("s", inner)], [("t", inner)])
    scale = attrs.get("scale", 1 / np.sqrt(size))

    def expect(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (m.astype(np.float64) for m in (q, k, v))
        k, v = np.repeat(k, groups, 1), np.repeat(v, groups, 1)
        s = q @ k.swapaxes(2, 3) * scale
        s = np.tanh(s) if "score_mod" in attrs else s
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return ((np.sqrt(p) if "prob_mod" in attrs else p) @ v).astype(types.dtype(kind))

    return Node([q, k, v], attrs, steps=256, scale=8, expect=expect, only=True)


@recipe("RotaryEmbedding")
def rotary_embedding(d: Draw) -> Node:
    kind = d.kind()
    batch, heads, length, size = d.extent(1, 2), d.extent(1, 3), d.extent(1, 4), 2 * d.extent(1, 4)
    attrs: dict[str, Any] = d.attributes(interleaved=lambda: d.integer(0, 1))
    rotated = size
    if d.chance(0.3) and size > 2:
        rotated = attrs["rotary_embedding_dim"] = size - 2
    if d.chance(0.4):
        attrs["num_heads"] = heads
        x = d.array(kind, (batch, length, heads * size))
    else:
        x = d.array(kind, (batch, heads, length, size))
    if d.chance(0.7):
        rows = d.extent(length, length + 4)
        cos, sin = (d.array(kind, (rows, rotated // 2), -1, 1) for _ in range(2))
        return Node([x, cos, sin, d.rng.integers(0, rows, (batch, length))], attrs, scale=8)
    cos, sin = (d.array(kind, (batch, length, rotated // 2), -1, 1) for _ in range(2))
    return Node([x, cos, sin], attrs, scale=8)


@recipe("LinearAttention")
def linear_attention(d: Draw) -> Node:
    batch, length, kv, groups = d.extent(1, 2), d.extent(1, 4), d.extent(1, 2), d.choice([1, 2])
    size, v_size = d.extent(1, 4), d.extent(1, 4)
    rule = d.choice(["linear", "gated", "delta", "gated_delta"])
    attrs = {"q_num_heads": kv * groups, "kv_num_heads": kv, "update_rule": rule}
    if d.chance():
        attrs["scale"] = d.real(0.3, 1)
    inputs: list[Any] = [
        d.array(d.kind("T"), (batch, length, kv * groups * size), -1, 1),
        d.array(d.kind("T"), (batch, length, kv * size), -0.5, 0.5),
        d.array(d.kind("T"), (batch, length, kv * v_size), -1, 1),
        d.array(d.kind("S"), (batch, kv, size, v_size), -1, 1) if d.chance() else None,
        d.array(d.kind("T"), (batch, length, kv * d.choice([1, size])), -1, 0) if rule.startswith("gated") else None,
        d.array(d.kind("T"), (batch, length, d.choice([kv, 1])), 0, 1) if rule.endswith("delta") else None,
    ]
    while inputs[-1] is None:
        inputs.pop()
    if len(inputs) < 4 or inputs[3] is None:
        d.bind("S", d.kind("T"))
    return Node(inputs, attrs, outputs=2, steps=512, scale=4, roundings=4)


@recipe("CausalConvWithState")
def causal_conv(d: Draw) -> Node:
    batch, c, length, k = d.extent(1, 3), d.extent(1, 4), d.extent(1, 6), d.extent(1, 4)
    inputs: list[Any] = [
        d.array(d.kind(), (batch, c, length)),
        d.array(d.kind(), (c, 1, k)),
        d.array(d.kind(), (c,)) if d.chance() else None,
        d.array(d.kind(), (batch, c, k - 1)) if d.chance() else None,
    ]
    while inputs[-1] is None:
        inputs.pop()
    activations = d.attributes(activation=lambda: d.choice(["none", "silu", "swish"]))
    return Node(inputs, activations, outputs=2, steps=64, scale=64, roundings=2)


@recipe("LayerNormalization")
def layer_norm(d: Draw) -> Node:
    x = d.array(d.kind("T"), d.shape(1, 4, empty=0, most=7), -4, 4)
    axis = d.axis(x.ndim)
    d.need(int(np.prod(x.shape[axis:])) > 1)
    attrs = {"axis": axis, **d.attributes(epsilon=lambda: d.real(1e-3, 1e-1))}
    if d.name("U") == "bfloat16":
        attrs["stash_type"] = types.number("bfloat16")
        outputs = 1
        d.need("U" in d.pinned)
    else:
        outputs = d.choice([1, 1, 2, 3])
    weights = [d.array(d.kind("T"), x.shape[axis:]) for _ in range(d.integer(1, 2))]
    return Node([x, *weights], attrs, outputs=outputs, steps=512, scale=16, roundings=2, single=True)


@recipe("RMSNormalization")
def rms_norm(d: Draw) -> Node:
    x = d.array(d.kind("T"), d.shape(1, 4, empty=0, most=7), -4, 4)
    axis = d.axis(x.ndim)
    attrs = {"axis": axis, **d.attributes(epsilon=lambda: d.real(1e-3, 1e-1))}
    return Node([x, d.array(d.kind("V"), x.shape[axis:])], attrs, steps=256, scale=16, roundings=2, single=True)


@recipe("LpNormalization")
def lp_norm(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0), 0.5, 4)
    attrs = d.attributes(axis=lambda: d.axis(x.ndim), p=lambda: d.integer(1, 2))
    return Node([x], attrs, steps=64)


@recipe("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(d: Draw) -> Node:
    n, c = d.extent(1, 4), d.extent(1, 5)
    rest = d.shape(0, 2, empty=0)
    x = d.array(d.kind("T"), (n, c, *rest), -3, 3)
    target = d.rng.integers(0, c, (n, *rest)).astype(types.dtype(d.kind("Tind")))
    weight = [d.array(d.kind("T"), (c,), 0.5, 2)] if d.chance() else []
    attrs = d.attributes(ignore_index=lambda: d.integer(0, c - 1), reduction=lambda: d.choice(["none", "mean", "sum"]))
    ignored = attrs.get("ignore_index")
    d.need(ignored is None or bool((target != ignored).any()))
    outputs = d.choice([1, 2]) if d.op == "SoftmaxCrossEntropyLoss" else 1
    return Node([x, target, *weight], attrs, outputs=outputs, steps=64 + x.size, scale=8 * x.size)

"""Attention, QAttention and QEmbedLayerNormalization of com.microsoft, judged by onnxruntime where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.harness import Case, check, const, raises
from tests.ops.peer import PeerCase, ints, mask

rng = np.random.default_rng(13)

TOLERANCE = {"rtol": 2e-5, "atol": 1e-5}
HALF = {"rtol": 2e-2, "atol": 2e-2}


def floats(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def projection(batch: int, rows: int, inner: int, columns: int) -> list[Any]:
    weights = floats(inner, columns) / np.float32(np.sqrt(inner))
    return [floats(batch, rows, inner), const(weights), const(floats(columns))]


def attention(name: str, inputs: list[Any], outputs: int = 1, heads: int = 2, **attrs: Any) -> PeerCase:
    half = inputs[0].dtype == np.float16
    return PeerCase(
        "Attention",
        inputs,
        {"num_heads": heads, **attrs},
        outputs=outputs,
        id=name,
        **(HALF if half else TOLERANCE),
    )


def expected(name: str, inputs: list[Any], expect: Any, outputs: int = 1, heads: int = 2, **attrs: Any) -> Case:
    return Case(
        "Attention",
        inputs,
        {"num_heads": heads, **attrs},
        domain="com.microsoft",
        outputs=outputs,
        id=name,
        expect=expect,
        **TOLERANCE,
    )


def numpy_attention(
    x: np.ndarray,
    w: np.ndarray,
    b: Any = None,
    add: Any = 0.0,
    past: Any = None,
    turned: int = 0,
    heads: int = 2,
) -> list[np.ndarray]:
    """Output and present in float64."""
    y = x.astype(np.float64) @ w + (0 if b is None else b)
    q, k, v = (t.reshape(*t.shape[:2], heads, -1).transpose(0, 2, 1, 3) for t in np.split(y, 3, -1))
    before = 0 if past is None else past.shape[3]
    if turned:
        half = turned // 2
        angles = np.arange(before, before + x.shape[1])[:, None] * 10000.0 ** (-np.arange(half) / half)
        for t in (q, k):
            left, right = t[..., :half].copy(), t[..., half:turned].copy()
            t[..., :half] = left * np.cos(angles) - right * np.sin(angles)
            t[..., half:turned] = left * np.sin(angles) + right * np.cos(angles)
    if past is not None:
        k, v = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + add
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    found = weights / weights.sum(-1, keepdims=True) @ v
    found = found.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
    return [found.astype(np.float32), np.stack([k, v]).astype(np.float32)]


P = projection(2, 3, 8, 24)
X, W, B = P[0], P[1].value, P[2].value
PAST = floats(2, 2, 2, 5, 4)
ROOM = floats(2, 2, 2, 9, 4)
LOWER = mask(rng, 2, 1, 9, 9)


def shared(x: np.ndarray, w: np.ndarray, b: np.ndarray, *_: Any) -> list[np.ndarray]:
    y, present = numpy_attention(x, w, b, past=ROOM[:, :, :, :4])
    held = ROOM.copy()
    held[:, :, :, :7] = present
    return [y, held]


def with_square(x: np.ndarray, w: np.ndarray, b: np.ndarray, *_: Any) -> list[np.ndarray]:
    return numpy_attention(x, w, b, np.where(LOWER[:, :, 5:8, :8] > 0, 0.0, -3.0), PAST)


test_attention = check(
    [
        *(
            attention(f"{b}x{s}x{n}x{h}", projection(b, s, inner, 3 * n * h), heads=n)
            for b, s, inner, n, h in ((1, 1, 1, 1, 1), (2, 3, 8, 2, 4), (1, 130, 24, 3, 8), (2, 17, 40, 5, 7))
        ),
        attention("half", [x.astype(np.float16) for x in (X, W, B)], 2),
        attention("scale", P, scale=0.3),
        attention("sizes", projection(2, 3, 8, 8 + 8 + 12), qkv_hidden_sizes=[8, 8, 12]),
        attention("pruned", projection(2, 3, 16, 24), 2),
        *(
            attention(f"mask-{name}", [*P, m], mask_filter_value=filter_value)
            for filter_value in (-10000.0, -3.0)
            for name, m in (
                ("ends", ints(2, 3)),
                ("ends-and-starts", ints(2, 3, 1, 0)),
                ("overlap", ints(1, 3, 2, 0)),
                ("lengths-and-offsets", ints(1, 3, 0, 0, 0, 0, 0, 0)),
                ("rows", mask(rng, 2, 3)),
                ("square", mask(rng, 2, 3, 3)),
                ("idle", ints([0], [1])),
                ("idle-one", ints([0])),
            )
        ),
        attention("mask-far", [*P, ints(9, 2)]),
        attention("causal", P, unidirectional=1),
        attention("causal-long", projection(1, 150, 8, 24), unidirectional=1),
        attention("causal-mask", [*P, mask(rng, 2, 3)], unidirectional=1, mask_filter_value=-3.0),
        attention("bias", [*P, None, None, floats(2, 2, 3, 3)]),
        attention("bias-mask", [*P, ints(2, 3), None, floats(1, 1, 3, 3)]),
        attention("present", P, 2),
        attention("past", [*P, None, PAST], 2),
        attention("past-empty", [*P, None, PAST[:, :, :, :0]], 2),
        attention("past-causal", [*P, None, PAST], 2, unidirectional=1),
        attention("past-decode", [*projection(2, 1, 8, 24), mask(rng, 2, 6), PAST], 2, unidirectional=1),
        attention("past-ends", [*P, ints(7, 8), PAST], 2, mask_filter_value=-3.0),
        attention("past-square", [*P, mask(rng, 2, 3, 8), PAST], 2, mask_filter_value=-3.0),
        expected("no-bias", P[:2], lambda x, w: numpy_attention(x, w)[:1]),
        expected("past-only", [*P, None, PAST], lambda x, w, b, *_: numpy_attention(x, w, b, past=PAST)[:1]),
        expected(
            "past-bias",
            [*P, None, PAST, BIAS := floats(2, 2, 3, 8)],
            lambda x, w, b, *_: numpy_attention(x, w, b, BIAS, PAST),
            2,
        ),
        expected("mask-4d", [*P, LOWER, PAST], with_square, 2, mask_filter_value=-3.0),
        expected("shared", [*P, None, ROOM, None, ints(4)], shared, 2, past_present_share_buffer=1),
        expected("rotary", P, lambda x, w, b: numpy_attention(x, w, b, turned=4)[:1], do_rotary=1),
        expected(
            "rotary-past",
            [*P, None, PAST],
            lambda x, w, b, *_: numpy_attention(x, w, b, past=PAST, turned=2),
            2,
            do_rotary=1,
            rotary_embedding_dim=2,
        ),
        raises(attention("heads", P, heads=5), "5 heads cannot share"),
        raises(attention("sizes", P, qkv_hidden_sizes=[8, 8, 12]), "add up to 28"),
        raises(attention("sizes-heads", P, qkv_hidden_sizes=[9, 9, 6]), "cannot share"),
        raises(attention("sizes-apart", P, qkv_hidden_sizes=[8, 6, 10]), "one size"),
        raises(attention("inner", [X[:, :, :7], *P[1:]]), "the weights"),
        raises(attention("bias", [*P[:2], floats(23)]), "the bias is"),
        raises(attention("mask", [*P, mask(rng, 2, 4)]), "the mask is"),
        raises(attention("mask-4d", [*P, mask(rng, 2, 1, 2, 2)]), "the mask is"),
        raises(attention("past", [*P, None, PAST[:1]], 2), "past is"),
        raises(attention("rank", [X[0], *P[1:]]), "input is"),
        raises(attention("shared", [*P, None, ROOM], 2, past_present_share_buffer=1), "past_sequence_length"),
        raises(attention("room", [*P, None, ROOM, None, ints(7)], 2, past_present_share_buffer=1), "the cache holds 9"),
    ]
)


def codes(dtype: Any, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def quantized(
    name: str, rows: int, weight: Any, columns: bool, *rest: Any, kind: Any = np.uint8, outputs: int = 1, **attrs: Any
) -> PeerCase:
    count = 24 if columns else 1
    scale = (rng.random(count) * 1e-3 + 3e-3).astype(np.float32)
    given = [*rest, None] if rest else [None, None]
    inputs = [
        codes(kind, 2, rows, 16),
        const(codes(weight, 16, 24)),
        const(floats(24)),
        const(np.float32([0.02])),
        const(scale if columns else scale[0]),
        given[0],
        const(codes(kind, 1)),
        const(codes(weight, count)),
        given[1],
    ]
    while inputs[-1] is None:
        inputs.pop()
    return PeerCase("QAttention", inputs, {"num_heads": 2, **attrs}, outputs=outputs, id=name, rtol=1e-4, atol=1e-4)


def signed(name: str, weight: Any, columns: bool) -> Case:
    """A signed input, which onnxruntime refuses: 128 more with a zero point 128 higher is the same."""
    case = quantized(name, 3, weight, columns, kind=np.int8)
    judge = PeerCase(case.op, list(case.inputs), case.attrs)
    for i in (0, 6):
        value = case.inputs[i].value if i else case.inputs[i]
        lifted = (value.astype(np.int32) + 128).astype(np.uint8)
        judge.inputs[i] = const(lifted) if i else lifted
    return Case(
        case.op,
        case.inputs,
        case.attrs,
        domain="com.microsoft",
        id=name,
        rtol=1e-4,
        atol=1e-4,
        expect=lambda *_: judge.expected(),
    )


test_quantized_attention = check(
    [
        *(
            quantized(f"{np.dtype(w)}-{columns}", 3, w, columns)
            for w in (np.uint8, np.int8)
            for columns in (False, True)
        ),
        quantized("mask", 3, np.int8, False, ints(2, 3)),
        quantized("mask-rows", 3, np.int8, False, mask(rng, 2, 3), mask_filter_value=-2.0),
        quantized("causal", 5, np.int8, True, unidirectional=1),
        quantized("present", 5, np.int8, True, unidirectional=1, outputs=2),
        quantized("past", 3, np.int8, True, mask(rng, 2, 8), PAST, outputs=2),
        quantized("past-decode", 1, np.uint8, False, None, PAST, outputs=2, unidirectional=1),
        signed("signed-a", np.int8, False),
        signed("signed-b", np.uint8, True),
    ]
)


def embed(name: str, dtype: Any, segments: bool, masked: bool, one: Any = lambda x: x) -> PeerCase:
    def table(*shape: int) -> Any:
        return const(codes(dtype, *shape))

    def scale() -> Any:
        return const(one(np.float32(rng.random() * 0.05 + 0.01)))

    def zero() -> Any:
        return const(one(codes(dtype)))

    some = (lambda x: x) if segments else (lambda _: None)
    inputs = [
        rng.integers(0, 11, (2, 5)).astype(np.int32),
        some(rng.integers(0, 3, (2, 5)).astype(np.int32)),
        table(11, 12),
        table(7, 12),
        some(table(3, 12)),
        table(12),
        table(12),
        rng.integers(0, 3, (2, 5)).astype(np.int32) if masked else None,
        scale(),
        scale(),
        some(scale()),
        scale(),
        scale(),
        zero(),
        zero(),
        some(zero()),
        zero(),
        zero(),
    ]
    return PeerCase("QEmbedLayerNormalization", inputs, {"epsilon": 1e-5}, outputs=2, id=name, rtol=1e-4, atol=1e-4)


test_quantized_embedding = check(
    [
        embed("signed", np.int8, True, True),
        embed("unsigned", np.uint8, True, False),
        embed("no-segments", np.uint8, False, True),
        embed("vectors", np.int8, True, True, lambda x: np.reshape(x, (1,))),
    ]
)

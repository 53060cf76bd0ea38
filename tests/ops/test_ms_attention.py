"""MultiHeadAttention, RotaryEmbedding and their relatives of com.microsoft, judged by onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.harness import Case, check, const, raises
from tests.ops.peer import PeerCase, ints, mask

rng = np.random.default_rng(11)

# A few sums of products away from one another.
TOLERANCE = {"rtol": 2e-5, "atol": 3e-6}
HALF = {"rtol": 2e-2, "atol": 4e-3}


def floats(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return rng.normal(size=shape).astype(dtype)


def mha(name: str, inputs: list[Any], outputs: int | list[str] = 1, heads: int = 2, **attrs: Any) -> PeerCase:
    half = inputs[0].dtype != np.float32
    return PeerCase(
        "MultiHeadAttention",
        inputs,
        {"num_heads": heads, **attrs},
        outputs=outputs,
        id=name,
        **(HALF if half else TOLERANCE),
    )


def apart(batch: int, rows: int, keys: int, heads: int, size: int, value: int | None = None) -> list[np.ndarray]:
    width = heads * (value or size)
    return [floats(batch, rows, heads * size), floats(batch, keys, heads * size), floats(batch, keys, width)]


def packed(name: str, inputs: list[Any], heads: int, **attrs: Any) -> Case:
    """A case with packed inputs, judged by the same with separate ones."""
    query, key, *rest = [*inputs, None] if len(inputs) == 1 else inputs
    if key is None:
        parts = [query[:, :, :, i].reshape(*query.shape[:2], -1) for i in range(3)]
    else:
        parts = [query, *(key[:, :, :, i].reshape(*key.shape[:2], -1) for i in range(2))]
    judge = PeerCase("MultiHeadAttention", [*parts, *rest], {"num_heads": heads, **attrs})
    given = [query] if key is None and not rest else [query, key, None, *rest]
    return Case(
        "MultiHeadAttention",
        given,
        {"num_heads": heads, **attrs},
        domain="com.microsoft",
        id=name,
        expect=lambda *_: judge.expected(),
        **TOLERANCE,
    )


PAST = [floats(2, 2, 5, 4), floats(2, 2, 5, 4)]
QKV = apart(2, 3, 3, 2, 4)
CROSS = apart(2, 3, 5, 2, 4)
BEAMS = [*apart(4, 1, 1, 2, 4), None, None, None, floats(4, 2, 6, 4), floats(4, 2, 6, 4), ints(3)]

test_multi_head_attention = check(
    [
        *(
            mha(f"plain-{b}x{s}x{t}x{n}x{h}", apart(b, s, t, n, h), heads=n)
            for b, s, t, n, h in (
                (1, 1, 1, 1, 1),
                (2, 3, 3, 2, 4),
                (1, 7, 5, 3, 9),
                (2, 1, 17, 4, 16),
                (1, 130, 67, 2, 24),
                (3, 5, 300, 1, 33),
            )
        ),
        mha("value-size", [*apart(2, 3, 5, 2, 4, 6), const(floats(2 * (4 + 4 + 6)))]),
        mha("bias", [*QKV, const(floats(24))], 3),
        mha("scale", QKV, scale=0.7),
        mha("half", [x.astype(np.float16) for x in QKV]),
        mha("half-present", [x.astype(np.float16) for x in [*QKV, floats(24)]], 3),
        mha("lengths", [*CROSS, None, ints(2, 5)]),
        mha("lengths-filter", [*CROSS, None, ints(0, 7)], mask_filter_value=-3.0),
        mha("lengths-and-offsets", [*CROSS, None, ints(2, 5, 0, 0, 0, 0, 0, 0)]),
        mha("padding", [*CROSS, None, mask(rng, 2, 5)]),
        mha("padding-filter", [*CROSS, None, mask(rng, 2, 5)], mask_filter_value=-1.5),
        mha("padding-rows", [*CROSS, None, mask(rng, 2, 3, 5)], mask_filter_value=-2.0),
        *(mha(f"addend-{b}x{n}", [*CROSS, None, None, floats(b, n, 3, 5)]) for b in (1, 2) for n in (1, 2)),
        mha("addend-padding", [*CROSS, floats(24), mask(rng, 2, 5), floats(2, 1, 3, 5)], mask_filter_value=-2.0),
        mha("addend-lengths", [*CROSS, None, ints(4, 2), floats(1, 2, 3, 5)], mask_filter_value=-2.0),
        mha("causal", QKV, unidirectional=1),
        mha("causal-cross", CROSS, unidirectional=1),
        mha("causal-one-row", apart(2, 1, 5, 2, 4), unidirectional=1),
        mha("causal-long", apart(1, 150, 150, 2, 8), unidirectional=1),
        mha("causal-padding", [*QKV, None, mask(rng, 2, 3)], unidirectional=1, mask_filter_value=-2.0),
        mha("past", [*QKV, None, None, None, *PAST], 3),
        mha("past-bias", [*QKV, floats(24), None, None, *PAST], 3),
        mha("past-padding", [*QKV, None, mask(rng, 2, 8), floats(1, 2, 3, 8), *PAST], 3),
        mha("past-padding-rows", [*QKV, None, mask(rng, 2, 3, 8), None, *PAST], 3),
        mha("past-causal", [*QKV, None, None, None, *PAST], 3, unidirectional=1),
        mha("past-decode", [*apart(2, 1, 1, 2, 4), floats(24), mask(rng, 2, 6), None, *PAST], 3, unidirectional=1),
        mha("past-empty", [*QKV, None, None, None, PAST[0][:, :, :0], PAST[1][:, :, :0]], 3),
        mha("present", QKV, 3),
        mha("cross-4d", [QKV[0], *PAST]),
        mha("cross-4d-bias", [QKV[0], *PAST, floats(24)]),
        mha("cross-4d-padding", [QKV[0], *PAST, None, mask(rng, 2, 5)]),
        mha("shared", [*QKV, None, None, None, floats(2, 2, 9, 4), floats(2, 2, 9, 4), ints(4)], 3),
        mha("shared-empty", [*QKV, None, None, None, floats(2, 2, 3, 4), floats(2, 2, 3, 4), ints(0)], 3),
        mha("beams", [*BEAMS, rng.integers(0, 2, (2, 2, 6)).astype(np.int32)], 3),
        mha(
            "beams-3",
            [
                *(x if x is None else np.concatenate([x, x[:2]])[:6] if x.ndim > 1 else x for x in BEAMS),
                rng.integers(0, 3, (2, 3, 6)).astype(np.int32),
            ],
            3,
        ),
        packed("packed", [floats(2, 5, 3, 3, 4)], 3),
        packed("packed-bias", [floats(2, 5, 3, 3, 4), None, floats(36)], 3),
        packed("packed-kv", [floats(2, 3, 12), floats(2, 5, 3, 2, 4)], 3),
        packed("packed-kv-padding", [floats(2, 3, 12), floats(2, 5, 3, 2, 4), None, mask(rng, 2, 5)], 3),
        raises(mha("heads", QKV, heads=3), "num_heads"),
        raises(mha("ranks", [QKV[0], PAST[0], QKV[2]]), "query, key and value are"),
        raises(mha("mask", [*QKV, None, mask(rng, 2, 4)]), "mask is"),
        raises(mha("mask-1d", [*QKV, None, ints(1, 2, 3)]), "mask is"),
        raises(mha("mask-negative", [*QKV, None, ints(1, -2)]), "has -2 keys"),
        raises(mha("addend", [*QKV, None, None, floats(1, 1, 1, 3)]), "attention_bias is"),
        raises(mha("past-one", [*QKV, None, None, None, PAST[0]]), "given together"),
        raises(mha("past-shape", [*QKV, None, None, None, PAST[0], floats(2, 2, 4, 4)]), "past_key and past_value are"),
        raises(mha("past-length", [*QKV, None, None, None, *PAST, ints(3)]), "the cache holds 5"),
        raises(mha("bias", [*QKV, floats(23)]), "bias is"),
        raises(mha("beams", [*BEAMS, ints(*[2] * 24).reshape(2, 2, 6)]), "cache_indirection holds 2"),
    ]
)


# onnxruntime forgets the past where the present is not wanted.
test_past_without_present = check(
    [
        Case(
            "MultiHeadAttention",
            [*QKV, bias, None, None, *PAST],
            {"num_heads": 2},
            domain="com.microsoft",
            id=name,
            expect=lambda *_, bias=bias: mha("", [*QKV, bias, None, None, *PAST], 3).expected()[0],
            **TOLERANCE,
        )
        for name, bias in (("plain", None), ("bias", floats(24)))
    ]
)


def rotary(name: str, inputs: list[Any], **attrs: Any) -> PeerCase:
    return PeerCase("RotaryEmbedding", inputs, attrs, id=name, **(HALF if inputs[0].dtype == np.float16 else {}))


CACHES = [const(floats(10, 8)), const(floats(10, 8))]
SMALL = [const(floats(10, 4)), const(floats(10, 4))]
IDS = np.array([[0, 1, 2], [3, 9, 4]], np.int64)

test_rotary_embedding = check(
    [
        *(
            rotary(f"{name}-{ids.ndim}-{interleaved}", [x, ids, *CACHES], interleaved=interleaved)
            for name, x in (("3d", floats(2, 3, 32)), ("4d", floats(2, 2, 3, 16)))
            for ids in (IDS, np.array([4], np.int64))
            for interleaved in (0, 1)
        ),
        rotary("offset-scalar", [floats(2, 3, 32), np.array(7, np.int64), *CACHES]),
        rotary("scale", [floats(2, 3, 32), IDS, *CACHES], scale=2.0),
        rotary("packed", [floats(2, 12, 32), np.tile(IDS, (1, 4)), *CACHES], is_packed_batching=1),
        rotary("partial", [floats(2, 3, 32), IDS, *SMALL], num_heads=2, rotary_embedding_dim=8),
        rotary("partial-4d", [floats(2, 2, 3, 16), IDS, *SMALL], num_heads=2, rotary_embedding_dim=8, interleaved=1),
        rotary("heads", [floats(2, 3, 32), IDS, *SMALL], num_heads=4),
        rotary(
            "half",
            [
                x.astype(np.float16) if x is not IDS else x
                for x in (floats(2, 3, 32), IDS, floats(10, 8), floats(10, 8))
            ],
        ),
        raises(rotary("position", [floats(2, 3, 32), IDS + 1, *CACHES]), "position_ids hold 10"),
        raises(rotary("offset", [floats(2, 3, 32), np.array([8], np.int64), *CACHES]), "the first of 3 positions"),
        raises(rotary("ids", [floats(2, 3, 32), IDS[:1], *CACHES]), "position_ids are"),
        raises(rotary("columns", [floats(2, 3, 32), IDS, *CACHES], num_heads=4), "half as many columns"),
        raises(rotary("long", [floats(2, 12, 32), np.tile(IDS, (1, 4)), *CACHES]), "there are 12 positions"),
        raises(rotary("dim", [floats(2, 3, 32), IDS, *SMALL], rotary_embedding_dim=8), "needs 'num_heads'"),
        raises(rotary("rank", [floats(3, 32), IDS, *CACHES]), "3 or 4 axes"),
    ]
)

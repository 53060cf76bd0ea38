"""GroupQueryAttention of com.microsoft judged by onnxruntime."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tests.ops.harness import Case, check, const, raises
from tests.ops.peer import PeerCase, ints

rng = np.random.default_rng(12)

TOLERANCE = {"rtol": 2e-5, "atol": 3e-6}
HALF = {"rtol": 2e-2, "atol": 4e-3}


def floats(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def inputs(
    q: np.ndarray,
    lengths: list[int],
    total: int,
    key: np.ndarray | None = None,
    value: np.ndarray | None = None,
    past: list[np.ndarray] | None = None,
    rotary: list[Any] | None = None,
    ids: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    sink: np.ndarray | None = None,
    scales: list[Any] | None = None,
    norms: list[np.ndarray] | None = None,
) -> list[Any]:
    found = [q, key, value, *(past or [None, None]), ints(*lengths), np.array(total, np.int32)]
    found += [*(rotary or [None, None]), ids, bias, sink, *(scales or [None, None]), *(norms or [])]
    while found[-1] is None:
        found.pop()
    return found


def case(name: str, q: Any, *args: Any, heads: int = 4, kv: int = 2, outputs: int = 3, **given: Any) -> PeerCase:
    fields = {"key", "value", "past", "rotary", "ids", "bias", "sink", "scales", "norms"}
    attrs = {k: v for k, v in given.items() if k not in fields}
    parts = {k: v for k, v in given.items() if k in fields}
    half = q.dtype == np.float16
    return PeerCase(
        "GroupQueryAttention",
        inputs(q, *args, **parts),
        {"num_heads": heads, "kv_num_heads": kv, **attrs},
        outputs=outputs,
        id=name,
        **(HALF if half else TOLERANCE),
    )


def apart(batch: int, rows: int, heads: int = 4, kv: int = 2, size: int = 16) -> tuple[np.ndarray, dict[str, Any]]:
    key, value = floats(batch, rows, kv * size), floats(batch, rows, kv * size)
    return floats(batch, rows, heads * size), {"key": key, "value": value}


def past(batch: int, length: int, kv: int = 2, size: int = 16) -> list[np.ndarray]:
    return [floats(batch, kv, length, size), floats(batch, kv, length, size)]


def prompt(name: str, batch: int = 1, rows: int = 6, lengths: list[int] | None = None, **given: Any) -> PeerCase:
    heads, kv, size = given.pop("heads", 4), given.pop("kv", 2), given.pop("size", 16)
    q, parts = apart(batch, rows, heads, kv, size)
    last = [n - 1 for n in (lengths or [rows] * batch)]
    return case(name, q, last, rows, heads=heads, kv=kv, **{**parts, **given})


def decode(name: str, lengths: list[int], total: int, held: int, rows: int = 1, **given: Any) -> PeerCase:
    heads, kv, size = given.pop("heads", 4), given.pop("kv", 2), given.pop("size", 16)
    q, parts = apart(len(lengths), rows, heads, kv, size)
    caches = past(len(lengths), held, kv, size)
    last = [n - 1 for n in lengths]
    return case(name, q, last, total, heads=heads, kv=kv, **{**parts, "past": caches, **given})


ANGLES = [const(floats(40, 8)), const(floats(40, 8))]
Q, KV = apart(1, 6)

test_prompt = check(
    [
        prompt("one"),
        prompt("token", rows=1),
        prompt("batch", batch=3, rows=5),
        prompt("one-output", outputs=1),
        prompt("padded", batch=2, rows=5, lengths=[3, 5]),
        prompt("padded-buffer", batch=2, rows=5, lengths=[2, 5], past=past(2, 9)),
        prompt("all-heads", heads=3, kv=3, size=8),
        prompt("one-kv-head", heads=5, kv=1, size=24),
        prompt("long", rows=150, size=8),
        prompt("packed", batch=1),
        prompt("scale", scale=0.3),
        prompt("softcap", softcap=2.0, scale=3.0),
        prompt("smooth", smooth_softmax=1),
        prompt("smooth-off", smooth_softmax=-1),
        prompt("sink", sink=floats(4)),
        prompt("sink-smooth-window", sink=floats(4), smooth_softmax=1, local_window_size=2),
        *(prompt(f"window-{w}", local_window_size=w) for w in (1, 2, 5, 6, 20)),
        prompt("window-long", rows=140, size=8, local_window_size=9),
        prompt("bidirectional", batch=2, rows=5, lengths=[3, 5], causal=0),
        prompt("bias", batch=2, bias=floats(2, 4, 6, 6)),
        prompt("bias-shared", batch=2, bias=floats(1, 1, 6, 6)),
        prompt("bias-softcap-window", bias=floats(1, 4, 6, 6), softcap=1.5, local_window_size=3),
        *(
            prompt(f"qk-{mode}", outputs=4, qk_output=mode, local_window_size=3, softcap=4.0, bias=floats(1, 1, 6, 6))
            for mode in (1, 2)
        ),
        prompt("qk-sink", outputs=4, qk_output=2, sink=floats(4)),
        *(prompt(f"rotary-{i}", batch=2, do_rotary=1, rotary_interleaved=i, rotary=ANGLES) for i in (0, 1)),
        prompt("rotary-part", size=32, do_rotary=1, rotary=ANGLES),
        prompt("rotary-unused", rotary=ANGLES),
        prompt("rotary-padded", batch=2, lengths=[2, 6], do_rotary=1, rotary=ANGLES),
        prompt("ids", batch=2, do_rotary=1, rotary=ANGLES, ids=rng.integers(0, 30, (2, 6))),
        case("packed", floats(2, 3, 8 * 16), [2, 2], 3),
        case("packed-rotary", floats(2, 3, 8 * 16), [2, 1], 3, do_rotary=1, rotary=ANGLES),
        case("half", Q.astype(np.float16), [5], 6, **{k: v.astype(np.float16) for k, v in KV.items()}),
    ]
)

test_decode = check(
    [
        decode("one", [6], 6, 5),
        decode("batch", [6, 4, 1], 6, 5),
        decode("room", [6, 4], 6, 9),
        decode("full", [9, 4], 9, 9),
        decode("long", [300, 150], 300, 299, size=40),
        decode("chunk", [8], 8, 5, rows=3),
        decode("chunk-room", [8], 8, 16, rows=3),
        decode("chunk-rotary", [8], 8, 16, rows=3, do_rotary=1, rotary=ANGLES),
        decode("rotary", [6, 4], 6, 5, do_rotary=1, rotary=ANGLES),
        decode("ids", [6, 4], 6, 5, do_rotary=1, rotary=ANGLES, ids=np.array([[7], [9]])),
        decode("window", [9, 4], 9, 8, local_window_size=3),
        decode("bias-sink-softcap", [9, 4], 9, 8, bias=floats(2, 1, 1, 9), sink=floats(4), softcap=2.0),
        decode("heads", [9, 4], 9, 8, heads=9, kv=3, size=8),
        decode("qk", [9], 9, 8, outputs=4, qk_output=1),
        decode("qk-weights", [9], 9, 12, outputs=4, qk_output=2),
    ]
)


def codes(dtype: Any, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def quantized(name: str, lengths: list[int], total: int, held: int, bits: int, channel: bool, **given: Any) -> PeerCase:
    rows, size = given.pop("rows", 1), 16
    dtype, width = (np.int8, size) if bits == 8 else (np.uint8, size // 2)
    scales = [
        const((rng.random((1, 2, 1, size) if channel else 1) + 0.5).astype(np.float32) / (40 if bits == 8 else 3))
        for _ in range(2)
    ]
    kind = "PER_CHANNEL" if channel else "PER_TENSOR"
    caches = [codes(dtype, len(lengths), 2, held, width) for _ in range(2)]
    return decode(
        f"{name}-{bits}-{kind}",
        lengths,
        total,
        held,
        rows=rows,
        past=caches,
        scales=given.pop("scales", scales),
        k_quant_type=kind,
        v_quant_type=kind,
        kv_cache_bit_width=bits,
        **given,
    )


test_quantized_cache = check(
    [
        quantized(name, lengths, total, held, bits, channel, **given)
        for bits in (8, 4)
        for channel in (False, True)
        for name, lengths, total, held, given in (
            ("decode", [6, 4], 6, 5, {}),
            ("room", [6, 4], 6, 9, {}),
            ("prompt", [4, 4], 4, 0, {"rows": 4}),
            ("prompt-room", [3, 4], 4, 7, {"rows": 4}),
            ("chunk", [8], 8, 12, {"rows": 3, "local_window_size": 4}),
            ("rotary", [6, 4], 6, 5, {"do_rotary": 1, "rotary": ANGLES, "sink": floats(4), "softcap": 2.0}),
        )
    ]
)


class SlidingCase(PeerCase):
    """The rows of the present behind those that count are unspecified: zeros here."""

    def expected(self) -> list[Any]:
        found = super().expected()
        window, capacity = self.attrs["local_window_size"], self.inputs[3].shape[2]
        step = capacity - window + 1
        for b, last in enumerate(self.inputs[5]):
            tokens = int(last) + 1
            kept = tokens - step * max(0, -(-(tokens - capacity) // step))
            for present in found[1:3]:
                present[b, :, kept:] = 0
        return found


def sliding(name: str, lengths: list[int], total: int, held: int, window: int, rows: int = 1, **given: Any) -> PeerCase:
    case = decode(name, lengths, total, held, rows=rows, local_window_size=window, sliding_window_cache=1, **given)
    return SlidingCase(**{field.name: getattr(case, field.name) for field in dataclasses.fields(case)})


test_sliding_cache = check(
    [
        *(
            sliding(f"{c}-{w}-{s}-{t}", [t], t, c, w, s)
            for c, w, s, t in (
                (5, 3, 1, 1),
                (5, 3, 1, 5),
                (5, 3, 1, 6),
                (5, 3, 1, 7),
                (5, 3, 1, 9),
                (3, 3, 1, 7),
                (5, 3, 4, 4),
                (5, 3, 4, 9),
                (5, 3, 8, 8),
                (5, 3, 8, 20),
                (7, 2, 3, 8),
            )
        ),
        sliding("batch", [9, 3, 7], 9, 5, 3),
        sliding("rotary", [9, 3], 9, 5, 3, do_rotary=1, rotary=ANGLES),
        sliding("bias", [9, 3], 9, 5, 3, bias=floats(2, 4, 1, 9)),
    ]
)


def sliding_weights() -> Case:
    """A window-sized cache with rows 3..7 of a sequence gives the weights that the whole one gives."""
    whole = decode("", [9], 9, 8, outputs=4, local_window_size=3, qk_output=2)
    given = [x[:, :, 3:] if i in (3, 4) else x for i, x in enumerate(whole.inputs)]

    def expect(*_: Any) -> list[Any]:
        found = whole.expected()
        return [found[0], found[3]]

    attrs = {**whole.attrs, "sliding_window_cache": 1}
    return Case(
        "GroupQueryAttention",
        given,
        attrs,
        domain="com.microsoft",
        outputs=["y", "", "", "qk"],
        id="sliding-weights",
        expect=expect,
        **TOLERANCE,
    )


test_sliding_weights = check([sliding_weights()])

test_errors = check(
    [
        raises(prompt("heads", heads=4, kv=3), "multiple"),
        raises(prompt("window", local_window_size=0), "local_window_size"),
        raises(prompt("qk", qk_output=1), "output_qk"),
        raises(prompt("bias", bias=floats(1, 1, 6, 7)), "attention_bias is"),
        raises(prompt("sink", sink=floats(3)), "head_sink is"),
        raises(prompt("no-angles", do_rotary=1), "cos_cache"),
        raises(prompt("few-angles", rows=41, do_rotary=1, rotary=ANGLES), "stands at position 40"),
        raises(prompt("wide-angles", size=8, do_rotary=1, rotary=ANGLES), "cos_cache and sin_cache are"),
        raises(prompt("ids", do_rotary=1, rotary=ANGLES, ids=np.array([[1]])), "position_ids are"),
        raises(case("lengths", Q, [6], 6, **KV), "seqlens_k holds 6"),
        raises(case("negative", Q, [-1], 6, **KV), "seqlens_k holds -1"),
        raises(case("total", Q, [7], 8, **KV), "the past holds 0"),
        raises(case("few", Q, [2], 3, **KV), "total_sequence_length is 3"),
        raises(decode("past", [8], 8, 5), "the past holds 5"),
        raises(decode("past-shape", [6], 6, 5, past=past(1, 5, size=8)), "past_key and past_value are"),
        raises(
            decode(
                "type",
                [6],
                6,
                5,
                k_quant_type="PER_TENSOR",
                v_quant_type="PER_TENSOR",
                kv_cache_bit_width=8,
                scales=[floats(1), floats(1)],
            ),
            "past_key is",
        ),
        raises(quantized("scales", [6], 6, 5, 8, False, scales=None), "k_scale and v_scale"),
        raises(decode("bits", [6], 6, 5, kv_cache_bit_width=8), "kv_cache_bit_width"),
        raises(sliding("room", [9], 9, 2, 3), "room for 2"),
    ]
)

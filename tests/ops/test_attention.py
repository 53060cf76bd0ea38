"""Attention and its relatives against the ONNX reference and NumPy in f64."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(14)


def values(*shape, dtype=np.float32):
    return (rng.standard_normal(shape) * 0.7).astype(dtype)


def reference(q, k, v, mask=None, past_key=None, past_value=None, valid=None, *, attrs, stages):
    """Y, the present keys and values and the scores of the wanted stage, in f64."""
    wide = [None if a is None else a.astype(np.float64) for a in (q, k, v, past_key, past_value)]
    q, k, v, past_key, past_value = wide
    packed = q.ndim == 3
    if packed:

        def split(a, n):
            return a.reshape(*a.shape[:2], n, -1).transpose(0, 2, 1, 3)

        q, k, v = split(q, attrs["q_num_heads"]), split(k, attrs["kv_num_heads"]), split(v, attrs["kv_num_heads"])
    past = 0 if past_key is None else past_key.shape[2]
    if past_key is not None:
        k, v = np.concatenate([past_key, k], 2), np.concatenate([past_value, v], 2)
    rows, keys = q.shape[2], k.shape[2]
    group = q.shape[1] // k.shape[1]
    scores = q @ np.repeat(k, group, 1).swapaxes(-1, -2) * attrs.get("scale", 1 / np.sqrt(q.shape[-1]))
    shown = [scores.copy()]
    cap = attrs.get("softcap", 0)
    scores = cap * np.tanh(scores / cap) if cap else scores
    shown.append(scores.copy())
    bias = np.zeros((q.shape[0], q.shape[1], rows, keys))
    if mask is not None:
        m = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask.astype(np.float64)
        m = np.concatenate([m, np.full((*m.shape[:-1], keys - m.shape[-1]), -np.inf)], -1)
        bias = bias + m
    offset = np.full(q.shape[0], past) if valid is None else valid - rows
    position = (np.arange(rows)[:, None] + offset[:, None, None])[:, None]
    j = np.arange(keys)
    seen = np.ones(bias.shape, bool)
    if attrs.get("is_causal"):
        seen &= j <= position
    if attrs.get("left_window_size", -1) >= 0:
        seen &= j >= position - attrs["left_window_size"]
    if attrs.get("right_window_size", -1) >= 0:
        seen &= j <= position + attrs["right_window_size"]
    if valid is not None:
        seen &= j < valid[:, None, None, None]
    bias = np.where(seen, bias, -np.inf)
    scores = np.where(np.isneginf(bias), -np.inf, scores + bias)
    shown.append(scores.copy())
    top = scores.max(-1, keepdims=True)
    e = np.exp(scores - np.where(np.isneginf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    probabilities = e / np.where(total == 0, 1, total)
    shown.append(probabilities)
    y = probabilities @ np.repeat(v, group, 1)
    if packed:
        y = y.transpose(0, 2, 1, 3).reshape(y.shape[0], rows, -1)
    return [y, k, v, shown[stages]]


def attention(
    *,
    batch=2,
    heads=(4, 4),
    rows=5,
    keys=7,
    sizes=(8, 6),
    packed=False,
    mask=None,
    past=0,
    valid=None,
    outputs=1,
    dtype=np.float32,
    opset=25,
    id="",
    **attrs,
):
    q_heads, kv_heads = heads
    size, width = sizes
    if packed:
        inputs = [
            values(batch, rows, q_heads * size, dtype=dtype),
            values(batch, keys, kv_heads * size, dtype=dtype),
            values(batch, keys, kv_heads * width, dtype=dtype),
        ]
        attrs = {"q_num_heads": q_heads, "kv_num_heads": kv_heads, **attrs}
    else:
        inputs = [
            values(batch, q_heads, rows, size, dtype=dtype),
            values(batch, kv_heads, keys, size, dtype=dtype),
            values(batch, kv_heads, keys, width, dtype=dtype),
        ]
    inputs.append(None if mask is None else mask)
    inputs += (
        [values(batch, kv_heads, past, size, dtype=dtype), values(batch, kv_heads, past, width, dtype=dtype)]
        if past
        else [None, None]
    )
    inputs.append(None if valid is None else np.array(valid))
    while inputs[-1] is None:
        inputs.pop()
    names = ["Y", "K", "V", "S"][:outputs] if isinstance(outputs, int) else outputs

    def expect(*args):
        found = reference(*args, attrs=attrs, stages=attrs.get("qk_matmul_output_mode", 0))
        return [a.astype(dtype) for a, name in zip(found, names) if name]

    tolerance = {2: 2e-2, 4: 2e-5, 8: 1e-6}[np.dtype(dtype).itemsize]
    name = "-".join(
        [
            id,
            np.dtype(dtype).name,
            str(heads),
            f"{rows}x{keys}",
            "3d" if packed else "4d",
            f"past{past}",
            str(valid),
            *(f"{k}={v}" for k, v in attrs.items()),
        ]
    )
    return Case(
        "Attention", inputs, attrs, opset=opset, outputs=names, expect=expect, rtol=tolerance, atol=tolerance, id=name
    )


BOOLS = rng.random((2, 1, 5, 7)) < 0.7
DEAD = BOOLS.copy()
DEAD[0, 0, 2] = False

test_heads = check(
    [
        attention(packed=packed, heads=heads, **more)
        for packed in (False, True)
        for heads in ((4, 4), (4, 2), (6, 1))
        for more in ({}, {"past": 3, "outputs": 3}, {"is_causal": 1})
    ]
    + [
        attention(rows=1, past=9, is_causal=1, outputs=3),
        attention(rows=150, keys=170, sizes=(16, 24), is_causal=1),
        attention(scale=0.3, softcap=2.0),
    ]
    + [attention(rows=0), attention(batch=0, heads=(4, 2))]
)
test_masks = check(
    [
        attention(mask=BOOLS, id="bool"),
        attention(mask=DEAD, id="dead"),
        attention(mask=DEAD, is_causal=1, id="dead"),
        attention(mask=values(5, 7), id="2d"),
        attention(mask=values(4, 5, 7), id="3d"),
        attention(mask=values(2, 1, 1, 7), id="keys"),
        attention(mask=values(5, 4), id="short"),
        attention(mask=values(7), id="1d"),
        attention(mask=values(2, 4, 5, 10), past=3, is_causal=1, id="past"),
        attention(mask=rng.integers(-3, 3, (5, 7)).astype(np.int32), id="int32"),
    ]
)
test_windows = check(
    [
        attention(left_window_size=2, right_window_size=0),
        attention(left_window_size=1, right_window_size=2, mask=BOOLS),
        attention(left_window_size=3, is_causal=1, past=4),
        attention(right_window_size=0),
        attention(valid=[7, 3], is_causal=1, left_window_size=2),
    ]
)
test_valid = check([attention(valid=[7, 2]), attention(valid=[5, 0], is_causal=1), attention(valid=[6, 7], mask=BOOLS)])
test_scores = check(
    [
        attention(outputs=["Y", "", "", "S"], qk_matmul_output_mode=mode, softcap=1.5, mask=DEAD, past=0)
        for mode in range(4)
    ]
    + [
        attention(outputs=4, qk_matmul_output_mode=mode, packed=True, heads=(4, 2), past=2, is_causal=1)
        for mode in range(4)
    ]
)
test_types = check(
    [attention(dtype=t, mask=BOOLS, past=0, outputs=3) for t in (np.float16, ml_dtypes.bfloat16, np.float64)]
    + [attention(opset=v, packed=True, is_causal=1) for v in (23, 24)]
    + [attention(dtype=np.float64, softcap=1.0, past=2, outputs=4, is_causal=1)]
)
test_errors = check(
    [
        raises(Case("Attention", [values(2, 5, 8), values(2, 7, 8), values(2, 7, 8)], id="heads"), "q_num_heads"),
        raises(
            Case("Attention", [values(1, 2, 5, 8), values(1, 2, 7, 9), values(1, 2, 7, 8)], id="sizes"), "do not fit"
        ),
        raises(
            Case("Attention", [values(1, 2, 5, 8), values(1, 2, 7, 8), values(1, 2, 7, 8), values(5, 9)], id="mask"),
            "mask",
        ),
    ]
)


def rotary(shape, *, positions=None, heads=None, **attrs):
    packed = len(shape) == 3
    size = shape[2] // heads if packed else shape[3]
    turned = attrs.get("rotary_embedding_dim") or size
    steps = shape[1] if packed else shape[2]
    cache = (20, turned // 2) if positions else (shape[0], steps, turned // 2)
    angle = rng.uniform(-3, 3, cache)
    ids = rng.integers(0, 20, (shape[0], steps)) if positions else None

    def expect(x, cos, sin, ids=None):
        x = x.astype(np.float64)
        y = x.reshape(*shape[:2], heads, size) if packed else x.transpose(0, 2, 1, 3)
        y = y.copy()
        cos, sin = (c.astype(np.float64)[ids] if ids is not None else c.astype(np.float64) for c in (cos, sin))
        cos, sin = cos[:, :, None], sin[:, :, None]
        if attrs.get("interleaved"):
            real, imaginary = slice(0, turned, 2), slice(1, turned, 2)
        else:
            real, imaginary = slice(0, turned // 2), slice(turned // 2, turned)
        a, b = y[..., real].copy(), y[..., imaginary].copy()
        y[..., real], y[..., imaginary] = a * cos - b * sin, a * sin + b * cos
        return (y.reshape(shape) if packed else y.transpose(0, 2, 1, 3)).astype(np.float32)

    inputs = [values(*shape), const(np.cos(angle).astype(np.float32)), const(np.sin(angle).astype(np.float32))] + (
        [ids] if positions else []
    )
    every = {**attrs, **({"num_heads": heads} if heads else {})}
    return Case(
        "RotaryEmbedding", inputs, every, expect=expect, rtol=1e-5, atol=1e-6, id=f"{shape}-{positions}-{every}"
    )


test_rotary = check(
    [
        rotary((2, 3, 5, 8)),
        rotary((2, 3, 5, 8), positions=True),
        rotary((2, 3, 5, 8), interleaved=1, positions=True),
        rotary((2, 5, 24), heads=3),
        rotary((2, 5, 24), heads=3, rotary_embedding_dim=4, positions=True),
        rotary((2, 3, 5, 8), rotary_embedding_dim=6, interleaved=1),
    ]
)


def linear(rule, *, heads=(4, 2), steps=5, past=True, wide=False, beta_one=False):
    q_heads, kv_heads = heads
    inputs = [values(2, steps, q_heads * 6), values(2, steps, kv_heads * 6), values(2, steps, kv_heads * 5)]
    inputs.append(values(2, kv_heads, 6, 5) if past else None)
    inputs.append(-np.abs(values(2, steps, kv_heads * (6 if wide else 1))) if "gated" in rule else None)
    inputs.append(np.abs(values(2, steps, 1 if beta_one else kv_heads)) if "delta" in rule else None)
    while inputs[-1] is None:
        inputs.pop()
    attrs = {"q_num_heads": q_heads, "kv_num_heads": kv_heads, "update_rule": rule}
    return Case(
        "LinearAttention",
        inputs,
        attrs,
        outputs=2,
        rtol=1e-4,
        atol=1e-5,
        id=f"{rule}-{heads}-{steps}-{past}-{wide}-{beta_one}",
    )


test_linear = check(
    [linear(rule) for rule in ("linear", "gated", "delta", "gated_delta")]
    + [
        linear("gated_delta", heads=(3, 3), wide=True, past=False, beta_one=True),
        linear("linear", heads=(4, 1), steps=1),
        linear("gated", wide=True),
    ]
)
test_causal_conv = check(
    [
        Case(
            "CausalConvWithState",
            [values(2, 3, length), const(values(3, 1, taps)), *rest(taps)],
            {"activation": act},
            outputs=2,
            rtol=1e-5,
            atol=1e-5,
            id=f"{length}-{taps}-{act}-{i}",
        )
        for length, taps in ((7, 4), (1, 4), (2, 1))
        for act in ("none", "silu")
        for i, rest in enumerate((lambda k: [], lambda k: [const(values(3))], lambda k: [None, values(2, 3, k - 1)]))
    ]
)

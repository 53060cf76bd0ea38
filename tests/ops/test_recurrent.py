"""RNN, GRU and LSTM against a plain walk through time in f64, and DynamicQuantizeLSTM against ONNX Runtime."""

import ml_dtypes
import numpy as np
import onnxruntime
import pytest

import sardonyx
from tests.ops.harness import Case, check, const, raises, session

rng = np.random.default_rng(11)

FUNCTIONS = {
    "Relu": lambda x, a, b: np.maximum(x, 0),
    "Tanh": lambda x, a, b: np.tanh(x),
    "Sigmoid": lambda x, a, b: 1 / (1 + np.exp(-x)),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: np.where(x < 0, a * x, x),
    "ThresholdedRelu": lambda x, a, b: np.where(x > a, x, 0),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a, b: np.where(x < 0, a * np.expm1(x), x),
    "Softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "Softplus": lambda x, a, b: np.log1p(np.exp(x)),
}
ALPHA = {
    "Affine": 1,
    "LeakyRelu": np.float32(0.01),
    "ThresholdedRelu": 1,
    "ScaledTanh": 1,
    "HardSigmoid": np.float32(0.2),
    "Elu": 1,
}
BETA = {"Affine": 0, "ScaledTanh": 1, "HardSigmoid": 0.5}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def functions_of(op, attrs, directions):
    names = list(attrs.get("activations", DEFAULTS[op] * directions))
    alphas, betas = list(attrs.get("activation_alpha", [])), list(attrs.get("activation_beta", []))
    found = []
    for name in names:
        a = alphas.pop(0) if name in ALPHA and alphas else ALPHA.get(name, 0)
        b = betas.pop(0) if name in BETA and betas else BETA.get(name, 0)
        found.append(lambda x, f=FUNCTIONS[name], a=float(a), b=float(b): f(x, a, b))
    count = len(DEFAULTS[op])
    return [found[d * count : (d + 1) * count] for d in range(directions)]


def reference(op, attrs, x, w, r, b=None, lengths=None, h0=None, c0=None, p=None):
    """All outputs in f64."""
    batch_first = attrs.get("layout", 0)
    if batch_first:
        x = x.transpose(1, 0, 2)
        h0, c0 = (None if s is None else s.transpose(1, 0, 2) for s in (h0, c0))
    steps, batch, _ = x.shape
    directions, _, hidden = r.shape
    functions = functions_of(op, attrs, directions)
    clip = attrs.get("clip")
    clipped = (lambda v: np.clip(v, -clip, clip)) if clip else (lambda v: v)
    y = np.zeros((steps, directions, batch, hidden))
    last_h, last_c = np.zeros((directions, batch, hidden)), np.zeros((directions, batch, hidden))
    for d in range(directions):
        backward = attrs.get("direction") == "reverse" or d == 1
        n = GATES[op] * hidden
        wb, rb = (np.zeros(n), np.zeros(n)) if b is None else (b[d][:n], b[d][n:])
        h = np.zeros((batch, hidden)) if h0 is None else h0[d].copy()
        c = np.zeros((batch, hidden)) if c0 is None else c0[d].copy()
        peephole = np.zeros(3 * hidden) if p is None else p[d]
        pi, po, pf = np.split(peephole, 3)
        f = functions[d]
        for t in reversed(range(steps)) if backward else range(steps):
            gx = x[t] @ w[d].T + wb
            if op == "RNN":
                fresh_h, fresh_c = f[0](clipped(gx + h @ r[d].T + rb)), c
            elif op == "GRU":
                xz, xr, xh = np.split(gx, 3, -1)
                wz, wr, wh = np.split(r[d], 3, 0)
                bz, br, bh = np.split(rb, 3)
                z, reset = f[0](clipped(xz + h @ wz.T + bz)), f[0](clipped(xr + h @ wr.T + br))
                if attrs.get("linear_before_reset"):
                    fresh = f[1](clipped(xh + reset * (h @ wh.T + bh)))
                else:
                    fresh = f[1](clipped(xh + (reset * h) @ wh.T + bh))
                fresh_h, fresh_c = (1 - z) * fresh + z * h, c
            else:
                i, o, forget, g = np.split(gx + h @ r[d].T + rb, 4, -1)
                i = f[0](clipped(i + pi * c))
                forget = 1 - i if attrs.get("input_forget") else f[0](clipped(forget + pf * c))
                fresh_c = forget * c + i * f[1](clipped(g))
                fresh_h = f[0](clipped(o + po * fresh_c)) * f[2](fresh_c)
            for k in range(batch):
                if lengths is None or t < lengths[k]:
                    h[k], c[k], y[t, d, k] = fresh_h[k], fresh_c[k], fresh_h[k]
        last_h[d], last_c[d] = h, c
    if batch_first:
        return [y.transpose(2, 0, 1, 3), last_h.transpose(1, 0, 2), last_c.transpose(1, 0, 2)]
    return [y, last_h, last_c]


def cell(
    op,
    *,
    steps=5,
    batch=3,
    inputs=4,
    hidden=6,
    dtype=np.float32,
    bias=True,
    lengths=None,
    states=False,
    peepholes=False,
    opset=None,
    id=None,
    outputs=None,
    **attrs,
):
    def values(*shape):
        return (rng.standard_normal(shape) * 0.6).astype(dtype)

    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    gates = GATES[op] * hidden
    state = (batch, directions, hidden) if attrs.get("layout") else (directions, batch, hidden)
    x = values(batch, steps, inputs) if attrs.get("layout") else values(steps, batch, inputs)
    given = [
        x,
        const(values(directions, gates, inputs)),
        const(values(directions, gates, hidden)),
        const(values(directions, 2 * gates)) if bias else None,
        None if lengths is None else np.array(lengths, np.int32),
        values(*state) if states else None,
    ]
    if op == "LSTM":
        given += [values(*state) if states else None, const(values(directions, 3 * hidden)) if peepholes else None]
    while given[-1] is None:
        given.pop()
    names = outputs or ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]

    def expect(*args):
        wide = [a if a is None or a.dtype == np.int32 else a.astype(np.float64) for a in args]
        found = reference(op, attrs, *wide)
        return [y.astype(dtype) for y, name in zip(found, names) if name]

    tolerance = {2: 2e-2, 4: 2e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
    every = {"hidden_size": hidden, **attrs}
    name = id or "-".join(
        [
            np.dtype(dtype).name,
            *(f"{k}={v}" for k, v in attrs.items()),
            f"{steps}x{batch}",
            str(lengths),
            str(states),
            f"v{opset}",
        ]
    )
    return Case(op, given, every, outputs=names, expect=expect, rtol=tolerance, atol=tolerance, opset=opset, id=name)


def common(op):
    """What every cell must do."""
    return [
        cell(op),
        cell(op, bias=False, id="no-bias"),
        cell(op, direction="reverse"),
        cell(op, direction="bidirectional"),
        cell(op, direction="bidirectional", lengths=[5, 2, 0], states=True),
        cell(op, direction="reverse", lengths=[3, 5, 1], states=True),
        cell(op, layout=1),
        cell(op, layout=1, direction="bidirectional", lengths=[4, 5, 2], states=True),
        cell(op, clip=0.3),
        cell(op, steps=1, batch=1),
        cell(op, steps=3, batch=37, hidden=19, inputs=33, direction="bidirectional"),
        cell(op, steps=0, id="no-steps"),
        cell(op, batch=0, id="no-sequences"),
        cell(op, steps=130, batch=5, direction="bidirectional", lengths=[130, 96, 0, 20, 129], id="stretches"),
        cell(op, steps=40, batch=21, layout=1, direction="bidirectional", id="stretches-batch-first"),
        cell(op, steps=33, batch=18, dtype=np.float64, direction="reverse", id="stretches-f64"),
        cell(op, outputs=["", "Y_h"], id="last-only"),
        cell(op, outputs=["Y"], id="sequence-only"),
        cell(op, opset=7),
        cell(op, opset=14),
        cell(op, dtype=np.float64, direction="bidirectional", states=True, lengths=[1, 5, 3]),
        cell(op, dtype=np.float16),
        cell(op, dtype=ml_dtypes.bfloat16, id="bfloat16"),
    ]


test_rnn = check(
    common("RNN")
    + [cell("RNN", activations=[name]) for name in FUNCTIONS]
    + [
        cell(
            "RNN",
            activations=["HardSigmoid", "LeakyRelu"],
            activation_alpha=[0.3, 0.2],
            activation_beta=[0.4],
            direction="bidirectional",
        )
    ]
    + [cell("RNN", activations=["ScaledTanh"], activation_alpha=[1.5], activation_beta=[0.7])]
    + [cell("RNN", activations=[name], dtype=np.float64) for name in FUNCTIONS]
)
test_gru = check(
    common("GRU")
    + [
        cell("GRU", linear_before_reset=1, **more)
        for more in (
            {},
            {"bias": False, "id": "linear-no-bias"},
            {"direction": "bidirectional", "lengths": [5, 1, 3], "states": True},
            {"clip": 0.3},
        )
    ]
    + [cell("GRU", linear_before_reset=1, dtype=np.float64, states=True)]
    + [cell("GRU", activations=["HardSigmoid", "Softsign"])]
)
test_lstm = check(
    common("LSTM")
    + [
        cell("LSTM", peepholes=True, states=True, id="peepholes"),
        cell("LSTM", peepholes=True, states=True, clip=0.3, direction="bidirectional", id="peepholes-clip"),
        cell("LSTM", input_forget=1, states=True),
        cell("LSTM", activations=["HardSigmoid", "Relu", "Softsign"]),
        cell("LSTM", outputs=["", "", "Y_c"], id="cell-only"),
        cell("LSTM", dtype=np.float64, peepholes=True, states=True, id="peepholes-f64"),
    ]
)

test_errors = check(
    [
        raises(
            Case(
                "LSTM",
                [np.zeros((5, 3, 4), np.float32), np.zeros((1, 24, 5), np.float32), np.zeros((1, 24, 6), np.float32)],
                {"hidden_size": 6},
                id="W",
            ),
            "W is",
        ),
        raises(
            Case(
                "GRU",
                [np.zeros((5, 3), np.float32), np.zeros((1, 18, 4), np.float32), np.zeros((1, 18, 6), np.float32)],
                {"hidden_size": 6},
                id="X",
            ),
            "three axes",
        ),
        raises(cell("RNN", direction="sideways", id="direction"), "direction"),
        raises(cell("RNN", activations=["Sine"], id="activation"), "sine"),
        raises(cell("RNN", lengths=[9, 1, 1], id="lengths"), "sequence_lens"),
    ]
)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("layout", [0, 1])
def test_same_bits_for_any_threads_and_batch(op, layout):
    """However sequences are dealt out to threads, and time to stretches."""
    case = cell(op, steps=50, batch=19, hidden=20, inputs=7, layout=layout, direction="bidirectional")
    model = case.model(initializers=True, symbolic=True, expected=[np.zeros(0, np.float32)] * len(case.output_names()))
    feeds = case.feeds(initializers=True)
    (name,) = feeds
    found = []
    for threads in (1, 2, 3, 7):
        options = sardonyx.SessionOptions()
        options.intra_op_num_threads = threads
        ours = sardonyx.InferenceSession(model.SerializeToString(), options)
        found.append(ours.run(None, feeds)[0])
        axis = 1 - layout
        alone = ours.run(None, {name: np.take(feeds[name], [13], axis)})[0]
        np.testing.assert_array_equal(alone, np.take(found[-1], [13], 0 if layout else 2))
    for y in found[1:]:
        np.testing.assert_array_equal(y, found[0])


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_dynamic_quantize_lstm(direction, per_column):
    directions, steps, inputs, hidden = 2 if direction == "bidirectional" else 1, 7, 10, 12
    width = 4 * hidden
    count = (directions, width) if per_column else (directions,)

    def weights(k):
        return const(rng.integers(-127, 128, (directions, k, width)).astype(np.int8))

    def scales():
        return const(rng.uniform(0.002, 0.006, count).astype(np.float32))

    zeros = const(np.zeros(count, np.int8))
    case = Case(
        "DynamicQuantizeLSTM",
        [
            rng.standard_normal((steps, 1, inputs)).astype(np.float32),
            weights(inputs),
            weights(hidden),
            const((rng.standard_normal((directions, 2 * width)) * 0.1).astype(np.float32)),
            None,
            (rng.standard_normal((directions, 1, hidden)) * 0.3).astype(np.float32),
            None,
            None,
            scales(),
            zeros,
            scales(),
            zeros,
        ],
        {"hidden_size": hidden, "direction": direction},
        domain="com.microsoft",
        outputs=["Y", "Y_h", "Y_c"],
    )
    expected = [np.zeros(0, np.float32)] * 3
    model = case.model(initializers=True, symbolic=False, expected=expected)
    model.opset_import[0].version = 17
    feeds = case.feeds(initializers=True)
    judged = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    for y, e in zip(session(model, "ORT_ENABLE_ALL").run(None, feeds), judged):
        np.testing.assert_allclose(y, e, atol=2e-3)

"""Activation functions, PRelu, Shrink, Clip and SwiGLU."""

import math

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
X = rng.uniform(-6, 6, (5, 29))
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 100.0, -100.0, 1e-20], np.float32)


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def swish(x, a=1.0):
    with np.errstate(invalid="ignore"):
        return x * sigmoid(a * x)


def erfc(x):
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


# Name, attributes, formula in f64.
TABLE = [
    ("Relu", {}, lambda x: np.maximum(x, 0)),
    ("LeakyRelu", {}, lambda x: np.where(x < 0, np.float32(0.01) * x, x)),
    ("LeakyRelu", {"alpha": 0.25}, lambda x: np.where(x < 0, 0.25 * x, x)),
    ("Sigmoid", {}, sigmoid),
    ("Elu", {}, lambda x: np.where(x < 0, np.expm1(x), x)),
    ("Elu", {"alpha": 2.0}, lambda x: np.where(x < 0, 2 * np.expm1(x), x)),
    (
        "Selu",
        {},
        lambda x: np.float32(1.0507010221481323) * np.where(x < 0, np.float32(1.6732631921768188) * np.expm1(x), x),
    ),
    ("Selu", {"alpha": 2.0, "gamma": 3.0}, lambda x: 3 * np.where(x < 0, 2 * np.expm1(x), x)),
    ("Celu", {"alpha": 2.0}, lambda x: np.where(x < 0, 2 * np.expm1(x / 2), x)),
    ("ThresholdedRelu", {"alpha": 2.0}, lambda x: np.where(x > 2, x, 0)),
    ("HardSigmoid", {}, lambda x: np.clip(np.float32(0.2) * x + 0.5, 0, 1)),
    ("HardSwish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    ("Softplus", {}, softplus),
    ("Softsign", {}, lambda x: x / (1 + np.abs(x))),
    ("Mish", {}, lambda x: x * np.tanh(softplus(x))),
    ("Swish", {}, swish),
    ("Swish", {"alpha": 1.5}, lambda x: swish(x, 1.5)),
    ("Gelu", {}, lambda x: x / 2 * erfc(-x / np.sqrt(2))),
    ("Gelu", {"approximate": "tanh"}, lambda x: x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
]


def rounded(formula):
    def expected(x, *rest):
        with np.errstate(all="ignore"):
            return formula(x.astype(np.float64), *(r.astype(np.float64) for r in rest)).astype(x.dtype)

    return expected


test_table = check([Case(name, [X.astype(t)], attrs, expect=rounded(f)) for name, attrs, f in TABLE for t in FLOATS])
# At the infinities several formulas above give NaN where the limit is meant; the finite extremes and NaN are judged.
test_special = check(
    [Case(name, [SPECIAL[4:]], attrs, expect=rounded(f), id=f"special-{i}") for i, (name, attrs, f) in enumerate(TABLE)]
)
test_integers = check(
    [Case("Relu", [np.array([-128, -1, 0, 5, 127]).astype(t)]) for t in [np.int8, np.int16, np.int32, np.int64]]
)
test_infinite = check(
    [
        Case("Sigmoid", [SPECIAL[2:4]], expect=np.array([1, 0], np.float32)),
        Case("Relu", [SPECIAL[2:4]], expect=np.array([np.inf, 0], np.float32)),
        Case("Softplus", [SPECIAL[2:4]], expect=np.array([np.inf, 0], np.float32)),
    ]
)


def prelu(x, slope):
    return np.where(x < 0, x * slope, x)


x4 = rng.standard_normal((2, 3, 4, 5))
test_prelu = check(
    [Case("PRelu", [x4.astype(t), rng.standard_normal((3, 1, 1)).astype(t)], expect=rounded(prelu)) for t in FLOATS]
    + [
        Case("PRelu", [x4.astype(np.float32), np.float32([0.25])], expect=rounded(prelu)),
        Case("PRelu", [x4.astype(np.float32), x4[0].astype(np.float32)], expect=rounded(prelu)),
        Case(
            "PRelu",
            [np.array([-3, 2, -(2**31)]).astype(np.int32), np.array([2, 3, 2], np.int32)],
            expect=np.array([-6, 2, 0], np.int32),
        ),
        Case("PRelu", [np.array([3, 2], np.uint64), np.array([5], np.uint64)], expect=np.array([3, 2], np.uint64)),
        Case(
            "PRelu",
            [x4.astype(np.float32), const([0.1, 0.2, 0.3], np.float32)],
            {"consumed_inputs": [0, 0]},
            opset=1,
            expect=lambda x, s: prelu(x, s.reshape(3, 1, 1)),
        ),
        raises(Case("PRelu", [np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float32)]), "PRelu 'node'"),
        raises(Case("PRelu", [np.zeros((3,), np.float32), np.zeros((2, 3), np.float32)]), "PRelu 'node'"),
    ]
)

test_shrink = check(
    [Case("Shrink", [X.astype(t)], {"lambd": 1.5, "bias": 0.5}) for t in [np.float32, np.float64, np.float16]]
    + [
        Case(
            "Shrink",
            [np.array([-100, -2, -1, 0, 1, 2, 100]).astype(t)],
            {"lambd": 1.5, "bias": 1.0},
            expect=np.array([-99, -1, 0, 0, 0, 1, 99]).astype(t),
        )
        for t in [np.int8, np.int16, np.int32, np.int64]
    ]
    + [
        Case(
            "Shrink",
            [np.array([0, 1, 255], np.uint8)],
            {"lambd": 0.5, "bias": 2.0},
            expect=np.array([0, 0, 253], np.uint8),
        )
    ]
)

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
test_clip = check(
    [
        Case("Clip", [X.astype(t), const(-1, t), const(2, t)], expect=lambda x, a, b: np.minimum(np.maximum(x, a), b))
        for t in FLOATS
    ]
    + [Case("Clip", [np.arange(100).astype(t), const(20, t), const(90, t)]) for t in INTEGERS]
    + [
        Case("Clip", [X.astype(np.float32)], id="unbounded"),
        Case("Clip", [X.astype(np.float32), None, const(1, np.float32)]),
        Case("Clip", [X.astype(np.float32), const(1, np.float32)]),
        Case(
            "Clip",
            [X.astype(np.float32), const(1, np.float32), const(-1, np.float32)],
            id="crossed",
            expect=np.full(X.shape, -1, np.float32),
        ),
        Case(
            "Clip",
            [np.array([np.nan, np.inf, -np.inf], np.float32), const(-1, np.float32), const(1, np.float32)],
            expect=np.array([np.nan, 1, -1], np.float32),
        ),
        Case(
            "Clip",
            [np.array([3, -3], np.int32), const([0], np.int32)],
            expect=np.array([3, 0], np.int32),
            id="one-element",
        ),
        Case(
            "Clip",
            [X.astype(np.float32)],
            {"min": -1.0, "max": 2.0},
            opset=6,
            expect=np.clip(X, -1, 2).astype(np.float32),
        ),
        Case("Clip", [X], {"min": -1.0}, opset=6, expect=np.maximum(X, -1)),
        Case(
            "Clip",
            [X.astype(np.float32)],
            {"max": 2.0, "consumed_inputs": [0]},
            opset=1,
            expect=np.minimum(X, 2).astype(np.float32),
        ),
        raises(Case("Clip", [np.zeros(3, np.float32), np.zeros(2, np.float32)]), "Clip 'node'.*min.*scalar"),
    ]
)

A, B = rng.standard_normal((2, 3, 71)), rng.standard_normal((2, 3, 71))
test_swiglu = check(
    [Case("SwiGLU", [A.astype(t), B.astype(t)], expect=rounded(lambda a, b: swish(a) * b)) for t in FLOATS]
    + [
        Case(
            "SwiGLU",
            [A.astype(np.float32), B.astype(np.float32)],
            {"alpha": 1.702},
            expect=rounded(lambda a, b: swish(a, 1.702) * b),
        ),
        raises(
            Case("SwiGLU", [np.zeros((2, 3), np.float32), np.zeros((3,), np.float32)]), "SwiGLU 'node'.*equal shapes"
        ),
    ]
)
test_errors = check(
    [raises(Case("Gelu", [np.zeros(3, np.float32)], {"approximate": "fast"}), "Gelu 'node'.*approximate.*fast")]
)

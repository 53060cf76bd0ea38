"""Functions of one argument: values, special numbers, integer limits, every element type, old opsets."""

import math

import ml_dtypes
import numpy as np
import pytest

from tests.ops.harness import Case, check, raises

rng = np.random.default_rng(0)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 3.5, np.inf, -np.inf, np.nan, 1e-30, 80.0, -80.0])

# Name, NumPy function, lowest and highest argument.
FUNCTIONS = [
    ("Exp", np.exp, -10, 10),
    ("Log", np.log, 0.01, 100),
    ("Sqrt", np.sqrt, 0, 100),
    ("Reciprocal", np.reciprocal, 0.1, 10),
    ("Floor", np.floor, -10, 10),
    ("Ceil", np.ceil, -10, 10),
    ("Round", np.rint, -10, 10),
    ("Tanh", np.tanh, -5, 5),
    ("Erf", None, -4, 4),
    ("Sin", np.sin, -10, 10),
    ("Cos", np.cos, -10, 10),
    ("Tan", np.tan, -1.5, 1.5),
    ("Asin", np.arcsin, -1, 1),
    ("Acos", np.arccos, -1, 1),
    ("Atan", np.arctan, -10, 10),
    ("Sinh", np.sinh, -5, 5),
    ("Cosh", np.cosh, -5, 5),
    ("Asinh", np.arcsinh, -10, 10),
    ("Acosh", np.arccosh, 1, 10),
    ("Atanh", np.arctanh, -0.95, 0.95),
    ("Abs", np.abs, -10, 10),
    ("Neg", np.negative, -10, 10),
    ("Sign", np.sign, -1, 1),
]


def in_double(function):
    """The function computed in f64 and rounded once to the type of its argument."""

    def expected(x):
        with np.errstate(all="ignore"):
            return function(x.astype(np.float64)).astype(x.dtype)

    return expected


def erf(x):
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def float_cases():
    for name, function, low, high in FUNCTIONS:
        expect = in_double(function or erf)
        for dtype in FLOATS:
            yield Case(name, [rng.uniform(low, high, (3, 37)).astype(dtype)], expect=expect)
        yield Case(name, [SPECIAL.astype(np.float32)], expect=expect, id="special")
        yield Case(name, [SPECIAL], expect=expect, id="special-f64")
        yield Case(name, [np.zeros((0, 3), np.float32)], expect=expect, id="empty")
        yield Case(name, [rng.uniform(low, high, 70001).astype(np.float32)], expect=expect, id="large")


test_floats = check(list(float_cases()))

SIGNED = [np.int8, np.int16, np.int32, np.int64]
INTEGERS = [*SIGNED, np.uint8, np.uint16, np.uint32, np.uint64]


def limits(dtype):
    info = np.iinfo(dtype)
    return np.array([info.min, info.min + 1, 0, 1, 5, info.max], dtype)


with np.errstate(all="ignore"):
    test_integers = check(
        [Case("Abs", [limits(t)], expect=np.abs(limits(t))) for t in INTEGERS]
        + [Case("Neg", [limits(t)], expect=np.negative(limits(t))) for t in SIGNED]
        + [Case("Sign", [limits(t)], expect=np.sign(limits(t))) for t in INTEGERS]
        + [Case("BitwiseNot", [limits(t)], expect=np.bitwise_not(limits(t))) for t in INTEGERS]
    )

FLOAT8S = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz]
test_classes = check(
    [Case("IsNaN", [SPECIAL.astype(t)], expect=lambda x: np.isnan(x.astype(np.float32))) for t in FLOATS + FLOAT8S]
    + [Case("IsInf", [SPECIAL.astype(t)], expect=lambda x: np.isinf(x.astype(np.float32))) for t in FLOATS + FLOAT8S]
    + [
        Case("IsInf", [SPECIAL.astype(np.float32)], {"detect_negative": 0}),
        Case("IsInf", [SPECIAL.astype(np.float32)], {"detect_positive": 0}),
        Case("IsInf", [SPECIAL], {"detect_positive": 0, "detect_negative": 0}),
        Case("IsNaN", [SPECIAL.astype(np.float32)], opset=9, expect=np.isnan(SPECIAL)),
        Case("Not", [np.array([[True, False], [False, True]])]),
    ]
)

test_old = check(
    [
        Case(
            name,
            [np.array([0.25, 0.5], np.float32)],
            {"consumed_inputs": [0]},
            opset=1,
            expect=expect(np.array([0.25, 0.5], np.float32)),
        )
        for name, expect in [("Abs", np.abs), ("Exp", np.exp), ("Tanh", np.tanh), ("Sqrt", np.sqrt)]
    ]
)

test_errors = check(
    [
        raises(Case("Exp", [np.zeros(3, np.int32)]), "Exp 'node'.*i32"),
        raises(Case("Neg", [np.zeros(3, np.uint8)]), "Neg 'node'.*u8"),
        raises(Case("Not", [np.zeros(3, np.float32)]), "Not 'node'.*f32"),
    ]
)


@pytest.mark.parametrize("n", [1, 7, 8, 15, 16, 17, 31, 33, 63, 65, 1023, 1025])
def test_odd_sizes(n):
    Case("Sigmoid", [rng.standard_normal(n).astype(np.float32)]).run()

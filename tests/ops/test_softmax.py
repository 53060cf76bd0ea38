"""Softmax, LogSoftmax, Hardmax: axes, special numbers, the flattening of old opsets."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, raises

rng = np.random.default_rng(5)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis):
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def hardmax(x, axis):
    best = np.expand_dims(x.argmax(axis), axis)
    return (np.arange(x.shape[axis]).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]) == best).astype(
        x.dtype
    )


FUNCTIONS = {"Softmax": softmax, "LogSoftmax": log_softmax, "Hardmax": hardmax}


def expected(name, axis):
    def function(x):
        with np.errstate(all="ignore"):
            return FUNCTIONS[name](x.astype(np.float64), axis).astype(x.dtype)

    return function


def flattened(name, axis):
    def function(x):
        rows = int(np.prod(x.shape[:axis]))
        return FUNCTIONS[name](x.astype(np.float64).reshape(rows, -1), -1).astype(x.dtype).reshape(x.shape)

    return function


def data(shape, dtype=np.float32):
    return (rng.standard_normal(shape) * 3).astype(dtype)


x = data((2, 3, 4, 5))
test_axes = check(
    [
        Case(name, [data(shape)], {"axis": axis}, expect=expected(name, axis), atol=1e-6)
        for name in FUNCTIONS
        for shape in [(2, 3, 4), (5, 17), (1, 1000)]
        for axis in range(-len(shape), len(shape))
    ]
    + [Case(name, [data((3, 33), t)], expect=expected(name, -1)) for name in FUNCTIONS for t in FLOATS]
    + [Case(name, [data((3, 5, 7), t)], {"axis": 1}, expect=expected(name, 1)) for name in FUNCTIONS for t in FLOATS]
    + [Case(name, [np.zeros((0, 3), np.float32)], expect=np.zeros((0, 3), np.float32)) for name in FUNCTIONS]
    + [Case(name, [np.zeros((3, 0), np.float32)], expect=np.zeros((3, 0), np.float32)) for name in FUNCTIONS]
)
test_special = check(
    [
        Case(
            "Softmax",
            [np.array([[1000, 1000], [-1000, 0], [-np.inf, 0]], np.float32)],
            expect=np.array([[0.5, 0.5], [0, 1], [0, 1]], np.float32),
        ),
        Case(
            "Softmax",
            [np.array([[np.nan, 0], [-np.inf, -np.inf]], np.float32)],
            expect=np.full((2, 2), np.nan, np.float32),
        ),
        Case(
            "LogSoftmax",
            [np.array([[1000, 1000, -np.inf]], np.float32)],
            expect=np.array([[-np.log(2), -np.log(2), -np.inf]], np.float32),
        ),
        Case("Hardmax", [np.array([[1, 3, 3]], np.float32)], expect=np.array([[0, 1, 0]], np.float32)),
    ]
)
test_old = check(
    [
        Case(
            name, [x], {"axis": a} if a != 1 else {}, opset=v, expect=flattened(name, a), atol=1e-6, id=f"v{v}-axis{a}"
        )
        for name in FUNCTIONS
        for v in (1, 11)
        for a in range(4)
    ]
    + [Case("Softmax", [x], {"axis": -1}, opset=11, expect=expected("Softmax", -1))]
)
test_errors = check(
    [
        raises(Case("Softmax", [x], {"axis": 4}), r"Softmax 'node'.*axis 4 is out of range.*-4..3"),
        raises(Case("Softmax", [np.zeros(3, np.int32)]), "Softmax 'node'.*i32"),
    ]
)

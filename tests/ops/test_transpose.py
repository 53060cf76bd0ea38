"""Transpose: every permutation, element size and odd extent."""

import itertools

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, raises

rng = np.random.default_rng(1)
TYPES = [
    np.uint8,
    np.int8,
    np.bool_,
    np.float16,
    ml_dtypes.bfloat16,
    np.int16,
    np.float32,
    np.int32,
    np.float64,
    np.int64,
    np.uint64,
    np.complex64,
    np.complex128,
    ml_dtypes.float8_e4m3fn,
]


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


def words(shape):
    return np.array([f"w{i}" * (i % 12) for i in range(int(np.prod(shape)))], object).reshape(shape)


def transposed(perm):
    return lambda x: np.transpose(x, perm)


test_permutations = check(
    [Case("Transpose", [data((3, 5, 2, 7))], {"perm": list(p)}) for p in itertools.permutations(range(4))]
)
test_types = check(
    [Case("Transpose", [data((33, 70), t)], {"perm": [1, 0]}, expect=transposed([1, 0])) for t in TYPES]
    + [
        Case("Transpose", [data((2, 18, 37, 3), t)], {"perm": [0, 3, 1, 2]}, expect=transposed([0, 3, 1, 2]))
        for t in TYPES
    ]
    + [Case("Transpose", [words((3, 4, 5))], {"perm": [2, 0, 1]}, expect=transposed([2, 0, 1]))]
)
test_sizes = check(
    [
        Case("Transpose", [data(shape, t)], {"perm": perm}, expect=transposed(perm))
        for t in (np.uint8, np.float16, np.float32, np.float64)
        for shape, perm in [
            ((1, 1000), [1, 0]),
            ((515, 259), [1, 0]),
            ((16, 16), [1, 0]),
            ((1, 128, 12, 64), [0, 2, 1, 3]),
            ((1, 128, 12, 64), [0, 2, 3, 1]),
            ((1, 3, 61, 67), [0, 2, 3, 1]),
            ((1, 61, 67, 3), [0, 3, 1, 2]),
            ((2, 30, 40, 2), [0, 2, 1, 3]),
            ((1001, 3), [1, 0]),
            ((40, 16), [1, 0]),
            ((16, 2000), [1, 0]),
            ((3, 37, 24), [0, 2, 1]),
            ((5, 128, 64), [0, 2, 1]),
            ((2, 7000, 18), [0, 2, 1]),
            ((2, 2, 2, 2, 2, 2, 2), [6, 0, 5, 1, 4, 2, 3]),
        ]
    ]
)
test_edges = check(
    [
        Case("Transpose", [data((2, 3, 4))]),
        Case("Transpose", [data(())]),
        Case("Transpose", [data((5,))]),
        Case("Transpose", [data((0, 3))]),
        Case("Transpose", [data((2, 0, 4))], {"perm": [2, 0, 1]}),
        Case("Transpose", [data((2, 3))], opset=1),
        Case("Transpose", [data((1, 1, 1))], {"perm": [1, 0, 2]}, opset=13),
        raises(Case("Transpose", [data((2, 3))], {"perm": [0, 2]}), "axis 2 is out of range"),
        raises(Case("Transpose", [data((2, 3))], {"perm": [0, 0]}), "repeats an axis"),
        raises(Case("Transpose", [data((2, 3))], {"perm": [0]}), "perm .* has 1 axes"),
    ]
)

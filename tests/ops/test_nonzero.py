"""NonZero, Compress, Unique: types, axes, NaN, empty tensors."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, raises

rng = np.random.default_rng(1)
TYPES = [
    np.int8,
    np.uint8,
    np.int32,
    np.int64,
    np.float16,
    ml_dtypes.bfloat16,
    np.float32,
    np.float64,
    np.bool_,
    np.complex64,
]


def data(shape, dtype=np.float32, high=3):
    return np.asarray(rng.integers(0, high, shape)).astype(dtype)


def strings(*items):
    return np.array(items, object)


test_nonzero = check(
    [
        Case("NonZero", [data(shape)], expect=lambda x: np.array(np.nonzero(x)).reshape(x.ndim, -1))
        for shape in [(7,), (3, 4), (2, 3, 4), (0, 3), (50, 60)]
    ]
    + [Case("NonZero", [data((4, 5), t)], expect=lambda x: np.array(np.nonzero(x))) for t in TYPES]
    + [
        Case("NonZero", [np.array([0.0, -0.0, np.nan, np.inf, 1e-45], np.float32)], expect=np.array([[2, 3, 4]])),
        Case("NonZero", [np.array([-0.0, 1], np.float16)], expect=np.array([[1]])),
        Case("NonZero", [np.array(3.0, np.float32)], expect=np.zeros((0, 1), np.int64)),
        Case("NonZero", [np.array(0.0, np.float32)], expect=np.zeros((0, 0), np.int64)),
        Case("NonZero", [strings("", "a", "")], expect=np.array([[1]])),
        Case("NonZero", [data((4, 5))], opset=9, expect=lambda x: np.array(np.nonzero(x))),
    ]
)
keep = np.array([True, False, True])
test_compress = check(
    [
        Case("Compress", [data((3, 4)), keep], {"axis": 0}, expect=lambda x, c: np.compress(c, x, 0)),
        Case("Compress", [data((2, 3, 4)), keep], {"axis": -2}, expect=lambda x, c: np.compress(c, x, 1)),
        Case("Compress", [data((2, 5)), keep], {"axis": 1}, expect=lambda x, c: np.compress(c, x, 1)),
        Case("Compress", [data((2, 5)), keep], expect=lambda x, c: np.compress(c, x)),
        Case(
            "Compress", [data((3, 4), np.float16), keep], {"axis": 0}, opset=9, expect=lambda x, c: np.compress(c, x, 0)
        ),
        Case("Compress", [data((3, 4)), np.zeros(3, bool)], {"axis": 0}, expect=np.zeros((0, 4), np.float32)),
        Case("Compress", [data((3, 4)), np.zeros(0, bool)], {"axis": 1}, expect=np.zeros((3, 0), np.float32)),
        Case("Compress", [strings("a", "b", "c"), keep], expect=strings("a", "c")),
        raises(Case("Compress", [data((2, 2)), keep], {"axis": 0}), "condition has 3 elements"),
        raises(Case("Compress", [data((2, 2)), keep], {"axis": 2}), "axis 2 is out of range"),
    ]
)


def unique(axis=None, ordered=True):
    def expected(x):
        y, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
        inverse = inverse.ravel()
        if not ordered:
            order = np.argsort(first)
            y, first, counts = np.take(y, order, axis or 0), first[order], counts[order]
            inverse = np.argsort(order)[inverse]
        return [y, first, inverse, counts]

    return expected


test_unique = check(
    [
        Case(
            "Unique",
            [data(shape)],
            {"sorted": s} | ({} if axis is None else {"axis": axis}),
            outputs=4,
            expect=unique(axis, s == 1),
        )
        for shape, axis in [
            ((20,), None),
            ((4, 5), None),
            ((6, 2), 0),
            ((2, 9), 1),
            ((2, 9), -1),
            ((2, 8, 2), 1),
            ((0,), None),
        ]
        for s in (0, 1)
    ]
    + [Case("Unique", [data((30,), t)], outputs=4, expect=unique()) for t in TYPES if t is not ml_dtypes.bfloat16]
    + [
        Case("Unique", [np.array([2, 1, 2], ml_dtypes.bfloat16)], expect=np.array([1, 2], ml_dtypes.bfloat16)),
        Case("Unique", [np.array([np.nan, 1, np.nan, -np.inf, 0, -0.0], np.float32)], outputs=4, expect=unique()),
        Case(
            "Unique",
            [np.array(["b", "a", "b", ""], object)],
            outputs=["y", "", "inverse", ""],
            expect=[strings("", "a", "b"), np.array([2, 1, 2, 0])],
        ),
        Case("Unique", [data((9,))], opset=11, outputs=2, expect=lambda x: unique()(x)[:2]),
        raises(Case("Unique", [data((2, 2))], {"axis": 2}), "axis 2 is out of range"),
    ]
)

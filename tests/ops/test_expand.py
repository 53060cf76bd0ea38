"""Expand and Tile: broadcasting, repeats, types, shape arithmetic, old opsets."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
TYPES = [np.int8, np.bool_, np.float16, ml_dtypes.bfloat16, np.float32, np.int64, np.complex128]


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


def expanded(x, shape):
    return np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(i) for i in shape))))


test_expand = check(
    [
        Case("Expand", [data(x), const(shape, np.int64)], expect=expanded, id=f"{x}-{shape}")
        for x, shape in [
            ((3, 1), [2, 1, 6]),
            ((3, 1), [3, 4]),
            ((3, 4), [1]),
            ((), [2, 3]),
            ((1,), [1000000]),
            ((1, 5), [7, 5]),
            ((2, 1, 3, 1), [2, 4, 3, 5]),
            ((3,), []),
            ((1, 3), [0, 3]),
            ((0, 1), [1, 4]),
            ((1, 1, 300), [40, 50, 300]),
        ]
    ]
    + [Case("Expand", [data((3, 1), t), const([2, 3, 2])], expect=expanded) for t in TYPES]
    + [
        Case("Expand", [np.array(["a", "b"], object), const([2, 2])], expect=np.array([["a", "b"]] * 2, object)),
        Case("Expand", [const([4], np.int64), const([3])], opset=8, expect=np.array([4, 4, 4])),
        raises(Case("Expand", [data((3, 2)), const([3, 4])]), "broadcast"),
        raises(Case("Expand", [data((3, 1)), const([3, -1])]), "negative extent|would have the shape"),
    ]
)
test_tile = check(
    [
        Case("Tile", [data(x), const(r, np.int64)], expect=lambda x, r: np.tile(x, r), id=f"{x}-{r}")
        for x, r in [
            ((2, 3), [1, 2]),
            ((2, 3), [3, 1]),
            ((2, 3), [2, 2]),
            ((2, 3), [0, 2]),
            ((5,), [7]),
            ((2, 1, 3), [2, 3, 1]),
            ((0, 3), [2, 2]),
        ]
    ]
    + [Case("Tile", [data((2, 3), t), const([2, 3])], expect=lambda x, r: np.tile(x, r)) for t in TYPES]
    + [
        Case("Tile", [data(()), const([], np.int64)], expect=lambda x, r: x),
        Case("Tile", [np.array(["a", "b"], object), const([2])], expect=np.array(["a", "b", "a", "b"], object)),
        Case("Tile", [const([4, 5], np.int64), const([2])], expect=np.array([4, 5, 4, 5])),
        Case(
            "Tile",
            [data((2, 3)), const(2, np.float32), const(1, np.float32)],
            opset=1,
            expect=lambda x, *_: np.tile(x, (1, 2)),
        ),
        raises(Case("Tile", [data((2, 3)), const([2])]), "repeats for"),
        raises(Case("Tile", [data((2, 3)), const([2, -1])]), "negative|would have the shape"),
    ]
)

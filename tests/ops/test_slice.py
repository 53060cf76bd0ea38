"""Slice: clamping, negative steps, extreme bounds, shape arithmetic, old opsets."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
FAR = np.iinfo(np.int64).max
LOW = np.iinfo(np.int64).min


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


def sliced(*slices):
    return lambda x, *_: x[tuple(slices)]


def case(x, starts, ends, axes=None, steps=None, dtype=np.int64, **options):
    inputs = [x, const(starts, dtype), const(ends, dtype)]
    if axes is not None or steps is not None:
        inputs.append(None if axes is None else const(axes, dtype))
    if steps is not None:
        inputs.append(const(steps, dtype))
    return Case("Slice", inputs, **options)


x = data((5, 7, 4))
test_slice = check(
    [
        case(
            x,
            [s],
            [e],
            [a],
            [p],
            id=f"{s}:{e}:{p}@{a}",
            expect=sliced(
                *([slice(None)] * (a % 3)), slice(None if s == FAR and p < 0 else s, None if e == LOW else e, p)
            ),
        )
        for a in (0, 1, -1)
        for s, e, p in [
            (0, 3, 1),
            (1, -1, 1),
            (-2, FAR, 1),
            (-100, 100, 2),
            (3, 1, 1),
            (100, 200, 1),
            (-1, -100, -1),
            (FAR, LOW, -1),
            (FAR, LOW, -3),
            (4, 0, -2),
            (0, FAR, 3),
            (0, FAR, FAR),
            (-1, -3, -1),
        ]
    ]
    + [
        case(x, [1, 0, 1], [4, 6, 3], expect=sliced(slice(1, 4), slice(0, 6), slice(1, 3))),
        case(x, [1, -3], [4, FAR], [2, 0], expect=sliced(slice(-3, None), slice(None), slice(1, 4))),
        case(x, [1], [3], dtype=np.int32, expect=sliced(slice(1, 3))),
        case(x, [0, -1], [FAR, LOW], [0, 1], [2, -2], expect=sliced(slice(None, None, 2), slice(None, None, -2))),
        case(x, [LOW], [FAR], [0], [LOW], id="step-min", expect=lambda x, *_: x[:0]),
        case(data((0, 3)), [0], [1], expect=sliced(slice(0, 1))),
        case(np.array(["a", "b", "c"], object), [2], [LOW], [0], [-1], expect=np.array(["c", "b", "a"], object)),
        case(data((300, 500)), [10, 100], [290, 450], expect=sliced(slice(10, 290), slice(100, 450))),
        case(np.array([2, 3, 5, 7]), [1], [3], expect=np.array([3, 5])),
        Case(
            "Slice",
            [x],
            {"starts": [1, 0], "ends": [3, 1000], "axes": [1, 2]},
            opset=1,
            expect=sliced(slice(None), slice(1, 3)),
        ),
        Case("Slice", [x], {"starts": [1], "ends": [3]}, opset=9, expect=sliced(slice(1, 3))),
        case(x, [1], [3], [1], [2], opset=10, expect=sliced(slice(None), slice(1, 3, 2))),
        case(x, [1], [3], [1], [2], opset=11, expect=sliced(slice(None), slice(1, 3, 2))),
        raises(case(x, [1], [3], [3]), "axis 3 is out of range"),
        raises(case(x, [1], [3], [0], [0]), "step 0"),
        raises(case(x, [1, 2], [3]), "starts"),
    ]
)
test_types = check(
    [
        case(
            data((6, 5), t),
            [1, 1],
            [6, 4],
            None,
            [2, 1],
            id=np.dtype(t).name,
            expect=sliced(slice(1, 6, 2), slice(1, 4)),
        )
        for t in (np.int8, np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.complex128, np.bool_)
    ]
)

"""Pooling against plain loops in NumPy: padding, dilation, ceil_mode, indices, every type."""

import itertools
import math

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, raises

rng = np.random.default_rng(10)


def values(*shape, dtype=np.float32):
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max + 1, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def geometry(shape, attrs):
    rank = len(shape) - 2
    kernel = attrs["kernel_shape"]
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    pads = attrs.get("pads", [0] * (2 * rank))
    mode = attrs.get("auto_pad", "NOTSET")
    axes = []
    for i in range(rank):
        n, reach = shape[i + 2], dilations[i] * (kernel[i] - 1) + 1
        begin, end = (pads[i], pads[rank + i]) if mode == "NOTSET" else (0, 0)
        if mode.startswith("SAME"):
            out = -(-n // strides[i])
            total = max((out - 1) * strides[i] + reach - n, 0)
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
            end = total - begin
        elif attrs.get("ceil_mode"):
            out = -(-(n + begin + end - reach) // strides[i]) + 1
            if (out - 1) * strides[i] >= n + begin:
                out -= 1
        else:
            out = (n + begin + end - reach) // strides[i] + 1
        axes.append((kernel[i], strides[i], dilations[i], begin, end, out))
    return axes


def windows(x, attrs):
    """For every output position: the taps inside the data, and how many lie in the data or its padding."""
    axes = geometry(x.shape, attrs)
    for position in itertools.product(*(range(axis[-1]) for axis in axes)):
        inside, padded = [], []
        for p, n, (k, s, d, begin, end, _) in zip(position, x.shape[2:], axes):
            taps = [p * s - begin + d * t for t in range(k)]
            inside.append([t for t in taps if 0 <= t < n])
            padded.append(sum(-begin <= t < n + end for t in taps))
        yield position, inside, int(np.prod(padded))


def pooled(x, attrs, function):
    outs = [axis[-1] for axis in geometry(x.shape, attrs)]
    y = np.zeros((*x.shape[:2], *outs))
    for position, inside, count in windows(x, attrs):
        block = x[(slice(None), slice(None), *np.ix_(*inside))].reshape(*x.shape[:2], math.prod(map(len, inside)))
        y[(slice(None), slice(None), *position)] = function(block, count)
    return y


GEOMETRIES = [
    ((1, 1, 4, 4), {"kernel_shape": [2, 2]}),
    ((2, 3, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 2, 9, 8), {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 2, 1]}),
    ((1, 2, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ((1, 2, 4, 4), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ((1, 1, 5, 5), {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [0, 0, 1, 1]}),
    ((1, 2, 9, 8), {"kernel_shape": [2, 3], "dilations": [2, 2]}),
    ((1, 2, 9, 8), {"kernel_shape": [3, 3], "dilations": [2, 3], "pads": [2, 3, 2, 3], "strides": [2, 1]}),
    ((1, 2, 7, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 2, 7, 8), {"kernel_shape": [2, 4], "strides": [2, 3], "auto_pad": "SAME_LOWER"}),
    ((1, 2, 7, 8), {"kernel_shape": [3, 3], "auto_pad": "VALID"}),
    ((2, 3, 11), {"kernel_shape": [4], "strides": [3], "pads": [1, 2]}),
    ((1, 2, 5, 6, 4), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [1, 1, 0, 0, 1, 1]}),
    ((1, 1, 33, 50), {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}),
    ((1, 2, 70, 40), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ((1, 1, 40, 130), {"kernel_shape": [3, 4], "strides": [2, 2], "pads": [1, 1, 1, 2]}),
    ((1, 2, 90, 33), {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 1, 20, 45), {"kernel_shape": [7, 6], "dilations": [1, 2], "pads": [3, 5, 3, 5]}),
    ((1, 2, 3, 37), {"kernel_shape": [3, 3], "strides": [1, 2], "ceil_mode": 1, "pads": [2, 2, 2, 2]}),
    ((2, 2, 45), {"kernel_shape": [3], "pads": [1, 1]}),
    ((0, 2, 4, 4), {"kernel_shape": [2, 2]}),
]


def label(op, shape, attrs, *rest):
    return "-".join([str(shape), *(f"{k}={v}" for k, v in attrs.items()), *map(str, rest)])


def max_pool(shape, attrs, dtype=np.float32, opset=None):
    def expect(x):
        y = pooled(x.astype(np.float64), attrs, lambda block, _: block.max(-1) if block.shape[-1] else -np.inf)
        return y.astype(dtype)

    return Case(
        "MaxPool",
        [values(*shape, dtype=dtype)],
        attrs,
        expect=expect,
        opset=opset,
        id=label("", shape, attrs, np.dtype(dtype).name, opset),
    )


def average_pool(shape, attrs, include, dtype=np.float32, opset=None):
    def mean(block, count):
        count = count if include else block.shape[-1]
        return block.sum(-1) / count

    def expect(x):
        return pooled(x.astype(np.float64), attrs, mean).astype(dtype)

    every = {**attrs, "count_include_pad": int(include)} if opset is None or opset >= 7 else attrs
    tolerance = {2: 1e-2, 4: 1e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
    return Case(
        "AveragePool",
        [values(*shape, dtype=dtype)],
        every,
        expect=expect,
        opset=opset,
        rtol=tolerance,
        atol=tolerance,
        id=label("", shape, every, np.dtype(dtype).name, opset),
    )


def lp_pool(shape, attrs, p, dtype=np.float32, opset=None):
    def expect(x):
        return pooled(x.astype(np.float64), attrs, lambda block, _: (np.abs(block) ** p).sum(-1) ** (1 / p)).astype(
            dtype
        )

    tolerance = {2: 1e-2, 4: 1e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
    return Case(
        "LpPool",
        [values(*shape, dtype=dtype)],
        {**attrs, "p": float(p) if opset == 1 else p},
        expect=expect,
        opset=opset,
        rtol=tolerance,
        atol=tolerance,
        id=label("", shape, attrs, p, np.dtype(dtype).name, opset),
    )


test_max = check([max_pool(*geometry) for geometry in GEOMETRIES])
test_max_types = check(
    [max_pool(*GEOMETRIES[1], dtype=t) for t in (np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8)]
)
test_max_old = check([max_pool(*GEOMETRIES[1], opset=v) for v in (1, 8, 10, 11, 12)])
test_average = check([average_pool(*geometry, include) for geometry in GEOMETRIES for include in (False, True)])
test_average_types = check(
    [average_pool(*GEOMETRIES[1], True, dtype=t) for t in (np.float64, np.float16, ml_dtypes.bfloat16)]
)
test_average_old = check([average_pool(*GEOMETRIES[1], False, opset=v) for v in (1, 7, 10, 11, 19)])
test_lp = check([lp_pool(*geometry, p) for geometry in GEOMETRIES[:4] + GEOMETRIES[7:13] for p in (1, 2, 3)])
test_lp_types = check(
    [lp_pool(*GEOMETRIES[1], 2, dtype=t) for t in (np.float64, np.float16, ml_dtypes.bfloat16)]
    + [lp_pool(*GEOMETRIES[1], 2, opset=v) for v in (1, 2, 11, 18)]
)


def max_with_indices(shape, attrs, order, dtype=np.float32, ties=False):
    x = values(*shape, dtype=dtype)
    if ties:
        x = np.round(x).astype(dtype)

    def expect(x):
        outs = [axis[-1] for axis in geometry(x.shape, attrs)]
        y = np.zeros((*x.shape[:2], *outs), dtype)
        indices = np.zeros(y.shape, np.int64)
        size = int(np.prod(x.shape[2:]))
        for position, inside, _ in windows(x, attrs):
            for n, c in np.ndindex(*x.shape[:2]):
                best = max(itertools.product(*inside), key=lambda at: (x[(n, c, *at)], [-i for i in at]))
                y[(n, c, *position)] = x[(n, c, *best)]
                offset = np.ravel_multi_index(best, x.shape[2:], order="F" if order else "C")
                indices[(n, c, *position)] = (n * x.shape[1] + c) * size + offset
        return [y, indices]

    return Case(
        "MaxPool",
        [x],
        {**attrs, "storage_order": order},
        outputs=2,
        expect=expect,
        id=label("", shape, attrs, order, ties, np.dtype(dtype).name),
    )


test_indices = check(
    [
        max_with_indices(*geometry, order)
        for geometry in GEOMETRIES[:2] + GEOMETRIES[6:8] + GEOMETRIES[11:13]
        for order in (0, 1)
    ]
    + [max_with_indices(*GEOMETRIES[1], 0, ties=True), max_with_indices(*GEOMETRIES[1], 0, dtype=np.uint8)]
)

test_nan = check(
    [
        Case(
            "MaxPool",
            [np.array([[[1, np.nan, 2, 3]]], np.float32)],
            {"kernel_shape": [2]},
            expect=np.array([[[np.nan, np.nan, 3]]], np.float32),
            id="nan",
        ),
        Case(
            "MaxPool",
            [np.array([[[-np.inf, -np.inf, np.inf]]], np.float32)],
            {"kernel_shape": [2]},
            id="inf",
            expect=np.array([[[-np.inf, np.inf]]], np.float32),
        ),
    ]
)


def whole(op, dtype, shape=(2, 3, 5, 4), opset=None, **attrs):
    def expect(x):
        flat = x.astype(np.float64).reshape(*x.shape[:2], -1)
        p = attrs.get("p", 2)
        y = {
            "GlobalAveragePool": lambda: flat.mean(-1),
            "GlobalMaxPool": lambda: flat.max(-1),
            "GlobalLpPool": lambda: (np.abs(flat) ** p).sum(-1) ** (1 / p),
        }[op]()
        return y.reshape(*x.shape[:2], *[1] * (x.ndim - 2)).astype(dtype)

    tolerance = {2: 1e-2, 4: 1e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
    return Case(
        op,
        [values(*shape, dtype=dtype)],
        attrs,
        expect=expect,
        rtol=tolerance,
        atol=tolerance,
        opset=opset,
        id=f"{np.dtype(dtype).name}-{shape}-{opset}-{attrs}",
    )


test_global = check(
    [
        whole(op, dtype)
        for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
        for dtype in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
    ]
    + [whole(op, np.float32, (1, 2, 7)) for op in ("GlobalAveragePool", "GlobalMaxPool")]
    + [whole(op, np.float32, (1, 2, 3, 2, 3), 1) for op in ("GlobalAveragePool", "GlobalMaxPool")]
    + [whole("GlobalLpPool", np.float32, p=p) for p in (1, 3)]
    + [whole("GlobalLpPool", np.float32, opset=1, p=3.0), whole("GlobalLpPool", np.float32, opset=2, p=1)]
)

INDICES = np.array([[[[5, 7], [13, 15]]]], np.int64)
test_unpool = check(
    [
        Case(
            "MaxUnpool",
            [np.array([[[[1, 2], [3, 4]]]], dtype), INDICES],
            {"kernel_shape": [2, 2], "strides": [2, 2]},
            id=np.dtype(dtype).name,
            expect=np.array([[[[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]]]], dtype),
        )
        for dtype in (np.float32, np.float64, np.float16)
    ]
    + [
        Case(
            "MaxUnpool",
            [np.array([[[[1, 2], [3, 4]]]], np.float32), INDICES, np.array([1, 1, 5, 5])],
            {"kernel_shape": [2, 2], "strides": [2, 2]},
            expect=np.array([[[[0] * 5, [0, 1, 0, 2, 0], [0] * 5, [0, 3, 0, 4, 0], [0] * 5]]], np.float32),
            id="larger",
        ),
        raises(
            Case(
                "MaxUnpool", [values(1, 1, 2, 2), INDICES + 1], {"kernel_shape": [2, 2], "strides": [2, 2]}, id="index"
            ),
            "out of range",
        ),
    ]
)

test_errors = check(
    [
        raises(Case("MaxPool", [values(1, 2, 4, 4)], {"kernel_shape": [2]}, id="rank"), "kernel"),
        raises(Case("AveragePool", [values(1, 2, 4, 4)], {"kernel_shape": [0, 2]}, id="zero"), "kernel_shape"),
        raises(Case("MaxPool", [values(1, 2, 4, 4)], {"kernel_shape": [9, 9]}, id="too-large"), "does not fit"),
        raises(
            Case("MaxPool", [values(1, 2, 4, 4)], {"kernel_shape": [2, 2], "auto_pad": "SOME"}, id="auto-pad"),
            "auto_pad",
        ),
    ]
)

"""Trilu, DepthToSpace, SpaceToDepth, ReverseSequence, CenterCropPad, Col2Im."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
TYPES = [np.int8, np.bool_, np.float16, ml_dtypes.bfloat16, np.float32, np.int64, np.complex128]


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(1, 100, shape)).astype(dtype)


def triangle(upper):
    return lambda x, k=0: (np.triu if upper else np.tril)(x, int(k)).astype(x.dtype)


test_trilu = check(
    [
        Case("Trilu", [data(shape), const(k)], {"upper": upper}, expect=triangle(upper))
        for shape in [(4, 5), (2, 3, 3), (5, 2), (2, 0, 3)]
        for k in (0, 1, -1, 3, -7, 9)
        for upper in (0, 1)
    ]
    + [Case("Trilu", [data((3, 4), t)], expect=triangle(1)) for t in TYPES]
    + [
        Case("Trilu", [data((3, 3)), const(2**63 - 1)], expect=np.zeros((3, 3), np.float32)),
        Case("Trilu", [data((3, 3)), const([-(2**63)])], {"upper": 0}, expect=np.zeros((3, 3), np.float32)),
        raises(Case("Trilu", [data((3,))]), "rank 2 or more"),
    ]
)


def depth_to_space(b, mode="DCR"):
    def expected(x):
        n, c, h, w = x.shape
        c //= b * b
        if mode == "DCR":
            return x.reshape(n, b, b, c, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c, h * b, w * b)
        return x.reshape(n, c, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c, h * b, w * b)

    return expected


def space_to_depth(b, mode="DCR"):
    def expected(x):
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // b, b, w // b, b).transpose((0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
        return x.reshape(n, c * b * b, h // b, w // b)

    return expected


test_blocks = check(
    [
        case
        for mode in ("DCR", "CRD")
        for b in (1, 2, 3)
        for case in [
            Case(
                "DepthToSpace",
                [data((2, 2 * b * b, 5, 7))],
                {"blocksize": b, "mode": mode},
                expect=depth_to_space(b, mode),
                id=f"{b}-{mode}",
            ),
            Case(
                "SpaceToDepth",
                [data((2, 3, 4 * b, 5 * b))],
                {"blocksize": b, "mode": mode},
                expect=space_to_depth(b, mode),
                id=f"{b}-{mode}",
            ),
        ]
    ]
    + [Case("DepthToSpace", [data((1, 8, 3, 20), t)], {"blocksize": 2}, expect=depth_to_space(2)) for t in TYPES]
    + [Case("SpaceToDepth", [data((1, 2, 6, 40), t)], {"blocksize": 2}, expect=space_to_depth(2)) for t in TYPES]
    + [
        Case("DepthToSpace", [data((1, 4, 2, 3))], {"blocksize": 2}, opset=1, expect=depth_to_space(2)),
        Case(
            "DepthToSpace",
            [data((1, 4, 2, 3))],
            {"blocksize": 2, "mode": "CRD"},
            opset=11,
            expect=depth_to_space(2, "CRD"),
        ),
        Case("SpaceToDepth", [data((1, 2, 4, 6))], {"blocksize": 2}, opset=13, expect=space_to_depth(2)),
        raises(Case("DepthToSpace", [data((1, 6, 2, 3))], {"blocksize": 2}), "do not divide"),
        raises(Case("SpaceToDepth", [data((1, 6, 3, 4))], {"blocksize": 2}), "do.* not divide"),
        raises(Case("DepthToSpace", [data((1, 4, 2, 3))], {"blocksize": 0}), "blocksize is 0"),
    ]
)


def reverse(time, batch):
    def expected(x, lengths):
        y = x.copy()
        for b, n in enumerate(lengths):
            at = [slice(None)] * x.ndim
            at[batch], at[time] = b, slice(0, int(n))
            y[tuple(at)] = x[tuple(at)][::-1]
        return y

    return expected


test_reverse_sequence = check(
    [
        Case("ReverseSequence", [data((4, 3)), np.array([4, 1, 2])], expect=reverse(0, 1)),
        Case(
            "ReverseSequence",
            [data((3, 4, 2)), np.array([4, 0, 2])],
            {"time_axis": 1, "batch_axis": 0},
            expect=reverse(1, 0),
        ),
        Case("ReverseSequence", [data((5, 2, 3), np.float16), np.array([4, 5])], opset=10, expect=reverse(0, 1)),
        raises(Case("ReverseSequence", [data((4, 3)), np.array([4, 1, 5])]), "expected 0..4"),
        raises(Case("ReverseSequence", [data((4, 3)), np.array([4, 1])]), "one for each of 3"),
        raises(Case("ReverseSequence", [data((4, 3)), np.array([4, 1, 1])], {"time_axis": 2}), "time_axis is 2"),
    ]
)
test_center_crop_pad = check(
    [
        Case("CenterCropPad", [data(x), const(shape, t)], {} if axes is None else {"axes": axes})
        for x, shape, axes, t in [
            ((20, 10), [10, 7], None, np.int64),
            ((10, 7), [20, 10], None, np.int32),
            ((10, 7), [5, 10], None, np.int64),
            ((20, 8, 3), [10, 9], [0, 1], np.int64),
            ((20, 8, 3), [11, 9], [-3, -2], np.int64),
            ((5,), [4], None, np.int64),
            ((5,), [8], None, np.int64),
        ]
    ]
    + [
        Case("CenterCropPad", [np.array(["a", "b"], object), const([4])], expect=np.array(["", "a", "b", ""], object)),
        Case("CenterCropPad", [data((3, 4)), const([0, 4])], expect=np.zeros((0, 4), np.float32)),
        raises(Case("CenterCropPad", [data((3, 4)), const([2])]), "extents for 2 axes"),
        raises(Case("CenterCropPad", [data((3, 4)), const([2, -1])]), "negative extent|would have the shape"),
    ]
)
test_col2im = check(
    [
        Case("Col2Im", [data((1, 5, 5)), const([5, 5]), const([1, 5])]),
        Case("Col2Im", [data((2, 8, 20)), const([5, 6]), const([2, 2])]),
        Case("Col2Im", [data((1, 9, 4)), const([5, 5]), const([3, 3])], {"strides": [2, 2]}),
        Case("Col2Im", [data((1, 4, 25)), const([6, 6]), const([2, 2])], {"dilations": [1, 1]}),
        Case("Col2Im", [data((1, 5, 15)), const([5, 5]), const([1, 5])], {"pads": [0, 1, 0, 1]}),
        Case("Col2Im", [data((1, 10, 12)), const([3, 4, 5]), const([1, 1, 5])]),
        Case("Col2Im", [data((1, 5, 5), np.int32), const([5, 5]), const([1, 5])]),
        raises(Case("Col2Im", [data((1, 5, 4)), const([5, 5]), const([1, 5])]), "windows expected"),
        raises(
            Case("Col2Im", [data((1, 5, 5)), const([5, 5]), const([1, 5])], {"strides": [0, 1]}),
            "strides has the value 0",
        ),
    ]
)

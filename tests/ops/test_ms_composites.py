"""Operators of com.microsoft that are rewritten into standard ones, against onnxruntime."""

import math

import numpy as np

from tests.ops.harness import check, const, raises
from tests.ops.peer import PeerCase

rng = np.random.default_rng(4)


def real(*shape):
    return rng.normal(size=shape).astype(np.float32)


def case(op, inputs, attrs=None, outputs=1, **more):
    return PeerCase(op, inputs, attrs or {}, outputs=outputs, rtol=1e-4, atol=2e-5, **more)


def split_gelu(x, bias):
    left, right = np.split((x + bias).astype(np.float64), 2, axis=-1)
    erf = np.vectorize(math.erf)
    return (left * right * 0.5 * (1 + erf(right / np.sqrt(2)))).astype(x.dtype)


test_gelu = check(
    [
        case("Gelu", [real(3, 8)]),
        case("BiasGelu", [real(2, 3, 8), real(8)]),
        case("FastGelu", [real(2, 3, 8)]),
        case("FastGelu", [real(2, 3, 8), real(8)]),
        case("QuickGelu", [real(3, 8)]),
        case("QuickGelu", [real(3, 8)], {"alpha": 1.0}),
        case("ExpandDims", [real(3, 8), const(1, np.int32)]),
        case("BiasAdd", [real(2, 3, 8), real(8), real(2, 3, 8)], expect=lambda x, bias, skip: x + bias + skip),
        case("BiasSplitGelu", [real(2, 3, 8), real(8)], expect=split_gelu),
    ]
)

IDS = rng.integers(0, 9, size=(2, 4)).astype(np.int32)
TABLES = [real(9, 8), real(6, 8), real(3, 8), real(8), real(8)]
SEGMENTS = rng.integers(0, 3, size=(2, 4)).astype(np.int32)
MASK = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], np.int32)
test_norm = check(
    [
        case("SkipLayerNormalization", [real(2, 3, 8), real(2, 3, 8), real(8), real(8), real(8)], {"epsilon": 1e-5}),
        case(
            "SkipLayerNormalization",
            [real(2, 3, 8), real(2, 3, 8), real(8), real(8)],
            {"epsilon": 1e-5},
            ["y", "", "", "s"],
        ),
        case(
            "SkipSimplifiedLayerNormalization",
            [real(2, 3, 8), real(2, 3, 8), real(8)],
            {"epsilon": 1e-5},
            ["y", "", "", "s"],
        ),
        PeerCase(
            "SimplifiedLayerNormalization",
            [real(2, 3, 8), real(8)],
            {"epsilon": 1e-5},
            domain="",
            opset=17,
            rtol=1e-4,
            atol=1e-5,
        ),
        case("EmbedLayerNormalization", [IDS, SEGMENTS, *TABLES, MASK], {"epsilon": 1e-5}, 2),
        case("EmbedLayerNormalization", [IDS, None, TABLES[0], TABLES[1], None, *TABLES[3:]], {"epsilon": 1e-5}, 2),
    ]
)


def group_norm(channels_last, groups, activation):
    """GroupNorm of com.microsoft, which onnxruntime has on other devices only."""

    def expect(x, gamma, beta):
        y = np.moveaxis(x, -1, 1) if channels_last else x
        rows = y.astype(np.float64).reshape(y.shape[0], groups, -1)
        rows = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)
        y = rows.reshape(y.shape) * gamma.reshape(1, -1, 1, 1) + beta.reshape(1, -1, 1, 1)
        if activation:
            y = y / (1 + np.exp(-y))
        return (np.moveaxis(y, 1, -1) if channels_last else y).astype(x.dtype)

    return expect


def group_case(shape, channels, dtype=np.float32, *, channels_last=1, groups=2, activation=0):
    attrs = {"channels_last": channels_last, "groups": groups, "activation": activation}
    inputs = [real(*shape).astype(dtype), const(real(channels)), const(real(channels))]
    more = {"rtol": 1e-4, "atol": 2e-5} if dtype == np.float32 else {"rtol": 4e-3, "atol": 4e-3}
    return PeerCase("GroupNorm", inputs, attrs, expect=group_norm(channels_last, groups, activation), **more)


test_group_norm = check(
    [group_case((2, 5, 3, 6), 6, activation=a, groups=g) for a in (0, 1) for g in (1, 3, 6)]
    + [group_case((2, 6, 5, 3), 6, channels_last=0, activation=1), group_case((2, 5, 3, 6), 6, np.float16)]
    + [raises(group_case((2, 5, 3, 6), 6, groups=4), "4")]
)

test_renamed = check(
    [
        case("Trilu", [real(2, 4, 5), const(1, np.int64)], {"upper": 0}),
        case("Trilu", [real(4, 4)]),
        case("Unique", [np.array([2, 1, 1, 3, 4, 3], np.float32)], {}, 3),
        case("Unique", [np.array([2, 1, 1, 3, 4, 3], np.float32)], {}, ["y", "idx", "counts"], id="named"),
        case("Pad", [real(2, 3), const([0, 1, 2, 0], np.int64), const(2.5, np.float32)]),
        case("Pad", [real(2, 3), const([[0, 1, 0, 0]], np.int64)], {"mode": "reflect"}),
        case("Range", [const(1, np.int64), const(5, np.int64)]),
        case("Range", [const(1, np.float32), const(5, np.float32), const(1.5, np.float32)]),
        case("GatherND", [real(3, 4, 5), const([[0, 1], [2, -1]], np.int64)]),
        case("GridSample", [real(1, 2, 4, 5), real(1, 3, 3, 2)], {"align_corners": 1}),
        case("GridSample", [real(1, 2, 4, 5), real(1, 3, 3, 2)], {"mode": "nearest", "padding_mode": "border"}),
        case("GridSample", [real(1, 2, 4, 5), real(1, 3, 3, 2)], {"mode": "bicubic"}),
    ]
)

BYTES = rng.integers(0, 256, size=(2, 3, 6, 6)).astype(np.uint8)
CODES = rng.integers(-128, 128, size=(2, 3, 6, 6)).astype(np.int8)
SCALE, ZERO = const(0.05, np.float32), const(120, np.uint8)
HALF = const(0.5, np.float32)
OUT_SCALE, OUT_ZERO = const(0.04, np.float32), const(100, np.uint8)


def near(op, inputs, attrs=None, **more):
    return PeerCase(op, inputs, attrs or {}, **more)


test_qlinear = check(
    [
        near("QLinearGlobalAveragePool", [BYTES, SCALE, ZERO, OUT_SCALE, OUT_ZERO]),
        # Powers of two: an average that lies between two steps is exact in every order of evaluation.
        near("QLinearAveragePool", [BYTES, HALF, ZERO, HALF, OUT_ZERO], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        near("QLinearConcat", [OUT_SCALE, OUT_ZERO, BYTES, SCALE, ZERO, BYTES, OUT_SCALE, OUT_ZERO], {"axis": 1}),
        near("QLinearWhere", [BYTES > 99, BYTES, SCALE, ZERO, BYTES[::-1].copy(), OUT_SCALE, OUT_ZERO, SCALE, ZERO]),
        near("QLinearSigmoid", [BYTES, SCALE, ZERO, const(1 / 256, np.float32), const(0, np.uint8)]),
        near("QLinearLeakyRelu", [BYTES, SCALE, ZERO, OUT_SCALE, OUT_ZERO], {"alpha": 0.1}),
        near("QLinearGlobalAveragePool", [BYTES, SCALE, ZERO, OUT_SCALE, OUT_ZERO], {"channels_last": 1}),
        near(
            "QLinearAveragePool",
            [BYTES, HALF, ZERO, HALF, OUT_ZERO],
            {"kernel_shape": [1, 2], "strides": [1, 2], "pads": [0, 1, 0, 1], "channels_last": 1},
        ),
        near("NhwcMaxPool", [BYTES], {"kernel_shape": [2, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}),
        near("NhwcMaxPool", [CODES], {"kernel_shape": [1, 3], "dilations": [1, 2], "ceil_mode": 1}),
        near("NhwcMaxPool", [BYTES[0]], {"kernel_shape": [3], "auto_pad": "SAME_UPPER"}),
        *(
            near("QLinearSoftmax", [x, SCALE, zero, const(1 / 256, np.float32), low], {"opset": opset, "axis": axis})
            for x, zero, low in ((BYTES, ZERO, const(0, np.uint8)), (CODES, const(-8, np.int8), const(-128, np.int8)))
            for opset, axis in ((13, -1), (13, 3), (12, 1), (12, 2), (12, 3))
        ),
    ]
)

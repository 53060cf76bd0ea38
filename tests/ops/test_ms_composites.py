"""Operators of com.microsoft that are rewritten into standard ones, against onnxruntime."""

import numpy as np

from tests.ops.harness import check, const
from tests.ops.peer import PeerCase

rng = np.random.default_rng(4)


def real(*shape):
    return rng.normal(size=shape).astype(np.float32)


def case(op, inputs, attrs=None, outputs=1, **more):
    return PeerCase(op, inputs, attrs or {}, outputs=outputs, rtol=1e-4, atol=2e-5, **more)


test_gelu = check(
    [
        case("Gelu", [real(3, 8)]),
        case("BiasGelu", [real(2, 3, 8), real(8)]),
        case("FastGelu", [real(2, 3, 8)]),
        case("FastGelu", [real(2, 3, 8), real(8)]),
        case("QuickGelu", [real(3, 8)]),
        case("QuickGelu", [real(3, 8)], {"alpha": 1.0}),
        case("ExpandDims", [real(3, 8), const(1, np.int32)]),
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

BYTES = rng.integers(0, 256, size=(2, 3, 6, 6)).astype(np.uint8)
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
    ]
)

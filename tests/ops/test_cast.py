"""Cast between every pair of element types, CastLike, BitCast."""

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper
from onnx.numpy_helper import saturate_cast, to_float8e8m0

from tests.ops.harness import Case, check, const, raises

FLOAT8S = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz]
NARROW_FLOATS = [ml_dtypes.float4_e2m1fn, ml_dtypes.float6_e2m3fn, ml_dtypes.float6_e3m2fn]
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, *FLOAT8S, *NARROW_FLOATS]
INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
NARROW = [ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2, ml_dtypes.uint2]
ALL = [*FLOATS, *INTEGERS, *NARROW, np.bool_]


def number(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def cast(dtype):
    def expected(x):
        with np.errstate(all="ignore"):
            if x.dtype == bool or x.dtype in NARROW:
                x = x.astype(np.int64)
            if x.dtype in NARROW_FLOATS:
                x = x.astype(np.float32)
            return x.astype(np.float32).astype(bool) if dtype is np.bool_ else x.astype(dtype)

    return expected


# Values that every type holds: their casts are the same under every rule.
plain = np.array([[0, 1, 1, 0, 1], [1, 1, 0, 0, 1]])
test_pairs = check(
    [
        Case("Cast", [plain.astype(s)], {"to": number(t)}, expect=cast(t), id=f"{np.dtype(s).name}-{np.dtype(t).name}")
        for s in ALL
        for t in ALL
    ]
)

rng = np.random.default_rng(3)
reals = np.concatenate(
    [
        rng.uniform(-5, 5, 200),
        [
            0.0,
            -0.0,
            0.5,
            1.5,
            2.5,
            -3.5,
            6,
            448,
            464,
            480,
            57344,
            61440,
            1e-3,
            1e-7,
            1e6,
            -1e6,
            np.inf,
            -np.inf,
            np.nan,
        ],
    ]
)
test_floats = check(
    [
        Case("Cast", [reals.astype(s)], {"to": number(t)}, expect=cast(t), rtol=0, atol=0)
        for s in [np.float32, np.float16, ml_dtypes.bfloat16]
        for t in [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
    ]
    + [
        Case(
            "Cast",
            [np.array([1 + 2.0**-11 + 2.0**-40, 65519.999, 1e-9])],
            {"to": number(np.float16)},
            expect=cast(np.float16),
            rtol=0,
            atol=0,
            id="round-once",
        )
    ]
    + [
        Case("Cast", [reals.astype(np.float32)], {"to": number(t)}, expect=lambda x, t=t: saturate_cast(x, np.dtype(t)))
        for t in FLOAT8S
    ]
    + [Case("Cast", [reals.astype(np.float32)], {"to": number(t), "saturate": 0}, expect=cast(t)) for t in FLOAT8S]
    + [
        Case("Cast", [np.arange(256).astype(np.uint8).view(t)], {"to": number(np.float32)}, expect=cast(np.float32))
        for t in FLOAT8S
    ]
)
e8m0 = np.array([0.124, 0.25, 0.5, 0.75, 0.9, 1, 1.4, 1.5, 1.6, 3, 1000, 1e30, 2.0**127 * 1.5, np.nan], np.float32)
test_e8m0 = check(
    [
        Case(
            "Cast",
            [e8m0],
            {"to": TensorProto.FLOAT8E8M0, "round_mode": mode, "saturate": s},
            expect=lambda x, m=mode, s=s: to_float8e8m0(x, bool(s), m),
        )
        for mode in ["up", "down", "nearest"]
        for s in [0, 1]
    ]
    + [
        Case(
            "Cast",
            [np.arange(256).astype(np.uint8).view(ml_dtypes.float8_e8m0fnu)],
            {"to": number(np.float32)},
            expect=cast(np.float32),
        )
    ]
)

wide = np.array([-(2**63), -(2**31), -300, -9, -1, 0, 7, 8, 15, 127, 128, 255, 256, 65535, 2**31, 2**63 - 1])
test_integers = check(
    [
        Case(
            "Cast",
            [wide.astype(s)],
            {"to": number(t)},
            expect=lambda x, t=t: x.astype(t),
            id=f"{np.dtype(s).name}-{np.dtype(t).name}",
        )
        for s in INTEGERS
        for t in [*INTEGERS, np.float32, np.float64]
    ]
    + [Case("Cast", [np.arange(-9, 16).astype(np.float32)], {"to": number(t)}, expect=cast(t)) for t in NARROW]
    + [Case("Cast", [np.arange(-9, 16)], {"to": number(t)}, expect=cast(t)) for t in NARROW]
    + [
        Case(
            "Cast",
            [np.array([-1.9, -0.5, 0.5, 1.9, 100.7])],
            {"to": number(t)},
            expect=lambda x, t=t: np.trunc(x).astype(t),
        )
        for t in [np.int8, np.int16, np.int32, np.int64]
    ]
    + [
        Case(
            "Cast",
            [np.array([-1.0, 254.6, 300.0], np.float32)],
            {"to": number(np.uint8)},
            expect=np.array([255, 254, 44], np.uint8),
        ),
        Case(
            "Cast",
            [np.array([np.nan, 1e30, -1e30], np.float32)],
            {"to": number(np.int32)},
            expect=np.full(3, -(2**31), np.int32),
        ),
        Case("Cast", [np.array([np.nan, 1e30, -1e30])], {"to": number(np.int64)}, expect=np.full(3, -(2**63))),
        Case(
            "Cast",
            [np.array([2.0**63, 2.0**63 + 2048])],
            {"to": number(np.uint64)},
            expect=np.array([2**63, 2**63 + 2048], np.uint64),
        ),
        Case(
            "Cast",
            [np.array([0.0, -0.0, 0.1, np.nan], np.float32)],
            {"to": number(np.bool_)},
            expect=np.array([False, False, True, True]),
        ),
        Case("Cast", [np.arange(100000, dtype=np.int64)], {"to": number(np.float32)}),
        Case("Cast", [np.zeros((0, 4), np.int64)], {"to": number(np.float32)}),
    ]
)

words = np.array(["0.47892547", " 1e-5 ", "+INF", "-inf", "NaN", "1E8", "-12"], object)
test_strings = check(
    [
        Case(
            "Cast",
            [words],
            {"to": number(t)},
            expect=np.array([0.47892547, 1e-5, np.inf, -np.inf, np.nan, 1e8, -12]).astype(t),
            rtol=0,
            atol=0,
        )
        for t in [np.float32, np.float64]
    ]
    + [
        Case(
            "Cast",
            [np.array(["-5", "9223372036854775807", "2.7"], object)],
            {"to": number(np.int64)},
            expect=np.array([-5, 2**63 - 1, 2]),
        ),
        Case(
            "Cast",
            [np.array(["18446744073709551615"], object)],
            {"to": number(np.uint64)},
            expect=np.array([2**64 - 1], np.uint64),
        ),
        Case(
            "Cast",
            [np.array(["True", "false", "1", "0"], object)],
            {"to": number(np.bool_)},
            expect=np.array([True, False, True, False]),
        ),
        Case(
            "Cast",
            [np.array([0.1, 314.15926, 1, -0.0, 1e-5, 1e20, np.nan, np.inf, 123456.7], np.float32)],
            {"to": TensorProto.STRING},
        ),
        Case(
            "Cast", [np.array([0.1, 1 / 3, 1e-300, 1e16, 12345678.9, 1e15, 100, 2.0**53])], {"to": TensorProto.STRING}
        ),
        Case(
            "Cast",
            [np.array([0.1, 2.5, 65504], np.float16)],
            {"to": TensorProto.STRING},
            expect=np.array(["0.1", "2.5", "65500.0"], object),
        ),
        Case("Cast", [np.array([-(2**63), 5])], {"to": TensorProto.STRING}),
        Case("Cast", [np.array([2**64 - 1], np.uint64)], {"to": TensorProto.STRING}),
        Case("Cast", [np.array([True, False])], {"to": TensorProto.STRING}),
        Case("Cast", [np.array(["a", ""], object)], {"to": TensorProto.STRING}),
        raises(Case("Cast", [np.array(["Hello"], object)], {"to": number(np.float32)}), "Cast 'node'.*'Hello'"),
        raises(Case("Cast", [np.array([""], object)], {"to": number(np.int64)}), "Cast 'node'.*number"),
    ]
)

test_versions = check(
    [
        Case("Cast", [np.array([1.5, 2.5], np.float32)], {"to": "INT64"}, opset=1, expect=np.array([1, 2])),
        Case("Cast", [np.array([1.5, 2.5], np.float32)], {"to": 7}, opset=9, expect=np.array([1, 2])),
        raises(Case("Cast", [np.array([1.5], np.float32)], {"to": "LONG"}, opset=1), "Cast 'node'.*LONG"),
        raises(Case("Cast", [np.array([1.5], np.float32)], {"to": 99}), "Cast 'node'.*99"),
        raises(Case("Cast", [np.array([1.5], np.float32)], {"to": TensorProto.COMPLEX64}), "Cast 'node'.*c64"),
        raises(Case("Cast", [np.array([1.5], np.float32)], {"to": 1, "round_mode": "odd"}), "Cast 'node'.*round_mode"),
        Case(
            "CastLike", [np.array([1.5, -2.5], np.float32), np.zeros(0, np.int32)], expect=np.array([1, -2], np.int32)
        ),
        Case(
            "CastLike",
            [np.array([1.5, 500], np.float32), const(np.zeros(1, ml_dtypes.float8_e4m3fn))],
            expect=np.array([1.5, 448]).astype(ml_dtypes.float8_e4m3fn),
        ),
    ]
)

bits = np.arange(256).astype(np.uint8)
test_bit_cast = check(
    [Case("BitCast", [bits], {"to": number(t)}, expect=lambda x, t=t: x.view(t)) for t in [np.int8, *FLOAT8S]]
    + [
        Case(
            "BitCast",
            [np.array([1.5, -0.0, np.nan], np.float32)],
            {"to": number(np.int32)},
            expect=lambda x: x.view(np.int32),
        ),
        Case("BitCast", [np.array([1.5, -0.0])], {"to": number(np.uint64)}, expect=lambda x: x.view(np.uint64)),
        Case(
            "BitCast",
            [np.array([1, -1], np.int16)],
            {"to": number(ml_dtypes.bfloat16)},
            expect=lambda x: x.view(ml_dtypes.bfloat16),
        ),
        Case(
            "BitCast",
            [np.arange(-8, 8).astype(ml_dtypes.int4)],
            {"to": number(ml_dtypes.uint4)},
            expect=(np.arange(-8, 8) % 16).astype(ml_dtypes.uint4),
        ),
        Case(
            "BitCast",
            [np.arange(16).astype(ml_dtypes.uint4)],
            {"to": number(ml_dtypes.int4)},
            expect=((np.arange(16) + 8) % 16 - 8).astype(ml_dtypes.int4),
        ),
        raises(Case("BitCast", [np.array([1.5], np.float32)], {"to": number(np.int64)}), "BitCast 'node'.*32 bits"),
    ]
)

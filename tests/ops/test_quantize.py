"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear: per tensor, per axis, in blocks, every element type."""

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(7)
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2, ml_dtypes.uint2]
FLOAT8S = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz]
REAL = [np.float32, np.float16, ml_dtypes.bfloat16]


def number(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def data(shape, dtype=np.float32, scale=100):
    return (rng.standard_normal(shape) * scale).astype(dtype)


def spread(values, x, axis, block):
    """Scales or zero points, one for each element of x."""
    if values.size == 1 and not block:
        return np.broadcast_to(values.reshape(()), x.shape)
    if block:
        return np.take(np.repeat(values, block, axis), range(x.shape[axis]), axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    return np.broadcast_to(values.reshape(shape), x.shape)


def quantize(dtype, axis=1, block=0, precision=np.float32):
    info = ml_dtypes.iinfo(dtype)

    def expected(x, scale, zero=None):
        with np.errstate(all="ignore"):
            quotient = (
                (x.astype(np.float32) / spread(scale, x, axis, block).astype(np.float32))
                .astype(precision)
                .astype(np.float32)
            )
            offset = 0 if zero is None else spread(zero.astype(np.int64), x, axis, block)
            return np.clip(np.rint(np.nan_to_num(quotient, nan=-np.inf)) + offset, info.min, info.max).astype(dtype)

    return expected


def dequantize(dtype, axis=1, block=0):
    def expected(x, scale, zero=None):
        wide = x.astype(np.float64) - (0 if zero is None else spread(zero.astype(np.float64), x, axis, block))
        return (wide.astype(np.float32) * spread(scale, x, axis, block).astype(np.float32)).astype(dtype)

    return expected


def zero_points(shape, dtype):
    info = ml_dtypes.iinfo(dtype)
    return rng.integers(max(int(info.min), -100), min(int(info.max), 100) + 1, shape).astype(dtype)


def scales(shape, dtype=np.float32):
    return rng.uniform(0.5, 3, shape).astype(dtype)


AXES = [((3, 4, 5), 0), ((3, 4, 5), 1), ((3, 4, 5), 2), ((3, 4, 5), -1), ((70, 33), 1), ((1, 4, 40, 40), 1)]


def quantize_cases():
    for t in INTEGERS:
        size = 100 if np.dtype(t) in (np.int8, np.uint8) else 5 if np.dtype(t).kind == "V" else 30000
        yield Case(
            "QuantizeLinear",
            [data((7, 93), scale=size), const(np.float32(0.75)), const(zero_points((), t))],
            expect=quantize(t),
        )
        for shape, axis in AXES:
            yield Case(
                "QuantizeLinear",
                [data(shape, scale=size), const(scales(shape[axis])), const(zero_points(shape[axis], t))],
                {"axis": axis},
                expect=quantize(t, axis),
            )
        for shape, axis, block in [((3, 10), 1, 4), ((3, 10, 2), 1, 5), ((10, 3), 0, 3), ((4, 64), -1, 16)]:
            blocks = [-(-n // block) if i == axis % len(shape) else n for i, n in enumerate(shape)]
            yield Case(
                "QuantizeLinear",
                [data(shape, scale=size), const(scales(blocks)), const(zero_points(blocks, t))],
                {"axis": axis, "block_size": block},
                expect=quantize(t, axis, block),
                id=f"block-{np.dtype(t).name}-{shape}-{axis}",
            )
        yield Case(
            "QuantizeLinear", [data((5, 6), scale=size), scales(())], {"output_dtype": number(t)}, expect=quantize(t)
        )
    special = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30, np.inf, -np.inf, np.nan, 127.5, 128.5], np.float32)
    yield Case("QuantizeLinear", [special, np.float32(1), np.int8(0)], expect=quantize(np.int8))
    yield Case("QuantizeLinear", [special, np.float32(1), np.uint8(128)], expect=quantize(np.uint8))
    yield Case("QuantizeLinear", [special, np.float32(0.001)], expect=quantize(np.uint8))
    for t in [np.float16, ml_dtypes.bfloat16]:
        yield Case(
            "QuantizeLinear", [data((9, 41), t, 20), scales((), t), np.int8(3)], expect=quantize(np.int8, precision=t)
        )
    yield Case(
        "QuantizeLinear",
        [data((9, 41), np.float16, 20), scales((), np.float16), np.int8(3)],
        {"precision": 1},
        expect=quantize(np.int8),
    )
    yield Case(
        "QuantizeLinear",
        [rng.integers(-500, 500, (5, 7)).astype(np.int32), np.float32(4), np.uint8(100)],
        expect=quantize(np.uint8),
    )
    yield Case(
        "QuantizeLinear",
        [data((5, 7)), np.array(2.0).astype(ml_dtypes.float8_e8m0fnu), np.int8(0)],
        expect=quantize(np.int8),
    )
    yield Case(
        "QuantizeLinear", [np.zeros((0, 3), np.float32), np.float32(1), np.int8(0)], expect=np.zeros((0, 3), np.int8)
    )
    yield Case("QuantizeLinear", [data((1000, 321)), np.float32(0.3), np.uint8(7)], expect=quantize(np.uint8))
    yield Case(
        "QuantizeLinear",
        [data((3, 4)), scales(4), zero_points(4, np.int8)],
        {"axis": 1},
        opset=13,
        expect=quantize(np.int8),
    )
    yield Case("QuantizeLinear", [data((3, 4)), scales(()), np.uint8(3)], opset=10, expect=quantize(np.uint8))
    yield Case(
        "QuantizeLinear",
        [data((3, 4)), scales(()), np.uint16(300)],
        opset=1,
        domain="com.microsoft",
        expect=quantize(np.uint16),
    )
    for t in FLOAT8S:
        for saturate in (0, 1):
            yield Case(
                "QuantizeLinear", [data((4, 9), scale=300), np.float32(0.5), np.zeros((), t)], {"saturate": saturate}
            )
    for t in (ml_dtypes.float4_e2m1fn, ml_dtypes.float6_e2m3fn, ml_dtypes.float6_e3m2fn):
        yield Case("QuantizeLinear", [data((4, 9), scale=2), np.float32(0.5), np.zeros((), t)])
    yield raises(
        Case("QuantizeLinear", [data((3, 4)), scales(3), zero_points(3, np.int8)]),
        r"QuantizeLinear 'node'.*\[4\] expected",
    )
    yield raises(Case("QuantizeLinear", [data((3, 4)), scales(4), np.int8(0)]), "QuantizeLinear 'node'.*zero point")
    yield raises(
        Case("QuantizeLinear", [data((3, 4)), scales((3, 3))], {"block_size": 2}), "QuantizeLinear 'node'.*blocks of 2"
    )
    yield raises(
        Case("QuantizeLinear", [data((3, 4)), scales(()), np.int8(0)], {"output_dtype": TensorProto.UINT8}),
        "QuantizeLinear 'node'.*output_dtype",
    )


test_quantize = check(list(quantize_cases()))


def dequantize_cases():
    for t in [*INTEGERS, np.int32]:
        info = ml_dtypes.iinfo(t)

        def x(shape, t=t, info=info):
            return rng.integers(max(int(info.min), -40000), min(int(info.max), 40000) + 1, shape).astype(t)

        yield Case(
            "DequantizeLinear",
            [x((7, 93)), const(np.float32(0.75)), const(zero_points((), t))],
            expect=dequantize(np.float32),
        )
        yield Case("DequantizeLinear", [x((7, 93)), scales(())], expect=dequantize(np.float32))
        for shape, axis in AXES:
            yield Case(
                "DequantizeLinear",
                [x(shape), const(scales(shape[axis])), const(zero_points(shape[axis], t))],
                {"axis": axis},
                expect=dequantize(np.float32, axis),
            )
        yield Case(
            "DequantizeLinear",
            [x((5, 10)), scales((5, 3)), zero_points((5, 3), t)],
            {"axis": 1, "block_size": 4},
            expect=dequantize(np.float32, 1, 4),
        )
        yield Case(
            "DequantizeLinear",
            [x((10, 5)), scales((3, 5)), zero_points((3, 5), t)],
            {"axis": 0, "block_size": 4},
            expect=dequantize(np.float32, 0, 4),
        )
    extreme = np.array([-(2**31), 2**31 - 1], np.int32)
    yield Case("DequantizeLinear", [extreme, np.float32(1), np.int32(-(2**31))], expect=dequantize(np.float32))
    for t in [np.float16, ml_dtypes.bfloat16]:
        yield Case(
            "DequantizeLinear",
            [rng.integers(-128, 128, (4, 9)).astype(np.int8), scales((), t), np.int8(3)],
            expect=dequantize(t),
        )
    yield Case(
        "DequantizeLinear",
        [np.arange(9).astype(np.uint8), np.float32(0.1)],
        {"output_dtype": TensorProto.FLOAT16},
        expect=dequantize(np.float16),
    )
    for t in [*FLOAT8S, ml_dtypes.float4_e2m1fn, ml_dtypes.float6_e2m3fn, ml_dtypes.float6_e3m2fn]:
        yield Case(
            "DequantizeLinear", [data((4, 9), scale=3).astype(t), np.float32(0.3)], expect=dequantize(np.float32)
        )
    yield Case("DequantizeLinear", [np.zeros((0,), np.int8), np.float32(1)], expect=np.zeros(0, np.float32))
    yield Case(
        "DequantizeLinear",
        [np.arange(9).astype(np.uint8), np.float32(0.1), np.uint8(4)],
        opset=10,
        expect=dequantize(np.float32),
    )
    yield Case(
        "DequantizeLinear",
        [np.arange(9).astype(np.uint8), np.float32(0.1), np.uint8(4)],
        opset=1,
        domain="com.microsoft",
        expect=dequantize(np.float32),
    )
    yield raises(
        Case("DequantizeLinear", [np.zeros((3, 4), np.int8), scales(3)]), "DequantizeLinear 'node'.*expected for axis 1"
    )
    yield raises(
        Case("DequantizeLinear", [np.zeros((3, 4), np.int8), scales(()), np.uint8(0)]), "DequantizeLinear 'node'.*u8"
    )


test_dequantize = check(list(dequantize_cases()))


def dynamic(x):
    low, high = np.float32(min(0, x.min(initial=0))), np.float32(max(0, x.max(initial=0)))
    scale = np.float32(1) if low == high else (high - low) / np.float32(255)
    zero = np.rint(np.clip(-low / scale, 0, 255))
    return [np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), np.asarray(scale), np.asarray(zero, np.uint8)]


test_dynamic = check(
    [
        Case("DynamicQuantizeLinear", [x], outputs=3, expect=dynamic, rtol=0, atol=0, id=str(i))
        for i, x in enumerate(
            [
                data((3, 4)),
                data((130, 257)),
                np.abs(data(50)),
                -np.abs(data(50)),
                np.zeros(5, np.float32),
                np.zeros((0,), np.float32),
                np.float32(3),
            ]
        )
    ]
)

"""Products of 8-bit integers against NumPy."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(12)


def integers(dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def values(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def lifted(zero, a, side):
    """Zero points that broadcast against the matrix."""
    zero = zero.astype(np.int64)
    if zero.ndim == 1 and zero.size > 1:
        return zero.reshape(-1, 1) if side == "a" else zero.reshape(1, -1)
    return zero


def sums(a, b, az=None, bz=None):
    a = a.astype(np.int64) - (0 if az is None else lifted(az, a, "a"))
    b = b.astype(np.int64) - (0 if bz is None else lifted(bz, b, "b"))
    return np.matmul(a, b)


def integer(at, bt, a_shape, b_shape, a_zero=None, b_zero=None):
    az = None if a_zero is None else np.asarray(a_zero, at)
    bz = None if b_zero is None else const(np.asarray(b_zero, bt))

    def expect(a, b, az=None, bz=None):
        return sums(a, b, az, bz).astype(np.int32)

    return Case(
        "MatMulInteger",
        [integers(at, *a_shape), const(integers(bt, *b_shape)), az, bz],
        expect=expect,
        id=f"{at.__name__}-{bt.__name__}-{a_shape}-{b_shape}-{np.shape(a_zero)}-{np.shape(b_zero)}-{a_zero is None}",
    )


test_matmul_integer = check(
    [integer(at, bt, (5, 33), (33, 19), 7, 3) for at in (np.uint8, np.int8) for bt in (np.uint8, np.int8)]
    + [
        integer(np.uint8, np.int8, (5, 33), (33, 19)),
        integer(np.uint8, np.int8, (33,), (33, 19), 1, 1),
        integer(np.uint8, np.int8, (2, 3, 33), (33, 19), 200, 0),
        integer(np.uint8, np.int8, (2, 3, 33), (2, 33, 19), 200, 0),
        integer(np.uint8, np.int8, (2, 1, 3, 9), (4, 9, 5), 200, 0),
        integer(np.uint8, np.int8, (4, 33), (33, 6), [1, 2, 3, 4], [1, 2, 3, 4, 5, -6]),
        integer(np.uint8, np.int8, (1, 300), (300, 65), 255, -128),
        integer(np.uint8, np.int8, (0, 3), (3, 4)),
        integer(np.uint8, np.int8, (2, 0), (0, 4)),
        integer(np.uint8, np.uint8, (64, 256), (256, 64), 255, 0),
    ]
)


def qlinear(at, bt, yt, a_shape, b_shape, a_scale=0.02, b_scale=0.03, y_scale=0.8, scale_type=np.float32, opset=None):
    a_scale, b_scale, y_scale = (np.asarray(s, scale_type) for s in (a_scale, b_scale, y_scale))
    a_zero = np.full(a_scale.shape, 3, at)
    b_zero = np.full(b_scale.shape, -2 if bt == np.int8 else 2, bt)

    def expect(a, sa, az, b, sb, bz, sy, yz):
        total = sums(a, b, az, bz)
        row = sa.astype(np.float64).reshape(-1, 1) if sa.size > 1 else float(sa)
        real = total * row * (sb.astype(np.float64) if sb.size > 1 else float(sb)) / float(sy)
        info = np.iinfo(yt)
        return np.clip(np.rint(real) + int(yz), info.min, info.max).astype(yt)

    inputs = [
        integers(at, *a_shape),
        const(a_scale),
        const(a_zero),
        const(integers(bt, *b_shape)),
        const(b_scale),
        const(b_zero),
        const(y_scale),
        const(yt(5)),
    ]
    return Case(
        "QLinearMatMul",
        inputs,
        expect=expect,
        opset=opset,
        id=f"{at.__name__}-{bt.__name__}-{yt.__name__}-{a_shape}-{b_shape}-{a_scale.shape}-{b_scale.shape}-{np.dtype(scale_type).name}-{opset}",
    )


test_qlinear_matmul = check(
    [
        qlinear(at, bt, yt, (4, 9), (9, 5))
        for at in (np.uint8, np.int8)
        for bt in (np.uint8, np.int8)
        for yt in (np.uint8, np.int8)
    ]
    + [
        qlinear(np.uint8, np.int8, np.uint8, (2, 4, 9), (2, 9, 5)),
        qlinear(np.uint8, np.int8, np.uint8, (2, 4, 9), (9, 5)),
        qlinear(np.uint8, np.int8, np.uint8, (4, 9), (9, 5), b_scale=[0.01, 0.02, 0.03, 0.04, 0.05]),
        qlinear(
            np.uint8,
            np.int8,
            np.uint8,
            (3, 9),
            (9, 5),
            a_scale=[0.01, 0.02, 0.03],
            b_scale=[0.01, 0.02, 0.03, 0.04, 0.05],
        ),
        qlinear(np.uint8, np.int8, np.uint8, (4, 9), (9, 5), scale_type=np.float16),
        qlinear(np.uint8, np.uint8, np.uint8, (4, 9), (9, 5), opset=10),
    ]
)


def float8_case(at, bt, yt, a_shape=(4, 9), b_shape=(9, 5), *, a_scale=0.5, b_scale=0.25):
    """Powers of two as scales, and a zero point of its own for integers only."""

    def some(dtype, *shape):
        if np.dtype(dtype).kind in "iu":
            return integers(dtype, *shape)
        return rng.normal(size=shape).astype(np.float32).astype(dtype)

    def zero(dtype):
        return dtype(3 if np.dtype(dtype).kind in "iu" else 0)

    def expect(a, sa, az, b, sb, bz, sy, yz):
        left, right = a.astype(np.float64) - float(az), b.astype(np.float64) - float(bz)
        row = sa.astype(np.float64).reshape(-1, 1) if sa.ndim else float(sa)
        y = left @ right * row * sb.astype(np.float64) / float(sy)
        if np.dtype(yt).kind in "iu":
            info = np.iinfo(yt)
            return np.clip(np.rint(y) + int(yz), info.min, info.max).astype(yt)
        most = float(ml_dtypes.finfo(yt).max)
        return np.clip(y, -most, most).astype(np.float32).astype(yt)

    inputs = [some(at, *a_shape), const(a_scale, np.float32), const(zero(at)), const(some(bt, *b_shape))]
    inputs += [const(b_scale, np.float32), const(zero(bt)), const(2.0, np.float32), const(zero(yt))]
    names = "-".join(np.dtype(t).name for t in (at, bt, yt))
    return Case("QLinearMatMul", inputs, expect=expect, opset=21, id=f"{names}-{a_shape}-{b_shape}")


FLOAT8S = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz]
test_qlinear_matmul_float8 = check(
    [float8_case(t, t, t) for t in FLOAT8S]
    + [float8_case(FLOAT8S[0], FLOAT8S[2], np.int8), float8_case(np.uint8, FLOAT8S[0], FLOAT8S[2])]
    + [float8_case(FLOAT8S[0], FLOAT8S[0], FLOAT8S[0], (2, 4, 9), (9, 5), b_scale=[1, 2, 0.5, 1, 4])]
    + [float8_case(FLOAT8S[0], FLOAT8S[0], FLOAT8S[0], (3, 9), (9, 5), a_scale=[1, 2, 0.5])]
    + [float8_case(FLOAT8S[0], FLOAT8S[0], FLOAT8S[0], (9,), (2, 9, 5))]
)


def to_float(bias, per_column, scale_type=np.float32):
    a, b = integers(np.uint8, 4, 33), integers(np.int8, 33, 6)
    b_scale = np.asarray([0.01, 0.02, 0.03, 0.01, 0.02, 0.03] if per_column else 0.02, scale_type)
    bz = np.asarray([1, 2, 3, 4, 5, 6] if per_column else 4, np.int8)

    def expect(a, b, sa, sb, az, bz, bias=None):
        y = sums(a, b, az, bz) * float(sa) * sb.astype(np.float64)
        return (y + (0 if bias is None else bias.astype(np.float64))).astype(scale_type)

    inputs = [a, const(b), np.asarray(0.05, scale_type), const(b_scale), np.uint8(9), const(bz)]
    if bias:
        inputs.append(const(values(6).astype(scale_type)))
    return Case(
        "MatMulIntegerToFloat",
        inputs,
        domain="com.microsoft",
        expect=expect,
        rtol=1e-5 if scale_type == np.float32 else 2e-3,
        atol=1e-4,
        id=f"{bias}-{per_column}-{np.dtype(scale_type).name}",
    )


test_matmul_integer_to_float = check(
    [to_float(b, c) for b in (False, True) for c in (False, True)] + [to_float(True, False, np.float16)]
)


def quantized(x):
    low, high = np.float32(min(x.min(), 0)), np.float32(max(x.max(), 0))
    scale = np.float32((high - low) / np.float32(255)) if high > low else np.float32(1)
    zero = np.float32(np.rint(np.clip(-low / scale, 0, 255)))
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), scale, zero


def dynamic(shape, bias, zero):
    def expect(a, b, sb, bz=None, bias=None):
        q, scale, az = quantized(a)
        y = (
            np.matmul(q.astype(np.int64) - int(az), b.astype(np.int64) - (0 if bz is None else bz.astype(np.int64)))
            * np.float64(scale)
            * sb
        )
        return (y + (0 if bias is None else bias)).astype(np.float32)

    n = 6
    return Case(
        "DynamicQuantizeMatMul",
        [
            values(*shape),
            const(integers(np.int8, shape[-1], n)),
            const(np.float32(0.02)),
            const(np.int8(3)) if zero else None,
            const(values(n)) if bias else None,
        ],
        domain="com.microsoft",
        expect=expect,
        rtol=1e-5,
        atol=1e-4,
        id=f"{shape}-{bias}-{zero}",
    )


test_dynamic_quantize_matmul = check(
    [dynamic(shape, b, z) for shape in ((4, 33), (2, 3, 17)) for b in (False, True) for z in (False, True)]
)


def qgemm(c_shape, to_int, trans_a=0, trans_b=0, per_column=False):
    m, k, n = 4, 9, 6
    a, b = integers(np.uint8, *((k, m) if trans_a else (m, k))), integers(np.int8, *((n, k) if trans_b else (k, n)))
    c = None if c_shape is None else rng.integers(-500, 500, c_shape).astype(np.int32)
    sb = np.asarray(rng.uniform(0.01, 0.05, n) if per_column else 0.03, np.float32)
    bz = np.full(sb.shape, 2, np.int8)

    def expect(a, sa, az, b, sb, bz, c=None, sy=None, yz=None):
        total = sums(a.T if trans_a else a, b.T if trans_b else b, az, bz) + (0 if c is None else c)
        real = total * (0.5 * float(sa)) * sb.astype(np.float64)
        if sy is None:
            return real.astype(np.float32)
        return np.clip(np.rint(real / float(sy)) + int(yz), 0, 255).astype(np.uint8)

    inputs = [a, const(np.float32(0.02)), const(np.uint8(3)), const(b), const(sb), const(bz), c]
    inputs += [const(np.float32(0.1)), const(np.uint8(8))] if to_int else []
    while inputs[-1] is None:
        inputs.pop()
    attrs = {"transA": trans_a, "transB": trans_b, "alpha": 0.5}
    return Case(
        "QGemm",
        inputs,
        attrs,
        domain="com.microsoft",
        expect=expect,
        rtol=1e-5,
        atol=1e-5,
        id=f"{c_shape}-{to_int}-{trans_a}-{trans_b}-{per_column}",
    )


test_qgemm = check(
    [qgemm(c, out) for c in (None, (6,), (1, 6), (4, 1), (4, 6), (1,)) for out in (False, True)]
    + [qgemm((6,), True, a, b, True) for a in (0, 1) for b in (0, 1)]
    + [qgemm((4, 6), True, 1, 1)]
)

test_errors = check(
    [
        raises(Case("MatMulInteger", [integers(np.uint8, 3, 4), integers(np.uint8, 5, 6)]), "inner extents"),
        raises(
            Case("MatMulInteger", [integers(np.uint8, 3, 4), integers(np.uint8, 4, 6), None, integers(np.uint8, 5)]),
            "zero points",
        ),
    ]
)

"""QLinearAdd and QLinearMul: exact against their formula; broadcasting, signs, saturation."""

import numpy as np

from tests.ops.harness import Case, check, const

rng = np.random.default_rng(6)


def codes(dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, size=shape).astype(dtype)


def formula(op):
    def function(a, sa, za, b, sb, zb, sy, zy):
        x, y = np.float32(a) - np.float32(za), np.float32(b) - np.float32(zb)
        if op == "QLinearAdd":
            found = x * np.float32(sa / sy) + y * np.float32(sb / sy)
        else:
            found = x * np.float32(sa * sb / sy) * y
        info = np.iinfo(a.dtype)
        return np.clip(np.rint(found) + np.float32(zy), info.min, info.max).astype(a.dtype)

    return function


def case(op, dtype, a, b, scales):
    sa, sb, sy = (const(s, np.float32) for s in scales)
    za, zb, zy = (const(z, dtype) for z in codes(dtype, 3))
    inputs = [codes(dtype, *a), sa, za, codes(dtype, *b), sb, zb, sy, zy]
    return Case(op, inputs, domain="com.microsoft", expect=formula(op), id=f"{np.dtype(dtype)}-{a}-{b}-{scales[0]}")


test_qlinear_map = check(
    [
        case(op, dtype, a, b, scales)
        for op in ("QLinearAdd", "QLinearMul")
        for dtype in (np.uint8, np.int8)
        for a, b in (
            ((4, 33), (4, 33)),
            ((2, 3, 5), (5,)),
            ((1,), (6, 2)),
            ((0, 3), (3,)),
            ((37,), (3, 37)),
            ((2, 3, 4, 20), (2, 1, 4, 20)),
            ((3, 40), (3, 1)),
        )
        for scales in ((0.02, 0.03, 0.04), (0.5, 0.9, 0.01))
    ]
)

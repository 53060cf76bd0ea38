"""Conv, ConvTranspose, DeformConv and the integer and fused convolutions against plain loops in NumPy."""

import itertools

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(9)


def values(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def geometry(x_shape, w_shape, attrs):
    rank = len(x_shape) - 2
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, w_shape[2:])]
    begins, outs = [], []
    pads = attrs.get("pads", [0] * (2 * rank))
    mode = attrs.get("auto_pad", "NOTSET")
    for i in range(rank):
        n = x_shape[i + 2]
        if mode.startswith("SAME"):
            out = -(-n // strides[i])
            total = max((out - 1) * strides[i] + reach[i] - n, 0)
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
        else:
            begin, end = (pads[i], pads[rank + i]) if mode == "NOTSET" else (0, 0)
            out = (n + begin + end - reach[i]) // strides[i] + 1
        begins.append(begin)
        outs.append(out)
    return strides, dilations, begins, outs


def convolve(x, w, attrs, zero=0.0):
    """The sums of a convolution in the dtype of x; `zero` is what padding counts as."""
    groups = attrs.get("group", 1)
    strides, dilations, begins, outs = geometry(x.shape, w.shape, attrs)
    per_group, filters = w.shape[1], w.shape[0] // groups
    y = np.zeros((x.shape[0], w.shape[0], *outs), x.dtype)
    for position in itertools.product(*map(range, outs)):
        for tap in itertools.product(*map(range, w.shape[2:])):
            at = tuple(p * s + t * d - b for p, s, t, d, b in zip(position, strides, tap, dilations, begins))
            if any(i < 0 or i >= n for i, n in zip(at, x.shape[2:])):
                continue
            for g in range(groups):
                pixel = x[(slice(None), slice(g * per_group, (g + 1) * per_group), *at)]
                taps = w[(slice(g * filters, (g + 1) * filters), slice(None), *tap)]
                y[(slice(None), slice(g * filters, (g + 1) * filters), *position)] += pixel @ taps.T
    return y


def conv(x_shape, w_shape, *, bias=True, dtype=np.float32, opset=None, id=None, **attrs):
    def expect(x, w, b=None):
        y = convolve(x.astype(np.float64), w.astype(np.float64), attrs)
        if b is not None:
            y += b.astype(np.float64).reshape(-1, *[1] * (y.ndim - 2))
        return y.astype(dtype)

    inputs = [values(*x_shape, dtype=dtype), const(values(*w_shape, dtype=dtype))]
    if bias:
        inputs.append(const(values(w_shape[0], dtype=dtype)))
    tolerance = {2: 2e-2, 4: 3e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
    name = "-".join([np.dtype(dtype).name, str(x_shape), str(w_shape), *(f"{k}={v}" for k, v in attrs.items())])
    return Case("Conv", inputs, attrs, expect=expect, rtol=tolerance, atol=tolerance, opset=opset, id=id or name)


test_conv_shapes = check(
    [
        conv((1, 1, 5, 5), (1, 1, 3, 3)),
        conv((2, 3, 9, 8), (5, 3, 3, 3), pads=[1, 1, 1, 1]),
        conv((2, 3, 9, 8), (5, 3, 3, 3), pads=[0, 1, 2, 1], strides=[2, 1]),
        conv((1, 4, 11, 7), (6, 4, 3, 2), dilations=[2, 3], pads=[2, 2, 2, 2]),
        conv((1, 8, 6, 6), (16, 8, 1, 1)),
        conv((3, 8, 7, 5), (4, 8, 1, 1), strides=[2, 2]),
        conv((1, 8, 9, 9), (8, 1, 3, 3), group=8, pads=[1, 1, 1, 1]),
        conv((2, 6, 9, 9), (12, 1, 3, 3), group=6, pads=[1, 1, 1, 1], strides=[2, 2]),
        conv((1, 6, 7, 7), (4, 3, 3, 3), group=2, pads=[1, 1, 1, 1]),
        conv((1, 3, 8, 8), (4, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
        conv((1, 3, 7, 8), (4, 3, 4, 4), auto_pad="SAME_LOWER", strides=[2, 3]),
        conv((1, 3, 7, 8), (4, 3, 4, 4), auto_pad="VALID"),
        conv((2, 3, 17), (5, 3, 4), pads=[2, 1], strides=[2]),
        conv((1, 16, 33), (16, 1, 5), group=16, pads=[2, 2]),
        conv((1, 2, 5, 6, 7), (3, 2, 3, 2, 3), pads=[1, 0, 1, 1, 1, 1], strides=[1, 2, 1]),
        conv((1, 2, 3, 3, 3, 3), (3, 2, 2, 2, 2, 2)),
        conv((1, 1, 1, 1), (1, 1, 1, 1), bias=False),
        conv((0, 3, 5, 5), (4, 3, 3, 3)),
        conv((1, 3, 3, 3), (4, 3, 3, 3)),
        conv((1, 3, 30, 31), (20, 3, 7, 7), strides=[2, 2], pads=[3, 3, 3, 3], bias=False),
        conv((1, 3, 2, 5), (2, 3, 3, 3), bias=False, id="empty-result"),
    ]
)

test_conv_types = check(
    [conv((1, 3, 7, 6), (4, 3, 3, 3), dtype=t, pads=[1, 1, 1, 1]) for t in (np.float16, ml_dtypes.bfloat16, np.float64)]
    + [conv((2, 4, 9), (6, 2, 3), dtype=np.float64, group=2, dilations=[2], strides=[2], pads=[1, 3])]
    + [conv((1, 2, 4, 5, 3), (2, 2, 2, 2, 2), dtype=np.float64, pads=[1, 0, 1, 0, 1, 0])]
    + [conv((1, 3, 7, 6), (4, 3, 3, 3), opset=version, id=f"v{version}") for version in (1, 11)]
)

test_conv_errors = check(
    [
        raises(Case("Conv", [values(1, 3, 5, 5), values(4, 2, 3, 3)], id="channels"), "(channels|do not fit)"),
        raises(Case("Conv", [values(1, 3, 5, 5), values(4, 3, 3)], id="rank"), "rank"),
        raises(Case("Conv", [values(1, 3, 5, 5), values(4, 3, 3, 3)], {"strides": [0, 1]}, id="stride"), "strides"),
        raises(Case("Conv", [values(1, 3, 5, 5), values(4, 3, 3, 3)], {"pads": [1, 1]}, id="pads"), "pads"),
        raises(
            Case("Conv", [values(1, 3, 5, 5), values(4, 3, 3, 3)], {"kernel_shape": [2, 2]}, id="kernel"),
            "kernel_shape",
        ),
        raises(Case("Conv", [values(1, 3, 2, 2), values(4, 3, 5, 5)], id="too-large"), "does not fit"),
        raises(Case("Conv", [values(1, 3, 5, 5), values(4, 3, 3, 3), values(3)], id="bias"), "bias"),
        raises(Case("Conv", [values(1, 4, 5, 5), values(3, 2, 3, 3)], {"group": 2}, id="groups"), "groups"),
    ]
)


def transpose_conv(x, w, attrs):
    rank = x.ndim - 2
    groups = attrs.get("group", 1)
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    extra = attrs.get("output_padding", [0] * rank)
    pads = attrs.get("pads", [0] * (2 * rank))
    mode = attrs.get("auto_pad", "NOTSET")
    outs, begins = [], []
    for i in range(rank):
        full = strides[i] * (x.shape[i + 2] - 1) + extra[i] + dilations[i] * (w.shape[i + 2] - 1) + 1
        out, begin = full - pads[i] - pads[rank + i], pads[i]
        if "output_shape" in attrs or mode.startswith("SAME"):
            out = attrs["output_shape"][i] if "output_shape" in attrs else x.shape[i + 2] * strides[i]
            total = max(full - out, 0)
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
        outs.append(out)
        begins.append(begin)
    channels, filters = w.shape[0] // groups, w.shape[1]
    y = np.zeros((x.shape[0], filters * groups, *outs))
    for position in itertools.product(*map(range, x.shape[2:])):
        for tap in itertools.product(*map(range, w.shape[2:])):
            at = tuple(p * s + t * d - b for p, s, t, d, b in zip(position, strides, tap, dilations, begins))
            if any(i < 0 or i >= n for i, n in zip(at, outs)):
                continue
            for g in range(groups):
                pixel = x[(slice(None), slice(g * channels, (g + 1) * channels), *position)]
                taps = w[(slice(g * channels, (g + 1) * channels), slice(None), *tap)]
                y[(slice(None), slice(g * filters, (g + 1) * filters), *at)] += pixel @ taps
    return y


def transposed(x_shape, w_shape, *, bias=True, dtype=np.float32, opset=None, **attrs):
    def expect(x, w, b=None):
        y = transpose_conv(x.astype(np.float64), w.astype(np.float64), attrs)
        if b is not None:
            y += b.astype(np.float64).reshape(-1, *[1] * (y.ndim - 2))
        return y.astype(dtype)

    inputs = [values(*x_shape, dtype=dtype), const(values(*w_shape, dtype=dtype))]
    if bias:
        inputs.append(const(values(w_shape[1] * attrs.get("group", 1), dtype=dtype)))
    tolerance = {2: 2e-2, 4: 3e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
    name = "-".join(
        [np.dtype(dtype).name, str(x_shape), str(w_shape), *(f"{k}={v}" for k, v in attrs.items()), f"v{opset}"]
    )
    return Case("ConvTranspose", inputs, attrs, expect=expect, rtol=tolerance, atol=tolerance, opset=opset, id=name)


test_transpose = check(
    [
        transposed((1, 1, 3, 3), (1, 2, 3, 3), bias=False),
        transposed((2, 3, 4, 5), (3, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
        transposed((1, 3, 4, 5), (3, 4, 2, 2), strides=[2, 2]),
        transposed((1, 3, 4, 5), (3, 4, 3, 3), strides=[2, 3], output_padding=[1, 2]),
        transposed((1, 3, 4, 5), (3, 4, 3, 3), strides=[3, 2], output_shape=[10, 8]),
        transposed((1, 3, 4, 5), (3, 4, 3, 3), strides=[3, 2], output_shape=[14, 13]),
        transposed((1, 3, 4, 5), (3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
        transposed((1, 3, 4, 5), (3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_LOWER"),
        transposed((1, 3, 4, 5), (3, 4, 3, 3), auto_pad="VALID"),
        transposed((1, 4, 4, 5), (4, 3, 3, 3), group=2, pads=[1, 0, 0, 1]),
        transposed((1, 4, 4, 5), (4, 1, 3, 3), group=4, strides=[2, 2]),
        transposed((1, 2, 4, 5), (2, 3, 2, 2), dilations=[2, 3]),
        transposed((1, 2, 9), (2, 3, 4), strides=[3], pads=[1, 2]),
        transposed((1, 2, 3, 4, 3), (2, 2, 2, 3, 2), strides=[2, 1, 2]),
        transposed((0, 2, 4, 4), (2, 3, 2, 2)),
        transposed((1, 3, 4, 5), (3, 4, 3, 3), opset=1),
        transposed((1, 3, 4, 5), (3, 4, 3, 3), opset=11),
    ]
    + [
        transposed((1, 3, 4, 5), (3, 4, 3, 3), dtype=t, strides=[2, 1])
        for t in (np.float16, ml_dtypes.bfloat16, np.float64)
    ]
)

test_transpose_errors = check(
    [
        raises(Case("ConvTranspose", [values(1, 3, 5, 5), values(2, 4, 3, 3)], id="channels"), "(channels|do not fit)"),
        raises(
            Case("ConvTranspose", [values(1, 3, 5, 5), values(3, 4, 3, 3)], {"output_padding": [1]}, id="padding"),
            "output_padding",
        ),
        raises(
            Case("ConvTranspose", [values(1, 3, 1, 1), values(3, 4, 1, 1)], {"pads": [3, 3, 3, 3]}, id="negative"),
            "extent|shape",
        ),
    ]
)

test_deformable = check(
    [
        Case(
            "DeformConv",
            [values(1, 4, 5, 6), const(values(4, 4 // groups, 3, 2)), values(1, 2 * 6 * og, *out), *rest],
            {"group": groups, "offset_group": og, **attrs},
            opset=22,
            rtol=1e-4,
            atol=1e-4,
            id=f"{groups}-{og}-{len(rest)}-{attrs}",
        )
        for groups, og, out, rest, attrs in (
            (1, 1, (3, 5), [], {}),
            (2, 2, (3, 5), [values(4)], {}),
            (1, 1, (5, 5), [values(4), np.abs(values(1, 6, 5, 5))], {"pads": [1, 0, 1, 0]}),
            (1, 2, (2, 3), [None, np.abs(values(1, 12, 2, 3))], {"strides": [2, 2]}),
        )
    ]
)


def integer_conv(x_type, w_type, x_shape, w_shape, x_zero=None, w_zero=None, **attrs):
    def limits(t):
        return (-128, 128) if t == np.int8 else (0, 256)

    x = rng.integers(*limits(x_type), x_shape).astype(x_type)
    w = rng.integers(*limits(w_type), w_shape).astype(w_type)
    xz = None if x_zero is None else np.array(x_zero, x_type)
    wz = None if w_zero is None else const(np.array(w_zero, w_type))

    def expect(x, w, xz=None, wz=None):
        wide = w.astype(np.int64) - (0 if wz is None else wz.astype(np.int64).reshape(-1, *[1] * (w.ndim - 1)))
        return convolve(x.astype(np.int64) - (0 if xz is None else int(xz)), wide, attrs).astype(np.int32)

    return Case(
        "ConvInteger",
        [x, const(w), xz, wz],
        attrs,
        expect=expect,
        id=f"{x_type.__name__}-{w_type.__name__}-{x_shape}-{w_shape}-{x_zero}-{w_zero}-{attrs}",
    )


test_integer = check(
    [
        integer_conv(xt, wt, (1, 3, 6, 7), (4, 3, 3, 3), 5, 3, pads=[1, 1, 1, 1])
        for xt in (np.uint8, np.int8)
        for wt in (np.uint8, np.int8)
    ]
    + [
        integer_conv(np.uint8, np.int8, (2, 4, 9), (6, 2, 3), 128, [1, -2, 3, -4, 5, -6], group=2, strides=[2]),
        integer_conv(np.uint8, np.int8, (1, 4, 6, 6), (4, 1, 3, 3), 200, 0, group=4, pads=[1, 1, 1, 1]),
        integer_conv(np.uint8, np.uint8, (1, 1, 3, 3), (1, 1, 2, 2)),
        integer_conv(np.uint8, np.int8, (1, 2, 4, 4, 4), (3, 2, 2, 2, 2), 7, 1),
        integer_conv(np.uint8, np.int8, (1, 70, 5, 5), (33, 70, 1, 1), 255, None),
    ]
)


def qlinear_conv(w_scales, bias, y_type=np.uint8, **attrs):
    x = rng.integers(0, 256, (1, 4, 7, 6)).astype(np.uint8)
    w = rng.integers(-128, 128, (6, 4 // attrs.get("group", 1), 3, 3)).astype(np.int8)
    scales = np.asarray(w_scales, np.float32)
    zeros = np.zeros_like(scales, np.int8)
    b = rng.integers(-3000, 3000, 6).astype(np.int32) if bias else None

    def expect(x, xs, xz, w, ws, wz, ys, yz, b=None):
        sums = convolve(x.astype(np.int64) - int(xz), w.astype(np.int64), attrs)
        if b is not None:
            sums = sums + b.reshape(1, -1, 1, 1)
        factor = np.float32(xs * ws / ys).reshape((1, -1, 1, 1) if ws.size > 1 else ())
        info = np.iinfo(y_type)
        return np.clip(np.rint(sums.astype(np.float32) * factor) + int(yz), info.min, info.max).astype(y_type)

    inputs = [
        x,
        const(np.float32(0.02)),
        const(np.uint8(120)),
        const(w),
        const(scales),
        const(zeros),
        const(np.float32(0.3)),
        const(y_type(4)),
    ]
    return Case(
        "QLinearConv",
        [*inputs, const(b) if bias else None],
        attrs,
        expect=expect,
        id=f"{scales.shape}-{bias}-{y_type.__name__}-{attrs}",
    )


test_qlinear = check(
    [
        qlinear_conv(0.01, False),
        qlinear_conv(0.01, True, pads=[1, 1, 1, 1]),
        qlinear_conv([0.01, 0.02, 0.005, 0.03, 0.01, 0.02], True, pads=[1, 1, 1, 1], strides=[2, 2]),
        qlinear_conv([0.01, 0.02, 0.005, 0.03, 0.01, 0.02], True, np.int8, group=2),
    ]
)


def fused_conv(activation, parameters, function, residual):
    x, w, b = values(1, 3, 6, 7), values(4, 3, 3, 3), values(4)
    attrs = {"pads": [1, 1, 1, 1], "activation": activation}
    if parameters:
        attrs["activation_params"] = parameters

    def expect(x, w, b, z=None):
        y = convolve(x.astype(np.float64), w.astype(np.float64), attrs) + b.reshape(-1, 1, 1)
        return function(y + (0 if z is None else z)).astype(np.float32)

    inputs = [x, const(w), const(b)] + ([values(1, 4, 6, 7)] if residual else [])
    return Case(
        "FusedConv",
        inputs,
        attrs,
        domain="com.microsoft",
        expect=expect,
        rtol=3e-5,
        atol=3e-5,
        id=f"{activation}-{residual}",
    )


test_fused = check(
    [
        fused_conv(name, parameters, function, residual)
        for residual in (False, True)
        for name, parameters, function in (
            ("Relu", [], lambda y: np.maximum(y, 0)),
            ("LeakyRelu", [0.2], lambda y: np.where(y < 0, 0.2 * y, y)),
            ("Clip", [-0.5, 1.5], lambda y: np.clip(y, -0.5, 1.5)),
            ("Sigmoid", [], lambda y: 1 / (1 + np.exp(-y))),
            ("HardSigmoid", [0.3, 0.4], lambda y: np.clip(0.3 * y + 0.4, 0, 1)),
        )
    ]
)

"""Pad: modes, negative pads, axes, types, old opsets."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(1, 100, shape)).astype(dtype)


def pad(x, pads, value=None, axes=None, **options):
    mode = options.pop("mode", "constant")
    inputs = [x, const(pads, np.int64)]
    if value is not None or axes is not None:
        inputs.append(None if value is None else const(value, x.dtype))
    if axes is not None:
        inputs.append(const(axes, np.int64))
    return Case("Pad", inputs, {"mode": mode}, **options)


def numpy_pad(mode):
    def expected(x, pads, value=None, axes=None):
        rank = x.ndim
        axes = range(rank) if axes is None else [int(a) % rank for a in axes]
        width = [(0, 0)] * rank
        for i, a in enumerate(axes):
            width[a] = (int(pads[i]), int(pads[len(pads) // 2 + i]))
        begin = tuple(slice(max(-b, 0), x.shape[a] - max(-e, 0)) for a, (b, e) in enumerate(width))
        width = [(max(b, 0), max(e, 0)) for b, e in width]
        extra = {"constant_values": 0 if value is None else value} if mode == "constant" else {}
        return np.pad(x[begin], width, mode, **extra).astype(x.dtype)

    return expected


MODES = ["constant", "reflect", "edge", "wrap"]
test_modes = check(
    [
        pad(data(shape), pads, mode=mode, expect=numpy_pad(mode), id=f"{mode}-{shape}-{pads}")
        for mode in MODES
        for shape, pads in [
            ((4, 5), [1, 2, 0, 3]),
            ((4, 5), [0, 0, 0, 3]),
            ((4, 5), [2, 0, 1, 0]),
            ((2, 3, 4, 5), [0, 0, 1, 1, 0, 0, 1, 1]),
            ((2, 3, 4, 5), [0, 1, 0, 0, 0, 2, 0, 0]),
            ((2, 3, 4), [1, 0, 1, 1, 0, 1]),
            ((5,), [9, 13]),
            ((4, 5), [-1, 2, 1, -3]),
            ((4, 5), [0, 0, 0, 0]),
            ((1, 3), [2, 1, 2, 1]),
        ]
    ]
)
test_types = check(
    [
        pad(data((3, 4), t), [1, 0, 0, 2], 7, expect=numpy_pad("constant"), id=np.dtype(t).name)
        for t in (np.int8, np.uint8, np.int32, np.int64, np.float16, ml_dtypes.bfloat16, np.float64, np.complex64)
    ]
    + [
        Case("Pad", [np.array(["a", "b"], object), const([1, 0])], expect=np.array(["", "a", "b"], object)),
        pad(np.array([True, False]), [1, 1], expect=np.array([False, True, False, False])),
    ]
)
test_more = check(
    [
        pad(data((2, 3, 4)), [1, 2], 5, [1], expect=numpy_pad("constant")),
        pad(data((2, 3, 4)), [1, 1, 2, 0], 5, [-1, 0], expect=numpy_pad("constant"), id="negative-axes"),
        pad(data((2, 3, 4)), [1, 1], None, [2], mode="reflect", expect=numpy_pad("reflect"), id="reflect-axes"),
        pad(data((0, 3)), [1, 0, 1, 0], expect=numpy_pad("constant"), id="empty"),
        pad(data(()), [], expect=lambda x, *_: x, id="scalar"),
        pad(data((3,)), [-5, 6], expect=np.zeros(4, np.float32), id="cut-beyond"),
        pad(data((1, 8, 100, 101)), [0, 0, 1, 1, 0, 0, 1, 1], expect=numpy_pad("constant"), id="image"),
        Case(
            "Pad",
            [data((2, 3))],
            {"paddings": [0, 1, 0, 1], "value": 2.5},
            opset=1,
            expect=lambda x: np.pad(x, ((0, 0), (1, 1)), constant_values=2.5),
        ),
        Case(
            "Pad",
            [data((2, 3))],
            {"pads": [0, 1, 0, 1], "value": 2.5},
            opset=2,
            expect=lambda x: np.pad(x, ((0, 0), (1, 1)), constant_values=2.5),
        ),
        Case(
            "Pad",
            [data((2, 3), np.float64)],
            {"pads": [0, 1, 0, 1], "value": 2.5},
            opset=10,
            expect=lambda x: np.pad(x, ((0, 0), (1, 1)), constant_values=2.5),
        ),
        Case(
            "Pad",
            [data((2, 3), np.float16)],
            {"pads": [0, 1, 0, 1], "value": 2.5},
            opset=10,
            expect=lambda x: np.pad(x, ((0, 0), (1, 1)), constant_values=2.5),
        ),
        Case(
            "Pad",
            [data((4, 3))],
            {"pads": [0, 1, 0, 1], "mode": "reflect"},
            opset=2,
            expect=lambda x: np.pad(x, ((0, 0), (1, 1)), "reflect"),
        ),
        pad(data((2, 3)), [0, 1, 0, 1], 2, opset=11, expect=numpy_pad("constant")),
        raises(pad(data((2, 3)), [0, 1, 0]), "pads; two for each"),
        raises(pad(data((2, 3)), [0, -2, 0, -2]), "leave nothing|would have the shape"),
        raises(pad(data((0, 3)), [1, 0, 0, 0], mode="edge"), "no elements to pad with"),
        raises(pad(data((2, 3)), [0, 1, 0, 1], mode="mirror"), "mode is 'mirror'"),
        raises(pad(data((2, 3)), [0, 1], axes=[2]), "axis 2 is out of range"),
    ]
)

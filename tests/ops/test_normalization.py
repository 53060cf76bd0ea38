"""Batch, group, instance, layer, RMS, local response, Lp and mean-variance normalization."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(6)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
HALF = ml_dtypes.bfloat16
EPSILON = float(np.float32(1e-5))
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-14, np.float16: 2e-3, HALF: 2e-2}


def data(shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def positive(shape, dtype=np.float32):
    return rng.uniform(0.5, 2, shape).astype(dtype)


def wide(function):
    """The function of f64 arguments, its result rounded to the type of the first."""

    def expected(*inputs):
        result = function(*(None if x is None else x.astype(np.float64) for x in inputs))
        if isinstance(result, tuple):
            return [r.astype(inputs[0 if i == 0 else 3].dtype) for i, r in enumerate(result)]
        return result.astype(inputs[0].dtype)

    return expected


def batch_norm(x, scale, bias, mean, var, epsilon=EPSILON):
    shape = (1, -1) + (1,) * (x.ndim - 2) if x.ndim > 1 else (-1,)
    return (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + epsilon) * scale.reshape(shape) + bias.reshape(
        shape
    )


def training(x, scale, bias, mean, var, momentum=float(np.float32(0.9))):
    axes = (0, *range(2, x.ndim))
    m, v = x.mean(axes), x.var(axes)
    return batch_norm(x, scale, bias, m, v), mean * momentum + m * (1 - momentum), var * momentum + v * (1 - momentum)


def statistics(channels, dtype=np.float32):
    return [
        const(positive(channels, dtype)),
        const(data(channels, dtype)),
        const(data(channels, dtype)),
        const(positive(channels, dtype)),
    ]


YMV = ["y", "mean", "var"]
x = data((2, 3, 4, 5))


def saved(x, *parameters):
    """Training before opset 10, with the statistics of the batch."""
    axes = (0, *range(2, x.ndim))
    return (*training(x, *parameters), x.mean(axes), x.var(axes))


def saved_by_position(x, *parameters):
    flat = [p.reshape(-1) for p in parameters]
    y, *statistics = saved(x.reshape(len(x), -1), *flat)
    return (y.reshape(x.shape), *(s.reshape(x.shape[1:]) for s in statistics))


test_batch_norm = check(
    [
        Case("BatchNormalization", [data(shape, t), *statistics(3, t)], expect=wide(batch_norm), atol=TOLERANCE[t])
        for shape in [(2, 3, 4, 5), (5, 3), (1, 3, 7), (2, 3, 2, 3, 4), (2, 3, 1, 1)]
        for t in FLOATS
    ]
    + [
        Case(
            "BatchNormalization",
            [x, *statistics(3)],
            {"epsilon": 0.1},
            expect=wide(lambda *a: batch_norm(*a, 0.1)),
            atol=2e-6,
        ),
        Case(
            "BatchNormalization",
            [data((2, 3, 4), np.float16), *statistics(3, np.float32)],
            expect=wide(batch_norm),
            atol=2e-3,
        ),
        Case("BatchNormalization", [data((0, 3, 4)), *statistics(3)], expect=np.zeros((0, 3, 4), np.float32)),
        Case("BatchNormalization", [x, *statistics(3)], opset=9, expect=wide(batch_norm), atol=2e-6),
        Case(
            "BatchNormalization",
            [x, *statistics(3)],
            {"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]},
            opset=1,
            expect=wide(batch_norm),
            atol=2e-6,
        ),
        Case(
            "BatchNormalization",
            [x, *statistics((3, 4, 5))],
            {"spatial": 0},
            opset=7,
            atol=2e-6,
            expect=lambda x, s, b, m, v: (x - m) / np.sqrt(v + EPSILON) * s + b,
        ),
        raises(Case("BatchNormalization", [x, *statistics(4)]), "BatchNormalization 'node'.*3"),
        raises(Case("BatchNormalization", [x, *statistics(3)], outputs=3), "BatchNormalization 'node'.*training_mode"),
    ]
    + [
        Case(
            "BatchNormalization",
            [data((4, 3, 5), t), *statistics(3, t)],
            {"training_mode": 1},
            outputs=YMV,
            expect=wide(training),
            atol=TOLERANCE[t],
        )
        for t in FLOATS
    ]
    + [
        Case(
            "BatchNormalization",
            [data((4, 3)), *statistics(3)],
            {"training_mode": 1, "momentum": 0.5},
            outputs=YMV,
            expect=wide(lambda *a: training(*a, 0.5)),
            atol=2e-6,
        ),
        Case(
            "BatchNormalization",
            [x, *statistics(3)],
            {"training_mode": 1},
            outputs=["y"],
            expect=wide(lambda *a: training(*a)[0]),
            atol=2e-6,
        ),
        Case("BatchNormalization", [x, *statistics(3)], opset=9, outputs=YMV, expect=wide(training), atol=2e-6),
        *(
            Case(
                "BatchNormalization",
                [data((4, 3, 5)), *statistics(3)],
                opset=opset,
                outputs=names,
                expect=wide(lambda *a, names=names: tuple(y for y, name in zip(saved(*a), names) if name)),
                atol=2e-6,
                id=f"saved-{opset}-{len(names)}",
            )
            for opset in (1, 6, 7, 9)
            for names in (["y", "m", "v", "sm", "sv"], ["y", "", "", "", "sv"])
        ),
        Case(
            "BatchNormalization",
            [data((6, 3, 2)), *(data((3, 2)) for _ in range(3)), np.abs(data((3, 2)))],
            {"spatial": 0},
            opset=7,
            outputs=["y", "m", "v", "sm", "sv"],
            expect=wide(saved_by_position),
            atol=2e-6,
        ),
        raises(Case("BatchNormalization", [x, *statistics(3)], outputs=6, opset=9), "6 outputs; from 1 to 5 expected"),
        raises(Case("BatchNormalization", [x, positive(3)], opset=9), "'B' is required but missing"),
    ]
)


def group_norm(x, scale, bias, groups, epsilon=EPSILON):
    g = x.reshape(x.shape[0], groups, -1)
    y = ((g - g.mean(-1, keepdims=True)) / np.sqrt(g.var(-1, keepdims=True) + epsilon)).reshape(x.shape)
    shape = (-1,) + (1,) * (x.ndim - 2)
    return y * scale.reshape(shape) + bias.reshape(shape)


def spread(x, scale, bias, groups):
    repeats = x.shape[1] // groups
    return group_norm(x, np.repeat(scale, repeats), np.repeat(bias, repeats), groups)


test_group_norm = check(
    [
        Case(
            "InstanceNormalization",
            [data(shape, t), const(positive(3, t)), const(data(3, t))],
            expect=wide(lambda x, s, b: group_norm(x, s, b, 3)),
            atol=TOLERANCE[t],
        )
        for shape in [(2, 3, 4, 5), (1, 3, 17)]
        for t in FLOATS
    ]
    + [
        Case(
            "GroupNormalization",
            [data((2, 6, 3, 5), t), const(positive(6, t)), const(data(6, t))],
            {"num_groups": g},
            expect=wide(lambda x, s, b, g=g: group_norm(x, s, b, g)),
            atol=TOLERANCE[t],
        )
        for g in (1, 2, 3, 6)
        for t in FLOATS
    ]
    + [
        Case(
            "InstanceNormalization",
            [x, positive(3), data(3)],
            {"epsilon": 0.5, "consumed_inputs": [0, 0, 0]},
            opset=1,
            expect=wide(lambda x, s, b: group_norm(x, s, b, 3, 0.5)),
            atol=2e-6,
        ),
        Case(
            "GroupNormalization",
            [data((2, 6, 5)), const(positive(2)), const(data(2))],
            {"num_groups": 2},
            opset=18,
            expect=wide(lambda x, s, b: spread(x, s, b, 2)),
            atol=2e-6,
        ),
        Case(
            "GroupNormalization",
            [data((0, 6, 5)), positive(6), data(6)],
            {"num_groups": 2},
            expect=np.zeros((0, 6, 5), np.float32),
        ),
        raises(
            Case("GroupNormalization", [data((2, 6, 5)), positive(6), data(6)], {"num_groups": 4}),
            "GroupNormalization 'node'.*6 channels.*4 groups",
        ),
        raises(
            Case("GroupNormalization", [data((2, 6, 5)), positive(2), data(2)], {"num_groups": 2}),
            "GroupNormalization 'node'.*scale",
        ),
        raises(
            Case("GroupNormalization", [data((2, 6, 5)), positive(6), data(6)], {"num_groups": 0}),
            "GroupNormalization 'node'.*num_groups",
        ),
    ]
)


def layer_norm(x, scale, bias=None, axis=-1, epsilon=EPSILON):
    axes = tuple(range(axis % x.ndim, x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon) * scale
    return y if bias is None else y + bias


def with_statistics(x, scale, bias=None):
    mean = x.mean(-1, keepdims=True)
    return [layer_norm(x, scale, bias), mean, 1 / np.sqrt(x.var(-1, keepdims=True) + EPSILON)]


def layer_cases():
    for axis in (0, 1, 2, -1, -2):
        shape = (3, 4, 5)[axis % 3 :]
        for t in FLOATS:
            yield Case(
                "LayerNormalization",
                [data((3, 4, 5), t), const(positive(shape, t)), const(data(shape, t))],
                {"axis": axis},
                expect=wide(lambda x, s, b, a=axis: layer_norm(x, s, b, a)),
                atol=2 * TOLERANCE[t],
            )
    yield Case("LayerNormalization", [data((2, 3, 768)), positive(768)], expect=wide(layer_norm), atol=2e-6)
    yield Case(
        "LayerNormalization",
        [data((7, 33)), positive(1), data((7, 1))],
        expect=wide(layer_norm),
        atol=2e-6,
        id="broadcast",
    )
    yield Case(
        "LayerNormalization",
        [data((7, 33)), positive(33), data((7, 33))],
        expect=wide(layer_norm),
        atol=2e-6,
        id="broadcast-bias",
    )
    yield Case(
        "LayerNormalization",
        [data((3, 4, 5)), positive(5), data(5)],
        {"axis": 1},
        expect=wide(lambda x, s, b: layer_norm(x, s, b, 1)),
        atol=2e-6,
        id="short-scale",
    )
    yield Case(
        "LayerNormalization",
        [data((3, 5)), positive(5), data(5)],
        outputs=3,
        expect=lambda *a: [r.astype(np.float32) for r in with_statistics(*a)],
        atol=2e-6,
    )
    yield Case(
        "LayerNormalization",
        [data((3, 5), np.float16), positive(5, np.float16)],
        outputs=["y", "", "inverse"],
        expect=lambda x, s: [
            r.astype(t) for r, t in zip(with_statistics(x.astype(np.float64), s)[::2], (np.float16, np.float32))
        ],
        atol=2e-3,
    )
    yield Case(
        "LayerNormalization",
        [data((3, 5), np.float64), positive(5, np.float64)],
        outputs=3,
        expect=lambda x, s: [r.astype(t) for r, t in zip(with_statistics(x, s), (np.float64, np.float32, np.float32))],
    )
    yield Case("LayerNormalization", [data((0, 5)), positive(5)], expect=np.zeros((0, 5), np.float32))
    yield raises(Case("LayerNormalization", [data((3, 5)), positive(4)]), "LayerNormalization 'node'.*5 against 4")
    yield raises(
        Case("LayerNormalization", [data((3, 5)), positive(5)], {"axis": 2}), "LayerNormalization 'node'.*axis 2"
    )


test_layer_norm = check(list(layer_cases()))


def rms_norm(x, scale, axis=-1, epsilon=EPSILON):
    axes = tuple(range(axis % x.ndim, x.ndim))
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + epsilon) * scale


test_rms_norm = check(
    [
        Case(
            "RMSNormalization",
            [data((3, 4, 5), t), const(positive((3, 4, 5)[a:], t))],
            {"axis": a},
            expect=wide(lambda x, s, a=a: rms_norm(x, s, a)),
            atol=TOLERANCE[t],
        )
        for a in (0, 1, -1)
        for t in FLOATS
    ]
    + [
        Case(
            "RMSNormalization",
            [data((2, 3, 64)), positive(())],
            {"epsilon": 0.1},
            expect=wide(lambda x, s: rms_norm(x, s, -1, 0.1)),
            atol=2e-6,
        ),
        Case(
            "RMSNormalization",
            [data((2, 8), np.float16), positive(8)],
            expect=lambda x, s: rms_norm(x.astype(np.float64), s).astype(np.float32),
            atol=2e-6,
        ),
    ]
)


def lrn(x, size, alpha=1e-4, beta=0.75, bias=1.0):
    total = np.zeros_like(x)
    for c in range(x.shape[1]):
        first, last = max(0, c - (size - 1) // 2), min(x.shape[1] - 1, c + -(-(size - 1) // 2))
        total[:, c] = (x[:, first : last + 1] ** 2).sum(1)
    return x / (bias + alpha / size * total) ** beta


test_lrn = check(
    [
        Case(
            "LRN",
            [data((2, 7, 3, 5), t)],
            {"size": s, "alpha": 0.5},
            expect=wide(lambda x, s=s: lrn(x, s, 0.5)),
            atol=TOLERANCE[t],
        )
        for s in (1, 2, 3, 5, 20)
        for t in FLOATS
    ]
    + [
        Case(
            "LRN",
            [data((1, 4, 40, 40))],
            {"size": 3, "beta": 0.6, "bias": 2.0, "alpha": 1.0},
            expect=wide(lambda x: lrn(x, 3, 1.0, 0.6, 2.0)),
            atol=2e-6,
        ),
        raises(Case("LRN", [x], {"size": 0}), "LRN 'node'.*size"),
    ]
)


def lp_norm(x, axis, p):
    norm = (np.abs(x) ** p).sum(axis, keepdims=True) ** (1 / p)
    return np.where(norm == 0, 0, x / np.where(norm == 0, 1, norm))


test_lp_norm = check(
    [
        Case(
            "LpNormalization",
            [data((3, 4, 5), t)],
            {"axis": a, "p": p},
            expect=wide(lambda x, a=a, p=p: lp_norm(x, a, p)),
            atol=TOLERANCE[t],
        )
        for a in (0, 1, -1)
        for p in (1, 2)
        for t in FLOATS
    ]
    + [
        Case("LpNormalization", [np.zeros((2, 3), np.float32)], expect=np.zeros((2, 3), np.float32)),
        raises(Case("LpNormalization", [x], {"p": 3}), "LpNormalization 'node'.*p is 3"),
    ]
)


def mean_variance(x, axes=(0, 2, 3)):
    return (x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 1e-9)


test_mean_variance = check(
    [
        Case("MeanVarianceNormalization", [data((2, 3, 4, 5), t)], expect=wide(mean_variance), atol=TOLERANCE[t])
        for t in FLOATS
    ]
    + [
        Case(
            "MeanVarianceNormalization",
            [x],
            {"axes": axes},
            expect=wide(lambda x, a=axes: mean_variance(x, tuple(a))),
            atol=2e-6,
            id=str(axes),
        )
        for axes in ([1], [0, 1], [-1], [0, 1, 2, 3])
    ]
    + [Case("MeanVarianceNormalization", [x], opset=9, expect=wide(mean_variance), atol=2e-6)]
)

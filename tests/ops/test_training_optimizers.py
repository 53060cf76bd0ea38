"""Adagrad, Adam and Momentum against the ONNX reference, for several tensors at once."""

import numpy as np

from tests.ops.harness import Case, check, raises

DOMAIN = "ai.onnx.preview.training"
rng = np.random.default_rng(9)


def tensors(groups, dtype, shapes=((3, 5), (7,))):
    return [rng.random(shape).astype(dtype) for _ in range(groups) for shape in shapes]


def case(op, groups, attrs, step=0, dtype=np.float32, expect=None):
    rate = np.array(0.1, dtype)
    return Case(
        op,
        [rate, np.array(step), *tensors(groups, dtype)],
        attrs,
        domain=DOMAIN,
        outputs=2 * (groups - 1),
        rtol=1e-5,
        atol=1e-6,
        expect=expect,
        id=f"{op}-{step}-{np.dtype(dtype)}-{attrs.get('mode', '')}",
    )


def adagrad(r, t, x0, x1, g0, g1, h0, h1):
    def one(x, g, h):
        g = 0.001 * x + g
        h = h + g * g
        return x - r / (1 + t * 0.1) * g / (np.sqrt(h) + 1e-5), h

    (a, b), (c, d) = one(x0, g0, h0), one(x1, g1, h1)
    return [y.astype(x0.dtype) for y in (a, c, b, d)]


def adam(r, t, x0, x1, g0, g1, v0, v1, h0, h1):
    def one(x, g, v, h):
        g = 0.001 * x + g
        v, h = 0.95 * v + 0.05 * g, 0.1 * h + 0.9 * g * g
        rate = r * np.sqrt(1 - 0.1**t) / (1 - 0.95**t) if t > 0 else r
        return (1 - 0.01) * (x - rate * v / (np.sqrt(h) + 1e-7)), v, h

    (a, b, c), (d, e, f) = one(x0, g0, v0, h0), one(x1, g1, v1, h1)
    return [y.astype(x0.dtype) for y in (a, d, b, e, c, f)]


def momentum(mode):
    def function(r, t, x0, x1, g0, g1, v0, v1):
        def one(x, g, v):
            g = 0.001 * x + g
            v = 0.95 * v + (0.1 if t > 0 else 1) * g
            return x - r * (g + 0.95 * v if mode == "nesterov" else v), v

        (a, b), (c, d) = one(x0, g0, v0), one(x1, g1, v1)
        return [y.astype(x0.dtype) for y in (a, c, b, d)]

    return function


ADAGRAD = {"norm_coefficient": 0.001, "epsilon": 1e-5, "decay_factor": 0.1}
ADAM = {"norm_coefficient": 0.001, "norm_coefficient_post": 0.01, "alpha": 0.95, "beta": 0.1, "epsilon": 1e-7}
MOMENTUM = {"norm_coefficient": 0.001, "alpha": 0.95, "beta": 0.1}

test_optimizers = check(
    [case("Adagrad", 3, ADAGRAD, step, dtype, adagrad) for step in (0, 4) for dtype in (np.float32, np.float64)]
    + [case("Adam", 4, ADAM, step, dtype, adam) for step in (0, 3) for dtype in (np.float32, np.float64)]
    + [
        case("Momentum", 3, MOMENTUM | {"mode": mode}, step, np.float32, momentum(mode))
        for step in (0, 2)
        for mode in ("standard", "nesterov")
    ]
    + [raises(case("Momentum", 3, MOMENTUM | {"mode": "x"}), "nesterov")]
)

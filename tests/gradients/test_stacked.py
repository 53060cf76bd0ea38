"""Training of convolutional networks in f32, which is done on stacked data, against the same graph in f64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sardonyx.graph import Executor, Tensor, constant, gradients, op, variable

Arrays = list[npt.NDArray[Any]]


def compare(build: Any, values: Arrays, tolerance: float = 2e-5, threads: tuple[int, ...] = (1, 2)) -> list[str]:
    """Results and gradients of `build`, a function of tensors, in f32 are those in f64; the operators that ran."""

    def run(dtype: Any, count: int) -> tuple[Arrays, list[str]]:
        xs = [variable(v.astype(dtype) if v.dtype.kind == "f" else v) for v in values]
        outputs: list[Tensor] = build(xs)
        seed = constant(np.random.default_rng(7).normal(size=outputs[0].shape).astype(dtype))
        wanted = [x for x in xs if x.dtype.kind == "f"]
        executor = Executor([*outputs, *gradients(outputs[0], wanted, seed)], threads=count, training=True)
        results = executor.run()
        program = next(iter(executor._compiled.values())).program
        program.set_profiling(True)
        executor.run()
        return results, [row["op"] for row in program.take_profile()]

    exact, _ = run(np.float64, 1)
    first: Arrays | None = None
    ops: list[str] = []
    for count in threads:
        found, ops = run(np.float32, count)
        for got, want in zip(found, exact, strict=True):
            scale = max(1e-6, float(np.abs(want).max())) if want.size else 1.0
            np.testing.assert_allclose(got / scale, want / scale, atol=tolerance, rtol=0)
        if first is not None:
            for a, b in zip(found, first, strict=True):
                assert a.tobytes() == b.tobytes()
        first = found
    return ops


def normal(*shape: int, seed: int = 0) -> npt.NDArray[Any]:
    return np.random.default_rng(seed + sum(shape)).normal(size=shape)


@pytest.mark.parametrize(
    ("x", "w", "attrs"),
    [
        ((2, 3, 9, 7), (20, 3, 5, 3), {}),
        ((1, 1, 28, 28), (8, 1, 5, 5), {"pads": [2, 2, 2, 2]}),
        ((5, 20, 12, 12), (50, 20, 5, 5), {}),
        ((3, 16, 11, 8), (33, 16, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ((3, 9, 11, 8), (17, 9, 3, 2), {"pads": [0, 2, 3, 1], "strides": [2, 3], "dilations": [2, 3]}),
        ((4, 24, 13, 14), (40, 24, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((17, 33, 2, 2), (16, 33, 3, 3), {"auto_pad": "SAME_UPPER"}),
        ((6, 32, 5, 5), (48, 32, 1, 1), {"strides": [2, 2]}),
        ((0, 16, 5, 5), (16, 16, 3, 3), {}),
    ],
)
def test_convolution(x: Any, w: Any, attrs: dict[str, Any]) -> None:
    ops = compare(lambda v: [op.Conv(*v, **attrs)], [normal(*x), normal(*w), normal(w[0])], tolerance=5e-5)
    if x[0]:
        assert {"sardonyx::StackedConv", "sardonyx::StackedConvWeightGradient"} <= set(ops)
        assert not any(name.removeprefix("sardonyx::") == "ConvInputGradient" for name in ops)


@pytest.mark.parametrize("groups", [2, 16])
def test_groups_stay_plain(groups: int) -> None:
    ops = compare(
        lambda v: [op.Conv(*v, group=groups, pads=[1, 1, 1, 1])], [normal(3, 16, 7, 9), normal(16, 16 // groups, 3, 3)]
    )
    assert not any("Stacked" in name for name in ops)


def normalized(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    zeros = constant(np.zeros(scale.shape, x.dtype))
    return op.BatchNormalization(x, scale, bias, zeros, zeros, training_mode=1, outputs=3)[0]


@pytest.mark.parametrize("channels", [8, 16, 37])
def test_residual_block(channels: int) -> None:
    def block(v: list[Tensor]) -> list[Tensor]:
        x, first, second, scale, bias, stem = v
        x = op.Conv(x, stem, strides=[2, 2], pads=[1, 1, 1, 1])
        x = op.MaxPool(op.Relu(x), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        y = op.Relu(normalized(op.Conv(x, first, pads=[1, 1, 1, 1]), scale, bias))
        y = op.Conv(y, second, pads=[1, 1, 1, 1])
        return [op.Relu(normalized(y, bias, scale) + x)]

    c = channels
    ops = compare(
        block,
        [
            normal(4, 3, 22, 27),
            normal(c, c, 3, 3) / c,
            normal(c, c, 3, 3, seed=1) / c,
            normal(c, seed=2),
            normal(c, seed=3),
            normal(c, 3, 3, 3),
        ],
        tolerance=1e-4,
    )
    counts = {name: ops.count(f"sardonyx::{name}") for name in ("StackedConv", "StackedBatchNorm", "ReluGradient")}
    # The gradient of the inner Relu is a part of that of the normalization; those of the sum and the stem are not.
    assert counts == {"StackedConv": 3, "StackedBatchNorm": 2, "ReluGradient": 2}
    assert ops.count("sardonyx::StackedBatchNormGradient") == 2
    # What is added up is gradients of scale and bias, each used twice.
    assert ops.count("Add") <= 2 and "Relu" not in ops


@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Gelu", "Swish"])
def test_other_activations(name: str) -> None:
    compare(
        lambda v: [op.Conv(getattr(op, name)(op.Conv(v[0], v[1])), v[2])],
        [normal(2, 12, 8, 9), normal(24, 12, 3, 3) / 8, normal(9, 24, 3, 3)],
        tolerance=1e-4,
    )


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 1]])
def test_pools_and_sums(pads: list[int]) -> None:
    def net(v: list[Tensor]) -> list[Tensor]:
        y = op.Conv(v[0], v[1])
        y = op.MaxPool(y, kernel_shape=[2, 3], strides=[1, 2], pads=pads, dilations=[2, 1], ceil_mode=1)
        return [op.GlobalAveragePool(y) + op.AveragePool(y, kernel_shape=[2, 2]), y]

    compare(net, [normal(18, 8, 10, 11), normal(20, 8, 3, 2)])


def test_maxima_of_equals_and_nan() -> None:
    x = np.round(normal(3, 8, 9, 9))
    x[1, 0, 4, 4] = np.nan
    identity = np.eye(8).reshape(8, 8, 1, 1)
    x[2] = 0
    exact: Arrays = []
    for dtype in (np.float64, np.float32):
        data, w = variable(x.astype(dtype)), variable(identity.astype(dtype))
        y = op.Conv(data, w)
        pooled = op.MaxPool(y, kernel_shape=[3, 3], strides=[2, 2])
        results = Executor([pooled, *gradients(pooled, [y])]).run()
        exact = exact or results
        for got, want in zip(results, exact, strict=True):
            np.testing.assert_array_equal(got, want)


def test_second_derivatives() -> None:
    def net(v: list[Tensor]) -> list[Tensor]:
        y = normalized(op.Conv(v[0], v[1]), v[2], v[2])
        return gradients(op.ReduceSum(y * y * y), [v[0]])

    compare(net, [normal(3, 8, 6, 5), normal(9, 8, 3, 3) / 4, normal(9) ** 2], tolerance=1e-3)


def test_frozen_weights() -> None:
    frozen = normal(16, 24, 3, 3)
    compare(
        lambda v: [op.Conv(op.Relu(op.Conv(v[0], v[1])), constant(frozen.astype(v[0].dtype)))],
        [normal(3, 8, 9, 9), normal(24, 8, 3, 3)],
        tolerance=5e-5,
    )


@pytest.mark.parametrize("channels", [3, 8])
def test_an_empty_batch(channels: int) -> None:
    def net(v: list[Tensor]) -> list[Tensor]:
        y = op.MaxPool(op.Conv(v[0], v[1]), kernel_shape=[2, 2])
        return [y * y]

    compare(net, [normal(0, channels, 6, 5), normal(9, channels, 3, 3)])

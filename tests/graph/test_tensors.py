"""Lazy tensors beside NumPy: arithmetic, indexing, reductions, and what is said of mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import sardonyx as sx
from sardonyx.graph import Executor, constant, data, evaluate, gradients, op, placeholder, variable
from sardonyx.graph.executor import _cache

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 5)).astype(np.float32)
Y = RNG.uniform(1, 2, size=(4, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x + y,
        lambda x, y: x - y * 2,
        lambda x, y: 1 - x / y,
        lambda x, y: 2 / y - x,
        lambda x, y: y**2 + 2**x,
        lambda x, y: -abs(x) + 0 * y,
        lambda x, y: x @ y.T,
        lambda x, y: Y + x,
        lambda x, y: (x < y) & ~(x > 0) | (x >= y),
        lambda x, y: x <= 0,
        lambda x, y: x.sum(),
        lambda x, y: x.mean(axis=1),
        lambda x, y: x.max(axis=(0, 2), keepdims=True),
        lambda x, y: x.min(axis=-1),
        lambda x, y: x.argmax(axis=1),
        lambda x, y: x.reshape(4, -1),
        lambda x, y: x.reshape((2, 30)),
        lambda x, y: x.transpose(2, 0, 1),
        lambda x, y: x.T,
        lambda x, y: x[1],
        lambda x, y: x[-1, 2:4],
        lambda x, y: x[..., -1],
        lambda x, y: x[:, ::-2, 1:-1],
        lambda x, y: x[:, None, 2],
        lambda x, y: x[None, ..., 0],
        lambda x, y: x[:, [0, 2, 2]],
        lambda x, y: x.astype(np.float64),
    ],
)  # fmt: skip
def test_like_numpy(function: Callable[[Any, Any], Any]) -> None:
    expected = function(X, Y)
    found = function(data(X), variable(Y)).numpy()
    assert found.shape == np.shape(expected)
    assert found.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_types_and_shapes_are_known() -> None:
    x = placeholder("x", shape=("n", 4))
    y = op.MatMul(x, constant(np.zeros((4, 7), np.float32)))
    assert (y.dtype, y.shape, y.rank) == (np.float32, ("n", 7), 2)
    values, indices = op.TopK(y, [2], outputs=2)
    assert (values.shape, indices.dtype) == (("n", 2), np.int64)


def test_executor_feeds_by_tensor() -> None:
    x, y = placeholder("same"), placeholder("same")
    executor = Executor([x - y, x])
    difference, back = executor.run({y: [1.0, 2.0], x: np.array([5, 5], np.float32)})
    np.testing.assert_array_equal(difference, [4, 3])
    np.testing.assert_array_equal(back, [5, 5])


def test_named_outputs_share_variables() -> None:
    x, w = placeholder("x"), variable([2.0], "w")
    loss = (x * w).sum()
    executor = Executor({"train": [loss, sx.optim.SGD(0.5).minimize(loss)], "validate": [loss]})
    assert executor.run({x: [1.0]}, "validate")[0] == 2
    executor.run({x: [1.0]}, "train")
    assert executor.run({x: [1.0]}, "validate")[0] == 1.5
    assert executor.steps == 1


def test_evaluation_compiles_a_structure_once() -> None:
    w = variable(Y)
    _cache.clear()
    for turn in range(4):
        batch = data(X[: 1 + turn % 3])
        np.testing.assert_array_equal((batch * w + 1.0).numpy(), X[: 1 + turn % 3] * Y + 1)
    assert len(_cache) == 1
    (data(X) * w + 2.0).numpy()
    assert len(_cache) == 2


def test_gradients_of_gradients() -> None:
    x = variable([1.5, -2.0])
    (first,) = gradients((x**3.0).sum(), [x])
    (second,) = gradients(first.sum(), [x])
    np.testing.assert_allclose(first.numpy(), 3 * x.numpy() ** 2, rtol=1e-6)
    np.testing.assert_allclose(second.numpy(), 6 * x.numpy(), rtol=1e-6)


def test_seed_of_a_gradient() -> None:
    x = variable(Y)
    seed = RNG.normal(size=Y.shape).astype(np.float32)
    np.testing.assert_allclose(gradients(x * x, [x], data(seed))[0].numpy(), 2 * Y * seed, rtol=1e-6)


def test_large_tensors_tell_structures_apart() -> None:
    a, b = np.zeros(5000, np.float32), np.zeros(5000, np.float32)
    b[2500] = 1
    x = data(np.ones(5000, np.float32))
    assert float((x * constant(a)).sum().numpy()) == 0
    assert float((x * constant(b)).sum().numpy()) == 1


def test_control_flow_bodies() -> None:
    from onnx import TensorProto, helper

    x = variable([3.0], "x")
    body = helper.make_graph(
        [helper.make_node("Mul", ["captured", "captured"], ["square"])],
        "then",
        [],
        [helper.make_tensor_value_info("square", TensorProto.FLOAT, None)],
    )
    same = helper.make_graph(
        [helper.make_node("Identity", ["captured"], ["same"])],
        "else",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )
    flag = placeholder("flag", np.bool_, ())
    node = sx.graph.Node("If", [flag], {"then_branch": body, "else_branch": same}, captures={"captured": x})
    executor = Executor(node.outputs)
    assert executor.run({flag: True})[0] == 9
    assert executor.run({flag: False})[0] == 3


def fed_missing() -> None:
    Executor([placeholder("a") + placeholder("b")]).run({})


def fed_stranger() -> None:
    x = placeholder("x")
    Executor([x + 1.0]).run({x: [1.0], variable([1.0], "w"): [2.0]})


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: op.Convv(data(X)), "did you mean 'Conv'"),
        (lambda: op.call("Softmx", data(X)), "did you mean 'Softmax'"),
        (lambda: op.Softmax(data(X), axes=1), "did you mean 'axis'"),
        (lambda: op.Conv(data(X)), "Conv got 1 inputs; 2 to 3 expected"),
        (lambda: placeholder("x").numpy(), "is a placeholder"),
        (lambda: variable([1, 2]), "floating-point"),
        (lambda: variable([1.0]).assign([1.0, 2.0]), r"f32\[1\] cannot become f32\[2\]"),
        (lambda: constant([1.0]).assign([1.0]), "no variable"),
        (lambda: (data(X) @ data(X)).numpy(), "inner extents"),
        (fed_missing, "placeholder 'a' was not fed; this run needs 'a', 'b'"),
        (fed_stranger, "is no placeholder"),
        (lambda: bool(data(X) > 0), "not known"),
        (lambda: data(X)["a"], "cannot index a tensor with str"),
        (lambda: Executor({"a": [data(X)]}).run({}, "b"), "no list of outputs named 'b'"),
        (lambda: gradients(op.Det(variable(np.eye(2)[None].repeat(2, 0))), [variable([1.0])])[0].numpy(), None),
    ],
)  # fmt: skip
def test_mistakes(mistake: Callable[[], Any], message: str | None) -> None:
    if message is None:  # y does not depend on x: zeros, no error
        np.testing.assert_array_equal(mistake(), [0.0])
        return
    with pytest.raises((sx.errors.InvalidArgument, AttributeError, TypeError, ValueError), match=message):
        mistake()


def test_evaluate_several_at_once() -> None:
    x = variable(Y)
    total, mean = evaluate([x.sum(), x.mean()])
    np.testing.assert_allclose([total, mean], [Y.sum(), Y.mean()], rtol=1e-6)

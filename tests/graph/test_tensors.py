"""Lazy tensors beside NumPy: arithmetic, indexing, reductions, and what is said of mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import sardonyx as sx
from sardonyx import nn
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
        lambda x, y: x // y + x // -0.3,
        lambda x, y: x % y + 7 % y - x % -0.3,
        lambda x, y: (x > 0) ^ (y > 1.5),
        lambda x, y: +x,
        lambda x, y: x.transpose((2, 0, 1)),
        lambda x, y: x.prod(axis=2),
        lambda x, y: x.var(axis=1) + x.std(axis=1, keepdims=True).min(),
        lambda x, y: x.argmin(axis=0),
        lambda x, y: x.clip(-0.5, 0.5),
        lambda x, y: x[x > 0],
        lambda x, y: x[np.array([True, False, True])],
        lambda x, y: x[:, [True, False, True, True]],
        lambda x, y: y[y.max(axis=1) > 1.9],
        lambda x, y: sum(row * (i + 1) for i, row in enumerate(x)) + len(y),
    ],
)  # fmt: skip
def test_like_numpy(function: Callable[[Any, Any], Any]) -> None:
    expected = function(X, Y)
    found = function(data(X), variable(Y)).numpy()
    assert found.shape == np.shape(expected)
    assert found.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_remainders_of_integers() -> None:
    a, b = np.array([7, -7, 7, -7, 0]), np.array([3, 3, -3, -3, 5])
    np.testing.assert_array_equal((data(a) % b).numpy(), a % b)
    np.testing.assert_array_equal((data(a) // b).numpy(), a // b)


def test_types_and_shapes_are_known() -> None:
    x = placeholder("x", shape=("n", 4))
    y = op.MatMul(x, constant(np.zeros((4, 7), np.float32)))
    assert (y.dtype, y.shape, y.rank) == (np.float32, ("n", 7), 2)
    values, indices = op.TopK(y, [2], outputs=2)
    assert (values.shape, indices.dtype) == (("n", 2), np.int64)


def test_shapes_are_optional() -> None:
    x, t = placeholder("x"), placeholder("t", np.int64)
    layers = nn.Sequential(nn.Linear(5, 4, rng=0), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 3, rng=1))
    y = layers(x)
    assert y.shape is None and y.dtype == np.float32
    loss = sx.losses.softmax_cross_entropy(y, t)
    executor = Executor({"train": [loss, sx.optim.SGD(0.5).minimize(loss)], "predict": [y]})
    batch, classes = RNG.normal(size=(6, 5)).astype(np.float32), np.arange(6) % 3
    curve = [float(executor.run({x: batch, t: classes}, "train")[0]) for _ in range(30)]
    assert curve[-1] < curve[0] / 2
    assert executor.planned_bytes("train") > 0
    # Another number of axes is another program over the same variables.
    three = executor.run({x: batch[:, None]}, "predict")[0]
    np.testing.assert_allclose(three[:, 0], executor.run({x: batch}, "predict")[0], rtol=1e-5, atol=1e-6)
    # The file has the number of axes of the last run.
    model = sx.graph.export([y], inputs=[x])
    onnx.checker.check_model(model, full_check=True)
    assert len(model.graph.input[0].type.tensor_type.shape.dim) == 2


def test_export_finds_the_only_rank_that_fits() -> None:
    x = placeholder("x")
    y = op.Relu(nn.Conv2d(3, 4, 3)(x))
    model = sx.graph.export([y], inputs=[x])
    onnx.checker.check_model(model, full_check=True)
    assert [len(i.type.tensor_type.shape.dim) for i in (model.graph.input[0], model.graph.output[0])] == [4, 4]


def test_export_says_which_shape_is_missing() -> None:
    with pytest.warns(UserWarning, match="input 'x' is written without a shape") as warned:
        model = sx.graph.export([op.Relu(placeholder("x"))])
    assert any("output 'y' is written without a shape" in str(w.message) for w in warned)
    assert not model.graph.output[0].type.tensor_type.HasField("shape")
    assert sx.InferenceSession(model).run(None, {"x": X})[0].shape == X.shape


def test_operators_by_name() -> None:
    missing = [s.name for s in onnx.defs.get_all_schemas() if s.domain == "" and not callable(getattr(op, s.name))]
    assert not missing
    assert op.Conv.__name__ == "Conv"
    assert op.Conv.__doc__.startswith("Conv(X, W, B=None, *, auto_pad=...") and "convolution" in op.Conv.__doc__
    assert "ImageDecoder" in dir(op)


def test_registered_operators_are_functions_too() -> None:
    sx.register_operator("com.acme", "Twice", lambda x: x + x, infer=lambda x: x)
    try:
        np.testing.assert_array_equal(op.call("Twice", data(Y), domain="com.acme").numpy(), 2 * Y)
        with pytest.raises(sx.errors.InvalidArgument, match="did you mean 'Twice'"):
            op.call("Twic", data(Y), domain="com.acme")
    finally:
        sx.unregister_operator("com.acme", "Twice")


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
        (lambda: data(X)[:, data(X) > 0], "a mask has one axis"),
        (lambda: list(placeholder("x")), "the extent of the first axis of .* is not known"),
        (lambda: len(data(np.float32(1))), "a scalar has no length"),
        (lambda: Executor([]), "the list of outputs 'default' is empty"),
        (lambda: Executor({"a": [3]}), "output 0 of the list 'a' is a int; a tensor"),
        (lambda: data(X).cuda(), "device 'cuda' is not available"),
        (lambda: nn.ReLU().cuda(1), "device 'cuda:1' is not available"),
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

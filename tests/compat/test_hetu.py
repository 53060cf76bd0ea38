"""Hetu's interface: builders against NumPy, executor, optimizers, initializers and ONNX files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sardonyx.compat.hetu as ht
from sardonyx.compat.hetu import ad, init, optim
from sardonyx.compat.hetu import onnx as ax
from sardonyx.errors import InvalidArgument

X = np.array([[0.5, -0.25, 2.0], [1.5, 0.75, -3.0]], np.float32)
Y = np.array([[1.0, 2.0, -1.0], [0.5, 4.0, 3.0]], np.float32)
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)
ONE_HOT = np.array([[0, 0, 1], [1, 0, 0]], np.float32)
SOFTMAX = np.exp(X) / np.exp(X).sum(1, keepdims=True)


def windows(x: Any, reduce: Callable[..., Any]) -> Any:
    n, c, h, w = x.shape
    return reduce(x.reshape(n, c, h // 2, 2, w // 2, 2), axis=(3, 5))


# (builder of nodes, arrays to feed, what it gives)
CASES: list[tuple[Callable[..., Any], list[Any], Any]] = [
    (ad.add_op, [X, Y], X + Y),
    (ad.minus_op, [X, Y], X - Y),
    (ad.mul_op, [X, Y], X * Y),
    (ad.div_op, [X, Y], X / Y),
    (lambda x: ad.addbyconst_op(x, 2), [X], X + 2),
    (lambda x: ad.minus_byconst_op(2, x), [X], 2 - X),
    (lambda x: ad.mul_byconst_op(x, 2), [X], X * 2),
    (lambda x: ad.div_const_op(2, x), [X], 2 / X),
    (lambda x: ad.pow_op(x, 2), [X], X**2),
    (ad.opposite_op, [X], -X),
    (ad.sqrt_op, [abs(X)], np.sqrt(abs(X))),
    (ad.rsqrt_op, [abs(X)], 1 / np.sqrt(abs(X))),
    (ad.tanh_op, [X], np.tanh(X)),
    (ad.sigmoid_op, [X], 1 / (1 + np.exp(-X))),
    (ad.gelu_op, [X], X * np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))))(X)),
    (lambda x: ad.leaky_relu_op(x, 0.1), [X], np.where(X > 0, X, 0.1 * X)),
    (lambda x: ad.clamp_op(x, min=-1, max=1), [X], X.clip(-1, 1)),
    (ad.where_op, [(X > 0).astype(np.float32), X, Y], np.where(X > 0, X, Y)),
    (ad.bool_op, [X, X], np.ones_like(X)),
    (ad.oneslike_op, [X], np.ones_like(X)),
    (ad.zeroslike_op, [X], np.zeros_like(X)),
    (lambda x: ad.dropout_op(x, 0.5), [X], X),
    (lambda x, y: ad.matmul_op(x, y, trans_B=True), [X, Y], X @ Y.T),
    (lambda x, y: ad.matmul_op(x, y, trans_A=True), [X, Y], X.T @ Y),
    (lambda x, y: ad.batch_matmul_op(x, y, trans_B=True), [IMAGES, IMAGES], IMAGES @ IMAGES.swapaxes(-1, -2)),
    (lambda x, y: ad.linear_op(x, y, ad.Variable("b", value=np.ones(2)), trans_B=True), [X, Y], X @ Y.T + 1),
    (lambda x, y: ad.addmm_op(ad.Variable("b", value=np.ones(2)), x, ad.transpose_op(y), 2), [X, Y], 2 * X @ Y.T + 1),
    (lambda x: ad.conv2d_op(x, ad.Variable("w", value=np.ones((1, 3, 1, 1)))), [IMAGES], IMAGES.sum(1, keepdims=True)),
    (lambda x: ad.avg_pool2d_op(x, 2, 2, 0, 2), [IMAGES], windows(IMAGES, np.mean)),
    (lambda x: ad.avg_pool2d_op(x, 2, 2, 1, 6)[:, :, 0, 0], [IMAGES], IMAGES[:, :, 0, 0] / 4),
    (lambda x: ad.max_pool2d_op(x, 2, 2, 0, 2), [IMAGES], windows(IMAGES, np.max)),
    (ad.conv2d_reducesum_op, [IMAGES], IMAGES.sum((0, 2, 3))),
    (
        lambda x: ad.layer_normalization_op(
            x, ad.Variable("s", value=np.ones(3)), ad.Variable("b", value=np.zeros(3)), 0.01
        ),
        [X],
        (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 0.01),
    ),
    (
        ad.instance_normalization2d_op,
        [IMAGES],
        (IMAGES - IMAGES.mean((2, 3), keepdims=True)) / np.sqrt(IMAGES.var((2, 3), keepdims=True) + 1e-7),
    ),
    (ad.softmax_op, [X], SOFTMAX),
    (ad.log_softmax_op, [X], np.log(SOFTMAX)),
    (ad.softmaxcrossentropy_op, [X, ONE_HOT], -np.log((SOFTMAX * ONE_HOT).sum(1))),
    (ad.softmaxcrossentropy_sparse_op, [X, np.array([2.0, -1.0])], [-np.log(SOFTMAX[0, 2]), 0]),
    (ad.crossentropy_op, [SOFTMAX, ONE_HOT], -np.log((SOFTMAX * ONE_HOT).sum(1))),
    (ad.crossentropy_sparse_op, [SOFTMAX, np.array([2.0, 0.0])], -np.log((SOFTMAX * ONE_HOT).sum(1))),
    (ad.binarycrossentropy_op, [SOFTMAX, ONE_HOT], -np.log(np.where(ONE_HOT > 0, SOFTMAX, 1 - SOFTMAX))),
    (ad.mseloss_op, [X, Y], ((X - Y) ** 2).mean()),
    (lambda x: ad.reduce_mean_op(x, [0, 1]), [X], X.mean()),
    (lambda x: ad.reduce_sum_op(x, 1, keepdims=True), [X], X.sum(1, keepdims=True)),
    (ad.reducesumaxiszero_op, [X], X.sum(0)),
    (lambda x, y: ad.sum_op([x, y, x]), [X, Y], 2 * X + Y),
    (lambda x: ad.argmax_op(x, 1), [X], X.argmax(1)),
    (lambda x: ad.cumsum_with_bias_op(x, 1, 1), [X], X.cumsum(1) + 1),
    (lambda x: ad.array_reshape_op(x, (3, -1)), [X], X.reshape(3, 2)),
    (lambda x: ad.flatten_op(ad.array_reshape_op(x, (2, 3, 36)), 0, 1), [IMAGES], IMAGES.reshape(6, 36)),
    (lambda x: ad.flatten_op(x), [IMAGES], IMAGES.reshape(2, -1)),
    (lambda x: ad.transpose_op(x, [1, 0]), [X], X.T),
    (lambda x: ad.squeeze_op(ad.unsqueeze_op(x, 1), 1), [X], X),
    (lambda x: ad.repeat_op(x, (2, 1)), [X], np.tile(X, (2, 1))),
    (lambda x, y: ad.broadcastto_op(ad.reduce_sum_op(x, 0), y), [X, Y], np.broadcast_to(X.sum(0), (2, 3))),
    (lambda x: ad.broadcast_shape_op(x, (2, 4, 3), add_axes=[1]), [X], np.repeat(X[:, None], 4, 1)),
    (lambda x, y: ad.concat_op(x, y, axis=1), [X, Y], np.concatenate([X, Y], 1)),
    (lambda x, y: ad.concatenate_op([x, y, x]), [X, Y], np.concatenate([X, Y, X])),
    (lambda x: ad.slice_op(x, (0, 1), (1, -1)), [X], X[:1, 1:]),
    (lambda x: ad.split_op(x, axes=[2, 3], indices=[1, 0], splits=[2, 3]), [IMAGES], IMAGES[:, :, 3:, :2]),
    (lambda x: ad.pad_op(x, [[1, 0], [0, 2]]), [IMAGES], np.pad(IMAGES, ((0, 0), (0, 0), (1, 0), (0, 2)))),
    (lambda x: ad.one_hot_op(x, 3), [np.array([2.0, 0.0])], ONE_HOT),
    (lambda x: ad.embedding_lookup_op(ad.Variable("t", value=TABLE), x), [np.array([3.0, 1.0])], TABLE[[3, 1]]),
    (lambda x: ad.gather_op(ad.Variable("t", value=TABLE), 0, x), [np.array([[3.0, 1.0, 0.0]])], [[9, 4, 2]]),
    (ad.masked_fill_op, [X, X > 0], np.where(X > 0, 0, X)),
    (lambda x: ad.topk_val_op(x, topk=2), [X], -np.sort(-X, 1)[:, :2]),
    (lambda x: ad.topk_idx_op(x, topk=1), [X], X.argmax(1)[:, None]),
    (lambda x: ad.triu_op(x, 1), [X], np.triu(X, 1)),
    (ad.tril_op, [X], np.tril(X)),
]


@pytest.mark.parametrize(("build", "arrays", "expected"), CASES, ids=lambda x: None)
def test_builders(build: Callable[..., Any], arrays: list[Any], expected: Any) -> None:
    nodes = [ad.Variable(name=f"x{i}") for i in range(len(arrays))]
    for node, array in zip(nodes, arrays, strict=True):
        node.set_shape([None] * np.ndim(array))
    found = ad.Executor([build(*nodes)]).run(feed_dict=dict(zip(nodes, arrays, strict=True)))[0].asnumpy()
    np.testing.assert_allclose(found, np.asarray(expected, found.dtype), rtol=1e-5, atol=1e-6)


def regression() -> tuple[Any, Any, Any]:
    """Placeholders and the loss of a line through points."""
    x, t = ad.Variable("x"), ad.Variable("t")
    w, b = init.zeros((1, 1), name="w"), init.zeros((1,), name="b")
    return x, t, ad.mseloss_op(ad.matmul_op(x, w) + b, t)


POINTS = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.SGDOptimizer(0.2),
        optim.MomentumOptimizer(0.05, momentum=0.9),
        optim.MomentumOptimizer(0.05, nesterov=True),
        optim.AdaGradOptimizer(0.5, initial_accumulator_value=0.01),
        optim.AdamOptimizer(0.1),
        optim.AMSGradOptimizer(0.1),
        optim.AdamWOptimizer(0.1, weight_decay=1e-4),
        optim.LambOptimizer(0.1),
        optim.SGDOptimizer(0.2, l2reg=1e-4),
    ],
    ids=lambda x: type(x).__name__,
)
def test_optimizers_learn_a_line(optimizer: Any) -> None:
    x, t, loss = regression()
    executor = ad.Executor([loss, optimizer.minimize(loss)])
    feeds = {x: POINTS, t: 3 * POINTS + 0.5}
    values = [executor.run(feed_dict=feeds, convert_to_numpy_ret_vals=True)[0] for _ in range(80)]
    assert values[-1] < values[0] / 20


def test_l2reg_and_var_list() -> None:
    x, t, loss = regression()
    w = init.ones((2,), name="w2")
    total = loss + ad.reduce_sum_op(w, [0]) * 0.0
    executor = ad.Executor([optim.SGDOptimizer(0.1, l2reg=0.5).minimize(total, var_list=[w])])
    assert executor.run(feed_dict={x: POINTS, t: POINTS}) == [None]
    np.testing.assert_allclose(w.numpy(), 0.95)


def test_adagrad_begins_with_its_accumulator() -> None:
    w = init.ones((1,), name="w")
    step = optim.AdaGradOptimizer(0.1, initial_accumulator_value=3.0, eps=0.0).minimize(ad.reduce_sum_op(w, [0]))
    ad.Executor([step]).run()
    np.testing.assert_allclose(w.numpy(), 1 - 0.1 / 2, rtol=1e-6)


def test_named_lists_share_variables_and_switch_modes() -> None:
    x = ad.Variable("x")
    x.set_shape([None, 2, None, None])
    scale, bias = init.ones((2,), name="scale"), init.zeros((2,), name="bias")
    y = ad.batch_normalization_op(x, scale, bias, momentum=0.5, eps=0.0)
    loss = ad.reduce_mean_op(y * y, [0, 1, 2, 3])
    executor = ad.Executor({"train": [y, optim.SGDOptimizer(0.0).minimize(loss)], "validate": [y]})
    images = np.array([1.0, 5.0], np.float32).reshape(2, 1, 1, 1) * np.ones((1, 2, 1, 1), np.float32)
    before = executor.run("validate", feed_dict={x: images}, convert_to_numpy_ret_vals=True)[0]
    np.testing.assert_allclose(before, images)
    trained = executor.run("train", feed_dict={x: images}, convert_to_numpy_ret_vals=True)[0]
    np.testing.assert_allclose(trained[:, 0].reshape(-1), [-1, 1])
    state = executor.return_tensor_values()
    np.testing.assert_allclose(state["scale_running_mean"], [1.5, 1.5])
    as_trained = executor.run("validate", feed_dict={x: images}, inference=False)[0]
    np.testing.assert_allclose(np.asarray(as_trained), trained)
    with pytest.raises(InvalidArgument, match="no list of nodes named 'test'"):
        executor.run("test")


def test_other_nodes_in_place_of_the_list() -> None:
    x = ad.Variable("x")
    y = x * 2.0
    executor = ad.Executor([y])
    results = executor.run(eval_node_list=[y, y + 1.0], feed_dict={x: [1, 2]})
    assert [list(r.asnumpy()) for r in results] == [[2, 4], [3, 5]]


def test_checkpoints(tmp_path: Path) -> None:
    x, t, loss = regression()
    feeds = {x: POINTS, t: 3 * POINTS}
    executor = ad.Executor({"train": [loss, optim.AdamOptimizer(0.1).minimize(loss)], "validate": [loss]})
    for _ in range(3):
        executor.run("train", feed_dict=feeds)
    executor.save(str(tmp_path / "folder"), "model")
    expected = executor.run("train", feed_dict=feeds)[0].asnumpy()
    expected_next = executor.run("validate", feed_dict=feeds)[0].asnumpy()
    executor.load(str(tmp_path / "folder"), "model")
    assert executor.run("train", feed_dict=feeds)[0].asnumpy() == expected
    assert executor.run("validate", feed_dict=feeds)[0].asnumpy() == expected_next
    with pytest.raises(InvalidArgument, match="holds no 'b'"):
        executor.load_dict({"w": np.zeros((1, 1))})


def test_feeds() -> None:
    x = ad.Variable("x")
    executor = ad.Executor([x + 1.0])
    assert executor.run(feed_dict={x: np.array([1, 2])})[0].dtype == np.float32
    assert executor.run(feed_dict={x: ht.array([[3.0]])})[0].shape == (1, 1)
    with pytest.raises(InvalidArgument, match="'x' was not fed"):
        executor.run()
    with pytest.raises(InvalidArgument, match="is no node"):
        executor.run(feed_dict={"x": 1})


INITIALIZERS = ["random_normal", "random_uniform", "truncated_normal", "reversed_truncated_normal", "xavier_normal"]
INITIALIZERS += ["xavier_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform"]


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_repeat_by_seed(name: str) -> None:
    drawn = []
    for _ in range(2):
        np.random.seed(5)
        drawn.append(getattr(init, name)((40, 30), name="w").numpy())
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].dtype == np.float32 and drawn[0].std() > 0
    w = [getattr(init, name)((40, 30), name="w") for _ in range(2)]
    for x in w:
        ad.Executor([x + 0.0], seed=9)
    np.testing.assert_array_equal(w[0].numpy(), w[1].numpy())


def test_initializers_have_their_moments() -> None:
    np.random.seed(0)
    shape = (64, 16, 3, 3)
    np.testing.assert_allclose(init.he_normal(shape).numpy().std(), math.sqrt(2 / (16 * 9)), rtol=0.05)
    np.testing.assert_allclose(init.xavier_uniform((200, 100)).numpy().std(), math.sqrt(2 / 300), rtol=0.05)
    assert abs(init.truncated_normal((1000,), 1.0, 0.5).numpy() - 1).max() <= 1
    assert abs(init.reversed_truncated_normal((1000,), 0.0, 0.5).numpy()).min() >= 1
    assert init.constant((2,), 7, "seven").name == "seven"
    assert ad.Variable("v", initializer=init.Initializer((2, 3), lambda random, shape: np.ones(shape))).shape == (2, 3)
    assert init.GenOnes()((4,), name="o").numpy().sum() == 4
    with pytest.raises(InvalidArgument, match="two axes or more"):
        init.he_normal((3,))


def test_gradients() -> None:
    x = ad.Variable("x")
    w = ad.Variable("w", value=np.array([2.0, 3.0]))
    (g,) = ad.gradients(w * w * x, [w])
    np.testing.assert_allclose(ad.Executor([g]).run(feed_dict={x: [1, 2]})[0].asnumpy(), [4, 12])


def test_export_after_a_run_knows_the_rank(tmp_path: Path) -> None:
    x = ad.Variable("x")
    y = ad.relu_op(x, name="positive", ctx=ht.cpu())
    executor = ad.Executor([y])
    executor.run(feed_dict={x: X})
    ax.hetu2onnx.export(executor, [x], [y], tmp_path / "relu.onnx", job_name="job")
    model = onnx.load(tmp_path / "relu.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.graph.name, model.graph.output[0].name) == ("job", "positive")


def test_models_of_several_inputs_and_outputs(tmp_path: Path) -> None:
    a, b = ad.Variable("a"), ad.Variable("b")
    for node in (a, b):
        node.set_shape([None, 3])
    executor = ad.Executor([a + b, a * b])
    ax.hetu2onnx.export(executor, [a, b], [a + b, a * b], tmp_path / "two.onnx")
    (x, y), (total, product) = ax.onnx2hetu.load_onnx(tmp_path / "two.onnx")
    results = ad.Executor([total, product]).run(feed_dict={x: X, y: Y}, convert_to_numpy_ret_vals=True)
    np.testing.assert_allclose(results[0], X + Y)
    np.testing.assert_allclose(results[1], X * Y)


def test_builders_that_are_not_offered_say_so() -> None:
    with pytest.raises(AttributeError, match=r"sardonyx\.graph\.op"):
        ad.csrmm_op  # noqa: B018

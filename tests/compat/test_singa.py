"""SINGA's tensors over lazy ones: each line means what it would if it computed at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from sardonyx.compat.singa import autograd, device, eager, initializer, opt, sonnx, tensor
from sardonyx.compat.singa.tensor import Tensor
from sardonyx.errors import InvalidArgument
from sardonyx.graph import executor


@pytest.fixture(autouse=True)
def training() -> Iterator[None]:
    device.get_default_device().SetRandSeed(3)
    autograd.training = True
    yield
    autograd.training = False


def parameter(value: Any) -> Tensor:
    return Tensor(data=np.asarray(value, np.float32), stores_grad=True)


def test_gradients_come_from_the_last_layer_to_the_first_and_from_the_values_before() -> None:
    first, second = parameter([[2.0]]), parameter([[5.0]])
    x = tensor.from_numpy(np.array([[3.0]], np.float32))
    y = autograd.matmul(autograd.matmul(x, first), second)
    seen = []
    sgd = opt.SGD(lr=1.0)
    for p, g in autograd.backward(y):
        sgd.update(p, g)
        seen.append(p)
    assert seen == [second, first]
    assert second.numpy() == 5 - 3 * 2
    assert first.numpy() == 2 - 3 * 5  # by the weight 5, which the update has changed since


def test_updates_within_the_loop_that_are_read_do_not_change_other_gradients() -> None:
    first, second = parameter([[2.0]]), parameter([[5.0]])
    y = autograd.matmul(autograd.matmul(Tensor(data=np.array([[3.0]])), first), second)
    sgd = opt.SGD(lr=1.0)
    values = []
    for p, g in autograd.backward(y):
        sgd.update(p, g)
        values.append(float(p))  # makes the update take place now
    assert values == [-1.0, -13.0]


def test_results_keep_the_values_that_they_had() -> None:
    w = parameter([2.0])
    before = w * 3.0
    unread = w * 4.0
    loss = (w * w).reshape((1,))
    sgd = opt.SGD(lr=0.5)
    assert before.numpy() == 6
    for p, g in autograd.backward(loss):
        sgd.update(p, g)
    sgd.step()
    assert (float(w), float(before), float(unread), float(loss)) == (0, 6, 8, 4)
    assert float(unread + 1.0) == 9
    assert float(w * 3.0) == 0


def test_assignment_keeps_results_too() -> None:
    w = parameter([2.0])
    y = w * 3.0
    w.set_value(7)
    assert (float(y), float(w)) == (6, 7)
    w -= 1.0
    assert float(w) == 6
    x = Tensor((2,))
    x += 1.0
    np.testing.assert_array_equal(x.numpy(), [1, 1])


def loop(optimizer: Any, turns: int) -> list[float]:
    w = parameter([[1.0, -2.0], [0.5, 3.0]])
    x = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    losses = []
    for _ in range(turns):
        loss = autograd.mse_loss(autograd.matmul(Tensor(data=x), w), Tensor(data=np.ones((2, 2), np.float32)))
        turn = optimizer()
        for p, g in autograd.backward(loss):
            turn.update(p, g)
        turn.step()
        losses.append(float(loss))
    return losses


def test_an_optimizer_made_in_each_turn_compiles_once() -> None:
    for make in (lambda: opt.SGD(lr=0.05), lambda: opt.SGD(lr=0.05, momentum=0.9), lambda: opt.Adam(lr=0.05)):
        gc.collect()
        executor._cache.clear()
        losses = loop(make, 6)
        assert losses[-1] < losses[0]
        assert len(executor._cache) <= 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: opt.SGD(lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4),
        lambda: opt.RMSProp(lr=0.02),
        lambda: opt.AdaGrad(lr=0.1),
        lambda: opt.Adam(lr=opt.ExponentialDecay(0.1, 10, 0.9)),
    ],
)
def test_optimizers_make_the_loss_smaller(make: Any) -> None:
    kept = make()
    losses = loop(lambda: kept, 30)
    assert losses[-1] < losses[0] / 2
    assert kept.step_counter == 30


def test_momentum_is_the_one_of_the_formula() -> None:
    w, m, lr = 1.0, 0.9, 0.1
    expected, v = [], 0.0
    for _ in range(4):
        v = m * v + 2 * w
        w -= lr * v
        expected.append(w)
    p = parameter([1.0])
    sgd = opt.SGD(lr=lr, momentum=m)
    found = []
    for _ in range(4):
        sgd.backward_and_update(p * p)
        found.append(float(p))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_batch_normalization_moves_its_statistics_once_a_step() -> None:
    layer = autograd.BatchNorm2d(1, momentum=0.9)
    x = np.array([1.0, 3.0], np.float32).reshape(2, 1, 1, 1)
    y = layer(Tensor(data=x))
    np.testing.assert_allclose(y.numpy().reshape(-1), [-1, 1], rtol=1e-4)
    assert float(layer.running_mean) == 0
    sgd = opt.SGD(lr=0.0)
    sgd.backward_and_update(autograd.reduce_sum(y * y).reshape((1,)))
    np.testing.assert_allclose(float(layer.running_mean), 0.2, rtol=1e-6)
    autograd.training = False
    found = layer(Tensor(data=x)).numpy()
    np.testing.assert_allclose(found.reshape(-1)[0], 0.8 / np.sqrt(float(layer.running_var) + 1e-5), rtol=1e-5)


def test_no_gradients_without_training() -> None:
    autograd.training = False
    y = parameter([1.0]) * 2.0
    with pytest.raises(InvalidArgument, match=r"autograd\.training"):
        next(autograd.backward(y))


def test_gradients_by_parameter_and_of_inputs() -> None:
    w, x = parameter([3.0]), Tensor(data=np.array([4.0], np.float32), stores_grad=True)
    found = autograd.gradients(w * x)
    assert (float(found[w]), float(found[x])) == (4, 3)
    x.stores_grad = False
    assert list(autograd.gradients(w * x)) == [w]


def test_recurrent_layers() -> None:
    torch = pytest.importorskip("torch")
    lstm = autograd.LSTM(3, 4)
    xs = [np.random.default_rng(i).normal(size=(2, 3)).astype(np.float32) for i in range(5)]
    zeros = Tensor((2, 4))
    outputs, h, c = lstm([Tensor(data=x) for x in xs], (zeros, zeros))
    other = torch.nn.LSTM(3, 4)
    order = [0, 1, 3, 2]  # torch has the gates i, f, g, o
    with torch.no_grad():
        for name, value in (("weight_ih_l0", lstm.Wx), ("weight_hh_l0", lstm.Wh), ("bias_ih_l0", lstm.b)):
            blocks = np.split(value.numpy().T, 4)
            getattr(other, name).copy_(torch.from_numpy(np.concatenate([blocks[i] for i in order])))
        other.bias_hh_l0.zero_()
        expected, (last_h, last_c) = other(torch.from_numpy(np.stack(xs)))
    np.testing.assert_allclose(outputs[2].numpy(), expected[2].numpy(), atol=1e-6)
    np.testing.assert_allclose(h.numpy(), last_h[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(c.numpy(), last_c[0].numpy(), atol=1e-6)
    states, last = autograd.RNN(3, 4)([Tensor(data=x) for x in xs], zeros)
    assert len(states) == 5 and last.shape == (2, 4)


LAYERS = [
    (autograd.Conv2d(2, 4, 3, stride=2, padding=1, group=2), (2, 4, 3, 4)),
    (autograd.Conv2d(2, 4, (3, 1), odd_padding=(1, 0, 0, 0)), (2, 4, 4, 8)),
    (autograd.Conv2d(2, 4, 3, pad_mode="SAME_UPPER"), (2, 4, 5, 8)),
    (autograd.SeparableConv2d(2, 6, 3, padding=1), (2, 6, 5, 8)),
    (autograd.MaxPool2d(2), (2, 2, 2, 4)),
    (autograd.AvgPool2d((2, 3), 1), (2, 2, 4, 6)),
    (autograd.MaxPool1d(2), (2, 2, 5, 4)),
    (autograd.AvgPool1d(4, 2, 1), (2, 2, 5, 4)),
    (autograd.BatchNorm2d(2), (2, 2, 5, 8)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda x: type(x).__name__)
def test_layers(layer: Any, shape: tuple[int, ...]) -> None:
    x = Tensor(data=np.random.default_rng(0).normal(size=(2, 2, 5, 8)).astype(np.float32))
    assert layer(x).shape == shape
    params = layer.get_params()
    layer.set_params(**params)
    model = sonnx.to_onnx([x], [layer(x)])
    onnx.checker.check_model(model, full_check=True)
    assert sonnx.prepare(model).run([x])[0].shape == shape


X = np.array([[0.5, -0.25, 2.0], [1.5, 0.75, -3.0]], np.float32)
FUNCTIONS: list[tuple[Any, Any]] = [
    (lambda x: autograd._and(x, x - 2.0), [[1, 1, 0], [1, 1, 1]]),
    (lambda x: autograd._not(x), np.zeros((2, 3))),
    (lambda x: autograd.less(x, 0.6), X < 0.6),
    (lambda x: autograd.equal(x, 2.0), X == 2),
    (lambda x: autograd.clip(x, -1.0, 1.0), X.clip(-1, 1)),
    (lambda x: autograd.round(x), [[1, 0, 2], [2, 1, -3]]),
    (lambda x: autograd.where(x, -x, autograd.greater(x, 0.0)), abs(X)),
    (lambda x: autograd.cast(x, np.int32), X.astype(np.int32)),
    (lambda x: autograd.gemm(x, x, transB=1, alpha=2.0), 2 * X @ X.T),
    (lambda x: autograd.reduce_mean(x, [1], 0), X.mean(1)),
    (lambda x: autograd.cossim(x, x), np.ones(2)),
    (lambda x: autograd.add_bias(x, tensor.from_numpy(np.array([1.0, 2.0])), axis=1), X + [[1], [2]]),
    (lambda x: autograd.split(x, 1, [1, 2])[1], X[:, 1:]),
    (lambda x: autograd.split(x, 1, None, num_output=3)[0], X[:, :1]),
    (lambda x: autograd.slice(x, [0], [2], [1], [1]), X[:, :2]),
    (lambda x: autograd.gather(x, 1, [2, 0]), X[:, [2, 0]]),
    (lambda x: autograd.tile(x, [1, 2]), np.tile(X, (1, 2))),
    (lambda x: autograd.squeeze(autograd.unsqueeze(x, 0), 0), X),
    (lambda x: autograd.pad(x, "constant", [0, 1, 0, 0], 4.0), np.pad(X, ((0, 0), (1, 0)), constant_values=4)),
    (lambda x: autograd.onehot(-1, [1, 0], 2, [0.0, 3.0]), [[0, 3], [3, 0]]),
    (lambda x: autograd.constant_of_shape(autograd.shape(x), 2.0), np.full((2, 3), 2)),
    (lambda x: autograd.upsample(x.reshape((1, 1, 2, 3)), "nearest", [1, 1, 2, 1])[0, 0], X.repeat(2, 0)),
    (lambda x: autograd.scatter_elements(x, [[0, 1, 0]], np.zeros((1, 3), np.float32), 0), None),
    (lambda x: autograd.mean(x, x + 2.0), X + 1),
    (lambda x: autograd.expand(x[:, :1], [2, 4]), X[:, :1].repeat(4, 1)),
    (lambda x: tensor.einsum("ij,kj->ik", x, x), X @ X.T),
    (lambda x: tensor.average(x, 0), X.mean(0)),
    (lambda x: x.as_type("int").as_type("float"), np.trunc(X)),
    (lambda x: tensor.concatenate([x, x], 0), np.concatenate([X, X])),
    (lambda x: tensor.tensordot(x, x, ([0, 1], [0, 1])), (X * X).sum()),
    (lambda x: tensor.tensordot(x, tensor.transpose(x), 1), X @ X.T),
    (lambda x: tensor.tensordot(x, x, (-1, 1)), X @ X.T),
    (lambda x: tensor.tensordot(x, x, 0), np.multiply.outer(X, X)),
    (lambda x: tensor.sum_columns(x), X.sum(1, keepdims=True)),
    (lambda x: tensor.sum_rows(x), X.sum(0, keepdims=True)),
    (lambda x: tensor.repeat(x, 2, 1), X.repeat(2, 1)),
    (lambda x: tensor.repeat(x, [1, 2, 0], -1), X.repeat([1, 2, 0], 1)),
    (lambda x: x.repeat(2), X.repeat(2)),
    (lambda x: x // 0.5, np.floor(X / 0.5)),
    (lambda x: tensor.zeros((2, 3)) + tensor.ones((3,)) + tensor.contiguous(x) * 0.0, np.ones((2, 3))),
]

V, W = np.array([2.0, 4.0], np.float32), np.array([1.0, 2.0, 4.0], np.float32)
IN_PLACE: list[tuple[Any, Any]] = [
    (lambda x, v, w: x.add_column(v), X + V[:, None]),
    (lambda x, v, w: x.add_row(w), X + W),
    (lambda x, v, w: x.div_column(v), X / V[:, None]),
    (lambda x, v, w: x.div_row(w), X / W),
    (lambda x, v, w: x.mult_column(v), X * V[:, None]),
    (lambda x, v, w: x.mult_row(w), X * W),
    (lambda x, v, w: tensor.add_column(0.5, v, 2.0, x), 0.5 * V[:, None] + 2 * X),
    (lambda x, v, w: tensor.add_row(0.5, w, 2.0, x), 0.5 * W + 2 * X),
    (lambda x, v, w: tensor.mult(tensor.ones((2, 2)), tensor.ones((2, 3)), x, 0.5, 2.0), 1 + 2 * X),
    (lambda x, v, w: tensor.copy_data_to_from(x, w, 2, 1, 1), np.r_[X[0, :1], W[1:], X[1]].reshape(2, 3)),
]


@pytest.mark.parametrize("stores_grad", [False, True])
@pytest.mark.parametrize(("change", "expected"), IN_PLACE, ids=lambda x: None)
def test_functions_that_change_their_tensor(change: Any, expected: Any, stores_grad: bool) -> None:
    x = Tensor(data=X, stores_grad=stores_grad)
    change(x, tensor.from_numpy(V), tensor.from_numpy(W))
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)
    with pytest.raises(InvalidArgument, match="do not fit"):
        tensor.copy_data_to_from(x, tensor.from_numpy(W), 3, 4)


def test_initial_values() -> None:
    for fill, std in (
        (lambda t: initializer.uniform(t, 100, 300), np.sqrt(1 / 200)),
        (lambda t: initializer.uniform(t, 100), np.sqrt(1 / 100)),
        (lambda t: initializer.gaussian(t, 0, 50), np.sqrt(2 / 50)),
        (initializer.xavier, np.sqrt(2 / 400)),
        (initializer.glorot, np.sqrt(2 / 400)),
        (initializer.msra, np.sqrt(2 / 100)),
    ):
        t = Tensor((100, 300))
        fill(t)
        np.testing.assert_allclose([t.numpy().mean(), t.numpy().std()], [0, std], rtol=0.03, atol=0.003)
    with pytest.raises(InvalidArgument, match="fan_in or fan_out must be given"):
        initializer.uniform(t)


@pytest.mark.parametrize(("function", "expected"), FUNCTIONS, ids=lambda x: None)
def test_functions(function: Any, expected: Any) -> None:
    found = function(tensor.from_numpy(X)).numpy()
    if expected is None:
        expected = X.copy()
        expected[[0, 1, 0], [0, 1, 2]] = 0
    np.testing.assert_allclose(found, np.asarray(expected, found.dtype), rtol=1e-6)


def test_losses() -> None:
    p, t = np.array([[0.2, 0.8], [0.5, 0.5]], np.float32), np.array([[0, 1], [1, 0]], np.float32)
    x, y = tensor.from_numpy(p), tensor.from_numpy(t)
    assert autograd.softmax_cross_entropy(x, y).shape == (1,)
    np.testing.assert_allclose(float(autograd.cross_entropy(x, y)), -(t * np.log(p)).sum() / 2, rtol=1e-6)
    np.testing.assert_allclose(float(autograd.mse_loss(x, y)), ((p - t) ** 2).sum() / 4, rtol=1e-6)
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum() / 2
    np.testing.assert_allclose(float(autograd.binary_cross_entropy(x, y)), expected, rtol=1e-6)
    np.testing.assert_allclose(float(autograd.ranking_loss(x, y)), np.maximum(0.2 - p + t, 0).mean(), rtol=1e-6)


def test_tensors_hold_and_fill() -> None:
    t = Tensor((200, 50))
    assert t.size() == 10000 and t.memsize() == 40000 and t.ndim() == 2 and len(t) == 200
    t.gaussian(1.0, 2.0)
    np.testing.assert_allclose([t.numpy().mean(), t.numpy().std()], [1, 2], atol=0.1)
    t.bernoulli(0.25)
    np.testing.assert_allclose(t.numpy().mean(), 0.25, atol=0.05)
    assert tensor.from_numpy(np.arange(3)).dtype == np.int32
    with pytest.raises(InvalidArgument, match="3 elements"):
        t.copy_from_numpy(np.zeros(3, np.float32))


def test_nodes_run_by_themselves() -> None:
    node = onnx.helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    np.testing.assert_array_equal(sonnx.run_node(node, [X])[0].numpy(), np.where(X > 0, X, X / 2))
    np.testing.assert_array_equal(sonnx.get_op(node)(tensor.from_numpy(X)).numpy(), np.where(X > 0, X, X / 2))


def test_replaced_parameters_are_used() -> None:
    layer = autograd.Linear(3, 2, bias=False)
    x = tensor.from_numpy(X)
    rep = sonnx.prepare(sonnx.to_onnx([x], [layer(x)]))
    (name,) = rep.tensor_map
    rep.tensor_map[name] = Tensor(data=np.ones((3, 2), np.float32))
    np.testing.assert_allclose(rep.run([X])[0].numpy(), X @ np.ones((3, 2)), rtol=1e-6)
    with pytest.raises(InvalidArgument, match="2 tensors for the 1 inputs"):
        rep.run([x, x])


def test_nothing_is_left_behind() -> None:
    gc.collect()
    before = len(eager._live)
    loop(lambda: opt.SGD(lr=0.1), 3)
    gc.collect()
    assert len(eager._live) <= before
    assert not eager._pending

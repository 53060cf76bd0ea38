"""Hetu's documentation, "Converting to ONNX format", as its program stands but for imports and slips of the pen.

Behind it: what the text promises beyond the program, "used directly for training".
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.seeds.digits import load_dataset

with warnings.catch_warnings():
    warnings.simplefilter("error")
    import sardonyx.compat.hetu as ht
    from sardonyx.compat.hetu import ad, init, optim
    from sardonyx.compat.hetu import onnx as ax
    from sardonyx.compat.hetu import onnx as hx


def build_cnn() -> tuple[Any, Any]:
    W1 = init.random_normal((32, 1, 5, 5), stddev=0.1, name="W1")
    W2 = init.random_normal((64, 32, 5, 5), stddev=0.1, name="W2")
    W3 = init.random_normal((7 * 7 * 64, 10), stddev=0.1, name="W3")
    b3 = init.random_normal((10,), stddev=0.1, name="b3")
    X = ad.Variable(name="X")
    z1 = ad.conv2d_op(X, W1, padding=2, stride=1)
    z2 = ad.relu_op(z1)
    z3 = ad.avg_pool2d_op(z2, kernel_H=2, kernel_W=2, padding=0, stride=2)
    z4 = ad.conv2d_op(z3, W2, padding=2, stride=1)
    z5 = ad.relu_op(z4)
    z6 = ad.avg_pool2d_op(z5, kernel_H=2, kernel_W=2, padding=0, stride=2)
    z6_flat = ad.array_reshape_op(z6, (-1, 7 * 7 * 64))
    y = ad.matmul_op(z6_flat, W3) + b3
    return X, y


def test_export_before_the_first_run(tmp_path: Path) -> None:
    np.random.seed(1)
    executor_ctx = ht.cpu(0)
    batch_size = 20
    X, y = build_cnn()
    executor = ad.Executor([y], ctx=executor_ctx)
    onnx_input_path = str(tmp_path / "hetu_cnn_model.onnx")
    ax.hetu2onnx.export(executor, [X], [y], onnx_input_path)
    onnx.checker.check_model(onnx_input_path, full_check=True)

    rand = np.random.RandomState(seed=123)
    X_val = rand.normal(scale=0.1, size=(batch_size, 1, 28, 28)).astype(np.float32)
    ath = executor.run(feed_dict={X: X_val})

    rt = pytest.importorskip("onnxruntime")
    sess = rt.InferenceSession(onnx_input_path)
    input = sess.get_inputs()[0].name
    pre = sess.run(None, {input: X_val.astype(np.float32)})[0]
    np.testing.assert_allclose(ath[0].asnumpy(), pre, rtol=1e-5, atol=1e-6)


def tf_cnn_model() -> onnx.ModelProto:
    """What TensorFlow's converter makes of the program's second network: opset 15, names with colons, NHWC images."""
    rand = np.random.RandomState(0)

    def weight(shape: tuple[int, ...], name: str) -> TensorProto:
        return numpy_helper.from_array(rand.normal(scale=0.1, size=shape).astype(np.float32), name)

    weights = [
        weight((32, 1, 5, 5), "Variable:0"),
        weight((64, 32, 5, 5), "Variable_1:0"),
        weight((7 * 7 * 64, 10), "Variable_2:0"),
        numpy_helper.from_array(np.array([-1, 28, 28, 1], np.int64), "Reshape/shape:0"),
        numpy_helper.from_array(np.array([-1, 7 * 7 * 64], np.int64), "Reshape_1/shape:0"),
    ]
    node = helper.make_node
    pool = {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "VALID"}
    nodes = [
        node("Cast", ["input:0"], ["cast"], to=TensorProto.FLOAT),
        node("Reshape", ["cast", "Reshape/shape:0"], ["images"]),
        node("Transpose", ["images"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Conv", ["nchw", "Variable:0"], ["z2"], auto_pad="SAME_UPPER", strides=[1, 1]),
        node("Relu", ["z2"], ["z3"]),
        node("AveragePool", ["z3"], ["z4"], **pool),
        node("Conv", ["z4", "Variable_1:0"], ["z5"], auto_pad="SAME_UPPER", strides=[1, 1]),
        node("Relu", ["z5"], ["z6"]),
        node("AveragePool", ["z6"], ["z7"], **pool),
        node("Reshape", ["z7", "Reshape_1/shape:0"], ["z9"]),
        node("MatMul", ["z9", "Variable_2:0"], ["y"]),
        node("Identity", ["y"], ["output:0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tf",
        [helper.make_tensor_value_info("input:0", TensorProto.FLOAT, ["unk__12", 784])],
        [helper.make_tensor_value_info("output:0", TensorProto.FLOAT, ["unk__13", 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def test_import_and_compare(tmp_path: Path) -> None:
    model_name = str(tmp_path / "tf_cnn_model.onnx")
    onnx.save(tf_cnn_model(), model_name)
    ctx = ht.cpu(0)
    x, y = hx.onnx2hetu.load_onnx(model_name)
    executor = ad.Executor([y], ctx=ctx)

    train_set_x = load_dataset()[0].reshape(-1, 784) / 255
    X_val = train_set_x[:20, :]
    ath = executor.run(feed_dict={x: X_val})
    assert ath[0].asnumpy().shape == (20, 10)
    rt = pytest.importorskip("onnxruntime")
    sess = rt.InferenceSession(model_name)
    input = sess.get_inputs()[0].name
    pre = sess.run(None, {input: X_val.astype(np.float32)})[0]
    np.testing.assert_allclose(ath[0].asnumpy(), pre, rtol=1e-2, atol=1e-5)


def train(x: Any, y: Any, images: Any, labels: Any, optimizer: Any, epochs: int) -> tuple[Any, list[float]]:
    y_ = ad.Variable(name="y_")
    loss = ad.reduce_mean_op(ad.softmaxcrossentropy_op(y, y_), [0])
    executor = ad.Executor({"train": [loss, optimizer.minimize(loss)], "validate": [loss, y]}, ctx=ht.cpu(0))
    one_hot = np.eye(10, dtype=np.float32)[labels]
    curve = []
    for _ in range(epochs):
        for i in range(0, len(images), 64):
            feeds = {x: images[i : i + 64], y_: one_hot[i : i + 64]}
            value, nothing = executor.run("train", feed_dict=feeds, convert_to_numpy_ret_vals=True)
            assert nothing is None
            curve.append(float(value))
    return lambda a, b: executor.run("validate", feed_dict={x: a, y_: np.eye(10)[b]}), curve


def test_cnn_learns_and_exports_what_it_learned(tmp_path: Path) -> None:
    np.random.seed(2)
    train_x, train_y, valid_x, valid_y = load_dataset()
    train_x, valid_x = train_x / 255, valid_x / 255
    X, y = build_cnn()
    validate, _ = train(X, y, train_x, train_y, optim.AdamOptimizer(learning_rate=0.003), epochs=6)
    logits = validate(valid_x, valid_y)[1].asnumpy()
    assert (logits.argmax(1) == valid_y).mean() >= 0.97

    path = str(tmp_path / "trained.onnx")
    ax.hetu2onnx.export(ad.Executor([y]), [X], [y], path)
    rt = pytest.importorskip("onnxruntime")
    sess = rt.InferenceSession(path)
    np.testing.assert_allclose(sess.run(None, {"X": valid_x})[0], logits, rtol=1e-5, atol=1e-4)


def test_imported_model_is_used_directly_for_training(tmp_path: Path) -> None:
    path = tmp_path / "tf_cnn_model.onnx"
    path.write_bytes(tf_cnn_model().SerializeToString())
    x, y = hx.onnx2hetu.load_onnx(path)
    train_x, train_y, valid_x, valid_y = load_dataset()
    images, tests = train_x.reshape(-1, 784) / 255, valid_x.reshape(-1, 784) / 255
    validate, curve = train(x, y, images, train_y, optim.SGDOptimizer(learning_rate=0.1), epochs=3)
    assert np.mean(curve[-5:]) < curve[0] / 4
    assert (validate(tests, valid_y)[1].asnumpy().argmax(1) == valid_y).mean() >= 0.9


def test_gpu_context_answers_clearly() -> None:
    with pytest.warns(RuntimeWarning, match="trains on the CPU"):
        ctx = ht.gpu(0)
    assert ctx == ht.cpu(0) and not ht.is_gpu_ctx(ctx)

"""ONNX files as graphs and back, cut and trained further; checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

import sardonyx as sx
from sardonyx import checkpoint, losses, optim
from sardonyx.graph import Executor, Tensor, data, load, op, placeholder, variable

RNG = np.random.default_rng(2)


def old_model() -> onnx.ModelProto:
    """A small network of opset 9 with batch normalization, a Reshape whose target is an initializer, and odd names."""
    weights = {
        "input.w": RNG.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "bn/scale": np.ones(4, np.float32),
        "bn/bias": np.zeros(4, np.float32),
        "bn/mean": np.zeros(4, np.float32),
        "bn/var": np.ones(4, np.float32),
        "target": np.array([-1, 64], np.int64),
        "class": RNG.normal(size=(64, 3)).astype(np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input.1", "input.w"], ["1"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["1", "bn/scale", "bn/bias", "bn/mean", "bn/var"], ["2"]),
        helper.make_node("Relu", ["2"], ["3"]),
        helper.make_node("Reshape", ["3", "target"], ["4"]),
        helper.make_node("MatMul", ["4", "class"], ["5"]),
        helper.make_node("Mul", ["5", "half"], ["a:0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["n", 2, 4, 4])],
        [helper.make_tensor_value_info("a:0", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


X = RNG.normal(size=(6, 2, 4, 4)).astype(np.float32)


def test_loaded_models_compute_and_name_the_same() -> None:
    proto = old_model()
    model = load(proto)
    assert [x.name for x in model.inputs] == ["input.1"]
    assert model.output_names == ["a:0"]
    trainable = {name for name, x in model.parameters.items() if x.trainable}
    assert trainable == {"input.w", "bn/scale", "bn/bias", "class"}
    assert set(model.parameters) - trainable == {"bn/mean", "bn/var"}
    expected = sx.InferenceSession(proto).run(None, {"input.1": X})[0]
    np.testing.assert_allclose(Executor(model.outputs).run({model.inputs[0]: X})[0], expected, rtol=1e-5, atol=1e-6)


def test_retrain_and_export(tmp_path: Path) -> None:
    model = load(old_model())
    labels = placeholder("labels", np.int64, ("n",))
    loss = losses.softmax_cross_entropy(model.outputs[0], labels)
    executor = Executor([loss, optim.Adam(0.05).minimize(loss)])
    y = np.array([0, 1, 2, 0, 1, 2])
    seen = [float(executor.run({model.inputs[0]: X, labels: y})[0]) for _ in range(40)]
    assert seen[-1] < 0.2 * seen[0]
    assert (model["bn/mean"].numpy() != 0).all()
    path = tmp_path / "trained.onnx"
    sx.graph.export(model.outputs, path, inputs=model.inputs, output_names=model.output_names)
    onnx.checker.check_model(str(path), full_check=True)
    written = onnx.load(path).graph
    assert [x.name for x in written.input] == ["input.1"]
    assert [x.name for x in written.output] == ["a:0"]
    assert {x.name for x in written.initializer} >= {"input.w", "bn/scale", "class"}
    expected = Executor(model.outputs).run({model.inputs[0]: X})[0]
    found = sx.InferenceSession(str(path)).run(None, {"input.1": X})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    judge = onnx.reference.ReferenceEvaluator(str(path)).run(None, {"input.1": X})[0]
    np.testing.assert_allclose(found, judge, rtol=1e-4, atol=1e-5)


def test_cut_and_new_head() -> None:
    model = load(old_model())
    model.freeze("*")
    (features,) = model.cut(until="4")
    assert model.cut(last_layers=-2)[0] is features
    assert model.cut(last_layers=3)[0] is model["3"]
    head = variable(RNG.normal(size=(64, 2)).astype(np.float32) * 0.1, "head")
    labels = data(np.array([0, 1, 0, 1, 0, 1]))
    loss = losses.softmax_cross_entropy(features @ head, labels)
    before = model["input.w"].numpy()
    executor = Executor([loss, optim.SGD(0.05).minimize(loss)])
    seen = [float(executor.run({model.inputs[0]: X})[0]) for _ in range(20)]
    assert seen[-1] < seen[0]
    np.testing.assert_array_equal(model["input.w"].numpy(), before)
    assert model.unfreeze("input.*", "bn/*") == ["input.w", "bn/scale", "bn/bias", "bn/mean", "bn/var"]
    assert model["bn/scale"].trainable
    assert not model["bn/mean"].trainable


def test_model_on_other_tensors() -> None:
    model = load(old_model())
    x = placeholder("image", shape=("n", 2, 4, 4))
    y = model(x * 2.0)
    assert isinstance(y, Tensor)
    expected = Executor(model.outputs).run({model.inputs[0]: X * 2})[0]
    np.testing.assert_allclose(Executor([y]).run({x: X})[0], expected, rtol=1e-6)


def test_weights_in_constant_nodes() -> None:
    proto = old_model()
    for weight in proto.graph.initializer:
        proto.graph.node.insert(0, helper.make_node("Constant", [], [weight.name], value=weight))
    del proto.graph.initializer[:]
    model = load(proto)
    assert {name for name, x in model.parameters.items() if x.trainable} == {
        "input.w", "bn/scale", "bn/bias", "class",
    }  # fmt: skip
    loss = (model.outputs[0] * model.outputs[0]).mean()
    executor = Executor([loss, optim.SGD(0.01).minimize(loss)])
    curve = [float(executor.run({model.inputs[0]: X})[0]) for _ in range(5)]
    assert curve[-1] < curve[0]


def test_files_in_training_mode() -> None:
    proto = old_model()
    proto.opset_import[0].version = 15
    proto.ir_version = 8
    norm = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
    norm.attribute.append(helper.make_attribute("training_mode", 1))
    norm.output.extend(["mean.new", "var.new"])
    proto.graph.node[2].input[0] = "2.dropped"
    proto.graph.node.insert(2, helper.make_node("Dropout", ["2", "half", "on"], ["2.dropped"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
    model = load(proto)
    y = model.outputs[0]
    loss = (y * y).mean()
    executor = Executor({"train": [loss, optim.SGD(0.01).minimize(loss)], "predict": [y]})
    feeds = {model.inputs[0]: X}
    first, again = (executor.run(feeds, "predict")[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    executor.run(feeds, "train")
    assert np.abs(model["bn/mean"].numpy()).max() > 0
    written = sx.graph.export(model.outputs, inputs=model.inputs)
    onnx.checker.check_model(written, full_check=True)
    kinds = {node.op_type: node for node in written.graph.node}
    assert not any(a.name == "training_mode" and a.i for a in kinds["BatchNormalization"].attribute)
    assert len(kinds["BatchNormalization"].output) == 1 and len(kinds["Dropout"].input) == 2
    found = sx.InferenceSession(written).run(None, {"input.1": X})[0]
    np.testing.assert_allclose(found, executor.run(feeds, "predict")[0], rtol=1e-5, atol=1e-6)


def test_bodies_that_capture() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["sum", "w"], ["next"]), helper.make_node("Identity", ["cond"], ["go"])],
        "body",
        [helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("cond", TensorProto.BOOL))]
        + [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("go", TensorProto.BOOL, []), helper.make_tensor_value_info("next", 1, [2])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "", "x"], ["y"], body=inner)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [
            numpy_helper.from_array(np.array(3, np.int64), "times"),
            numpy_helper.from_array(np.array([1, 10], np.float32), "w"),
        ],
    )
    model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7))
    assert set(model.parameters) == {"w"}
    executor = Executor(model.outputs)
    np.testing.assert_array_equal(executor.run({model.inputs[0]: [0.0, 0.0]})[0], [3, 30])
    model["w"].assign([2.0, 20.0])
    np.testing.assert_array_equal(executor.run({model.inputs[0]: [0.0, 0.0]})[0], [6, 60])


def test_exported_names_and_copies(tmp_path: Path) -> None:
    x = placeholder("x", shape=("n", 3))
    y = op.Relu(x)
    path = tmp_path / "m.onnx"
    sx.graph.export([y, y, x], path, inputs=[x], input_names=["in"], output_names=["a", "b", "c"], external_data=True)
    onnx.checker.check_model(str(path), full_check=True)
    session = sx.InferenceSession(str(path))
    assert [p.name for p in session.get_inputs()] == ["in"]
    assert [p.name for p in session.get_outputs()] == ["a", "b", "c"]
    assert x.name == "x"
    value = np.array([[-1, 0, 2]], np.float32)
    a, b, c = session.run(None, {"in": value})
    np.testing.assert_array_equal(a, [[0, 0, 2]])
    np.testing.assert_array_equal(b, a)
    np.testing.assert_array_equal(c, value)


def test_a_batch_of_any_size() -> None:
    a, b = placeholder("a", shape=(1, 4, 6)), placeholder("b", shape=(1, 24))
    w = variable(RNG.normal(size=(24, 3)).astype(np.float32), "w")
    z = op.Reshape(a, [1, 24]) + b
    outputs = [z @ w, op.Reshape(z, [1, 2, 12])]
    model = sx.graph.export(outputs, inputs=[a, b], opset=11, dynamic_batch=True)
    onnx.checker.check_model(model, full_check=True)
    ports = [*model.graph.input, *model.graph.output]
    assert [port.type.tensor_type.shape.dim[0].dim_param for port in ports] == ["N"] * 4
    x, y = RNG.normal(size=(7, 4, 6)).astype(np.float32), RNG.normal(size=(7, 24)).astype(np.float32)
    found = sx.InferenceSession(model).run(None, {"a": x, "b": y})
    np.testing.assert_allclose(found[0], (x.reshape(7, 24) + y) @ w.numpy(), rtol=1e-4, atol=1e-5)
    assert found[1].shape == (7, 2, 12)


def test_a_batch_that_is_held_on_to() -> None:
    x = placeholder("x", shape=(2, 4))
    with pytest.raises(sx.errors.InvalidGraph, match="Softmax 'y' is the first node"):
        sx.graph.export([op.Softmax(x, axis=0)], inputs=[x], dynamic_batch="batch")
    # The check runs on what it is given.
    table, ids = variable(np.eye(9, dtype=np.float32), "table"), placeholder("ids", np.int64, (1,))
    with pytest.raises(sx.errors.InvalidArgument, match="out of range"):
        sx.graph.export([op.Gather(table, ids)], inputs=[ids], dynamic_batch=True, feeds={"ids": np.array([11])})
    sx.graph.export([op.Gather(table, ids)], inputs=[ids], dynamic_batch=True, feeds={"ids": np.array([8])})


def test_no_device_is_overwritten(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    x = placeholder("x", shape=(2,))
    for path in (pipe, tmp_path):
        with pytest.raises(sx.errors.Fail, match="the path of a file expected"):
            sx.graph.export([x + 1.0], path)
        with pytest.raises(sx.errors.Fail, match="the path of a file expected"):
            sx.export(old_model(), path)
    assert pipe.is_fifo()


def test_weights_in_a_second_file(tmp_path: Path) -> None:
    x, w = placeholder("x", shape=("n", 100)), variable(RNG.normal(size=(100, 100)).astype(np.float32), "w")
    path = tmp_path / "m.onnx"
    for _ in range(2):  # writing again replaces the data
        sx.graph.export([x @ w], path, inputs=[x], external_data=True)
    assert os.path.getsize(tmp_path / "m.onnx.data") < 50000
    value = RNG.normal(size=(2, 100)).astype(np.float32)
    found = sx.InferenceSession(str(path)).run(None, {"x": value})[0]
    np.testing.assert_allclose(found, value @ w.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda m: m.freeze("bn/scal"), "did you mean 'bn/scale'"),
        (lambda m: m.freeze("layer*"), "no parameter matches 'layer\\*'; there are 'input.w', 'bn/scale'"),
        (lambda m: m["input.ww"], "did you mean 'input.w'"),
        (lambda m: m.cut(last_layers=0), "leaves none"),
        (lambda m: m.cut(), "either last_layers or until"),
        (lambda m: m(), "got 0 tensors for the 1 inputs 'input.1'"),
        (lambda m: sx.graph.export(m.outputs, output_names=["a", "b"]), "2 output names for 1 outputs"),
    ],
)
def test_mistakes(mistake: Any, message: str) -> None:
    with pytest.raises(sx.errors.InvalidArgument, match=message):
        mistake(load(old_model()))


# --- checkpoints


def network() -> tuple[Tensor, dict[str, Tensor], optim.Optimizer, Executor]:
    rng = np.random.default_rng(7)
    w1 = variable(rng.normal(size=(4, 16)).astype(np.float32), "w1")
    w2 = variable(rng.normal(size=(16, 1)).astype(np.float32), "w2")
    x = placeholder("x", shape=("n", 4))
    loss = losses.mse(op.Dropout(op.Tanh(x @ w1), 0.3) @ w2, x.sum(1, keepdims=True))
    optimizer = optim.Adam(optim.cosine(0.01, 100))
    return x, {"w1": w1, "w2": w2}, optimizer, Executor([loss, optimizer.minimize(loss)])


def batches(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    return [rng.normal(size=(5, 4)).astype(np.float32) for _ in range(n)]


def test_resumed_training_gives_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "c.safetensors"
    sx.set_seed(11)
    x, parameters, optimizer, executor = network()
    whole = []
    for i, batch in enumerate(batches(20)):
        if i == 10:
            checkpoint.save(path, parameters, optimizer, step=i, extra={"epoch": 3})
        whole.append(executor.run({x: batch})[0])
    expected = {name: value.numpy() for name, value in parameters.items()}
    sx.set_seed(99)
    x, parameters, optimizer, executor = network()
    state = checkpoint.load(path, parameters, optimizer)
    assert (state.step, state.extra) == (10, {"epoch": 3})
    rest = [executor.run({x: batch})[0] for batch in batches(20)[10:]]
    assert [float(v) for v in rest] == [float(v) for v in whole[10:]]
    for name, value in parameters.items():
        np.testing.assert_array_equal(value.numpy(), expected[name])


def test_a_failed_save_leaves_the_last_file(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "c.safetensors"
    _, parameters, optimizer, _ = network()
    checkpoint.save(path, parameters, optimizer)
    before = path.read_bytes()
    limited = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import numpy as np, sardonyx as sx\n"
        "from sardonyx import checkpoint\n"
        "w = sx.graph.variable(np.zeros(1000, np.float32))\n"
        "try:\n"
        "    checkpoint.save(sys.argv[1], {'w': w})\n"
        "except sx.errors.Fail as error:\n"
        "    assert 'unchanged' in str(error), error\n"
        "    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", limited, str(path)], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_checkpoint_mistakes(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "c.safetensors"
    _, parameters, optimizer, _ = network()
    checkpoint.save(path, parameters, optimizer)
    other = {"w1": parameters["w1"], "w3": parameters["w2"]}
    with pytest.raises(sx.errors.InvalidArgument, match="lacks 'w3'; it holds 'w2'"):
        checkpoint.load(path, other)
    with pytest.raises(sx.errors.InvalidArgument, match=r"float32\[4, 16\] in the checkpoint; float32\[2\] expected"):
        checkpoint.load(path, {**parameters, "w1": variable([1.0, 2.0])})
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "none", parameters)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(sx.errors.InvalidArgument, match="no checkpoint"):
        checkpoint.load(tmp_path / "text", parameters)

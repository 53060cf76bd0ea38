"""SINGA's documentation, "ONNX", as its program stands but for the imports, the data and its slips of the pen.

Learning rates and epochs are arguments here: 1472 digits are fewer than MNIST's 60000.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sardonyx.compat.singa import autograd, device, opt, sonnx, tensor
from tests.seeds.digits import load_dataset


def to_categorical(y: Any, num_classes: int) -> Any:
    y = np.array(y, dtype="int")
    n = y.shape[0]
    categorical = np.zeros((n, num_classes))
    categorical[np.arange(n), y] = 1
    categorical = categorical.astype(np.float32)
    return categorical


class CNN:
    def __init__(self) -> None:
        self.conv1 = autograd.Conv2d(1, 20, 5, padding=0)
        self.conv2 = autograd.Conv2d(20, 50, 5, padding=0)
        self.linear1 = autograd.Linear(4 * 4 * 50, 500, bias=False)
        self.linear2 = autograd.Linear(500, 10, bias=False)
        self.pooling1 = autograd.MaxPool2d(2, 2, padding=0)
        self.pooling2 = autograd.MaxPool2d(2, 2, padding=0)

    def forward(self, x: Any) -> Any:
        y = self.conv1(x)
        y = autograd.relu(y)
        y = self.pooling1(y)
        y = self.conv2(y)
        y = autograd.relu(y)
        y = self.pooling2(y)
        y = autograd.flatten(y)
        y = self.linear1(y)
        y = autograd.relu(y)
        y = self.linear2(y)
        return y


def accuracy(pred: Any, target: Any) -> Any:
    y = np.argmax(pred, axis=1)
    t = np.argmax(target, axis=1)
    a = y == t
    return np.array(a, "int").sum() / float(len(t))


def train(
    model: Any, x: Any, y: Any, epochs: int = 1, batch_size: int = 64, dev: Any = None, lr: float = 0.001
) -> tuple[Any, Any, list[float]]:
    batch_number = x.shape[0] // batch_size
    losses = []

    for _ in range(epochs):
        for b in range(batch_number):
            l_idx = b * batch_size
            r_idx = (b + 1) * batch_size

            x_batch = tensor.Tensor(device=dev, data=x[l_idx:r_idx])
            target_batch = tensor.Tensor(device=dev, data=y[l_idx:r_idx])

            output_batch = model.forward(x_batch)
            loss = autograd.softmax_cross_entropy(output_batch, target_batch)
            accuracy_rate = accuracy(tensor.to_numpy(output_batch), tensor.to_numpy(target_batch))
            assert 0 <= accuracy_rate <= 1

            sgd = opt.SGD(lr=lr)
            for p, gp in autograd.backward(loss):
                sgd.update(p, gp)
            sgd.step()
            losses.append(tensor.to_numpy(loss)[0])
    return x_batch, output_batch, losses


def test(model: Any, x: Any, y: Any, batch_size: int = 64, dev: Any = None) -> float:
    batch_number = x.shape[0] // batch_size
    result = 0.0
    for b in range(batch_number):
        l_idx = b * batch_size
        r_idx = (b + 1) * batch_size

        x_batch = tensor.Tensor(device=dev, data=x[l_idx:r_idx])
        target_batch = tensor.Tensor(device=dev, data=y[l_idx:r_idx])

        output_batch = model.forward(x_batch)
        result += accuracy(tensor.to_numpy(output_batch), tensor.to_numpy(target_batch))
    return result / batch_number


test.__test__ = False  # type: ignore[attr-defined]  # the program's name for it


class Infer:
    def __init__(self, sg_ir: Any) -> None:
        self.sg_ir = sg_ir
        for idx, tens in sg_ir.tensor_map.items():
            # allow the tensors to be updated
            tens.requires_grad = True
            tens.stores_grad = True
            sg_ir.tensor_map[idx] = tens

    def forward(self, x: Any) -> Any:
        return self.sg_ir.run([x])[0]  # we can run one step of inference by feeding input


class Trans:
    def __init__(self, sg_ir: Any, last_layers: int) -> None:
        self.sg_ir = sg_ir
        self.last_layers = last_layers
        self.append_linear1 = autograd.Linear(500, 128, bias=False)
        self.append_linear2 = autograd.Linear(128, 32, bias=False)
        self.append_linear3 = autograd.Linear(32, 10, bias=False)

    def forward(self, x: Any) -> Any:
        y = self.sg_ir.run([x], last_layers=self.last_layers)[0]
        y = self.append_linear1(y)
        y = autograd.relu(y)
        y = self.append_linear2(y)
        y = autograd.relu(y)
        y = self.append_linear3(y)
        y = autograd.relu(y)
        return y


Data = tuple[Any, Any, Any, Any]


@pytest.fixture(scope="module")
def data() -> Data:
    train_x, train_y, valid_x, valid_y = load_dataset()
    return train_x / 255, to_categorical(train_y, 10), valid_x / 255, to_categorical(valid_y, 10)


@pytest.fixture(scope="module")
def dev() -> Any:
    with pytest.warns(RuntimeWarning, match="trains on the CPU"):
        return device.create_cuda_gpu()


@pytest.fixture(scope="module")
def model_path(data: Data, dev: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CNN, trained and saved."""
    dev.SetRandSeed(7)
    autograd.training = True
    model = CNN()
    x, y, losses = train(model, data[0], data[1], epochs=8, dev=dev, lr=0.2)
    assert np.mean(losses[-5:]) < losses[0] / 10
    onnx_model = sonnx.to_onnx([x], [y])
    autograd.training = False
    assert test(model, data[2], data[3], dev=dev) >= 0.97

    path = tmp_path_factory.mktemp("singa") / "mnist.onnx"
    onnx.save(onnx_model, path)
    return path


def test_export_has_one_node_for_each_layer(model_path: Path) -> None:
    onnx.checker.check_model(str(model_path), full_check=True)
    ops = [node.op_type for node in onnx.load(model_path).graph.node]
    convolutions = ["Conv", "Relu", "MaxPool"] * 2
    assert ops == [*convolutions, "Flatten", "MatMul", "Relu", "MatMul"]


def test_inference(model_path: Path, data: Data, dev: Any) -> None:
    sg_ir = sonnx.prepare(onnx.load(model_path), device=dev)
    assert test(Infer(sg_ir), data[2], data[3], dev=dev) >= 0.97

    ours = tensor.to_numpy(sg_ir.run([tensor.Tensor(data=data[2])])[0])
    rt = pytest.importorskip("onnxruntime")
    sess = rt.InferenceSession(str(model_path))
    theirs = sess.run(None, {sess.get_inputs()[0].name: data[2]})[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_re_training_improves_the_loss(model_path: Path, data: Data, dev: Any) -> None:
    sg_ir = sonnx.prepare(onnx.load(model_path), device=dev)
    new_model = Infer(sg_ir)
    before = {name: tens.numpy().copy() for name, tens in sg_ir.tensor_map.items()}
    autograd.training = True
    _, _, losses = train(new_model, data[0], data[1], epochs=2, dev=dev, lr=0.01)
    autograd.training = False
    batches = len(losses) // 2
    assert np.mean(losses[batches:]) < np.mean(losses[:batches])
    assert all((tens.numpy() != before[name]).any() for name, tens in sg_ir.tensor_map.items())
    assert test(new_model, data[2], data[3], dev=dev) >= 0.97


def test_last_layers_cuts_as_python_slices(model_path: Path, data: Data, dev: Any) -> None:
    sg_ir = sonnx.prepare(onnx.load(model_path), device=dev)
    x = tensor.Tensor(data=data[2][:3])
    assert sg_ir.run([x], last_layers=-1)[0].shape == (3, 500)
    assert sg_ir.run([x], last_layers=7)[0].shape == (3, 800)
    named = sg_ir.run([x], all_outputs=True)
    assert len(named) == 10
    features = list(named)[-2]
    np.testing.assert_array_equal(sg_ir.run([x], until=features)[0].numpy(), named[features].numpy())


def test_transfer_learning_trains_the_head(model_path: Path, data: Data, dev: Any) -> None:
    dev.SetRandSeed(10)
    sg_ir = sonnx.prepare(onnx.load(model_path), device=dev)
    before = {name: tens.numpy().copy() for name, tens in sg_ir.tensor_map.items()}
    trans_model = Trans(sg_ir, -1)
    autograd.training = True
    _, _, losses = train(trans_model, data[0], data[1], epochs=4, dev=dev, lr=0.07)
    autograd.training = False
    assert np.mean(losses[-5:]) < losses[0] / 3
    assert test(trans_model, data[2], data[3], dev=dev) >= 0.8  # the relu behind the logits costs a class or so
    for name, tens in sg_ir.tensor_map.items():  # nothing asked for the gradients of the features
        np.testing.assert_array_equal(tens.numpy(), before[name])

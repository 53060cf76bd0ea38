"""SINGA's layers that size themselves, and Model: training, modes, states in files."""

import io
import zipfile

import numpy as np
import onnx
import pytest

from sardonyx.compat.singa import autograd, device, layer, model, opt, sonnx, tensor
from sardonyx.compat.singa.tensor import Tensor
from sardonyx.errors import InvalidArgument, NoSuchFile

IMAGES = np.random.default_rng(0).normal(size=(4, 2, 8, 8)).astype(np.float32)
CLASSES = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]


class Block(layer.Layer):
    def __init__(self, kernels):
        self.conv = layer.Conv2d(kernels, 3, padding=1, activation="RELU")
        self.bn = layer.BatchNorm2d(kernels)

    def forward(self, x):
        return self.bn(self.conv(x))


class CNN(model.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(4), Block(6)]
        self.register_layers(*self.blocks)
        self.pool = layer.MaxPool2d(2, 2, padding=0)
        self.flatten, self.relu = layer.Flatten(), layer.ReLU()
        self.linear1, self.linear2 = layer.Linear(5), layer.Linear(5, 3)
        self.drop = layer.Dropout(0.1)
        self.loss = layer.SoftMaxCrossEntropy()

    def forward(self, x):
        for block in self.blocks:
            x = self.pool(block(x))
        return self.linear2(self.drop(self.relu(self.linear1(self.flatten(x)))))

    def train_one_batch(self, x, y):
        out = self.forward(x)
        loss = self.loss(out, y)
        self.optimizer(loss)
        return out, loss


@pytest.fixture
def net():
    device.get_default_device().SetRandSeed(5)
    made = CNN()
    made.set_optimizer(opt.SGD(lr=0.1, momentum=0.9))
    made.compile([Tensor((4, 2, 8, 8))], is_train=True, use_graph=True, sequential=False)
    yield made
    autograd.training = False


def test_model_trains_and_infers(net):
    x, y = tensor.from_numpy(IMAGES), tensor.from_numpy(CLASSES)
    losses = []
    for _ in range(25):
        out, loss = net(x, y)
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 3 and out.shape == (4, 3)
    net.eval()
    assert not autograd.training
    first, second = net(x).numpy(), net(x).numpy()
    np.testing.assert_array_equal(first, second)
    exported = sonnx.to_onnx([x], [net(x)])
    onnx.checker.check_model(exported, full_check=True)
    np.testing.assert_allclose(sonnx.prepare(exported).run([x])[0].numpy(), first, rtol=1e-5, atol=1e-6)


def test_states_in_files(net, tmp_path):
    x, y = tensor.from_numpy(IMAGES), tensor.from_numpy(CLASSES)
    net(x, y)
    states = net.get_states()
    assert len(states) == 2 * (2 + 4) + 4 and len(net.get_params()) == 2 * (2 + 2) + 4
    assert states["linear1.W"].shape == (24, 5)
    net.save_states(tmp_path / "net.zip", {"epoch": tensor.from_numpy(np.array([7]))})
    other = CNN()
    with pytest.raises(InvalidArgument, match=r"has no state .*compile\(\) makes them"):
        other.load_states(tmp_path / "net.zip")
    other.compile([x], is_train=False)
    assert int(other.load_states(tmp_path / "net.zip")["epoch"].numpy()[0]) == 7
    net.eval()
    np.testing.assert_array_equal(net(x).numpy(), other(x).numpy())
    with pytest.raises(InvalidArgument, match="there already"):
        net.save_states(tmp_path / "net.zip")
    with pytest.raises(NoSuchFile, match="no file"):
        net.load_states(tmp_path / "none.zip")
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    with pytest.raises(InvalidArgument, match="holds no states"):
        net.load_states(tmp_path / "bad.zip")


def archive_of(path, tensors, attributes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tensor_dict.npz", tensors)
        archive.writestr("states_attr.json", attributes)


def test_states_of_hostile_files(tmp_path):
    net = CNN()
    net.compile([tensor.from_numpy(IMAGES)], is_train=False)
    before = {name: state.numpy().copy() for name, state in net.get_states().items()}
    good = io.BytesIO()
    np.savez(good, **{"linear1.b": np.zeros(5, np.float32), "linear1.W": np.zeros((2, 2), np.float32)})
    packed = io.BytesIO()
    np.savez_compressed(packed, x=np.zeros(100 << 20, np.uint8))
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }"
    huge = io.BytesIO()
    with zipfile.ZipFile(huge, "w") as archive:
        archive.writestr("x.npy", header.ljust(127) + b"\n")
    for tensors, attributes, message in [
        (good.getvalue(), "{}", r"'linear1.W' is \[2, 2\]; \[24, 5\] expected"),
        (good.getvalue(), "[]", "holds no states"),
        (good.getvalue(), '{"linear1.W": 3}', "holds no states"),
        (bytes(100 << 20), "{}", "bytes once unpacked"),
        (packed.getvalue(), "{}", "bytes once unpacked"),
        (huge.getvalue(), "{}", "holds no states"),
        (b"", "{}", "holds no states"),
    ]:
        archive_of(tmp_path / "net.zip", tensors, attributes)
        with pytest.raises(InvalidArgument, match=message):
            net.load_states(tmp_path / "net.zip")
        for name, state in net.get_states().items():
            np.testing.assert_array_equal(state.numpy(), before[name])


X = tensor.from_numpy(IMAGES)
ROWS = tensor.from_numpy(IMAGES[0, 0])
LAYERS = [
    (layer.Conv2d(5, 3), (X,), (4, 5, 6, 6)),
    (layer.Conv2d(2, 5, 3, 2, 1), (X,), (4, 5, 4, 4)),
    (layer.Conv2d(5, (3, 1), stride=2, bias=False, pad_mode="SAME_UPPER", activation="TANH"), (X,), (4, 5, 4, 4)),
    (layer.SeparableConv2d(5, 3, padding=1), (X,), (4, 5, 8, 8)),
    (layer.BatchNorm2d(), (X,), (4, 2, 8, 8)),
    (layer.AvgPool2d(3, 1), (X,), (4, 2, 6, 6)),
    (layer.Linear(3), (ROWS,), (8, 3)),
    (layer.Linear(8, 3, False), (ROWS,), (8, 3)),
    (layer.Embedding(9, 4), (tensor.from_numpy(np.array([[1, 8]])),), (1, 2, 4)),
    (layer.Cat(1), ([X, X],), (4, 4, 8, 8)),
    (layer.Cat(axis=2), (X, X), (4, 2, 16, 8)),
    (layer.Reshape(), (X, (4, -1)), (4, 128)),
    (layer.Flatten(2), (X,), (8, 64)),
    (layer.Add(), (X, X), (4, 2, 8, 8)),
    (layer.SoftMax(axis=-1), (ROWS,), (8, 8)),
    (layer.MeanSquareError(), (ROWS, ROWS), (1,)),
]


@pytest.mark.parametrize(("made", "inputs", "shape"), LAYERS, ids=lambda x: type(x).__name__)
def test_layers_size_themselves(made, inputs, shape):
    assert made(*inputs).shape == shape
    first = made(*inputs).numpy()
    np.testing.assert_array_equal(made(*inputs).numpy(), first)  # made once


def test_recurrent_layers():
    zeros = Tensor((8, 6))
    states, last = layer.RNN(6)([ROWS, ROWS], zeros)
    assert len(states) == 2 and last.shape == (8, 6)
    outputs, h, c = layer.LSTM(6)([ROWS] * 3, (zeros, zeros))
    assert len(outputs) == 3 and h.shape == c.shape == (8, 6)


def test_mistakes():
    with pytest.raises(InvalidArgument, match="one of NOTSET, RELU, SIGMOID, TANH"):
        layer.Conv2d(3, 3, activation="SWISH")
    with pytest.raises(NotImplementedError, match="has no forward"):
        layer.Layer()(X)
    with pytest.raises(NotImplementedError, match="has no train_one_batch"):
        model.Model()(X)
    assert layer.Conv2d(3, 3).get_params() == {}

"""Gradients of whole networks beside torch's: a small CNN, ResNet-18, BERT and taggers with LSTM, GRU and RNN, each
written with sardonyx.nn and read from what torch exports."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sardonyx import losses, nn
from sardonyx.graph import Executor, gradients, load, placeholder

torch = pytest.importorskip("torch")

# Of the norm of a parameter's gradient.
TOLERANCE = 1e-4


def cnn(layers: Any) -> Any:
    """The network of SINGA's page on ONNX."""
    return layers.Sequential(
        layers.Conv2d(1, 20, 5), layers.ReLU(), layers.MaxPool2d(2, 2),
        layers.Conv2d(20, 50, 5), layers.ReLU(), layers.MaxPool2d(2, 2),
        layers.Flatten(), layers.Linear(4 * 4 * 50, 500, bias=False), layers.ReLU(), layers.Linear(500, 10, bias=False),
    )  # fmt: skip


def resnet18(layers: Any) -> Any:
    class Block(layers.Module):  # type: ignore[misc, name-defined]
        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.conv1 = layers.Conv2d(channels, filters, 3, stride, 1, bias=False)
            self.bn1 = layers.BatchNorm2d(filters)
            self.conv2 = layers.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.bn2 = layers.BatchNorm2d(filters)
            self.relu = layers.ReLU()
            self.down = layers.Identity()
            if stride > 1:
                self.down = layers.Sequential(
                    layers.Conv2d(channels, filters, 1, stride, bias=False), layers.BatchNorm2d(filters)
                )

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + self.down(x))

    sizes = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    return layers.Sequential(
        layers.Conv2d(3, 64, 7, 2, 3, bias=False), layers.BatchNorm2d(64), layers.ReLU(), layers.MaxPool2d(3, 2, 1),
        *(Block(*size) for size in sizes), Block(512, 512, 1),
        layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(512, 10),
    )  # fmt: skip


def bert(layers: Any) -> Any:
    class Bert(layers.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words = layers.Embedding(50, 32)
            self.norm = layers.LayerNorm(32)
            self.blocks = layers.ModuleList(
                [layers.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True) for _ in range(2)]
            )
            self.head = layers.Linear(32, 10)

        def forward(self, ids: Any) -> Any:
            x = self.norm(self.words(ids))
            for block in self.blocks:
                x = block(x)
            return self.head(x[:, 0])

    return Bert()


def tagger(layers: Any, kind: str = "LSTM") -> Any:
    class Tagger(layers.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words = layers.Embedding(50, 12)
            self.recurrent = getattr(layers, kind)(12, 16, 2, bidirectional=True, batch_first=True)
            self.head = layers.Linear(32, 10)

        def forward(self, ids: Any) -> Any:
            return self.head(self.recurrent(self.words(ids))[0]).reshape(-1, 10)

    return Tagger()


def gru_tagger(layers: Any) -> Any:
    return tagger(layers, "GRU")


def rnn_tagger(layers: Any) -> Any:
    return tagger(layers, "RNN")


RNG = np.random.default_rng(0)
NETWORKS = [
    (cnn, RNG.normal(size=(4, 1, 28, 28)).astype(np.float32), 4),
    (resnet18, RNG.normal(size=(6, 3, 64, 64)).astype(np.float32), 6),
    (bert, RNG.integers(0, 50, (4, 9)), 4),
    (tagger, RNG.integers(0, 50, (3, 7)), 21),
    (gru_tagger, RNG.integers(0, 50, (3, 7)), 21),
    (rnn_tagger, RNG.integers(0, 50, (3, 7)), 21),
]
parametrize = pytest.mark.parametrize(("make", "x", "rows"), NETWORKS, ids=[make.__name__ for make, *_ in NETWORKS])


def torchs(make: Callable[[Any], Any], x: Any, classes: Any, training: bool) -> tuple[Any, dict[str, Any]]:
    """The network, and its gradients in f64."""
    torch.manual_seed(1)
    model = make(torch.nn).train(training)
    wide = make(torch.nn).train(training).double()
    wide.load_state_dict(model.state_dict())
    given = torch.from_numpy(x)
    loss = torch.nn.functional.cross_entropy(
        wide(given.double() if given.is_floating_point() else given), torch.from_numpy(classes)
    )
    loss.backward()
    return model, {name: p.grad.numpy() for name, p in wide.named_parameters()}


def compare(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        distance = np.linalg.norm(found[name] - gradient)
        # The bias of keys moves all scores of a query alike: its gradient is rounding.
        assert distance <= TOLERANCE * max(np.linalg.norm(gradient), 1e-3), name


@parametrize
def test_written(make: Callable[[Any], Any], x: Any, rows: int) -> None:
    classes = np.arange(rows) % 10
    theirs, expected = torchs(make, x, classes, training=True)
    ours = make(nn)
    ours.load_state_dict(theirs.state_dict())
    data, t = placeholder("x", x.dtype, [None] * x.ndim), placeholder("t", np.int64, [None])
    names, parameters = zip(*ours.named_parameters(), strict=True)
    loss = losses.softmax_cross_entropy(ours(data), t)
    found = Executor(gradients(loss, parameters), training=True).run({data: x, t: classes})
    compare(dict(zip(names, found, strict=True)), expected)


@parametrize
def test_read(make: Callable[[Any], Any], x: Any, rows: int) -> None:
    pytest.importorskip("onnxscript")
    classes = np.arange(rows) % 10
    theirs, expected = torchs(make, x, classes, training=False)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(theirs, (torch.from_numpy(x),), file, dynamo=True, optimize=False, verbose=False)
    model = load(file.getvalue())
    t = placeholder("t", np.int64, [None])
    loss = losses.softmax_cross_entropy(model.outputs[0], t)
    found = Executor(gradients(loss, [model[name] for name in expected])).run({model.inputs[0]: x, t: classes})
    compare(dict(zip(expected, found, strict=True)), expected)

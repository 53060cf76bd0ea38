"""SINGA's MNIST walk: training, export, inference, re-training and transfer learning, on the CPU.

python examples/singa_mnist.py [folder for the files]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import digits
import numpy as np
import onnx

from sardonyx.compat.singa import autograd, device, opt, sonnx, tensor


class CNN:
    """Two convolutions and two linear layers."""

    def __init__(self) -> None:
        self.conv1 = autograd.Conv2d(1, 20, 5, padding=0)
        self.conv2 = autograd.Conv2d(20, 50, 5, padding=0)
        self.linear1 = autograd.Linear(4 * 4 * 50, 500, bias=False)
        self.linear2 = autograd.Linear(500, 10, bias=False)
        self.pooling1 = autograd.MaxPool2d(2, 2, padding=0)
        self.pooling2 = autograd.MaxPool2d(2, 2, padding=0)

    def forward(self, x: Any) -> Any:
        y = self.pooling1(autograd.relu(self.conv1(x)))
        y = self.pooling2(autograd.relu(self.conv2(y)))
        y = autograd.relu(self.linear1(autograd.flatten(y)))
        return self.linear2(y)


class Infer:
    """A model that was read, all of it to be trained."""

    def __init__(self, sg_ir: Any) -> None:
        self.sg_ir = sg_ir
        for tens in sg_ir.tensor_map.values():
            tens.requires_grad = True
            tens.stores_grad = True

    def forward(self, x: Any) -> Any:
        return self.sg_ir.run([x])[0]


class Trans:
    """The features of a model that was read, under new layers."""

    def __init__(self, sg_ir: Any, last_layers: int) -> None:
        self.sg_ir = sg_ir
        self.last_layers = last_layers
        self.linear1 = autograd.Linear(500, 128, bias=False)
        self.linear2 = autograd.Linear(128, 10, bias=False)

    def forward(self, x: Any) -> Any:
        y = self.sg_ir.run([x], last_layers=self.last_layers)[0]
        return self.linear2(autograd.relu(self.linear1(y)))


def train(model: Any, images: Any, targets: Any, epochs: int, lr: float, what: str) -> tuple[Any, Any, list[float]]:
    """The last batch, what the model made of it, and the loss of each step."""
    autograd.training = True
    curve = []
    sgd = opt.SGD(lr=lr)
    for _ in digits.progress(range(epochs), what):
        for i in range(0, len(images), 64):
            x = tensor.Tensor(data=images[i : i + 64])
            y = model.forward(x)
            loss = autograd.softmax_cross_entropy(y, tensor.Tensor(data=targets[i : i + 64]))
            for p, gp in autograd.backward(loss):
                sgd.update(p, gp)
            sgd.step()
            curve.append(float(tensor.to_numpy(loss)[0]))
    autograd.training = False
    return x, y, curve


def test(model: Any, images: Any, labels: Any, what: str) -> Any:
    """The logits; prints the accuracy."""
    logits = tensor.to_numpy(model.forward(tensor.Tensor(data=images)))
    print(f"{what}: accuracy {(logits.argmax(1) == labels).mean():.3f}")
    return logits


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    device.get_default_device().SetRandSeed(7)
    images, labels, tests, wanted = digits.load()
    images, tests, targets = images / 255, tests / 255, np.eye(10, dtype=np.float32)[labels]

    model = CNN()
    x, y, first = train(model, images, targets, 8, 0.2, "training")
    logits = test(model, tests, wanted, "training")
    path = folder / "mnist.onnx"
    onnx.save(sonnx.to_onnx([x], [y]), path)
    digits.compare(path, tests, logits)

    again = Infer(sonnx.prepare(onnx.load(path)))
    second = train(again, images, targets, 2, 0.01, "re-training")[2]
    test(again, tests, wanted, "re-training")

    transferred = Trans(sonnx.prepare(onnx.load(path)), -1)
    third = train(transferred, images, targets, 3, 0.07, "transfer learning")[2]
    test(transferred, tests, wanted, "transfer learning")
    digits.plot({"training": first, "re-training": second, "transfer learning": third}, folder / "singa_mnist.png")


if __name__ == "__main__":
    main()

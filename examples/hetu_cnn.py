"""Hetu's CNN: built, exported before its first run, trained, exported, read back and trained further.

python examples/hetu_cnn.py [folder for the files]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import digits
import numpy as np

import sardonyx.compat.hetu as ht
from sardonyx.compat.hetu import ad, init, optim
from sardonyx.compat.hetu import onnx as ax


def cnn() -> tuple[Any, Any]:
    """The input and the logits."""
    W1 = init.random_normal((32, 1, 5, 5), stddev=0.1, name="W1")
    W2 = init.random_normal((64, 32, 5, 5), stddev=0.1, name="W2")
    W3 = init.random_normal((7 * 7 * 64, 10), stddev=0.1, name="W3")
    b3 = init.random_normal((10,), stddev=0.1, name="b3")
    X = ad.Variable(name="X")
    z1 = ad.relu_op(ad.conv2d_op(X, W1, padding=2, stride=1))
    z2 = ad.avg_pool2d_op(z1, kernel_H=2, kernel_W=2, padding=0, stride=2)
    z3 = ad.relu_op(ad.conv2d_op(z2, W2, padding=2, stride=1))
    z4 = ad.avg_pool2d_op(z3, kernel_H=2, kernel_W=2, padding=0, stride=2)
    return X, ad.matmul_op(ad.array_reshape_op(z4, (-1, 7 * 7 * 64)), W3) + b3


def train(x: Any, y: Any, data: tuple[Any, Any, Any, Any], optimizer: Any, epochs: int, what: str) -> list[float]:
    """The loss of each step; prints the accuracy behind the last."""
    images, labels, tests, wanted = data
    t = ad.Variable(name="t")
    loss = ad.reduce_mean_op(ad.softmaxcrossentropy_op(y, t), [0])
    executor = ad.Executor({"train": [loss, optimizer.minimize(loss)], "validate": [y]}, ctx=ht.cpu(0))
    one_hot = np.eye(10, dtype=np.float32)
    curve = []
    for _ in digits.progress(range(epochs), what):
        for i in range(0, len(images), 64):
            feeds = {x: images[i : i + 64], t: one_hot[labels[i : i + 64]]}
            curve.append(float(executor.run("train", feed_dict=feeds, convert_to_numpy_ret_vals=True)[0]))
    logits = executor.run("validate", feed_dict={x: tests}, convert_to_numpy_ret_vals=True)[0]
    print(f"{what}: accuracy {(logits.argmax(1) == wanted).mean():.3f}")
    return curve


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    np.random.seed(2)
    images, labels, tests, wanted = digits.load()
    data = images / 255, labels, tests / 255, wanted

    X, y = cnn()
    executor = ad.Executor([y], ctx=ht.cpu(0))
    path = folder / "hetu_cnn.onnx"
    ax.hetu2onnx.export(executor, [X], [y], path)
    print(f"exported before the first run: {path}")

    curves = {"training": train(X, y, data, optim.AdamOptimizer(0.003), 5, "training")}
    ax.hetu2onnx.export(executor, [X], [y], path)
    digits.compare(path, data[2], executor.run(feed_dict={X: data[2]})[0])

    x, y = ax.onnx2hetu.load_onnx(path)
    curves["read back, trained further"] = train(x, y, data, optim.SGDOptimizer(0.05), 2, "trained further")
    digits.plot(curves, folder / "hetu_cnn.png")


if __name__ == "__main__":
    main()

"""What the walks share: handwritten digits of 28 by 28 without a download, a line of progress, and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def load(training: int = 1472) -> tuple[Any, Any, Any, Any]:
    """scikit-learn's digits, scaled to the size of MNIST: images from 0 to 255 and classes, to train and to test on."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.kron(digits.images * (255 / 16), np.ones((3, 3)))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None].astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    return images[:training], labels[:training], images[training:], labels[training:]


def progress(turns: Iterable[int], what: str) -> Iterator[int]:
    """The turns, with a bar where rich is installed."""
    try:
        from rich.progress import track
    except ImportError:
        print(what)
        return iter(turns)
    return iter(track(list(turns), description=what))


def plot(curves: dict[str, list[float]], path: Path) -> None:
    """Writes a picture of losses over steps where matplotlib is installed."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: pip install matplotlib for one")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, losses in curves.items():
        axes.plot(losses, label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(f"learning curves: {path}")


def compare(model: Path, image: Any, ours: Any) -> None:
    """Runs a model with onnxruntime too, where that is installed, and prints how far the results lie apart."""
    try:
        import onnxruntime
    except ImportError:
        print("no comparison: pip install onnxruntime for one")
        return
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: image})[0]
    print(f"largest difference from onnxruntime: {np.abs(np.asarray(ours) - theirs).max():.1e}")

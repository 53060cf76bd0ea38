"""Handwritten digits as the seeds' programs read MNIST: 1797 images of 28 by 28 from scikit-learn, no download."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

TRAINING = 1472  # a multiple of 64


def load_dataset() -> tuple[Images, Labels, Images, Labels]:
    """Images [n, 1, 28, 28] from 0 to 255 and their digits, to train on and to test on."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    images = np.kron(digits.images * (255 / 16), np.ones((3, 3)))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None].astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    return images[:TRAINING], labels[:TRAINING], images[TRAINING:], labels[TRAINING:]

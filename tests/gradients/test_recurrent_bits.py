"""Gradients of recurrent layers: the same bits for any number of threads and where recomputed; of empty batches."""

from __future__ import annotations

import numpy as np
import pytest

from sardonyx import nn
from sardonyx.graph import Executor, gradients, placeholder


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_same_bits(kind: str, bidirectional: bool) -> None:
    nn.init.seed(1)
    network = getattr(nn, kind)(24, 40, 2, bidirectional=bidirectional, batch_first=True)
    x = placeholder("x", np.float32, ("batch", 19, 24))
    y = network(x)[0]
    loss = (y * y).sum()
    asked = [loss, *gradients(loss, list(network.parameters()))]
    data = np.random.default_rng(0).standard_normal((37, 19, 24), np.float32)
    expected = Executor(asked, threads=1).run({x: data})
    for threads in (1, 2, 5):
        for recompute in (False, True):
            found = Executor(asked, threads=threads, recompute=recompute).run({x: data})
            assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True)), (threads, recompute)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_of_nothing(kind: str) -> None:
    network = getattr(nn, kind)(3, 4)
    x = placeholder("x", np.float32, ("time", "batch", 3))
    y = network(x)[0]
    parameters = list(network.parameters())
    executor = Executor(gradients((y * y).sum(), [x, *parameters]))
    for shape in ((0, 2, 3), (3, 0, 3), (0, 0, 3)):
        dx, *others = executor.run({x: np.ones(shape, np.float32)})
        assert dx.shape == shape
        assert not any(np.any(gradient) for gradient in others)

"""Memory of a training step: what is planned, and recomputation, which takes less of it and gives the same bits."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from sardonyx import losses, optim
from sardonyx.errors import InvalidArgument
from sardonyx.graph import Executor, Tensor, gradients, op, placeholder, variable

DEPTH, WIDTH, BATCH = 32, 16, 256


def deep_network(x: Tensor, dropout: bool = False) -> Tensor:
    """Small matrices on large batches: nearly all memory is what is kept for the backward half."""
    rng = np.random.default_rng(0)
    y = x
    for i in range(DEPTH):
        w = variable((rng.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32), f"w{i}")
        y = op.Tanh(y @ w)
        if dropout and i % 3 == 0:
            y = op.Dropout(y, np.float32(0.2), seed=i)
    y.name = "top"
    return y


def residual_network(x: Tensor) -> Tensor:
    rng = np.random.default_rng(0)

    def conv(y: Tensor, relu: bool = True) -> Tensor:
        w = variable((rng.normal(size=(8, 8, 3, 3)) / 9).astype(np.float32))
        ones, zeros = np.ones(8, np.float32), np.zeros(8, np.float32)
        y = op.Conv(y, w, pads=[1, 1, 1, 1])
        y = op.BatchNormalization(
            y, variable(ones), variable(zeros), variable(zeros, trainable=False), variable(ones, trainable=False)
        )
        return op.Relu(y) if relu else y

    y = conv(x)
    for _ in range(12):
        y = op.Relu(conv(conv(y), relu=False) + y)
    return op.ReduceMean(y, np.array([2, 3]), keepdims=0)


def train(network: Any, shape: tuple[int, ...], steps: int = 3, **options: Any) -> tuple[list[Any], int]:
    """Losses and variables after some steps, and the bytes planned for one."""
    x = placeholder("x", shape=("n", *shape))
    t = placeholder("t", np.int64, ("n",))
    y = network(x)
    loss = losses.softmax_cross_entropy(y, t)
    update = optim.SGD(0.1, momentum=0.9).minimize(loss)
    executor = Executor([loss, update], **options)
    rng = np.random.default_rng(1)
    classes = WIDTH if len(shape) == 1 else 8
    seen = []
    for _ in range(steps):
        fed = rng.normal(size=(BATCH if len(shape) == 1 else 8, *shape)).astype(np.float32)
        seen.append(executor.run({x: fed, t: rng.integers(0, classes, len(fed))})[0])
    return [*seen, *(v.numpy() for v in update.values)], executor.planned_bytes()


def same_bits(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def test_gradients_die_early() -> None:
    sizes = [512] * 9
    x = placeholder("x", shape=("n", sizes[0]))
    y = x
    for a, b in itertools.pairwise(sizes):
        y = op.Relu(y @ variable(np.zeros((a, b), np.float32)))
    for optimizer in (optim.SGD(0.1), optim.SGD(0.1, 0.9, weight_decay=0.1), optim.AdamW(0.1), optim.RMSprop(0.1)):
        executor = Executor([optimizer.minimize(op.ReduceMean(y, keepdims=0))])
        executor.run({x: np.zeros((4, sizes[0]), np.float32)})
        # Of eight layers one gradient at a time, and what the optimizer computes with it.
        assert executor.planned_bytes() < 4.2 * 512 * 512 * 4


@pytest.mark.parametrize(
    ("network", "shape", "share"), [(deep_network, (WIDTH,), 0.5), (residual_network, (8, 16, 16), 0.55)]
)
def test_recomputation_takes_less_and_gives_the_same_bits(network: Any, shape: tuple[int, ...], share: float) -> None:
    kept, before = train(network, shape)
    again, after = train(network, shape, recompute=True)
    assert same_bits(kept, again)
    assert after < share * before


def test_dropout_keeps_its_draws() -> None:
    kept, before = train(lambda x: deep_network(x, dropout=True), (WIDTH,))
    again, after = train(lambda x: deep_network(x, dropout=True), (WIDTH,), recompute=True)
    assert same_bits(kept, again)
    assert after < 0.7 * before


@pytest.mark.parametrize("threads", [1, 2])
def test_named_tensors_are_kept(threads: int) -> None:
    def network(x: Tensor) -> Tensor:
        rng = np.random.default_rng(0)
        y = x
        for i in range(DEPTH):
            y = op.Tanh(y @ variable((rng.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32)))
            if i % 6 == 5:
                y.name = f"block{i // 6}.out"
        return y

    kept, before = train(network, (WIDTH,))
    again, after = train(network, (WIDTH,), recompute=["block*.out"], threads=threads)
    assert same_bits(kept, again)
    assert after < 0.6 * before
    few, least = train(network, (WIDTH,), recompute="block2.out")
    assert same_bits(kept, few)
    assert after < least < before


def test_tensors_are_kept() -> None:
    x = placeholder("x", shape=("n", WIDTH))
    y = deep_network(x)
    loss = op.ReduceMean(y * y, keepdims=0)
    middle = y
    for _ in range(DEPTH):
        assert middle.node is not None and middle.node.inputs[0] is not None
        middle = middle.node.inputs[0]
    fed = {x: np.random.default_rng(0).normal(size=(BATCH, WIDTH)).astype(np.float32)}
    update = optim.SGD(0.0).minimize(loss)
    plain, kept = Executor([loss, update]), Executor([loss, update], recompute=[middle])
    assert plain.run(fed)[0] == kept.run(fed)[0]
    assert kept.planned_bytes() < plain.planned_bytes()
    other = op.Exp(x)
    with pytest.raises(InvalidArgument, match="not computed on the way to the loss"):
        Executor([loss, update], recompute=[other]).run(fed)


def test_unknown_names() -> None:
    with pytest.raises(InvalidArgument, match="matches 'topp'; did you mean 'top'"):
        train(deep_network, (WIDTH,), recompute=["topp"])


def test_gradients_without_an_update_and_lists_without_gradients() -> None:
    x = placeholder("x", shape=("n", WIDTH))
    y = deep_network(x)
    fed = {x: np.random.default_rng(0).normal(size=(BATCH, WIDTH)).astype(np.float32)}
    lists = {"gradient": gradients(y, [x]), "value": [y]}
    plain, less = Executor(lists), Executor(lists, recompute=True)
    for name in lists:
        assert np.array_equal(plain.run(fed, name)[0], less.run(fed, name)[0])
    assert less.planned_bytes("gradient") < 0.6 * plain.planned_bytes("gradient")


def test_another_batch_size() -> None:
    x = placeholder("x", shape=("n", WIDTH))
    w = gradients(deep_network(x), [x])
    plain, less = Executor(w), Executor(w, recompute=True)
    for count in (BATCH, 3, 100):
        fed = {x: np.random.default_rng(count).normal(size=(count, WIDTH)).astype(np.float32)}
        assert np.array_equal(plain.run(fed)[0], less.run(fed)[0])

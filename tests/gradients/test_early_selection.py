"""Gradients where all that is read of a network's result is one slice, which moves in front of its products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from sardonyx import losses, nn
from sardonyx.graph import Executor, constant, gradients, op, placeholder
from tests.gradients.harness import Case, away

AXES = {"starts": 1, "ends": 2, "axes": 1}


def sliced(nodes: list[Any]) -> list[Any]:
    """The nodes behind constants for a Slice of the second place along axis 1."""
    given = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([value])))
        for name, value in AXES.items()
    ]
    return [*given, *nodes, helper.make_node("Slice", ["t", *AXES], ["y0"])]


node = helper.make_node
FEED = [
    node("MatMul", ["x0", "x1"], ["a"]),
    node("Tanh", ["a"], ["b"]),
    node("MatMul", ["b", "x2"], ["c"]),
    node("Add", ["x0", "c"], ["d"]),
    node("LayerNormalization", ["d", "x3"], ["t"]),
]
ATTEND = [node("Attention", ["x0", "x1", "x2"], ["t"], q_num_heads=2, kv_num_heads=2)]
CASES = [
    Case("MatMul", [away((2, 5, 3), 1), away((3, 4), 2), away((4, 3), 3), away((3,), 4)], nodes=sliced(FEED),
         id="feed-forward", symbolic=False),
    Case("Attention", [away((2, 5, 4), 1), away((2, 5, 4), 2), away((2, 5, 4), 3)], nodes=sliced(ATTEND),
         id="attention", symbolic=False),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name() for case in CASES])
def test_against_differences(case: Case) -> None:
    case.run()


def classifier(selected: bool) -> tuple[Any, Any, Any]:
    """An encoder layer read at its first place: by a Slice, or by a sum over all that hides it."""
    nn.init.seed(3)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
    head = nn.Linear(8, 3)
    x = placeholder("x", np.float32, ("batch", 6, 8))
    t = placeholder("t", np.int64, ("batch",))
    y = layer(x)
    first = np.zeros((6, 1), np.float32)
    first[0] = 1
    read = y[:, 0] if selected else op.ReduceSum(y * constant(first), np.array([1]), keepdims=0)
    loss = losses.softmax_cross_entropy(head(read), t)
    return loss, [*layer.parameters(), *head.parameters()], {x: data((4, 6, 8)), t: np.array([0, 2, 1, 1])}


def data(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(5).standard_normal(shape, np.float32)


def test_a_first_token_as_without_moving() -> None:
    found = []
    for selected in (True, False):
        loss, parameters, feeds = classifier(selected)
        found.append(Executor([loss, *gradients(loss, parameters)]).run(feeds))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_gradients_by_a_value_on_the_way_are_whole() -> None:
    """What a Gradient node names stays."""
    x = placeholder("x", np.float32, (2, 5, 3))
    hidden = op.MatMul(x, data((3, 4)))
    y = op.MatMul(op.Tanh(hidden), data((4, 2)))[:, 1]
    (found,) = Executor(gradients(y.sum(), [hidden])).run({x: data((2, 5, 3))})
    assert found.shape == (2, 5, 4)
    assert np.all(found[:, 1] != 0) and not np.any(np.delete(found, 1, axis=1))


def test_an_output_on_the_way_is_computed_as_ever() -> None:
    x = placeholder("x", np.float32, (2, 5, 3))
    hidden = op.Relu(op.MatMul(x, data((3, 4))))
    last = op.MatMul(hidden, data((4, 2)))[:, -1]
    both = Executor([hidden, last]).run({x: data((2, 5, 3))})
    (alone,) = Executor([last]).run({x: data((2, 5, 3))})
    assert both[0].shape == (2, 5, 4)
    np.testing.assert_array_equal(both[1], alone)
    np.testing.assert_allclose(alone, both[0][:, -1] @ data((4, 2)), rtol=1e-5)


def test_of_unknown_extents() -> None:
    x = placeholder("x", np.float32, ("batch", "time", 3))
    y = op.Softmax(op.Add(op.MatMul(x, data((3, 4))), data((4,))), axis=-1)[:, -1]
    (found,) = Executor([y]).run({x: data((2, 5, 3))})
    sums = data((2, 5, 3))[:, -1] @ data((3, 4)) + data((4,))
    expected = np.exp(sums) / np.exp(sums).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)

"""SequenceMap over one sequence, several sequences and tensors that every item sees."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.ops.harness import VARIANTS, compare, session

LEVELS = sorted({level for level, _, _ in VARIANTS})
F = TensorProto.FLOAT


def info(name):
    return helper.make_tensor_value_info(name, F, None)


def model(second_is_sequence):
    body = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Neg", ["a"], ["d"])],
        "body",
        [info("a"), info("b")],
        [info("c"), info("d")],
    )
    seq = helper.make_tensor_sequence_value_info
    second = seq("q", F, None) if second_is_sequence else info("q")
    node = helper.make_node("SequenceMap", ["s", "q"], ["u", "v"], body=body)
    graph = helper.make_graph([node], "g", [seq("s", F, None), second], [seq("u", F, None), seq("v", F, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)


ITEMS = [np.ones(2, np.float32), np.full((1, 2), 3, np.float32), np.zeros((2, 2), np.float32)]


@pytest.mark.parametrize("level", LEVELS)
def test_sequence_and_tensor(level):
    q = np.array([1.0, 2.0], np.float32)
    u, v = session(model(False), level).run(None, {"s": ITEMS, "q": q})
    compare(u, [x + q for x in ITEMS])
    compare(v, [-x for x in ITEMS])


@pytest.mark.parametrize("level", LEVELS)
def test_two_sequences(level):
    u, _ = session(model(True), level).run(None, {"s": ITEMS, "q": ITEMS[::-1]})
    compare(u, [x + y for x, y in zip(ITEMS, ITEMS[::-1])])


def test_lengths_differ():
    with pytest.raises(Exception, match="3 expected"):
        session(model(True), "ORT_ENABLE_ALL").run(None, {"s": ITEMS, "q": ITEMS[:2]})

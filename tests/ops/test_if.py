"""If: branches with captures, outputs of different shapes, and branches that fit only some shapes."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.ops.harness import VARIANTS, compare, session


def branch(name, nodes, outputs, constants=()):
    infos = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    return helper.make_graph(nodes, name, [], infos, list(constants))


def model(then_branch, else_branch, outputs=("y",), shape=("n", "m")):
    node = helper.make_node("If", ["c"], list(outputs), then_branch=then_branch, else_branch=else_branch)
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape)),
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


LEVELS = sorted({level for level, _, _ in VARIANTS})


@pytest.mark.parametrize("level", LEVELS)
def test_captures_and_shapes(level):
    then_branch = branch("t", [helper.make_node("Neg", ["x"], ["a"])], ["a"])
    else_branch = branch("e", [helper.make_node("Transpose", ["x"], ["b"])], ["b"])
    run = session(model(then_branch, else_branch), level).run
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for _ in range(2):
        compare(run(None, {"c": np.array(True), "x": x})[0], -x)
        compare(run(None, {"c": np.array(False), "x": x})[0], x.T)


@pytest.mark.parametrize("level", LEVELS)
def test_captured_value_as_output(level):
    then_branch = branch("t", [helper.make_node("Identity", ["x"], ["a"])], ["a"])
    else_branch = branch("e", [helper.make_node("Abs", ["x"], ["b"])], ["b"])
    x = -np.ones((1, 2), np.float32)
    run = session(model(then_branch, else_branch), level).run
    compare(run(None, {"c": np.array(True), "x": x})[0], x)
    compare(run(None, {"c": np.array(False), "x": x})[0], -x)


@pytest.mark.parametrize("level", LEVELS)
def test_branch_for_other_shapes(level):
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[0])
    then_branch = branch("t", [axes, helper.make_node("Squeeze", ["x", "axes"], ["a"])], ["a"])
    else_branch = branch("e", [helper.make_node("Identity", ["x"], ["b"])], ["b"])
    run = session(model(then_branch, else_branch), level).run
    x = np.ones((3, 2), np.float32)
    compare(run(None, {"c": np.array(False), "x": x})[0], x)
    compare(run(None, {"c": np.array(True), "x": x[:1]})[0], x[0])
    with pytest.raises(Exception, match="squeezed"):
        run(None, {"c": np.array(True), "x": x})


def test_branches_of_two_types():
    then_branch = branch("t", [helper.make_node("Neg", ["x"], ["a"])], ["a"])
    else_branch = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["b"], to=TensorProto.INT64)],
        "e",
        [],
        [helper.make_tensor_value_info("b", TensorProto.INT64, None)],
    )
    with pytest.raises(Exception, match="one type"):
        session(model(then_branch, else_branch), "ORT_ENABLE_ALL")

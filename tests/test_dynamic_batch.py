"""Export with a batch of any size: what fixes the batch is repaired and checked, or named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import sardonyx as sx
from sardonyx.cli.main import main
from sardonyx.errors import InvalidArgument, InvalidGraph

RANDOM = np.random.default_rng(5)


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], **constants: Any
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=f"{op}_{outputs.split()[-1]}", **attributes)


def reshaped(shape: list[int], target: list[int], outcome: list[int]) -> onnx.ModelProto:
    return model([node("Reshape", "x to")], {"x": shape}, {"y": outcome}, to=np.array(target))


def through_heads(batch: int) -> onnx.ModelProto:
    """[positions, batch, size] as exporters of attention leave it: batch and heads in one extent."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("Reshape", "t heads", "h"),
        node("Transpose", "h", "s", perm=[1, 0, 2]),
        node("Softmax", "s", "p"),
        node("Transpose", "p", "b", perm=[1, 0, 2]),
        node("Reshape", "b whole", "w"),
        node("Transpose", "w", "y", perm=[1, 0, 2]),
    ]
    heads, whole = np.array([7, batch * 2, 3]), np.array([7, batch, 6])
    return model(nodes, {"x": [batch, 7, 6]}, {"y": [batch, 7, 6]}, heads=heads, whole=whole)


def with_class_token(batch: int) -> onnx.ModelProto:
    token = np.repeat(RANDOM.normal(size=(1, 1, 4)), batch, 0).astype(np.float32)
    return model([node("Concat", "token x", axis=1)], {"x": [batch, 3, 4]}, {"y": [batch, 4, 4]}, token=token)


def recurrent(batch: int) -> onnx.ModelProto:
    weights = {name: RANDOM.normal(size=(1, 8, size)).astype(np.float32) for name, size in (("w", 3), ("r", 2))}
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "t w r _ _ h h", "all", hidden_size=2),
        node("Squeeze", "all axis", "flat"),
        node("Transpose", "flat", "y", perm=[1, 0, 2]),
    ]
    state = np.zeros((1, batch, 2), np.float32)
    return model(nodes, {"x": [batch, 5, 3]}, {"y": [batch, 5, 2]}, h=state, axis=np.array([1]), **weights)


REPAIRED = {
    "flat": reshaped([1, 2, 3], [1, -1], [1, 6]),
    "flat of four": reshaped([4, 2, 3], [4, 6], [4, 6]),
    "split": reshaped([1, 6], [1, 2, 3], [1, 2, 3]),
    "merged": reshaped([2, 3, 4], [6, 4], [6, 4]),
    "heads of 1": through_heads(1),
    "heads of 3": through_heads(3),
    "token of 1": with_class_token(1),
    "token of 4": with_class_token(4),
    "states of 1": recurrent(1),
    "states of 3": recurrent(3),
    "mask of 2": model(
        [node("Add", "x m")], {"x": [2, 3]}, {"y": [2, 3]}, m=np.repeat(RANDOM.normal(size=(1, 3)), 2, 0).astype("f")
    ),
    "resized": model(
        [node("Resize", "x _ _ sizes", mode="nearest")],
        {"x": [1, 2, 3, 3]},
        {"y": [1, 2, 6, 6]},
        sizes=np.array([1, 2, 6, 6]),
    ),
    "expanded": model([node("Expand", "x to")], {"x": [2, 1, 3]}, {"y": [2, 4, 3]}, to=np.array([2, 4, 3])),
}


@pytest.mark.parametrize("name", [name for name in REPAIRED if name != "merged"])
def test_repaired(name: str) -> None:
    report = sx.export(REPAIRED[name], dynamic_batch=True)
    assert report.batch is not None and report.batch.repaired and report.batch.sizes == (1, 2, 5)
    out = onnx.load_model_from_string(report.model)
    onnx.checker.check_model(out, full_check=True)
    for value in [*out.graph.input, *out.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
@pytest.mark.parametrize("name", ["flat", "heads of 3", "token of 4", "states of 3"])
def test_lowered_too(name: str, opset: int) -> None:
    import onnxruntime as ort

    report = sx.export(REPAIRED[name], opset=opset, dynamic_batch="batch")
    assert report.batch is not None and report.batch.symbol == "batch" and report.opsets == {"": opset}
    onnx.checker.check_model(onnx.load_model_from_string(report.model), full_check=True)
    ours = sx.InferenceSession(report.model)
    peer = ort.InferenceSession(report.model, providers=["CPUExecutionProvider"])
    x = RANDOM.normal(size=(3, *ours.get_inputs()[0].shape[1:])).astype(np.float32)
    np.testing.assert_allclose(ours.run(None, {"x": x})[0], peer.run(None, {"x": x})[0], rtol=1e-5, atol=1e-6)


def test_a_symbol_that_is_taken() -> None:
    relu = model([node("Relu", "x")], {"x": [1, "N"]}, {"y": [1, "N"]})
    report = sx.export(relu, dynamic_batch=True)
    assert report.batch is not None and report.batch.symbol == "batch"
    with pytest.raises(InvalidArgument, match="is the extent of another axis"):
        sx.export(relu, dynamic_batch="N")


FAULTS = {
    "a sum over the batch": (
        model([node("ReduceSum", "x", "y", keepdims=0)], {"x": [2, 3]}, {"y": []}),
        "output 'y'.*first axis is not the batch: ReduceSum 'ReduceSum_y'",
    ),
    "other weights for each item": (
        model([node("Add", "x m")], {"x": [2, 3]}, {"y": [2, 3]}, m=RANDOM.normal(size=(2, 3)).astype("f")),
        "Add 'Add_y' reads 'm'.*other elements for each item",
    ),
    "a mean over the batch in between": (
        model(
            [node("ReduceMean", "x axis", "m"), node("Sub", "x m")], {"x": [1, 3]}, {"y": [1, 3]}, axis=np.array([0])
        ),
        "output 'y' of a batch of 2 differs",
    ),
    "a squeezed batch": (
        model([node("Squeeze", "x axis")], {"x": [1, 3]}, {"y": [3]}, axis=np.array([0])),
        "Squeeze 'Squeeze_y'",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_named(name: str) -> None:
    faulty, message = FAULTS[name]
    with pytest.raises(InvalidGraph, match=message):
        sx.export(faulty, dynamic_batch=True)


def test_inputs_of_two_sizes() -> None:
    two = model([node("MatMul", "a b")], {"a": [2, 3], "b": [3, 4]}, {"y": [2, 4]})
    with pytest.raises(InvalidArgument, match="different first extents, 2 for 'a', 3 for 'b'"):
        sx.export(two, dynamic_batch=True)


def test_convert_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = RANDOM.normal(size=(6, 64)).astype(np.float32)
    nodes = [node("Reshape", "x to", "flat"), node("MatMul", "flat w")]
    onnx.save(model(nodes, {"x": [1, 2, 3]}, {"y": [1, 64]}, to=np.array([1, 6]), w=weights), tmp_path / "a.onnx")
    out = tmp_path / "b.onnx"
    arguments = ["convert", str(tmp_path / "a.onnx"), "-o", str(out), "--opset", "13", "--dynamic-batch"]
    assert main([*arguments, "--external-data", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["opsets"] == {"ai.onnx": 13} and told["batch"]["repaired"] == ["Reshape 'Reshape_flat'"]
    assert (tmp_path / "b.onnx.data").stat().st_size >= weights.nbytes
    onnx.checker.check_model(str(out), full_check=True)
    x = RANDOM.normal(size=(3, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(
        sx.InferenceSession(out).run(None, {"x": x})[0], x.reshape(3, 6) @ weights, rtol=1e-5, atol=1e-5
    )


def test_convert_says_what_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(model([node("Unique", "x")], {"x": [3]}, {"y": [None]}), tmp_path / "a.onnx")
    assert main(["convert", str(tmp_path / "a.onnx"), "-o", str(tmp_path / "b.onnx"), "--opset", "9"]) == 1
    assert "Unique 'Unique_y'" in capsys.readouterr().err
    assert not (tmp_path / "b.onnx").exists()

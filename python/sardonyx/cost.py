"""Parameters, floating-point operations and memory of a model, from shapes alone."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import TensorProto, helper, shape_inference

__all__ = ["Cost", "model_cost"]

_BITS: dict[int, int] = {
    TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4, TensorProto.INT2: 2, TensorProto.UINT2: 2,
}  # fmt: skip
_FREE = {
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose", "Constant", "Shape", "Size", "Slice",
    "Split", "Concat", "Gather", "Cast", "Expand", "Dropout", "Pad", "ConstantOfShape", "GatherElements", "GatherND",
    "Tile",
}  # fmt: skip
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

Shape = tuple[int, ...]


@dataclass
class Cost:
    """What a model takes.

    `flops` counts a multiplication and an addition as two; `unknown` names the nodes whose shapes could not be
    inferred and which count as none. `activation_bytes` is the most that is alive at one time when nodes run in the
    model's order.
    """

    parameters: int = 0
    parameter_bytes: int = 0
    flops: int = 0
    activation_bytes: int = 0
    flops_by_operator: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def _tensor_bytes(data_type: int, elements: int) -> int:
    if data_type in _BITS:
        return (elements * _BITS[data_type] + 7) // 8
    if data_type == TensorProto.STRING:
        return 32 * elements
    return elements * int(helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def _flops(node: onnx.NodeProto, inputs: list[Shape | None], outputs: list[Shape | None]) -> int | None:
    """Operations of one node, or None where a shape that matters is unknown."""
    out = outputs[0] if outputs else None
    op = node.op_type
    if op in _FREE:
        return 0
    if op in ("Conv", "ConvInteger", "QLinearConv", "FusedConv"):
        weight = inputs[3] if op == "QLinearConv" and len(inputs) > 3 else inputs[1]
        return None if out is None or weight is None else 2 * math.prod(out) * math.prod(weight[1:])
    if op == "ConvTranspose":
        return None if inputs[0] is None or inputs[1] is None else 2 * math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if op == "Gemm":
        if out is None or inputs[0] is None or len(inputs[0]) != 2:
            return None
        return 2 * math.prod(out) * inputs[0][0 if _attribute(node, "transA", 0) else 1]
    if op in ("MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul"):
        return None if out is None or not inputs[0] else 2 * math.prod(out) * inputs[0][-1]
    if op in _GATES:
        if inputs[0] is None or inputs[2] is None or len(inputs[0]) != 3:
            return None
        steps, batch, width = inputs[0]
        directions, rows, hidden = inputs[2]
        return 2 * steps * batch * directions * rows * (width + hidden)
    if op == "Attention":
        if out is None or any(shape is None for shape in inputs[:3]):
            return None
        query, key = inputs[0] or (), inputs[1] or ()
        return 4 * math.prod(query) * (key[-2] if len(key) > 1 else 1)
    if op.startswith(("Reduce", "GlobalAveragePool", "ArgM", "GlobalMaxPool")):
        return None if inputs[0] is None else math.prod(inputs[0])
    if op in ("AveragePool", "MaxPool"):
        return None if out is None else math.prod(out) * math.prod(_attribute(node, "kernel_shape", [1]))
    if op in ("Softmax", "LayerNormalization", "BatchNormalization", "InstanceNormalization", "LogSoftmax"):
        return None if out is None else 5 * math.prod(out)
    return None if out is None else math.prod(out)


def _fix_dims(graph: onnx.GraphProto, dims: Mapping[str, int]) -> None:
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = dims.get(dim.dim_param, 1)
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    graph.ClearField("value_info")


def model_cost(model: onnx.ModelProto, dims: Mapping[str, int] | None = None) -> Cost:
    """Counts parameters, operations and memory of `model` with its symbolic extents at `dims` (else 1).

    Example:
        >>> model_cost(onnx.load("resnet50.onnx", load_external_data=False)).flops
        8267214848
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    _fix_dims(graph, dims or {})
    cost = Cost()
    shapes: dict[str, Shape] = {}
    types: dict[str, int] = {}
    constants = set()
    for tensor in graph.initializer:
        shapes[tensor.name], types[tensor.name] = tuple(tensor.dims), tensor.data_type
        constants.add(tensor.name)
        cost.parameters += math.prod(tensor.dims)
        cost.parameter_bytes += _tensor_bytes(tensor.data_type, math.prod(tensor.dims))
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                cost.parameters += math.prod(attribute.t.dims)
                cost.parameter_bytes += _tensor_bytes(attribute.t.data_type, math.prod(attribute.t.dims))
                constants.update(node.output)
    try:
        graph = shape_inference.infer_shapes(fixed, data_prop=True).graph
    except (shape_inference.InferenceError, ValueError, RuntimeError):
        graph = fixed.graph
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor_type = value.type.tensor_type
        if tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor_type.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in tensor_type.shape.dim)
            types[value.name] = tensor_type.elem_type
    by_operator: collections.Counter[str] = collections.Counter()
    last_use = {name: index for index, node in enumerate(graph.node) for name in node.input}
    kept = {value.name for value in graph.output}
    alive: dict[str, int] = {}

    def enter(name: str) -> None:
        if name in shapes and name not in constants:
            alive[name] = _tensor_bytes(types[name], math.prod(shapes[name]))

    for value in graph.input:
        enter(value.name)
    for index, node in enumerate(graph.node):
        inputs, outputs = [shapes.get(name) for name in node.input], [shapes.get(name) for name in node.output]
        try:
            flops = _flops(node, inputs, outputs)
        except IndexError:
            flops = None
        if flops is None:
            cost.unknown.append(f"{node.op_type} '{node.name or (node.output[0] if node.output else '')}'")
        else:
            by_operator[node.op_type] += flops
        for name in node.output:
            enter(name)
        cost.activation_bytes = max(cost.activation_bytes, sum(alive.values()))
        for name in {*node.input, *node.output}:
            if last_use.get(name, -1) <= index and name not in kept:
                alive.pop(name, None)
    cost.flops_by_operator = dict(by_operator.most_common())
    cost.flops = sum(by_operator.values())
    return cost

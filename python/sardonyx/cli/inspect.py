"""`sardonyx inspect`: what a model is: inputs, outputs, opsets, operators, parameters, FLOPs and memory."""

from __future__ import annotations

import argparse
import collections
from collections.abc import Iterator
from typing import Any

import onnx

from sardonyx.cli.feeds import add_dim_argument, dims_from
from sardonyx.cli.output import Output, UsageError, amount
from sardonyx.cost import model_cost

_EXAMPLES = """examples:
  sardonyx inspect model.onnx
  sardonyx inspect model.onnx --dim batch=8 --json"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "inspect", help="what a model is", description=__doc__, epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    add_dim_argument(parser)
    return parser


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                yield from _nodes(body)


def _type(proto: onnx.TypeProto) -> str:
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        dims = [
            str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?"
            for dim in proto.tensor_type.shape.dim
        ]
        shape = ",".join(dims) if proto.tensor_type.HasField("shape") else "..."
        return f"{onnx.TensorProto.DataType.Name(proto.tensor_type.elem_type).lower()}[{shape}]"
    if kind == "sequence_type":
        return f"seq({_type(proto.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({_type(proto.optional_type.elem_type)})"
    if kind == "map_type":
        key = onnx.TensorProto.DataType.Name(proto.map_type.key_type).lower()
        return f"map({key},{_type(proto.map_type.value_type)})"
    return kind or "?"


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    try:
        model = onnx.load(args.model, load_external_data=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file '{args.model}'") from None
    except Exception as error:
        output.note(f"sardonyx inspect: '{args.model}' is not an ONNX model: {error}")
        return 1
    if not model.HasField("graph"):
        raise UsageError(f"'{args.model}' holds no graph")
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: _type(value.type) for value in model.graph.input if value.name not in constants}
    outputs = {value.name: _type(value.type) for value in model.graph.output}
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    operators = collections.Counter(
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for node in _nodes(model.graph)
    )
    cost = model_cost(model, dims_from(args.dim))
    made_by = f"{model.producer_name} {model.producer_version}".strip()
    output.text(f"{args.model}: IR {model.ir_version}, made by {made_by or 'an unnamed tool'}")
    output.text("opsets: " + ", ".join(f"{domain} {version}" for domain, version in opsets.items()))
    for title, ports in (("inputs", inputs), ("outputs", outputs)):
        output.text(f"{title}:")
        for name, kind in ports.items():
            output.text(f"  {name}: {kind}")
    output.text(f"parameters: {amount(cost.parameters)} in {amount(cost.parameter_bytes, 'B')}")
    output.text(f"operations: {amount(cost.flops, 'FLOP')}, activations: {amount(cost.activation_bytes, 'B')} at most")
    if cost.unknown:
        output.text(f"  ({len(cost.unknown)} nodes of unknown shape are not counted; try --dim NAME=SIZE)")
    output.text("")
    output.table(
        f"{sum(operators.values())} nodes", ["operator", "count", "FLOP"],
        [[name, count, amount(cost.flops_by_operator.get(name, 0))] for name, count in operators.most_common()],
    )  # fmt: skip
    output.result(
        {
            "ir_version": model.ir_version,
            "producer": made_by,
            "opsets": opsets,
            "inputs": inputs,
            "outputs": outputs,
            "operators": dict(operators),
            "cost": vars(cost),
            "metadata": {entry.key: entry.value for entry in model.metadata_props},
        }
    )
    return 0

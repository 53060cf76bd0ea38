"""The lowest opset in which a graph means what it means in the newest, so that older runtimes take its file."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto
from onnx.defs import OpSchema

from sardonyx.graph.registry import operator_rows

__all__ = ["lower_versions"]

# Below it, operators differ in more than their signatures tell (Pad, Resize, AveragePool).
_LOWEST = 20
# These do above it too.
_FIXED = {"GroupNormalization"}


def lower_versions(model: ModelProto) -> None:
    """Sets the version of the default domain, and that of the format, as low as the nodes allow."""
    graphs = list(_graphs(model.graph))
    types = frozenset(t for graph in graphs for t in _types(graph))
    lowest = _LOWEST
    for graph in graphs:
        for node in graph.node:
            if node.domain in ("", "ai.onnx"):
                lowest = max(lowest, _needed(node.op_type, frozenset(a.name for a in node.attribute), types))
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = lowest
    model.ir_version = max(onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True), 10)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            bodies = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
            for body in bodies:
                yield from _graphs(body)


def _types(graph: GraphProto) -> Iterator[str]:
    """The element types that a graph names: all others are among those of its operators' first versions."""
    numbers = {x.data_type for x in graph.initializer} | {x.values.data_type for x in graph.sparse_initializer}
    numbers |= {x.type.tensor_type.elem_type for x in [*graph.input, *graph.output, *graph.value_info]}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                numbers.add(attribute.t.data_type)
            elif attribute.name in ("to", "dtype", "output_dtype"):
                numbers.add(attribute.i)
    for number in numbers - {0}:
        yield f"tensor({TensorProto.DataType.Name(number).lower()})"


@functools.lru_cache(maxsize=4096)
def _needed(op: str, attributes: frozenset[str], types: frozenset[str]) -> int:
    """The first version of an operator that means the same for these attributes and element types."""
    row = operator_rows().get(("", op))
    newest = row["since_version"] if row else 1
    if newest > onnx.defs.onnx_opset_version():
        return newest
    schema = onnx.defs.get_schema(op, onnx.defs.onnx_opset_version())
    while schema.since_version > _LOWEST and op not in _FIXED:
        try:
            before = onnx.defs.get_schema(op, schema.since_version - 1)
        except onnx.defs.SchemaError:  # it is new in this version
            break
        if not _means_the_same(schema, before, attributes, types):
            break
        schema = before
    return int(schema.since_version)


def _means_the_same(new: OpSchema, old: OpSchema, attributes: frozenset[str], types: frozenset[str]) -> bool:
    for ports, earlier in ((new.inputs, old.inputs), (new.outputs, old.outputs)):
        if [(p.name, p.option) for p in ports] != [(p.name, p.option) for p in earlier]:
            return False
        if any((p.types & types) - q.types for p, q in zip(ports, earlier, strict=True)):
            return False
    if not old.attributes.keys() <= new.attributes.keys() or attributes - old.attributes.keys():
        return False
    return all(_same_attribute(new.attributes[name], given) for name, given in old.attributes.items())


def _same_attribute(new: OpSchema.Attribute, old: OpSchema.Attribute) -> bool:
    defaults = [x.default_value.SerializeToString(deterministic=True) for x in (new, old)]
    return bool(new.type == old.type and new.required == old.required and defaults[0] == defaults[1])

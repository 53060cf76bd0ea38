"""Any ONNX file as tensors: to run, differentiate, train further, cut and put a new head on."""

from __future__ import annotations

import difflib
import fnmatch
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, helper, numpy_helper

from sardonyx import _core
from sardonyx.errors import InvalidArgument
from sardonyx.graph.build import FLOATS, sort
from sardonyx.graph.tensor import Node, Tensor, constant, placeholder, variable
from sardonyx.options import SessionOptions

__all__ = ["Model", "load", "replace"]

_ONNX = ("", "ai.onnx")
# Inputs that are settings or statistics, not weights: optimizers leave them alone.
_SETTINGS: dict[str, set[int]] = {
    "BatchNormalization": {3, 4},
    "Clip": {1, 2},
    "DequantizeLinear": {1, 2},
    "Dropout": {1},
    "NonMaxSuppression": {3, 4},
    "OneHot": {2},
    "Pad": {2},
    "QuantizeLinear": {1, 2},
    "Resize": {1, 2},
}


class Model:
    """A graph that came from an ONNX file.

    Attributes:
        inputs: placeholders, in the file's order.
        outputs: tensors, in the file's order.
        nodes: every node, in an order in which they can be computed.
        tensors: every named value.

    Example:
        >>> model = load("resnet18.onnx")
        >>> model.freeze("*")
        >>> features = model.cut(until="/avgpool/GlobalAveragePool_output_0")[0]
        >>> logits = nn.Linear(512, 10)(features.flatten())
        >>> loss = losses.softmax_cross_entropy(logits, labels)
        >>> executor = Executor([loss, optim.Adam(1e-3).minimize(loss)])
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        nodes: Sequence[Node],
        tensors: Mapping[str, Tensor],
        output_names: Sequence[str],
    ) -> None:
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.nodes = list(nodes)
        self.tensors = dict(tensors)
        self.output_names = list(output_names)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The variables by name: floating-point initializers. Statistics and settings among them are not trainable."""
        return {name: tensor for name, tensor in self.tensors.items() if tensor.variable is not None}

    def __call__(self, *inputs: Tensor) -> Tensor | list[Tensor]:
        """The outputs for other tensors in the place of the placeholders; the variables are the same.

        A single tensor where the model has one output, else a list.
        """
        if len(inputs) != len(self.inputs):
            names = ", ".join(repr(x.name) for x in self.inputs)
            raise InvalidArgument(f"got {len(inputs)} tensors for the {len(self.inputs)} inputs {names}")
        outputs = replace(self.outputs, dict(zip(self.inputs, inputs, strict=True)))
        return outputs[0] if len(outputs) == 1 else outputs

    def __getitem__(self, name: str) -> Tensor:
        """The value of a name. Raises InvalidArgument where there is none."""
        if name not in self.tensors:
            raise InvalidArgument(f"the model has no tensor '{name}'{_near(name, self.tensors)}")
        return self.tensors[name]

    def freeze(self, *patterns: str) -> list[str]:
        """Keeps optimizers from changing parameters whose names match ("layer1.*"); returns the names."""
        return self._set_trainable(patterns, False)

    def unfreeze(self, *patterns: str) -> list[str]:
        """Lets optimizers change parameters whose names match; returns the names."""
        return self._set_trainable(patterns, True)

    def _set_trainable(self, patterns: Sequence[str], trainable: bool) -> list[str]:
        changed = []
        for pattern in patterns:
            matches = [name for name in self.parameters if name == pattern or fnmatch.fnmatchcase(name, pattern)]
            if not matches:
                raise InvalidArgument(f"no parameter matches '{pattern}'{_known(pattern, self.parameters)}")
            for name in matches:
                self.tensors[name].trainable = trainable and name not in self._settings()
            changed += matches
        return changed

    def _settings(self) -> set[str]:
        return {x.name for node in self.nodes for x in _settings_of(node)}

    def cut(self, last_layers: int | None = None, *, until: str | None = None) -> list[Tensor]:
        """The tensors at which the model ends when its tail is taken off.

        Args:
            last_layers: the end of a slice of `nodes`: -1 drops the last node, 3 keeps the first three. The result are
                the outputs of the last node kept.
            until: the name of a tensor, the safer way: it does not depend on how a file spells its layers.
        """
        if (last_layers is None) == (until is None):
            raise InvalidArgument("cut() takes either last_layers or until")
        if until is not None:
            return [self[until]]
        kept = self.nodes[:last_layers]
        if not kept:
            raise InvalidArgument(f"last_layers={last_layers} leaves none of the model's {len(self.nodes)} nodes")
        return list(kept[-1].outputs)


def _known(name: str, known: Mapping[str, Any]) -> str:
    """Near names, or else some of all."""
    if near := _near(name, known):
        return near
    more = f" and {len(known) - 5} more" if len(known) > 5 else ""
    return f"; there are {', '.join(map(repr, list(known)[:5]))}{more}" if known else "; the model has no parameters"


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {', '.join(repr(x) for x in near)}?" if near else ""


def _settings_of(node: Node) -> Iterator[Tensor]:
    for i in _SETTINGS.get(node.op, ()):
        x = node.inputs[i] if node.domain == "" and i < len(node.inputs) else None
        if x is not None:
            yield x


def replace(outputs: Sequence[Tensor], mapping: Mapping[Tensor, Tensor]) -> list[Tensor]:
    """The outputs as they are when other tensors take the place of the keys; what depends on none is shared."""
    found: dict[Tensor, Tensor] = dict(mapping)
    nodes, _ = sort(outputs)
    for node in nodes:
        reads = [*node.inputs, *node.captures.values(), *(v for v in node.attributes.values() if isinstance(v, Tensor))]
        if all(x is None or found.get(x, x) is x for x in reads):
            continue
        copy = Node(
            node.op,
            [None if x is None else found.get(x, x) for x in node.inputs],
            {k: found.get(v, v) if isinstance(v, Tensor) else v for k, v in node.attributes.items()},
            outputs=len(node.outputs),
            domain=node.domain,
            name=node.name,
            captures={name: found.get(x, x) for name, x in node.captures.items()},
        )
        copy.frozen = node.frozen
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name = old.name
            found.setdefault(old, new)
    return [found.get(y, y) for y in outputs]


def load(model: str | os.PathLike[str] | bytes | ModelProto) -> Model:
    """Reads an ONNX model of any opset; its nodes come in the meaning of the newest.

    Initializers of floating-point types become variables that can be trained: but for scalars, the statistics of batch
    normalization and settings such as the bounds of Clip. All others are constants. A file that keeps its weights in
    Constant nodes has those in their place. Batch normalization and dropout that were written in training mode come in
    that of inference: an Executor decides.

    Args:
        model: a path, the bytes of a model, or a ModelProto.

    Raises:
        NoSuchFile, InvalidProtobuf, InvalidGraph, NotImplemented: as InferenceSession.

    Example:
        >>> model = load("resnet18.onnx")
        >>> executor = Executor(model.outputs)
        >>> logits = executor.run({model.inputs[0]: images})[0]
    """
    options = SessionOptions()._core_options() | {"optimization_level": 0}
    if isinstance(model, ModelProto):
        model = model.SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        newest = str(Path(folder) / "model.onnx")
        if isinstance(model, bytes):
            session = _core.Session.from_bytes(model, options)
            given = onnx.load_from_string(model)
        else:
            session = _core.Session.from_file(os.fspath(model), options)
            given = onnx.load(os.fspath(model), load_external_data=False)
        session.save_optimized(newest)
        graph = onnx.load(newest).graph
    return _Reader(graph, _weights(given.graph)).read()


def _weights(graph: GraphProto) -> set[str]:
    """What may be parameters: initializers, or Constant nodes in a file that has no weights among its initializers."""
    weights = {x.name for x in graph.initializer} | {x.values.name for x in graph.sparse_initializer}
    if any(x.data_type in FLOATS and x.dims for x in graph.initializer) or graph.sparse_initializer:
        return weights
    return weights | {node.output[0] for node in graph.node if node.op_type == "Constant" and node.domain in _ONNX}


class _Reader:
    """Builds tensors and nodes from a GraphProto of the newest opset."""

    def __init__(self, graph: GraphProto, weights: set[str]) -> None:
        self._graph = graph
        self._weights = weights
        self._tensors: dict[str, Tensor] = {}

    def read(self) -> Model:
        for initializer in self._graph.initializer:
            array = numpy_helper.to_array(initializer)
            floats = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
            self._tensors[initializer.name] = (
                variable(array, initializer.name, trainable=True)
                if floats and array.ndim > 0 and initializer.name in self._weights
                else constant(array, initializer.name)
            )
        inputs = []
        for info in self._graph.input:
            if info.name not in self._tensors:
                self._tensors[info.name] = _placeholder(info)
                inputs.append(self._tensors[info.name])
        nodes = [self._node(proto) for proto in self._graph.node]
        for node in nodes:
            for x in _settings_of(node):
                x.trainable = False
        names = [info.name for info in self._graph.output]
        self._leave_training(nodes, {self._tensors[name] for name in names})
        return Model(inputs, [self._tensors[name] for name in names], nodes, self._tensors, names)

    def _leave_training(self, nodes: Sequence[Node], outputs: set[Tensor]) -> None:
        read = outputs | {x for node in nodes for x in (*node.inputs, *node.captures.values()) if x is not None}
        for node in nodes:
            if node.domain in _ONNX and node.op == "BatchNormalization" and read.isdisjoint(node.outputs[1:]):
                node.attributes.pop("training_mode", None)
                for statistic in node.outputs[1:]:
                    self._tensors.pop(statistic.name, None)
                del node.outputs[1:]
            if node.domain in _ONNX and node.op == "Dropout" and len(node.inputs) == 3:
                mode = node.inputs[2]
                if mode is None or (mode.node is None and not mode.is_placeholder):
                    node.inputs = node.inputs[: 2 if node.inputs[1] is not None else 1]

    def _node(self, proto: onnx.NodeProto) -> Node:
        attributes: dict[str, Any] = {}
        captures: dict[str, Tensor] = {}
        for attribute in proto.attribute:
            if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
                for body in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
                    captures.update({name: self._tensors[name] for name in free_names(body) if name in self._tensors})
                attributes[attribute.name] = attribute
            elif attribute.type == AttributeProto.TENSOR:
                attributes[attribute.name] = numpy_helper.to_array(attribute.t)
            elif attribute.type in (AttributeProto.STRING, AttributeProto.STRINGS):
                attributes[attribute.name] = attribute
            else:
                value = helper.get_attribute_value(attribute)
                attributes[attribute.name] = list(value) if not isinstance(value, (int, float)) else value
        node = Node(
            proto.op_type,
            [self._tensors[name] if name else None for name in proto.input],
            attributes,
            outputs=len(proto.output),
            domain=proto.domain,
            name=proto.name,
            captures=captures,
        )
        for name, tensor in zip(proto.output, node.outputs, strict=True):
            tensor.name = name
            if name:
                self._tensors[name] = tensor
        return node


def free_names(graph: GraphProto) -> set[str]:
    """What a body reads from the graphs around it."""
    known = {x.name for x in graph.input} | {x.name for x in graph.initializer}
    free: set[str] = set()
    for node in graph.node:
        read = set(node.input)
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
                read |= free_names(body)
        free |= {name for name in read if name and name not in known}
        known |= set(node.output)
    return free | {x.name for x in graph.output if x.name not in known}


def _placeholder(info: onnx.ValueInfoProto) -> Tensor:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise InvalidArgument(f"the input '{info.name}' is no tensor; graphs in Python take tensors")
    declared = info.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(declared.elem_type)
    if not declared.HasField("shape"):
        return placeholder(info.name, dtype, None)
    extents = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in declared.shape.dim]
    return placeholder(info.name, np.dtype(dtype), extents)

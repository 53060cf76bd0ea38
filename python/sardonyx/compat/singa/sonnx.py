"""SINGA's tensors to ONNX and back: `to_onnx([x], [y])`, and `prepare(model)` to run, train and cut a model."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from sardonyx import graph
from sardonyx.compat.singa.device import Device, get_default_device
from sardonyx.compat.singa.eager import Operand, Tensor, call_all
from sardonyx.errors import InvalidArgument
from sardonyx.graph.build import sort
from sardonyx.graph.load import replace
from sardonyx.graph.tensor import is_data

__all__ = ["SingaRep", "get_op", "load", "prepare", "run_node", "save", "to_onnx"]

save = onnx.save
load = onnx.load


def to_onnx(inputs: Sequence[Tensor], y: Sequence[Tensor], model_name: str = "sonnx") -> ModelProto:
    """The model that computes the tensors `y` from `inputs`, with the parameters as they are now.

    The first extent of an input is left open: the model takes any batch.
    """
    given = []
    for i, x in enumerate(inputs):
        shape = x.shape
        extents: list[int | str | None] = ["batch", *shape[1:]] if shape else []
        given.append(graph.placeholder(x.name or f"input_{i}", x.dtype, extents))
    swaps: dict[graph.Tensor, graph.Tensor] = dict(zip((x.lazy for x in inputs), given, strict=True))
    for leaf in sort([t.lazy for t in y])[1]:
        if is_data(leaf) and leaf not in swaps:
            swaps[leaf] = graph.constant(leaf.numpy(), leaf.name)
    outputs = replace([t.lazy for t in y], swaps)
    return graph.export(outputs, inputs=given, graph_name=model_name)


class SingaRep:
    """A model as a graph of SINGA's tensors.

    Attributes:
        model: the graph below.
        tensor_map: the parameters by name. A tensor put in the place of another is used from then on.
    """

    def __init__(self, model: graph.Model, device: Device) -> None:
        self.model = model
        self.device = device
        self.tensor_map: OrderedDict[str, Tensor] = OrderedDict(
            (name, Tensor.of(leaf, device)) for name, leaf in model.parameters.items()
        )

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs, in order."""
        return [x.name for x in self.model.inputs]

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs, in order."""
        return list(self.model.output_names)

    def run(
        self,
        inputs: Sequence[Operand],
        last_layers: int | None = None,
        all_outputs: bool = False,
        *,
        until: str | None = None,
        **_: Any,
    ) -> Any:
        """Computes the outputs.

        Args:
            inputs: a tensor or array for each input, in order.
            last_layers: the end of a slice of the model's nodes: -1 drops the last one. The outputs are then those of
                the last node kept.
            all_outputs: give the outputs of every node, by name.
            until: the name of the tensor to end at; it does not depend on how a model spells its layers.

        Returns:
            A list of tensors; an OrderedDict with `all_outputs`.
        """
        if len(inputs) != len(self.model.inputs):
            raise InvalidArgument(f"got {len(inputs)} tensors for the {len(self.model.inputs)} inputs {self.inputs}")
        given = [x if isinstance(x, Tensor) else Tensor(data=np.asarray(x), device=self.device) for x in inputs]
        swaps = {x: t.operand() for x, t in zip(self.model.inputs, given, strict=True)}
        for name, leaf in self.model.parameters.items():
            tensor = self.tensor_map[name]
            if tensor.operand() is not leaf:
                swaps[leaf] = tensor.operand()
        if all_outputs:
            nodes = self.model.nodes[:last_layers]
            results = [y for node in nodes for y in node.outputs if y.name]
        elif last_layers is None and until is None:
            results = self.model.outputs
        else:
            results = self.model.cut(last_layers, until=until)
        tensors = [Tensor.of(y, self.device) for y in replace(results, swaps)]
        if all_outputs:
            return OrderedDict((y.name, t) for y, t in zip(results, tensors, strict=True))
        return tensors


def prepare(model: ModelProto | bytes | str | os.PathLike[str], device: Device | None = None, **_: Any) -> SingaRep:
    """Reads a model of any opset, with any number of inputs and outputs."""
    return SingaRep(graph.load(model), device or get_default_device())


def run_node(
    node: NodeProto, inputs: Sequence[Operand], device: Device | None = None, opset_version: int | None = None, **_: Any
) -> list[Tensor]:
    """The outputs of a node in the words of `opset_version`, or of the newest."""
    names = [name for name in node.input if name]
    arrays = [np.asarray(x) for x in inputs]
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in zip(names, arrays, strict=True)
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    version = opset_version or graph.build.OPSETS[""]
    wrapped = onnx.helper.make_graph([node], "node", infos, outputs)
    model = onnx.helper.make_model(wrapped, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
    results: list[Tensor] = prepare(model, device).run(arrays)
    return results


def get_op(node: NodeProto, opset_version: int | None = None) -> Any:
    """A function of tensors that computes a node with one output."""
    attributes = {a.name: a for a in node.attribute}
    return lambda *xs: call_all(node.op_type, xs, len(node.output), **attributes)[0]

"""From tensors to an ONNX model: walks from the outputs to the leaves, names what it meets and writes nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sardonyx import _core
from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Node, Tensor, is_data
from sardonyx.options import SessionOptions

__all__ = [
    "FLOATS",
    "OPSETS",
    "Built",
    "attribute_proto",
    "build",
    "output_types",
    "sort",
    "training_updates",
    "value_info",
]

# The versions of operators that nodes are written in: the newest that the core knows.
OPSETS: dict[str, int] = {"": 28, "ai.onnx.ml": 5, "com.microsoft": 1, "ai.onnx.preview.training": 1, "sardonyx": 1}
# TensorProto's numbers of the element types that gradients flow through.
FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_IR_VERSION = 13
_GRADIENT = "Gradient"
_Test: TypeAlias = "Callable[[Tensor], bool]"


@dataclass
class Built:
    """A model and the tensors that its names stand for."""

    model: ModelProto
    fed: list[Tensor] = field(default_factory=list)  # inputs, in order: placeholders and data
    variables: list[Tensor] = field(default_factory=list)  # inputs behind those, where they are inputs
    names: dict[Tensor, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)


def sort(outputs: Iterable[Tensor], is_leaf: _Test = lambda x: False) -> tuple[list[Node], list[Tensor]]:
    """Nodes, each behind those that it needs, and leaves, in the order in which a walk from the outputs meets them.

    Tensors for which `is_leaf` is true end the walk though nodes compute them.
    """
    nodes: list[Node] = []
    leaves: dict[Tensor, None] = {}
    done: set[int] = set()
    stack: list[tuple[Node, bool]] = []

    def ends(x: Tensor) -> bool:
        return x.node is None or is_leaf(x)

    for output in outputs:
        if ends(output):
            leaves.setdefault(output)
            continue
        assert output.node is not None
        stack.append((output.node, False))
        while stack:
            node, ready = stack.pop()
            if id(node) in done:
                continue
            reads = [x for x in (*node.inputs, *node.captures.values(), *_extra_reads(node)) if x is not None]
            if not ready:
                if node.spent:
                    raise InvalidArgument(
                        f"what {node.op} gave was used up by backward(), behind which variables may change: compute it "
                        "anew, read it before, or add losses up and call backward() of the sum"
                    )
                stack.append((node, True))
                stack.extend((x.node, False) for x in reversed(reads) if x.node is not None and not is_leaf(x))
                continue
            done.add(id(node))
            nodes.append(node)
            for x in reads:
                if ends(x):
                    leaves.setdefault(x)
    return nodes, list(leaves)


def _extra_reads(node: Node) -> list[Tensor]:
    """What a gradient differentiates is no input of its node, but must be there."""
    return [node.attributes["y"]] if node.op == _GRADIENT and isinstance(node.attributes.get("y"), Tensor) else []


class _Names:
    """Gives every tensor a name of its own: the one asked for where it is free."""

    def __init__(self, reserved: Mapping[Tensor, str]) -> None:
        self.of: dict[Tensor, str] = dict(reserved)
        self._taken = set(reserved.values())
        self._next: dict[str, int] = {}

    def get(self, tensor: Tensor, stem: str) -> str:
        if tensor not in self.of:
            self.of[tensor] = self.fresh(tensor.name or stem)
        return self.of[tensor]

    def fresh(self, stem: str) -> str:
        name = stem
        while name in self._taken:
            self._next[stem] = self._next.get(stem, 0) + 1
            name = f"{stem}_{self._next[stem]}"
        self._taken.add(name)
        return name


def onnx_type(dtype: npt.DTypeLike) -> int:
    """TensorProto's number for a NumPy dtype."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def attribute_proto(name: str, value: Any) -> AttributeProto:
    """An attribute of a Python value: number, string, array, element type, graph, or a list of such."""
    if isinstance(value, AttributeProto):
        copy = AttributeProto()
        copy.CopyFrom(value)
        copy.name = name
        return copy
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, (np.generic, ml_dtypes.bfloat16))):
        value = onnx_type(value)
    elif isinstance(value, (bool, np.bool_, np.integer)):
        value = int(value)
    elif isinstance(value, np.floating):
        value = float(value)
    elif isinstance(value, np.ndarray):
        value = numpy_helper.from_array(value)
    elif isinstance(value, tuple):
        value = list(value)
    if isinstance(value, list) and not value:
        return helper.make_attribute(name, value, attr_type=AttributeProto.INTS)
    return helper.make_attribute(name, value)


def _node_proto(node: Node, names: _Names, training: bool) -> list[NodeProto]:
    if node.op == _GRADIENT and isinstance(node.attributes.get("y"), Tensor):
        xs = [names.get(x, "x") for x in node.inputs if x is not None]
        attributes: dict[str, Any] = {"xs": xs, "y": names.get(node.attributes["y"], "y")}
    else:
        attributes = dict(node.attributes)
        xs = ["" if x is None else names.get(x, node.op) for x in node.inputs]
    outputs = [names.get(y, node.op) for y in node.outputs]
    extra: list[NodeProto] = []
    training = training and not node.frozen and node.domain == ""
    if training and node.op == "BatchNormalization":
        attributes["training_mode"] = 1
        outputs += [names.fresh(f"{outputs[0]}_{of}") for of in ("mean", "var")][: max(0, 3 - len(outputs))]
    if training and node.op == "Dropout":
        # Inputs are data, ratio, training_mode.
        on = names.fresh("training_mode")
        extra.append(helper.make_node("Constant", [], [on], value=numpy_helper.from_array(np.array(True))))
        xs = [*xs[:1], xs[1] if len(xs) > 1 else "", on]
    proto = NodeProto(op_type=node.op, domain=node.domain, name=node.name, input=xs, output=outputs)
    for key, value in sorted(attributes.items()):
        proto.attribute.append(attribute_proto(key, value))
    return [*extra, proto]


def value_info(
    tensor: Tensor, name: str, exact: bool = False, ranks: Mapping[Tensor, int] | None = None
) -> onnx.ValueInfoProto:
    """A graph input for a leaf."""
    shape: Sequence[int | str | None] | None = tensor.shape
    if ranks and tensor in ranks:
        shape = [None] * ranks[tensor]
    if is_data(tensor) and not exact:  # its batch differs from graph to graph
        shape = [None] * len(shape or ())
    return helper.make_tensor_value_info(name, onnx_type(tensor.dtype), shape)


def training_updates(nodes: Iterable[Node]) -> list[tuple[Tensor, Node, int]]:
    """Variables that training itself moves: running statistics, with the node and the output that gives the next."""
    updates = []
    for node in nodes:
        if node.op == "BatchNormalization" and node.domain == "" and not node.frozen:
            for i in range(2):
                statistic = node.inputs[3 + i]
                if statistic is not None and statistic.variable is not None:
                    updates.append((statistic, node, 1 + i))
    return updates


def build(
    outputs: Sequence[Tensor],
    *,
    training: bool = False,
    bind_variables: bool = False,
    inputs: Sequence[Tensor] = (),
    output_names: Sequence[str] = (),
    names: Mapping[Tensor, str] | None = None,
    graph_name: str = "graph",
    is_leaf: _Test = lambda x: False,
    exact: bool = False,
    ranks: Mapping[Tensor, int] | None = None,
) -> Built:
    """The model that computes `outputs`.

    Args:
        training: batch normalization uses its batch, and dropout drops.
        bind_variables: variables are inputs behind the fed ones, and not initializers.
        inputs: placeholders in the order wanted; others follow as they are met.
        output_names: names for the outputs, where they should have others than their tensors.
        names: names for other tensors in the place of their own.
        is_leaf: tensors that are inputs though nodes compute them; their element types and shapes must be known.
        exact: whether inputs that hold data have its extents, and not any.
        ranks: numbers of axes of placeholders that leave theirs open.
    """
    nodes, leaves = sort(outputs, is_leaf)
    required = {tensor: name for node in nodes for name, tensor in node.captures.items()}
    names_of = _Names({**required, **(names or {})})
    given = [*inputs, *(leaf for leaf in leaves if leaf not in set(inputs))]
    fed = [leaf for leaf in given if leaf.is_placeholder or is_data(leaf) or leaf.node is not None]
    variables = [leaf for leaf in given if leaf.variable is not None]
    for leaf in fed + variables:
        names_of.get(leaf, "x" if leaf.variable is None else "w")
    initializers: list[TensorProto] = []
    given_by_run = set(fed)
    for leaf in given:
        if leaf.variable is not None:
            if not bind_variables:
                initializers.append(numpy_helper.from_array(leaf.variable.get(), names_of.get(leaf, "w")))
        elif leaf not in given_by_run:
            initializers.append(numpy_helper.from_array(leaf.numpy(), names_of.get(leaf, "constant")))
    # Outputs keep their names before nodes take any; a leaf, or a tensor that is an output twice, goes out by a copy.
    protos: list[NodeProto] = []
    copies: list[NodeProto] = []
    shown: list[str] = []
    for i, tensor in enumerate(outputs):
        wanted = output_names[i] if output_names else tensor.name or f"y{i if len(outputs) > 1 else ''}"
        if tensor.node is not None and tensor not in names_of.of:
            names_of.of[tensor] = names_of.fresh(wanted)
            shown.append(names_of.of[tensor])
        elif tensor.node is not None and names_of.of[tensor] not in shown and not output_names:
            shown.append(names_of.of[tensor])
        else:
            shown.append(names_of.fresh(wanted))
            copies.append(helper.make_node("Identity", [names_of.get(tensor, "x")], [shown[-1]]))
    for node in nodes:
        protos += _node_proto(node, names_of, training)
    graph = GraphProto(name=graph_name, node=[*protos, *copies], initializer=initializers)
    graph.input.extend(value_info(leaf, names_of.of[leaf], exact, ranks) for leaf in fed)
    if bind_variables:
        graph.input.extend(value_info(leaf, names_of.of[leaf]) for leaf in variables)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in shown)
    model = ModelProto(ir_version=_IR_VERSION, producer_name="sardonyx", graph=graph)
    for domain in sorted({node.domain for node in nodes} | {""}):
        model.opset_import.add(domain=domain, version=OPSETS.get(domain, 1))
    return Built(model, fed, variables, names_of.of, nodes)


def output_types(
    tensors: Sequence[Tensor], exact: bool = False, ranks: Mapping[Tensor, int] | None = None
) -> list[tuple[np.dtype[Any], tuple[int | str | None, ...] | None]]:
    """Element types and shapes (None: of unknown rank), by the core's inference. Raises InvalidArgument for what is no
    tensor.

    Args:
        exact: whether inputs that hold data have its extents, and not any.
        ranks: numbers of axes of placeholders that leave theirs open.
    """
    options = SessionOptions()._core_options() | {"optimization_level": 0}
    asked = set(tensors)

    def is_leaf(x: Tensor) -> bool:  # so that asking for tensor after tensor costs no more than the whole graph once
        return x.is_known_number and x not in asked and x.node is not None and len(x.node.outputs) == 1

    cut = exact and not any(
        node.op == _GRADIENT for node in sort(tensors, is_leaf)[0]
    )  # a gradient reads all that lies between
    built = build(tensors, bind_variables=True, is_leaf=is_leaf if cut else lambda x: False, exact=exact, ranks=ranks)
    session = _core.Session.from_bytes(built.model.SerializeToString(), options)
    types = []
    for name, type_name, shape in session.outputs():
        dtype = _DTYPE_OF.get(type_name)
        if dtype is None:
            raise InvalidArgument(f"'{name}' is {type_name}; a tensor of numbers expected")
        types.append((np.dtype(dtype), None if shape is None else tuple(shape)))
    return types


_DTYPE_OF: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(bfloat16)": ml_dtypes.bfloat16, "tensor(bool)": np.bool_, "tensor(string)": np.object_,
    "tensor(int8)": np.int8, "tensor(int16)": np.int16, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32, "tensor(uint64)": np.uint64,
    "tensor(complex64)": np.complex64, "tensor(complex128)": np.complex128,
}  # fmt: skip

"""Tensors to an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto

from sardonyx import _core, errors
from sardonyx.errors import InvalidArgument
from sardonyx.files import replacing
from sardonyx.graph.build import Built, build, onnx_type, output_types
from sardonyx.graph.opset import lower_versions
from sardonyx.graph.tensor import Tensor

__all__ = ["export"]

# protobuf messages end at 2 GB; weights go to a second file well before that.
_INSIDE_LIMIT = 1 << 30


def export(
    outputs: Sequence[Tensor],
    path: str | os.PathLike[str] | None = None,
    *,
    inputs: Sequence[Tensor] = (),
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    opset: int | None = None,
    dynamic_batch: str | None = None,
    external_data: bool = False,
    graph_name: str = "graph",
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """Writes the graph that computes `outputs` for inference: variables become initializers, dropout does nothing.

    Args:
        path: the file; None: only the model is made.
        inputs: the placeholders in the order that the model is to have.
        input_names: names for `inputs`, where they should have others than their own.
        output_names: names for `outputs`.
        opset: the version of ONNX's operators, 7 to 28; None: the lowest from 20 on that needs no change of a node.
        dynamic_batch: a name for axis 0 of inputs and outputs, which may then have any extent.
        external_data: keep weights in `<path>.data`; large models do so by themselves.
        metadata: texts by name that the file keeps beside the graph.

    Returns:
        The model.

    Raises:
        Fail: the file cannot be written; one of that name is unchanged.
        InvalidArgument: names and tensors differ in number, or a name is used twice.
        NotImplemented: operators cannot be written in that opset; names all of them.

    Example:
        >>> export([logits], "model.onnx", inputs=[x], output_names=["logits"])
    """
    for what, names, tensors in (("input", input_names, inputs), ("output", output_names, outputs)):
        if names and len(names) != len(tensors):
            raise InvalidArgument(f"got {len(names)} {what} names for {len(tensors)} {what}s")
        if len(set(names)) != len(names):
            raise InvalidArgument(f"the {what} names {list(names)} are not all different")
    chosen = dict(zip(inputs, input_names, strict=False))
    built = build(outputs, inputs=inputs, output_names=output_names, names=chosen, graph_name=graph_name)
    _declare_outputs(built, outputs)
    if opset is not None or dynamic_batch is not None:
        _rewrite(built.model, opset, dynamic_batch)
    if opset is None:
        lower_versions(built.model)
    if metadata:
        onnx.helper.set_model_props(built.model, dict(metadata))
    if path is not None:
        _save(built.model, Path(path), external_data)
    return built.model


def _declare_outputs(built: Built, outputs: Sequence[Tensor]) -> None:
    for info, (dtype, shape) in zip(built.model.graph.output, output_types(outputs), strict=True):
        info.CopyFrom(onnx.helper.make_tensor_value_info(info.name, onnx_type(dtype), shape))


def _rewrite(model: ModelProto, opset: int | None, dynamic_batch: str | None) -> None:
    options = {"opset": opset, "dynamic_batch": dynamic_batch, "external_data": False, "simplify": False}
    if not hasattr(_core, "export_model"):
        raise errors.NotImplemented("this build writes models of the newest opset and of fixed batch only")
    content, _ = _core.export_model(model.SerializeToString(), None, options)
    assert content is not None
    model.ParseFromString(content)


def _save(model: ModelProto, path: Path, external_data: bool) -> None:
    outside = external_data or model.ByteSize() > _INSIDE_LIMIT
    with replacing(path) as draft:
        onnx.save(
            model, draft / path.name, save_as_external_data=outside, location=f"{path.name}.data", size_threshold=1024
        )

"""Tensors to an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import ModelProto

from sardonyx.errors import InvalidArgument
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
    external_data: bool = False,
    graph_name: str = "graph",
) -> ModelProto:
    """Writes the graph that computes `outputs` for inference: variables become initializers, dropout does nothing.

    The file asks for the lowest opset from 20 on in which its nodes mean the same.

    Args:
        path: the file; None: only the model is made.
        inputs: the placeholders in the order that the model is to have.
        input_names: names for `inputs`, where they should have others than their own.
        output_names: names for `outputs`.
        external_data: keep weights in `<path>.data`; large models do so by themselves.

    Returns:
        The model.

    Raises:
        InvalidArgument: names and tensors differ in number, or a name is used twice.

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
    lower_versions(built.model)
    if path is not None:
        _save(built.model, Path(path), external_data)
    return built.model


def _declare_outputs(built: Built, outputs: Sequence[Tensor]) -> None:
    for info, (dtype, shape) in zip(built.model.graph.output, output_types(outputs), strict=True):
        info.CopyFrom(onnx.helper.make_tensor_value_info(info.name, onnx_type(dtype), shape))


def _save(model: ModelProto, path: Path, external_data: bool) -> None:
    outside = external_data or model.ByteSize() > _INSIDE_LIMIT
    data = path.with_name(path.name + ".data")
    if outside:
        data.unlink(missing_ok=True)  # the onnx package would append to it
    onnx.save(model, path, save_as_external_data=outside, location=data.name, size_threshold=1024)

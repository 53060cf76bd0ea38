"""Tensors to an ONNX file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from sardonyx import errors
from sardonyx.errors import InvalidArgument
from sardonyx.export import export as write_model
from sardonyx.files import replacing
from sardonyx.graph.build import Built, build, onnx_type, output_types, sort
from sardonyx.graph.opset import lower_versions
from sardonyx.graph.tensor import Tensor

__all__ = ["export"]

# protobuf messages end at 2 GB; weights go to a second file well before that.
_INSIDE_LIMIT = 1 << 30
# Placeholders without a shape are tried with up to so many.
_MOST_AXES = 6


def export(
    outputs: Sequence[Tensor],
    path: str | os.PathLike[str] | None = None,
    *,
    inputs: Sequence[Tensor] = (),
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    opset: int | None = None,
    dynamic_batch: bool | str | None = None,
    external_data: bool = False,
    graph_name: str = "graph",
    metadata: Mapping[str, str] | None = None,
    feeds: Mapping[str, Any] | None = None,
) -> ModelProto:
    """Writes the graph that computes `outputs` for inference: variables become initializers, dropout does nothing.

    Args:
        path: the file; None: only the model is made.
        inputs: the placeholders in the order that the model is to have.
        input_names: names for `inputs`, where they should have others than their own.
        output_names: names for `outputs`.
        opset: the version of ONNX's operators, 7 to 28; None: the lowest from 20 on that needs no change of a node.
        dynamic_batch: True, or a name: axis 0 of every input and output becomes that symbol ("N"), constants that fix
            the old batch are rewritten, and the model is run with batches of 1, 2 and 5, as by `sardonyx.export`.
        external_data: keep weights in `<path>.data`; large models do so by themselves.
        metadata: texts by name that the file keeps beside the graph.
        feeds: inputs for the check of `dynamic_batch`, by name; random ones by default.

    Returns:
        The model.

    Raises:
        Fail: the file cannot be written; one of that name is unchanged.
        InvalidArgument: names and tensors differ in number, or a name is used twice.
        InvalidGraph: names the node that holds on to the batch.
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
    ranks = _open_ranks(outputs, inputs)
    built = build(outputs, inputs=inputs, output_names=output_names, names=chosen, graph_name=graph_name, ranks=ranks)
    _declare_outputs(built, outputs, ranks)
    if opset is not None or dynamic_batch:
        _rewrite(built.model, opset, dynamic_batch or False, feeds)
    if opset is None:
        lower_versions(built.model)
    if metadata:
        onnx.helper.set_model_props(built.model, dict(metadata))
    if path is not None:
        _save(built.model, Path(path), external_data)
    return built.model


def _open_ranks(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> dict[Tensor, int]:
    """Numbers of axes for placeholders without a shape, which ONNX's checker refuses: the only ones that fit, or those
    of the last run."""
    ranks: dict[Tensor, int] = {}
    leaves = dict.fromkeys([*inputs, *sort(outputs)[1]])
    for leaf in [x for x in leaves if x.is_placeholder and x.shape is None]:
        fitting = [rank for rank in range(_MOST_AXES + 1) if _fits(outputs, {**ranks, leaf: rank})]
        if leaf.fed_rank in fitting:
            fitting = [leaf.fed_rank]
        if len(fitting) == 1:
            ranks[leaf] = fitting[0]
        else:
            _warn_of_shape(f"input '{leaf.name}'", "its placeholder one, such as shape=[None, None]")
    return ranks


def _warn_of_shape(what: str, remedy: str) -> None:
    warnings.warn(
        f"the {what} is written without a shape, which onnx.checker refuses though runtimes take it: give {remedy}, or "
        "run the graph before",
        stacklevel=4,
    )


def _fits(outputs: Sequence[Tensor], ranks: Mapping[Tensor, int]) -> bool:
    try:
        output_types(outputs, ranks=ranks)
    except errors.Error:
        return False
    return True


def _declare_outputs(built: Built, outputs: Sequence[Tensor], ranks: Mapping[Tensor, int]) -> None:
    for info, (dtype, shape) in zip(built.model.graph.output, output_types(outputs, ranks=ranks), strict=True):
        if shape is None:
            _warn_of_shape(f"output '{info.name}'", "the inputs that its number of axes depends on exact shapes")
        info.CopyFrom(onnx.helper.make_tensor_value_info(info.name, onnx_type(dtype), shape))


def _rewrite(model: ModelProto, opset: int | None, dynamic_batch: bool | str, feeds: Mapping[str, Any] | None) -> None:
    written = write_model(model.SerializeToString(), opset=opset, dynamic_batch=dynamic_batch, feeds=feeds).model
    assert written is not None
    model.ParseFromString(written)


def _save(model: ModelProto, path: Path, external_data: bool) -> None:
    outside = external_data or model.ByteSize() > _INSIDE_LIMIT
    with replacing(path) as draft:
        onnx.save(
            model, draft / path.name, save_as_external_data=outside, location=f"{path.name}.data", size_threshold=1024
        )

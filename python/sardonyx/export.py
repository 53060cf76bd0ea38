"""Writes models for an opset asked for, and for a batch of any size."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sardonyx import _core
from sardonyx.errors import InvalidArgument, InvalidGraph
from sardonyx.options import GraphOptimizationLevel, SessionOptions
from sardonyx.session import InferenceSession, _model_source

__all__ = ["BatchReport", "ExportReport", "export"]

_SIZES = (1, 2, 5)


@dataclasses.dataclass(frozen=True)
class BatchReport:
    """What was done, and seen, to let a model take a batch of any size.

    Attributes:
        symbol: the name of the first extent of all inputs and outputs.
        was: the size that the model was made for; 0 where it was open.
        repaired: nodes whose constants had fixed that size.
        sizes: the batch sizes that were run and compared, item by item, with batches of one.
        max_difference: the largest difference met, relative to the largest element of that output.
    """

    symbol: str
    was: int
    repaired: list[str]
    sizes: tuple[int, ...] = ()
    max_difference: float = 0.0


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What `export` wrote: `path`, or else `model`, with the opsets by domain ("" is ai.onnx)."""

    path: str | None
    model: bytes | None
    opsets: dict[str, int]
    ir_version: int
    batch: BatchReport | None


def export(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    opset: int | None = None,
    dynamic_batch: bool | str = False,
    external_data: bool = False,
    simplify: bool = False,
    feeds: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Writes a model anew.

    Args:
        model: a path, bytes or an onnx.ModelProto.
        path: the file to write; None: the model comes back as bytes in the report.
        opset: the version of ai.onnx to write for, from 7 on; None: the model's own, or the lowest newer one that holds
            it.
        dynamic_batch: True, or a name: the first extent of every input and output becomes that symbol ("N"), constants
            that fix the old batch are rewritten, and the result is run with batches of 1, 2 and 5, whose items must
            come out as they do one by one.
        external_data: weights of a kilobyte or more go to one file beside the model, `<path>.data`.
        simplify: fold constants and drop what has no effect first.
        feeds: inputs for that check, of one item or more each; random ones by default.

    Raises:
        NotImplemented: the opset cannot hold the model; every node in the way is listed with the reason.
        InvalidGraph: names the node that holds on to the batch.

    Example:
        >>> import sardonyx as sx
        >>> sx.export("model.onnx", "model13.onnx", opset=13, dynamic_batch=True)
    """
    source = _model_source(model)
    target = None if path is None else os.fspath(path)
    if external_data and target is None:
        raise InvalidArgument("external_data needs a path: the weights go to a file beside the model")
    if isinstance(dynamic_batch, str) and not dynamic_batch.isidentifier():
        raise InvalidArgument(
            f"dynamic_batch is '{dynamic_batch}'; True or a name made of letters, digits and _ expected"
        )
    symbol = dynamic_batch if isinstance(dynamic_batch, str) else ("" if dynamic_batch else None)
    options = {"opset": opset, "external_data": external_data, "simplify": simplify, "dynamic_batch": symbol}
    # The check reads the model as it was, which a path for the result may be about to replace.
    before = _raw_session(source) if symbol is not None else None
    written, row = _core.export_model(source, target, options)
    result = target if written is None else written
    assert result is not None  # without a path the model comes back as bytes
    batch = None
    if before is not None and row is not None:
        batch = BatchReport(row["symbol"], row["was"], row["repaired"])
        batch = _checked(before, _raw_session(result), batch, feeds)
    info = _raw_session(result)._core.info()
    return ExportReport(target, written, info["opsets"], info["ir_version"], batch)


def _raw_session(source: str | bytes) -> InferenceSession:
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    return InferenceSession(source, options)


def _items(session: InferenceSession, feeds: Mapping[str, Any] | None, count: int) -> dict[str, np.ndarray[Any, Any]]:
    """Feeds of `count` items: those given, again and again, or random ones."""
    from sardonyx.cli.feeds import random_feeds

    ports = session.get_inputs()
    symbols = {port.shape[0] for port in ports if port.shape}
    found = random_feeds(session, {str(symbol): count for symbol in symbols})
    for name, value in (feeds or {}).items():
        array = np.asarray(value)
        found[name] = np.concatenate([array] * -(-count // len(array)))[:count] if array.ndim else array
    return found


def _cut(feeds: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    return {name: value[start:stop] if value.ndim else value for name, value in feeds.items()}


def _difference(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest element; infinite where shapes or NaNs differ."""
    a, b = np.asarray(found), np.asarray(expected)
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind in "OSUb":
        return 0.0 if np.array_equal(a, b) else float("inf")
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x, y = a.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        gap = np.where(same, 0, np.abs(x - y))
        size = np.max(np.where(np.isfinite(y), np.abs(y), 0), initial=0)
    worst = float(np.max(gap, initial=0))
    if not np.isfinite(worst):
        return float("inf")
    return worst if a.dtype.kind in "iu" or size == 0 else worst / float(size)


def _tolerance(value: Any) -> float:
    dtype = np.asarray(value).dtype
    if dtype.kind in "iuOSUb":
        return 0.0
    return {8: 1e-9, 4: 1e-4}.get(dtype.itemsize, 2e-2) if dtype.kind == "f" else 1e-4 if dtype.kind == "c" else 5e-2


def _checked(
    before: InferenceSession, after: InferenceSession, batch: BatchReport, feeds: Mapping[str, Any] | None
) -> BatchReport:
    """Runs the new model at several sizes, and at the old one against the old model."""
    names = [port.name for port in after.get_outputs()]
    most = max(*_SIZES, batch.was)
    given = _items(after, feeds, most)
    if batch.was <= 1:
        try:
            before.run(names, _cut(given, 0, 1))
        except Exception as error:
            raise InvalidArgument(
                f"the model cannot be run to check its batch; give feeds that it takes: {error}"
            ) from error
    old = f"the model holds on to a batch of {batch.was}" if batch.was else "the model does not take any batch"
    try:
        single = [after.run(names, _cut(given, i, i + 1)) for i in range(most)]
    except Exception as error:
        raise InvalidGraph(f"{old}: with one item it fails: {error}") from error
    worst = 0.0
    for size in _SIZES:
        feed = _cut(given, 0, size)
        try:
            found = after.run(names, feed)
        except Exception as error:
            raise InvalidGraph(f"{old}: with {size} items it fails: {error}") from error
        for k, name in enumerate(names):
            expected = np.concatenate([single[i][k] for i in range(size)])
            gap = _difference(found[k], expected)
            worst = max(worst, gap)
            if gap > _tolerance(expected):
                raise InvalidGraph(
                    f"output '{name}' of a batch of {size} differs by {gap:.3g} from that of its items one by one: "
                    f"{_culprit(after, feed, size)}"
                )
    if batch.was:
        feed = _cut(given, 0, batch.was)
        for name, y, e in zip(names, after.run(names, feed), before.run(names, feed), strict=True):
            if (gap := _difference(y, e)) > _tolerance(e):
                raise InvalidGraph(
                    f"output '{name}' for a batch of {batch.was} differs by {gap:.3g} from that of the model as it was"
                )
    return dataclasses.replace(batch, sizes=_SIZES, max_difference=worst)


def _culprit(session: InferenceSession, feed: Mapping[str, Any], size: int) -> str:
    """The first node whose result for several items is not that of the items one by one."""
    import onnx

    source = session._source
    model = onnx.load(source, load_external_data=False) if isinstance(source, str) else onnx.load_from_string(source)
    nodes: Sequence[onnx.NodeProto] = model.graph.node
    for node in nodes:
        for name in filter(None, node.output):
            try:
                whole = session.run([name], feed)[0]
                parts = [session.run([name], _cut(feed, i, i + 1))[0] for i in range(size)]
            except Exception:
                continue
            if not isinstance(whole, np.ndarray) or np.array_equal(whole, parts[0]) or not whole.ndim:
                continue
            if len(whole) != sum(len(part) for part in parts):
                # Not by items along the first axis: a sum over the batch, or another order of axes.
                continue
            if _difference(whole, np.concatenate(parts)) > _tolerance(whole):
                return f"{node.op_type} '{node.name or name}' is the first node where it does"
    return "no single node shows it; something works across the items"

"""Exports graphs to ONNX, and checks that another runtime computes from the file what the graph computes."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from sardonyx import weights
from sardonyx.comparison import Mismatch, OutputReport, Report, compare, outlier_lines
from sardonyx.compat.oneflow.devices import require_cpu
from sardonyx.compat.oneflow.graph import Graph, Trace
from sardonyx.errors import Fail, InvalidArgument
from sardonyx.graph.export import export
from sardonyx.session import InferenceSession

__all__ = ["PREFERRED_OPSET", "compare_result", "convert_to_onnx_and_check", "export_onnx_model"]

PREFERRED_OPSET = 10
_RTOL, _ATOL = 1e-2, 1e-5
_BATCH = "batch"

_Array: TypeAlias = "npt.NDArray[Any]"
_Runner: TypeAlias = "Callable[[list[str], dict[str, _Array]], list[_Array]]"
Range: TypeAlias = "Sequence[float] | npt.NDArray[Any]"


def export_onnx_model(
    graph: Graph,
    external_data: bool = False,
    opset: int | None = None,
    flow_weight_dir: str | os.PathLike[str] | None = None,
    onnx_model_path: str | os.PathLike[str] = "/tmp",
    dynamic_batch_size: bool = False,
) -> str:
    """Writes a compiled graph to an ONNX file.

    Args:
        external_data: keep weights in a second file beside the model.
        opset: of the model; 10 where None.
        flow_weight_dir: take weights from there; any that `sardonyx.weights.load` reads. Names and shapes must be the
            graph's or those of the module in it.
        onnx_model_path: a folder, which gets `model.onnx`, or a file.
        dynamic_batch_size: whether axis 0 of inputs and outputs may have any extent.

    Returns:
        The path of the file.

    Raises:
        InvalidArgument: the graph is not compiled, or the weights do not fit.
        NotImplemented: an operator cannot be written in that opset; names all of them.
    """
    trace = _trace_of(graph)
    path = Path(onnx_model_path)
    if path.is_dir() or not path.suffix:
        path = path / "model.onnx"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Fail(f"cannot make the folder of '{path}': {error.strerror or error}") from error
    with _weights_from(flow_weight_dir, graph):
        export(
            trace.outputs,
            path,
            inputs=trace.inputs,
            output_names=_output_names(graph, trace),
            external_data=external_data,
            graph_name=graph.name,
            opset=PREFERRED_OPSET if opset is None else opset,
            dynamic_batch=_BATCH if dynamic_batch_size else None,
            feeds={x.name: example for x, example in zip(trace.inputs, trace.examples, strict=True)},
        )
    return str(path)


def convert_to_onnx_and_check(
    graph: Graph,
    print_outlier: bool = True,
    external_data: bool = False,
    ort_optimize: bool = True,
    opset: int | None = None,
    flow_weight_dir: str | os.PathLike[str] | None = None,
    onnx_model_path: str | os.PathLike[str] = "/tmp",
    dynamic_batch_size: bool = False,
    device: str = "cpu",
    input_tensor_range: Range | Mapping[str, Range] | None = None,
) -> Report:
    """Writes a compiled graph to an ONNX file and compares what the file gives with what the graph gives.

    The file is run by onnxruntime where it is installed, else by onnx's reference implementation.

    Args:
        print_outlier: print each element that is too far off: by more than 1e-2 of its size, and 1e-5 of the largest.
        ort_optimize: compare with and without onnxruntime's optimizations; else only without.
        external_data, opset, flow_weight_dir, onnx_model_path: as in `export_onnx_model`.
        dynamic_batch_size: as there; compares three batch sizes.
        device: "cpu" or "cpu_global".
        input_tensor_range: least and largest value of inputs; or an input itself; or a dict of these by the inputs'
            names. -10 to 10 by default, and for integers the range of the input that the graph was compiled with.

    Returns:
        What was compared; true.

    Raises:
        Mismatch: the outputs differ; its `report` says how, and which node is the first to give something else.
    """
    if device not in ("cpu", "cpu_global"):
        require_cpu(device)
    path = export_onnx_model(graph, external_data, opset, flow_weight_dir, onnx_model_path, dynamic_batch_size)
    trace = _trace_of(graph, warn=False)
    names = _output_names(graph, trace)
    report = Report()
    with _weights_from(flow_weight_dir, graph):
        for batch in _batches(trace, dynamic_batch_size):
            feeds = _draw(trace, input_tensor_range, batch)
            wanted = dict(zip(names, _run_graph(trace, list(feeds.values())), strict=True))
            for label, run in _runners(path, ort_optimize):
                given = dict(zip(names, run(names, feeds), strict=True))
                found = _compared(wanted, given, label if batch is None else f"{label}, batch {batch}")
                report.outputs += found
                if all(x.equal for x in found):
                    continue
                if print_outlier:
                    print("\n".join(outlier_lines(wanted, given, _RTOL, _tolerance(wanted))))
                report.first_divergence = report.first_divergence or _first_divergence(path, feeds)
    if not report:
        raise Mismatch(report)
    return report


def compare_result(
    a: _Array, b: _Array, rtol: float = _RTOL, atol: float = _ATOL, print_outlier: bool = False
) -> OutputReport:
    """Compares two arrays. Raises Mismatch where an element of `a` differs from that of `b` by more than
    atol + rtol * |b|."""
    if print_outlier:
        print("\n".join(outlier_lines({"result": a}, {"result": b}, rtol, atol)))
    found = compare("result", np.asarray(b), np.asarray(a), rtol, atol)
    if not found.equal:
        raise Mismatch(Report([found]))
    return found


# --- the graph


def _trace_of(graph: Graph, warn: bool = True) -> Trace:
    if not isinstance(graph, Graph):
        raise InvalidArgument(f"a compiled nn.Graph expected, not {type(graph).__name__}")
    if warn and any(module.training for module in graph.modules() if module is not graph):
        warnings.warn(
            "a module of the graph is in training mode; the file is written for inference: call model.eval() before",
            stacklevel=3,
        )
    return graph.first_trace


def _output_names(graph: Graph, trace: Trace) -> list[str]:
    return [f"_{graph.name}-output_{i}/out" for i in range(len(trace.outputs))]


@contextlib.contextmanager
def _weights_from(place: str | os.PathLike[str] | None, graph: Graph) -> Iterator[None]:
    """Within, the graph has the weights that a folder or file holds."""
    if place is None:
        yield
        return
    held = weights.load(place)
    before = graph.state_dict()

    def distance(names: set[str]) -> int:
        return len(names ^ held.keys())

    choices = [graph, *graph.children()]
    target = min(choices, key=lambda module: distance(set(module.state_dict())))
    try:
        target.load_state_dict(held)
        yield
    finally:
        graph.load_state_dict(before)


# --- runs


def _batches(trace: Trace, dynamic: bool) -> list[int | None]:
    if not dynamic:
        return [None]
    own = trace.examples[0].shape[0]
    return [own, own + 1, own + 4]


def _draw(trace: Trace, asked: Range | Mapping[str, Range] | None, batch: int | None) -> dict[str, _Array]:
    """Random inputs."""
    rng = np.random.default_rng(0)
    feeds = {}
    if isinstance(asked, Mapping):
        unknown = sorted(set(asked) - {x.name for x in trace.inputs})
        if unknown:
            known = ", ".join(f"'{x.name}'" for x in trace.inputs)
            raise InvalidArgument(f"input_tensor_range names {unknown}; the inputs are {known}")
    for leaf, example in zip(trace.inputs, trace.examples, strict=True):
        bounds = asked.get(leaf.name) if isinstance(asked, Mapping) else asked
        shape = example.shape if batch is None else (batch, *example.shape[1:])
        if isinstance(bounds, np.ndarray) and bounds.shape[1:] == example.shape[1:]:
            feeds[leaf.name] = np.resize(bounds, shape).astype(example.dtype)
            continue
        whole = example.dtype.kind in "iub"
        if bounds is None:
            bounds = (int(example.min(initial=0)), int(example.max(initial=0))) if whole else (-10.0, 10.0)
        if len(bounds) != 2 or not bounds[0] <= bounds[1]:
            raise InvalidArgument(f"the range of '{leaf.name}' is {bounds}; [least, largest] expected")
        low, high = bounds
        drawn = rng.integers(int(low), int(high) + 1, shape) if whole else rng.uniform(low, high, shape)
        feeds[leaf.name] = np.asarray(drawn).astype(example.dtype)
    return feeds


def _run_graph(trace: Trace, arrays: list[_Array]) -> list[_Array]:
    """What the graph gives: for other batch sizes than its own, on windows of that size, since programs may have it in
    numbers."""
    own = len(trace.examples[0]) if trace.examples[0].ndim else 1
    whole = len(arrays[0]) if arrays[0].ndim else 1
    if own == whole:
        return trace.run(arrays)
    windows = [np.arange(start, start + own) % whole for start in range(0, whole, own)]
    parts = [trace.run([x[window] for x in arrays]) for window in windows]
    return [np.concatenate(of)[:whole] for of in zip(*parts, strict=True)]


def _runners(path: str, optimize: bool) -> Iterator[tuple[str, _Runner]]:
    """Other runtimes with the model loaded."""
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError:
        yield "onnx.reference", _reference(path)
        return
    levels = onnxruntime.GraphOptimizationLevel
    for label, level in (("optimized", levels.ORT_ENABLE_ALL), ("not optimized", levels.ORT_DISABLE_ALL)):
        if level == levels.ORT_ENABLE_ALL and not optimize:
            continue
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception:  # an opset or operator that it does not know
            yield "onnx.reference", _reference(path)
            return
        yield f"onnxruntime, {label}", session.run


def _reference(path: str) -> _Runner:
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class BatchNormalization(OpRun):
        """(x - mean) / sqrt(variance + epsilon) * scale + bias, by the statistics given."""

        def _run(
            self, x: _Array, scale: _Array, bias: _Array, mean: _Array, var: _Array, epsilon: float, **_: Any
        ) -> tuple[_Array]:
            rows = [v.reshape(-1, *[1] * (x.ndim - 2)) for v in (scale, bias, mean, var)]
            y = (x - rows[2]) / np.sqrt(rows[3] + np.asarray(epsilon, x.dtype)) * rows[0] + rows[1]
            return (y.astype(x.dtype),)

    # Its BatchNormalization of opsets before 14 normalizes by the batch, as in training.
    session = ReferenceEvaluator(path, new_ops=[BatchNormalization])
    return lambda names, feeds: list(session.run(names, feeds))


def _tolerance(wanted: Mapping[str, _Array]) -> float:
    """1e-5 of the largest finite element, or of 1."""
    sizes = [np.abs(x.astype(np.float64)) for x in wanted.values() if x.dtype.kind in "fV"]
    return _ATOL * max([1.0, *(float(np.max(x, where=np.isfinite(x), initial=0.0)) for x in sizes)])


def _compared(wanted: Mapping[str, _Array], given: Mapping[str, _Array], run: str) -> list[OutputReport]:
    return [compare(k, x, np.asarray(given[k]), _RTOL, _tolerance({k: x}), run) for k, x in wanted.items()]


def _first_divergence(path: str, feeds: dict[str, _Array]) -> str:
    """Which node's output is the first that Sardonyx and the other runtime compute differently from the file."""
    model = onnx.load(path)
    shown = {x.name for x in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in shown)
    probe = str(Path(path).with_suffix(".probe.onnx"))
    ours = InferenceSession(path).run(names, feeds)
    try:
        onnx.save(model, probe)
        theirs = next(_runners(probe, optimize=False))[1](names, feeds)
    finally:
        Path(probe).unlink(missing_ok=True)
    producers = {name: node for node in model.graph.node for name in node.output}
    for name, x, y in zip(names, ours, theirs, strict=True):
        if isinstance(x, np.ndarray) and not compare(name, x, np.asarray(y), _RTOL, _tolerance({name: x})).equal:
            return f"{producers[name].op_type} '{producers[name].name or name}'"
    return "no node: the file gives the same in both, so the conversion changed the graph"

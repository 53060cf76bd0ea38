"""Runtimes behind one interface: a model's path and a number of threads give a function from feeds to outputs."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RUNTIMES", "Runner", "Unavailable", "installed", "load", "why_not"]

Runner = Callable[[dict[str, Any]], list[Any]]


class Unavailable(Exception):
    """A runtime is not installed, or cannot take part with this model; the message says why."""


def _sardonyx(model: str, threads: int, precision: str) -> Runner:
    from sardonyx.options import Precision, SessionOptions
    from sardonyx.session import InferenceSession

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.precision = Precision(precision)
    session = InferenceSession(model, options)
    return lambda feeds: session.run(None, feeds)


def _onnxruntime(model: str, threads: int, precision: str) -> Runner:
    del precision  # it computes as the model is stored
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda feeds: list(session.run(None, feeds))


def _openvino(model: str, threads: int, precision: str) -> Runner:
    core = importlib.import_module("openvino").Core()
    # Without the hint it would compute in bfloat16 where the machine can.
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(model, "CPU", config).create_infer_request()

    def run(feeds: dict[str, Any]) -> list[Any]:
        results = request.infer(list(feeds.values()), share_inputs=True)
        return [results[k] for k in range(len(results))]

    return run


def _exported(model: str) -> Path:
    return Path(model).with_suffix(".pt2")


def _torch(model: str, threads: int, precision: str) -> Runner:
    del precision  # it computes as the model was saved
    torch = importlib.import_module("torch")
    if threads:
        torch.set_num_threads(threads)
    module = torch.export.load(_exported(model)).module()

    def run(feeds: dict[str, Any]) -> list[Any]:
        with torch.inference_mode():
            result = module(*(torch.from_numpy(value) for value in feeds.values()))
        return [part.numpy() for part in (result if isinstance(result, Sequence) else [result])]

    return run


RUNTIMES: dict[str, Callable[[str, int, str], Runner]] = {
    "sardonyx": _sardonyx,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
}


def installed(name: str) -> str | None:
    """The version of a package, or None where it is not installed."""
    if importlib.util.find_spec(name) is None:
        return None
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(name), "__version__", "unknown"))


def why_not(name: str, model: str) -> str | None:
    """Why the runtime `name` cannot take part with `model`, or None where it can."""
    if name not in RUNTIMES:
        return f"no runtime is called '{name}'; there are {', '.join(RUNTIMES)}"
    if installed(name) is None:
        return f"{name} is not installed: pip install {name}"
    if name == "torch" and not _exported(model).exists():
        return f"torch runs what torch.export saved, and '{_exported(model)}' does not exist"
    return None


def load(name: str, model: str, threads: int = 0, precision: str = "f32") -> Runner:
    """Loads `model` into the runtime `name` for `threads` threads (0: as many as it likes).

    Args:
        precision: f32, or bf16 or f16 where the runtime can compute an f32 model in it: sardonyx and openvino.

    Raises:
        Unavailable: the runtime is not installed, or has no form of this model.
    """
    reason = why_not(name, model)
    if reason is not None:
        raise Unavailable(reason)
    return RUNTIMES[name](model, threads, precision)

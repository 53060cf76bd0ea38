"""InferenceSession: loads a model and runs it, with the methods of onnxruntime's class of that name."""

from __future__ import annotations

import copy
import difflib
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sardonyx import _core
from sardonyx.devices import OrtAllocatorType, OrtMemoryInfo, OrtMemType
from sardonyx.iobinding import IOBinding
from sardonyx.nodes import ModelMetadata, NodeArg, NodePlacement
from sardonyx.options import RunOptions, SessionOptions
from sardonyx.ortvalue import OrtValue
from sardonyx.profile import trace_file_name, write_trace
from sardonyx.providers import ProviderList, resolve_providers

__all__ = ["InferenceSession"]

_KNOWN_KEYWORDS = ("enable_fallback", "disabled_optimizers", "read_config_from_model", "strict_providers")


def _model_source(model: Any) -> str | bytes:
    """The path or the bytes behind whatever was given as a model."""
    if isinstance(model, (str, bytes)):
        return model
    if isinstance(model, (bytearray, memoryview)):
        return bytes(model)
    if isinstance(model, os.PathLike):
        return os.fsdecode(model)
    if hasattr(model, "SerializeToString"):
        data: bytes = model.SerializeToString()
        return data
    raise TypeError(f"Unable to load from type '{type(model)}'; a model is a path, bytes or an onnx.ModelProto")


class InferenceSession:
    """A model ready to run. Any number of threads may run one session at a time.

    Args:
        path_or_bytes: the model: a path (str or os.PathLike), its bytes, or an onnx.ModelProto.
        sess_options: how to load and run it.
        providers: names, or (name, options) pairs. A known name that is not available here gives a warning with the
            reason; a name that nobody knows raises InvalidArgument.
        provider_options: one dict for each provider, where `providers` holds names only.
        strict_providers: raise EPFail instead of warning.

    Raises:
        NoSuchFile: the file, or a file with its weights, is missing.
        InvalidProtobuf, InvalidGraph: this is not an ONNX model, or one that breaks ONNX's rules.
        NotImplemented: names every node that Sardonyx cannot run.

    Example:
        >>> session = InferenceSession("model.onnx")
        >>> session.run(None, {"x": np.zeros((1, 3, 224, 224), np.float32)})
    """

    def __init__(
        self,
        path_or_bytes: Any,
        sess_options: SessionOptions | None = None,
        providers: ProviderList | None = None,
        provider_options: Sequence[Mapping[Any, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        for name in kwargs:
            if name not in _KNOWN_KEYWORDS:
                near = difflib.get_close_matches(name, _KNOWN_KEYWORDS, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                warnings.warn(f"InferenceSession ignores the argument '{name}'{hint}", UserWarning, stacklevel=2)
        self._source = _model_source(path_or_bytes)
        self._options = copy.copy(sess_options) if sess_options is not None else SessionOptions()
        self._fallback = bool(kwargs.get("enable_fallback", True))
        if providers is None and self._options.has_providers():
            providers = self._options._providers
        self._providers = resolve_providers(providers, provider_options, bool(kwargs.get("strict_providers", False)))
        self._load()
        if self._options.optimized_model_filepath:
            self._core.save_optimized(self._options.optimized_model_filepath)

    def _load(self) -> None:
        options = self._options._core_options()
        if isinstance(self._source, str):
            self._core = _core.Session.from_file(self._source, options)
        else:
            self._core = _core.Session.from_bytes(self._source, options)
        self._profile_start_ns = time.time_ns()
        self._inputs_meta = _node_args(self._core.inputs())
        self._outputs_meta = _node_args(self._core.outputs())

    def get_inputs(self) -> list[NodeArg]:
        """The inputs that a run must be fed, in order."""
        return list(self._inputs_meta)

    def get_outputs(self) -> list[NodeArg]:
        """The model's outputs, in order."""
        return list(self._outputs_meta)

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Inputs with a default, which a run may be fed."""
        return _node_args(self._core.overridable())

    def get_modelmeta(self) -> ModelMetadata:
        """What the model says of itself."""
        info = self._core.info()
        return ModelMetadata(
            custom_metadata_map=info["metadata"],
            description=info["description"],
            domain=info["domain"],
            graph_description=info["graph_description"],
            graph_name=info["graph_name"],
            producer_name=info["producer_name"],
            version=info["version"] or 0,
            producer_version=info["producer_version"],
            ir_version=info["ir_version"],
            opsets=info["opsets"],
        )

    def get_session_options(self) -> SessionOptions:
        """The options that the session was made with."""
        return self._options

    def get_providers(self) -> list[str]:
        """The providers in use, best first."""
        return list(self._providers)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """The options of each provider in use."""
        return {name: dict(options) for name, options in self._providers.items()}

    def set_providers(
        self, providers: ProviderList | None = None, provider_options: Sequence[Mapping[Any, Any]] | None = None
    ) -> None:
        """Chooses providers anew, as the constructor does."""
        self._providers = resolve_providers(providers, provider_options)

    def get_provider_report(self) -> list[NodePlacement]:
        """Where each node of the optimised graph runs, on which kernel, and why there.

        Kernels are chosen for given shapes: `kernel` is empty before the first run, and speaks of the latest shapes.
        """
        reason = "only the CPU is available" if len(self._providers) == 1 else "no better provider takes it"
        return [
            NodePlacement(row["name"], row["op"], "CPUExecutionProvider", row["kernel"], reason)
            for row in self._core.report()
        ]

    def disable_fallback(self) -> None:
        """Accepted for compatibility: a run never moves to another provider by itself."""
        self._fallback = False

    def enable_fallback(self) -> None:
        """Accepted for compatibility: a run never moves to another provider by itself."""
        self._fallback = True

    def run(
        self, output_names: Sequence[str] | None, input_feed: Any = None, run_options: RunOptions | None = None
    ) -> list[Any]:
        """Runs the model.

        Args:
            output_names: what to return: outputs, or any other tensor of the model by its name; None or []: all
                outputs.
            input_feed: a dict of input name to value, a list of values in the order of `get_inputs()`, or one value
                for the first input. A value is an array, a nested list, an OrtValue or anything with `__dlpack__`;
                for sequences a list, for maps a dict, for optionals None.
            run_options: a deadline, or the flag that stops the run.

        Returns:
            One entry for each name: an array (object dtype for strings, ml_dtypes for bfloat16, float8, float4, int4
            and int2), a list for a sequence, a dict for a map, None for an empty optional. The arrays are the
            caller's: no later run changes them.

        Raises:
            InvalidArgument: names the input or output at fault, what came and what is wanted.
            DeadlineExceeded, Terminated: see RunOptions.
        """
        if run_options is None:
            return self._core.run(output_names, input_feed)
        return self._core.run(output_names, input_feed, run_options._cancel, run_options.deadline)

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Any,
        callback: Callable[[list[Any], Any, str], Any],
        user_data: Any,
        run_options: RunOptions | None = None,
    ) -> None:
        """Runs the model on another thread, then calls `callback(results, user_data, error)` there.

        `error` is "" when the run went well; else it is the message, and `results` is [].
        """

        def work() -> None:
            try:
                results, message = self.run(output_names, input_feed, run_options), ""
            except Exception as error:
                results, message = [], str(error) or type(error).__name__
            callback(results, user_data, message)

        threading.Thread(target=work, name="sardonyx-run-async", daemon=True).start()

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """`run` with OrtValues in and out."""
        cancel = run_options._cancel if run_options is not None else None
        timeout = run_options.deadline if run_options is not None else 0.0
        results = self._core.run_values(output_names, dict(input_dict_ort_values), cancel, timeout)
        return [OrtValue(value) for value in results]

    def io_binding(self) -> IOBinding:
        """A new, empty IOBinding for this session."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """Runs with the inputs and outputs of `iobinding`."""
        if run_options is None:
            iobinding._core.run()
        else:
            iobinding._core.run(run_options._cancel, run_options.deadline)

    def create_ortvalue_from_shape_and_type(
        self, shape: Sequence[int], element_type: Any, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """A tensor of zeros."""
        return OrtValue.ortvalue_from_shape_and_type(shape, element_type, device_type, device_id, vendor_id)

    def get_input_memory_infos(self) -> list[OrtMemoryInfo]:
        """The memory that each input is read from."""
        return [_cpu_memory() for _ in self._inputs_meta]

    def get_output_memory_infos(self) -> list[OrtMemoryInfo]:
        """The memory that each output is written to."""
        return [_cpu_memory() for _ in self._outputs_meta]

    def end_profiling(self) -> str:
        """Stops profiling and writes the trace; returns its file's name, or "" where profiling was off.

        The file is a Chrome trace (chrome://tracing, Perfetto) named `<profile_file_prefix><date>_<process>.json`.
        """
        if not self._options.enable_profiling:
            return ""
        self._core.set_profiling(False)
        path = trace_file_name(self._options.profile_file_prefix)
        write_trace(path, self._core.take_profile())
        return path

    def get_profiling_start_time_ns(self) -> int:
        """When profiling began, in nanoseconds since the epoch."""
        return self._profile_start_ns

    def explain(self) -> str:
        """Which passes changed the model, and what kept the others from it, one line each."""
        lines = []
        for row in self._core.explain():
            reason = f": {row['reason']}" if row["reason"] else ""
            lines.append(f"{'fired ' if row['fired'] else 'missed'} {row['name']} at {row['node']}{reason}")
        return "\n".join(lines)

    def __copy__(self) -> InferenceSession:
        clone = InferenceSession.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        return clone

    def __getstate__(self) -> dict[str, Any]:
        return {
            "source": self._source,
            "options": self._options,
            "providers": self._providers,
            "fallback": self._fallback,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._source = state["source"]
        self._options = state["options"]
        self._providers = state["providers"]
        self._fallback = state["fallback"]
        self._load()

    def __repr__(self) -> str:
        source = repr(self._source) if isinstance(self._source, str) else f"<{len(self._source)} bytes>"
        return f"InferenceSession({source})"


def _node_args(ports: list[tuple[str, str, list[int | str | None] | None]]) -> list[NodeArg]:
    return [NodeArg(name, kind, shape or []) for name, kind, shape in ports]


def _cpu_memory() -> OrtMemoryInfo:
    return OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)

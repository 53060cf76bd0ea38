"""Runs, trains and converts ONNX models; `import sardonyx as rt` takes the place of onnxruntime."""

import importlib
from typing import TYPE_CHECKING, Any

from sardonyx import image_decoder
from sardonyx._core import __version__
from sardonyx.devices import OrtAllocatorType, OrtDevice, OrtDeviceVendorId, OrtMemoryInfo, OrtMemType
from sardonyx.export import BatchReport, ExportReport, export
from sardonyx.iobinding import IOBinding
from sardonyx.nodes import ModelMetadata, NodeArg, NodePlacement
from sardonyx.operators import (
    TensorType,
    get_include,
    load_operators,
    operator,
    register_operator,
    registered_operators,
    unregister_operator,
)
from sardonyx.options import (
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    Precision,
    RunOptions,
    SessionOptions,
)
from sardonyx.ortvalue import OrtValue, copy_tensors
from sardonyx.providers import get_all_providers, get_available_providers
from sardonyx.runtime import (
    disable_telemetry_events,
    enable_telemetry_events,
    get_build_info,
    get_device,
    get_version_string,
    has_collective_ops,
    preload_dlls,
    print_debug_info,
    set_default_logger_severity,
    set_default_logger_verbosity,
    set_global_thread_pool_sizes,
    set_seed,
)
from sardonyx.session import InferenceSession

if TYPE_CHECKING:
    from sardonyx import checkpoint, graph, losses, optim

SessionIOBinding = IOBinding
image_decoder.register()

__all__ = [
    "BatchReport",
    "ExecutionMode",
    "ExecutionOrder",
    "ExportReport",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "NodePlacement",
    "OrtAllocatorType",
    "OrtDevice",
    "OrtDeviceVendorId",
    "OrtMemType",
    "OrtMemoryInfo",
    "OrtValue",
    "Precision",
    "RunOptions",
    "SessionIOBinding",
    "SessionOptions",
    "TensorType",
    "__version__",
    "checkpoint",
    "copy_tensors",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "export",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_include",
    "get_version_string",
    "graph",
    "has_collective_ops",
    "load_operators",
    "losses",
    "operator",
    "optim",
    "preload_dlls",
    "print_debug_info",
    "register_operator",
    "registered_operators",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_global_thread_pool_sizes",
    "set_seed",
    "unregister_operator",
]

# Parts that need the onnx package, or that a session does without, are imported when they are used.
_LATE = ("checkpoint", "graph", "losses", "optim")


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return importlib.import_module(f"sardonyx.{name}")
    raise AttributeError(f"module 'sardonyx' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})

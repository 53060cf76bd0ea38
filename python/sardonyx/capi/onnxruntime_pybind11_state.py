"""Exceptions, options and values under the module path that onnxruntime uses."""

from sardonyx.devices import OrtAllocatorType, OrtDevice, OrtMemoryInfo, OrtMemType
from sardonyx.errors import (
    DeadlineExceeded,
    DeviceReset,
    EngineError,
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    ModelLoadCanceled,
    ModelLoaded,
    ModelRequiresCompilation,
    NoModel,
    NoSuchFile,
    NotFound,
    NotImplemented,
    RuntimeException,
    Terminated,
)
from sardonyx.nodes import ModelMetadata, NodeArg
from sardonyx.options import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, RunOptions, SessionOptions
from sardonyx.ortvalue import OrtValue
from sardonyx.providers import get_all_providers, get_available_providers
from sardonyx.runtime import get_device, get_version_string

__all__ = [
    "DeadlineExceeded",
    "DeviceReset",
    "EPFail",
    "EngineError",
    "ExecutionMode",
    "ExecutionOrder",
    "Fail",
    "GraphOptimizationLevel",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelLoadCanceled",
    "ModelLoaded",
    "ModelMetadata",
    "ModelRequiresCompilation",
    "NoModel",
    "NoSuchFile",
    "NodeArg",
    "NotFound",
    "NotImplemented",
    "OrtAllocatorType",
    "OrtDevice",
    "OrtMemType",
    "OrtMemoryInfo",
    "OrtValue",
    "RunOptions",
    "RuntimeException",
    "SessionOptions",
    "Terminated",
    "get_all_providers",
    "get_available_providers",
    "get_device",
    "get_version_string",
]

"""Types of the native module."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

__version__: str

class InfoRow(TypedDict):
    producer_name: str
    producer_version: str
    domain: str
    description: str
    graph_name: str
    graph_description: str
    version: int | None
    ir_version: int
    metadata: dict[str, str]
    opsets: dict[str, int]
    warnings: list[str]

class ReportRow(TypedDict):
    name: str
    op: str
    kernel: str

class PassRow(TypedDict):
    name: str
    node: str
    fired: bool
    reason: str

class ProfileRow(TypedDict):
    name: str
    op: str
    kernel: str
    start_us: float
    duration_us: float
    bytes_read: int
    bytes_written: int
    input_types: list[str]
    output_types: list[str]

class PortRow(TypedDict):
    name: str
    variable: str
    types: list[str]
    presence: str
    any_kind: bool

class BatchRow(TypedDict):
    symbol: str
    was: int
    repaired: list[str]

class OperatorRow(TypedDict):
    name: str
    domain: str
    first_version: int
    since_version: int
    attributes: list[str]
    inputs: list[PortRow]
    outputs: list[PortRow]
    gradient: str
    gradient_note: str | None

class CancelFlag:
    set: bool
    def __init__(self) -> None: ...

class Value:
    @staticmethod
    def from_object(object: Any) -> Value: ...
    @staticmethod
    def zeros(shape: Sequence[int], onnx_type: int) -> Value: ...
    @staticmethod
    def over_memory(address: int, shape: Sequence[int], onnx_type: int) -> Value: ...
    @staticmethod
    def from_dlpack(capsule: Any) -> Value: ...
    def to_dlpack(self, versioned: bool) -> Any: ...
    def numpy(self) -> npt.NDArray[Any]: ...
    def to_object(self) -> Any: ...
    def copy_from(self, other: Value) -> None: ...
    def type_name(self) -> str: ...
    def kind(self) -> str: ...
    def shape(self) -> list[int]: ...
    def onnx_type(self) -> int: ...
    def nbytes(self) -> int: ...
    def address(self) -> int: ...

class Session:
    @staticmethod
    def from_file(path: str, options: Mapping[str, Any]) -> Session: ...
    @staticmethod
    def from_bytes(model: bytes, options: Mapping[str, Any]) -> Session: ...
    def inputs(self) -> list[tuple[str, str, list[int | str | None]]]: ...
    def outputs(self) -> list[tuple[str, str, list[int | str | None]]]: ...
    def overridable(self) -> list[tuple[str, str, list[int | str | None]]]: ...
    def run(
        self, outputs: Sequence[str], feeds: Any, cancel: CancelFlag | None = None, timeout_s: float = 0.0
    ) -> list[Any]: ...
    def run_values(
        self, outputs: Sequence[str], feeds: Any, cancel: CancelFlag | None = None, timeout_s: float = 0.0
    ) -> list[Value]: ...
    def info(self) -> InfoRow: ...
    def report(self) -> list[ReportRow]: ...
    def explain(self) -> list[PassRow]: ...
    def save_optimized(self, path: str) -> None: ...
    def set_profiling(self, on: bool) -> None: ...
    def take_profile(self) -> list[ProfileRow]: ...

class Operator:
    domain: str
    name: str
    version: int
    def __init__(
        self,
        domain: str,
        name: str,
        version: int,
        function: Callable[..., Any],
        check: Callable[[int, Mapping[str, Any], int], None],
        infer: Callable[[Sequence[Any], Mapping[str, Any]], list[Any]] | None,
        pure: bool,
    ) -> None: ...

def register_operator(operator: Operator, replace: bool) -> None: ...
def unregister_operator(domain: str, name: str, version: int) -> int: ...
def registered_operators() -> list[tuple[str, str, int]]: ...
def load_operators(path: str) -> list[tuple[str, str, int]]: ...
def library_operators(path: str) -> list[Operator]: ...
def numpy_dtype(onnx_type: int) -> np.dtype[Any]: ...
def onnx_type(dtype: np.dtype[Any]) -> int: ...
def set_random_seed(seed: int) -> None: ...
def check_file(path: str) -> list[tuple[str, str, str]]: ...
def check_bytes(model: bytes) -> list[tuple[str, str, str]]: ...
def operators() -> list[OperatorRow]: ...
def export_model(
    source: str | bytes, path: str | None, options: Mapping[str, Any]
) -> tuple[bytes | None, BatchRow | None]: ...

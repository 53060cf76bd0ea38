"""Type strings of operator schemas ("tensor(float)", "seq(tensor(int64))"): NumPy types, TypeProtos, wider types."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

# Element type as schemas name it: NumPy's.
DTYPES: dict[str, Any] = {
    "float": np.float32, "double": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn, "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8e5m2": ml_dtypes.float8_e5m2, "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8e8m0": ml_dtypes.float8_e8m0fnu, "float4e2m1": ml_dtypes.float4_e2m1fn,
    "float6e2m3": ml_dtypes.float6_e2m3fn, "float6e3m2": ml_dtypes.float6_e3m2fn,
    "int2": ml_dtypes.int2, "uint2": ml_dtypes.uint2, "int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4,
    "int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16, "int32": np.int32,
    "uint32": np.uint32, "int64": np.int64, "uint64": np.uint64, "bool": np.bool_, "string": object,
    "complex64": np.complex64, "complex128": np.complex128,
}  # fmt: skip

# Floating-point types that onnxruntime computes with.
COMMON_FLOATS = ("float", "double")
WIDE_FLOATS = ("float", "double", "float16", "bfloat16")
# Element types that onnxruntime takes from NumPy.
PEER_TYPES = {
    "float", "double", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool",
    "string",
}  # fmt: skip


def split(kind: str) -> tuple[str, str]:
    """("tensor", "float") of "tensor(float)"; ("seq", "tensor(float)") of "seq(tensor(float))"."""
    outer, _, inner = kind.partition("(")
    return outer, inner[:-1]


@functools.cache
def element(kind: str) -> str:
    """The element type within any nesting; of a map, that of its values."""
    while "(" in kind:
        outer, kind = split(kind)
        if outer == "map":
            kind = kind.partition(",")[2].strip()
    return kind


def tensor(name: str) -> str:
    return f"tensor({name})"


@functools.cache
def dtype(kind: str) -> Any:
    """The NumPy type of the elements of "tensor(float)" or "float"."""
    return np.dtype(DTYPES[element(kind)])


@functools.cache
def number(kind: str) -> int:
    """The elements' TensorProto.DataType."""
    return int(getattr(TensorProto, element(kind).upper()))


def is_float(kind: str) -> bool:
    return element(kind).startswith(("float", "bfloat", "double"))


def is_complex(kind: str) -> bool:
    return element(kind).startswith("complex")


def is_integer(kind: str) -> bool:
    return element(kind).startswith(("int", "uint"))


def is_unsigned(kind: str) -> bool:
    return element(kind).startswith("uint")


def limits(kind: str) -> tuple[int, int]:
    info = ml_dtypes.iinfo(dtype(kind))
    return int(info.min), int(info.max)


def epsilon(kind: str) -> float:
    return float(ml_dtypes.finfo(dtype(kind)).eps)


def widened(kind: str, floats: str, double: bool = False) -> str:
    """The kind with every floating-point element type replaced by `floats`, that of 64 bits only if `double`."""
    name = element(kind)
    return kind.replace(name, floats) if is_float(name) and (double or name != "double") else kind


def proto(kind: str, shape: Any = None) -> onnx.TypeProto:
    """The TypeProto; `shape` is that of a tensor (extents or names), None where it is unknown."""
    outer, inner = split(kind)
    if outer == "tensor":
        return helper.make_tensor_type_proto(number(inner), shape)
    if outer == "seq":
        return helper.make_sequence_type_proto(proto(inner))
    if outer == "optional":
        return helper.make_optional_type_proto(proto(inner))
    if outer == "map":
        key, _, value = inner.partition(",")
        value = value.strip()
        return helper.make_map_type_proto(number(key), proto(value if "(" in value else tensor(value)))
    raise ValueError(f"unknown kind of type {kind}")


def convert(value: Any, kind: str) -> Any:
    """The value (array, list, dict or None) with elements of the kind's type."""
    outer, inner = split(kind)
    if value is None:
        return None
    if outer == "optional":
        return convert(value, inner)
    if outer == "seq":
        return [convert(item, inner) for item in value]
    if outer == "map":
        return value
    array = np.asarray(value)
    if array.dtype == dtype(inner):
        return value
    with np.errstate(all="ignore"):
        return array.astype(dtype(inner))

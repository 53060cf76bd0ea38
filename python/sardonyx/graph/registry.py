"""What the core knows of operators, and its names of element types as NumPy's."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
import numpy.typing as npt

from sardonyx import _core

__all__ = ["DTYPES", "operator_rows"]

# The registry's short names of element types as NumPy's.
DTYPES: dict[str, npt.DTypeLike] = {
    "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64,
    "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
    "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64,
    "bool": np.bool_, "c64": np.complex64, "c128": np.complex128,
}  # fmt: skip


@functools.cache
def operator_rows() -> dict[tuple[str, str], _core.OperatorRow]:
    """The registry by domain and name; domain "" is ai.onnx."""
    return {(row["domain"], row["name"]): row for row in _core.operators()}

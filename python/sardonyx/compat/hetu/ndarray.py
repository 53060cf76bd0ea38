"""Arrays and devices under Hetu's names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DLContext", "NDArray", "array", "cpu", "empty", "gpu", "is_gpu_ctx"]


@dataclass(frozen=True)
class DLContext:
    """A device."""

    device_type: str
    device_id: int

    def __repr__(self) -> str:
        return f"{self.device_type}({self.device_id})"


def cpu(dev_id: int = 0) -> DLContext:
    """The processor."""
    return DLContext("cpu", dev_id)


def gpu(dev_id: int = 0) -> DLContext:
    """A graphics card. This build computes on the processor only: warns and gives that."""
    warnings.warn(
        f"gpu({dev_id}) is not available: Sardonyx trains on the CPU, which this program now uses; "
        "write cpu() to say so",
        RuntimeWarning,
        stacklevel=2,
    )
    return DLContext("cpu", 0)


def is_gpu_ctx(ctx: DLContext | None) -> bool:
    """Whether a device is a graphics card."""
    return ctx is not None and ctx.device_type == "gpu"


class NDArray:
    """What a run returns: an array with Hetu's methods. NumPy takes it wherever it takes an array."""

    def __init__(self, value: npt.NDArray[Any]) -> None:
        self._value = value

    def asnumpy(self) -> npt.NDArray[Any]:
        """The elements."""
        return self._value

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""
        return self._value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        return self._value.dtype

    @property
    def ctx(self) -> DLContext:
        """Where it lies."""
        return cpu()

    def copyto(self, target: NDArray) -> None:
        """Copies the elements into another array of the same shape."""
        np.copyto(target._value, self._value)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self._value, dtype=dtype)

    def __setitem__(self, key: Any, value: npt.ArrayLike) -> None:
        self._value[key] = np.asarray(value)

    def __getitem__(self, key: Any) -> Any:
        return self._value[key]

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"NDArray({self._value!r})"


def array(arr: npt.ArrayLike, ctx: DLContext | None = None, dtype: npt.DTypeLike = np.float32) -> NDArray:
    """A copy of `arr`."""
    return NDArray(np.array(arr, dtype=dtype))


def empty(shape: Sequence[int], ctx: DLContext | None = None, dtype: npt.DTypeLike = np.float32) -> NDArray:
    """An array to write to, zeros at first."""
    return NDArray(np.zeros(tuple(shape), dtype))

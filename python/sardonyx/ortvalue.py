"""OrtValue: a tensor, sequence or map that lives outside a run and shares its memory with NumPy and DLPack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx import _core
from sardonyx.devices import OrtDevice, OrtMemoryInfo, require_cpu
from sardonyx.errors import InvalidArgument

__all__ = ["OrtValue", "copy_tensors", "onnx_type_of"]

_DLPACK_CPU = 1


def onnx_type_of(element_type: Any) -> int:
    """ONNX's number for an element type given as such a number or as anything that NumPy takes for a dtype."""
    if isinstance(element_type, (int, np.integer)) and not isinstance(element_type, bool):
        return int(element_type)
    number = _core.onnx_type(np.dtype(element_type))
    if number == 0:
        raise InvalidArgument(f"{element_type!r} has no ONNX element type")
    return number


class OrtValue:
    """A run-time value: a tensor (most often), a sequence, a map, or none.

    Tensors made from NumPy arrays or DLPack share the caller's memory where it is C-contiguous; `numpy()` and
    `__dlpack__` give views of the value's memory, so writing to one writes to the other.

    Example:
        >>> value = OrtValue.ortvalue_from_numpy(np.zeros((2, 3), np.float32))
        >>> value.shape(), value.data_type()
        ([2, 3], 'tensor(float)')
    """

    def __init__(self, ortvalue: _core.Value | OrtValue, numpy_obj: npt.NDArray[Any] | None = None) -> None:
        self._value: _core.Value = ortvalue._value if isinstance(ortvalue, OrtValue) else ortvalue

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: npt.ArrayLike, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """A tensor over the array's memory (copied only where the array is not C-contiguous or holds strings)."""
        require_cpu(device_type)
        return cls(_core.Value.from_object(np.asarray(numpy_obj)))

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, data: npt.NDArray[Any], /, onnx_element_type: int) -> OrtValue:
        """The array's bytes taken as elements of another ONNX type of the same width (uint16 as bfloat16).

        Raises:
            InvalidArgument: the widths differ.
        """
        wanted = _core.numpy_dtype(onnx_element_type)
        if wanted.itemsize != data.dtype.itemsize:
            raise InvalidArgument(f"elements of {data.dtype} cannot be taken for {wanted}: their widths differ")
        return cls.ortvalue_from_numpy(np.ascontiguousarray(data).view(wanted).reshape(data.shape))

    @classmethod
    def ortvalue_from_shape_and_type(
        cls,
        shape: Sequence[int],
        element_type: Any,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
        memory_info: OrtMemoryInfo | None = None,
    ) -> OrtValue:
        """A tensor of zeros; `element_type` is a NumPy dtype or ONNX's number for one."""
        require_cpu(device_type)
        return cls(_core.Value.zeros([int(dim) for dim in shape], onnx_type_of(element_type)))

    @classmethod
    def ortvalue_from_objects(cls, data: Any, /) -> OrtValue:
        """A sequence from a list of arrays, a map from a dict, none from None, or a tensor from anything else."""
        return cls(_core.Value.from_object(data))

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """A tensor over the memory of a DLPack capsule or of an object with `__dlpack__` (PyTorch, JAX, NumPy ...).

        Strided memory is copied. Raises InvalidArgument for memory that the CPU cannot read.
        """
        if hasattr(data, "__dlpack__"):
            try:
                data = data.__dlpack__(max_version=(1, 0))
            except TypeError:
                data = data.__dlpack__()
        return cls(_core.Value.from_dlpack(data))

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule over the tensor's memory."""
        if dl_device is not None and dl_device[0] != _DLPACK_CPU:
            raise BufferError(f"the tensor is in CPU memory, DLPack device {dl_device} was asked for")
        if copy:
            return OrtValue.ortvalue_from_numpy(self.numpy().copy()).__dlpack__(max_version=max_version)
        return self._value.to_dlpack(max_version is not None and max_version[0] >= 1)

    def __dlpack_device__(self) -> tuple[int, int]:
        """(1, 0): CPU memory."""
        return (_DLPACK_CPU, 0)

    def numpy(self) -> npt.NDArray[Any]:
        """The tensor as an array over the same memory; strings as an object array of their own."""
        return self._value.numpy()

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        array = self.numpy()
        if dtype is not None and array.dtype != np.dtype(dtype):
            if copy is False:
                raise ValueError(f"a tensor of {array.dtype} cannot become {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def to_python(self) -> Any:
        """An array, list, dict or None, as `InferenceSession.run` returns them, over the same memory."""
        return self._value.to_object()

    def update_inplace(self, data: npt.ArrayLike | OrtValue) -> None:
        """Writes `data` into the tensor's memory. Raises InvalidArgument where its type or shape is another one."""
        source = data._value if isinstance(data, OrtValue) else _core.Value.from_object(np.asarray(data))
        self._value.copy_from(source)

    def shape(self) -> list[int]:
        """The tensor's extents."""
        return self._value.shape()

    def data_type(self) -> str:
        """The type as onnxruntime spells it: `tensor(float)`, `seq(tensor(int64))`, `map(int64,tensor(float))`."""
        return self._value.type_name()

    def element_type(self) -> int:
        """ONNX's number for the element type."""
        return self._value.onnx_type()

    def tensor_size_in_bytes(self) -> int:
        """Bytes of the tensor's elements."""
        return self._value.nbytes()

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._value.address()

    def device_name(self) -> str:
        """`cpu`."""
        return "cpu"

    def ort_device(self) -> OrtDevice:
        """The CPU."""
        return OrtDevice.make("cpu", 0)

    def has_value(self) -> bool:
        """False for none."""
        return self._value.kind() != "none"

    def is_tensor(self) -> bool:
        """Whether this is a tensor."""
        return self._value.kind() == "tensor"

    def is_sparse_tensor(self) -> bool:
        """False: sparse tensors become dense when a model is loaded."""
        return False

    def is_tensor_sequence(self) -> bool:
        """Whether this is a sequence."""
        return self._value.kind() == "sequence"

    def __reduce__(self) -> tuple[Callable[[Any], OrtValue], tuple[Any]]:
        return OrtValue.ortvalue_from_objects, (self.to_python(),)

    def __repr__(self) -> str:
        extents = f", shape={self.shape()}" if self.is_tensor() else ""
        return f"OrtValue({self.data_type()}{extents})"


def copy_tensors(src: Sequence[OrtValue], dst: Sequence[OrtValue], stream: Any = None) -> None:
    """Copies each tensor of `src` into that of `dst`. Raises InvalidArgument where numbers, types or shapes differ."""
    if len(src) != len(dst):
        raise InvalidArgument(f"{len(src)} tensors to copy into {len(dst)}")
    for source, target in zip(src, dst, strict=True):
        target.update_inplace(source)

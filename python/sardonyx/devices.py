"""Where tensors live: the CPU, under the names that onnxruntime gives to devices and kinds of memory."""

from __future__ import annotations

import enum

from sardonyx.errors import InvalidArgument

__all__ = ["OrtAllocatorType", "OrtDevice", "OrtDeviceVendorId", "OrtMemType", "OrtMemoryInfo", "require_cpu"]


class OrtDeviceVendorId(enum.IntEnum):
    """PCI vendor numbers."""

    NONE = 0
    AMD = 4098
    NVIDIA = 4318
    ARM = 5045
    MICROSOFT = 5140
    HUAWEI = 6629
    QUALCOMM = 20803
    INTEL = 32902


class OrtMemType(enum.IntEnum):
    """Kinds of memory."""

    CPU_INPUT = -2
    CPU_OUTPUT = -1
    CPU = -1
    DEFAULT = 0


class OrtAllocatorType(enum.IntEnum):
    """Kinds of allocators."""

    INVALID = -1
    ORT_DEVICE_ALLOCATOR = 0
    ORT_ARENA_ALLOCATOR = 1


def require_cpu(device_type: str) -> None:
    """Raises InvalidArgument for a device other than the CPU."""
    if device_type.lower() != "cpu":
        raise InvalidArgument(f"device '{device_type}' is not available in this build; only 'cpu' is")


class OrtDevice:
    """A device. Made by `OrtDevice.make("cpu", 0)`."""

    def __init__(self, device_id: int = 0) -> None:
        self._device_id = device_id

    @staticmethod
    def make(ort_device_name: str, device_id: int, vendor_id: int = -1) -> OrtDevice:
        """The device of that name; raises InvalidArgument for any but `cpu`."""
        require_cpu(ort_device_name)
        return OrtDevice(device_id)

    @staticmethod
    def cpu() -> int:
        """The number of the CPU device type."""
        return 0

    @staticmethod
    def default_memory() -> int:
        """The number of the default kind of memory."""
        return 0

    def device_id(self) -> int:
        """Which of the devices of this type."""
        return self._device_id

    def device_type(self) -> int:
        """0: the CPU."""
        return 0

    def device_vendor_id(self) -> int:
        """0: not told apart."""
        return 0

    def device_mem_type(self) -> int:
        """0: default memory."""
        return 0


class OrtMemoryInfo:
    """Describes memory that a session uses."""

    def __init__(self, name: str, allocator_type: OrtAllocatorType, device_id: int, mem_type: OrtMemType) -> None:
        self.name = name
        self.allocator_type = allocator_type
        self.device_id = device_id
        self.mem_type = mem_type

"""Devices under SINGA's names. All of them are the processor."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

import sardonyx

__all__ = [
    "Device",
    "create_cpu_device",
    "create_cuda_gpu",
    "create_cuda_gpu_on",
    "create_cuda_gpus",
    "create_cuda_gpus_on",
    "create_opencl_device",
    "get_default_device",
    "get_num_gpus",
]


class Device:
    """Where tensors live, and the random numbers that they draw."""

    def __init__(self) -> None:
        self.random = np.random.default_rng()

    def id(self) -> int:
        """-1: the processor."""
        return -1

    def SetRandSeed(self, seed: int) -> None:
        """Makes what follows repeatable: first values of layers, random tensors and dropout."""
        self.random = np.random.default_rng(seed)
        sardonyx.set_seed(seed)

    def Sync(self) -> None:
        """Waits for what was started. Reading a value waits by itself."""

    def __repr__(self) -> str:
        return "Device(cpu)"


_default = Device()


def get_default_device() -> Device:
    """The processor."""
    return _default


create_cpu_device = get_default_device


def _instead(name: str) -> Device:
    warnings.warn(
        f"{name} is not available: Sardonyx trains on the CPU, which this program now uses; "
        "write device.get_default_device() to say so",
        RuntimeWarning,
        stacklevel=3,
    )
    return _default


def create_cuda_gpu() -> Device:
    """A graphics card. This build computes on the processor only: warns and gives that."""
    return _instead("a CUDA device")


def create_cuda_gpu_on(device_id: int) -> Device:
    """As `create_cuda_gpu`."""
    return _instead(f"CUDA device {device_id}")


def create_cuda_gpus(num: int) -> list[Device]:
    """As `create_cuda_gpu`, so many times."""
    return [_instead(f"CUDA device {i}") for i in range(num)]


def create_cuda_gpus_on(device_ids: Sequence[int]) -> list[Device]:
    """As `create_cuda_gpu`, for each number."""
    return [_instead(f"CUDA device {i}") for i in device_ids]


def create_opencl_device() -> Device:
    """As `create_cuda_gpu`."""
    return _instead("an OpenCL device")


def get_num_gpus() -> int:
    """0."""
    return 0

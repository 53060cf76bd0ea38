"""Which providers exist, which are available here, and what a caller's list of them comes to."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from sardonyx.errors import EPFail, InvalidArgument

__all__ = ["ProviderList", "get_all_providers", "get_available_providers", "resolve_providers"]

CPU = "CPUExecutionProvider"

# Name -> why it cannot be used here. The order is that in which onnxruntime lists them.
_UNAVAILABLE = {
    "NvTensorRTRTXExecutionProvider": "Sardonyx does not use TensorRT",
    "TensorrtExecutionProvider": "Sardonyx does not use TensorRT",
    "CUDAExecutionProvider": "this build has no CUDA back end",
    "MIGraphXExecutionProvider": "Sardonyx has no back end for AMD GPUs",
    "ROCMExecutionProvider": "Sardonyx has no back end for AMD GPUs",
    "OpenVINOExecutionProvider": "Sardonyx brings its own CPU kernels",
    "DnnlExecutionProvider": "Sardonyx brings its own CPU kernels",
    "VitisAIExecutionProvider": "Sardonyx has no back end for AMD accelerators",
    "QNNExecutionProvider": "Sardonyx has no back end for Qualcomm accelerators",
    "SNPEExecutionProvider": "Sardonyx has no back end for Qualcomm accelerators",
    "NnapiExecutionProvider": "it exists on Android only",
    "VSINPUExecutionProvider": "Sardonyx has no back end for VeriSilicon accelerators",
    "JsExecutionProvider": "it exists in browsers only",
    "CoreMLExecutionProvider": "it exists on Apple systems only",
    "ACLExecutionProvider": "Sardonyx brings its own CPU kernels",
    "ArmNNExecutionProvider": "Sardonyx brings its own CPU kernels",
    "DmlExecutionProvider": "it exists on Windows only",
    "RknpuExecutionProvider": "Sardonyx has no back end for Rockchip accelerators",
    "WebNNExecutionProvider": "it exists in browsers only",
    "WebGpuExecutionProvider": "Sardonyx has no back end for WebGPU",
    "XnnpackExecutionProvider": "Sardonyx brings its own CPU kernels",
    "CANNExecutionProvider": "Sardonyx has no back end for Huawei accelerators",
    "TvmExecutionProvider": "Sardonyx does not use TVM",
    "AzureExecutionProvider": "Sardonyx runs models on this machine only",
}

ProviderList = Sequence[str | tuple[str, Mapping[Any, Any]]]


def get_available_providers() -> list[str]:
    """The providers that sessions can use on this machine."""
    return [CPU]


def get_all_providers() -> list[str]:
    """Every provider whose name is known, available or not; the CPU last."""
    return [*_UNAVAILABLE, CPU]


def _pairs(
    providers: ProviderList, provider_options: Sequence[Mapping[Any, Any]] | None
) -> list[tuple[str, dict[str, str]]]:
    if isinstance(providers, str):
        raise InvalidArgument(f"providers is a list of names, got the string '{providers}'; write ['{providers}']")
    if provider_options is not None and len(provider_options) != len(providers):
        raise ValueError(f"{len(provider_options)} provider_options for {len(providers)} providers")
    pairs = []
    for index, entry in enumerate(providers):
        options: Mapping[Any, Any] = provider_options[index] if provider_options else {}
        if isinstance(entry, str):
            name = entry
        elif (
            isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], Mapping)
        ):
            if options:
                raise ValueError(
                    "options stand either beside their provider's name or in provider_options, not in both"
                )
            name, options = entry
        else:
            raise InvalidArgument(f"a provider is a name or a (name, options) pair, got {entry!r}")
        pairs.append((name, {str(key): str(value) for key, value in options.items()}))
    return pairs


def resolve_providers(
    providers: ProviderList | None, provider_options: Sequence[Mapping[Any, Any]] | None = None, strict: bool = False
) -> dict[str, dict[str, str]]:
    """What a caller's list of providers comes to: available names, in order, with their options; the CPU is last.

    A known provider that is not available gives one warning with the reason, or with `strict` raises EPFail. A name
    that nobody knows raises InvalidArgument with the nearest known one.
    """
    chosen: dict[str, dict[str, str]] = {}
    seen = set()
    for name, options in _pairs(providers or [], provider_options):
        if name in seen:
            warnings.warn(f"provider '{name}' is named twice; the first stands", UserWarning, stacklevel=4)
            continue
        seen.add(name)
        if name == CPU:
            chosen[name] = options
        elif name in _UNAVAILABLE:
            message = f"provider '{name}' is not available: {_UNAVAILABLE[name]}. Available: {CPU}"
            if strict:
                raise EPFail(message)
            warnings.warn(f"{message}; its nodes run there instead", UserWarning, stacklevel=4)
        else:
            known = get_all_providers()
            names = {other.lower(): other for other in known}
            names |= {other.lower().removesuffix("executionprovider"): other for other in known}
            near = difflib.get_close_matches(name.lower(), names, n=1)
            hint = f"; did you mean '{names[near[0]]}'?" if near else f"; known are {', '.join(known)}"
            raise InvalidArgument(f"there is no provider named '{name}'{hint}")
    chosen.setdefault(CPU, {})
    return chosen

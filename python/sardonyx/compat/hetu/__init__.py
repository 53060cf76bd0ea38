"""Hetu's interface: `import sardonyx.compat.hetu as ht`, and its parts as `ad`, `init`, `optim` and `onnx`.

Nodes are tensors of `sardonyx.graph`; everything that takes those takes nodes too.
"""

from sardonyx.compat.hetu import gpu_ops, initializers, ndarray, onnx, optimizer
from sardonyx.compat.hetu.gpu_ops import *  # noqa: F403
from sardonyx.compat.hetu.gpu_ops import __all__ as _builders
from sardonyx.compat.hetu.ndarray import DLContext, NDArray, array, cpu, empty, gpu, is_gpu_ctx

ad = gpu_ops
init = initializers
optim = optimizer

__all__ = [
    *_builders,
    "DLContext",
    "NDArray",
    "ad",
    "array",
    "cpu",
    "empty",
    "gpu",
    "gpu_ops",
    "init",
    "initializers",
    "is_gpu_ctx",
    "ndarray",
    "onnx",
    "optim",
    "optimizer",
]

"""Normalization: (x - mean) / sqrt(variance + eps) * weight + bias over a batch, a layer or groups of channels."""

from __future__ import annotations

from collections.abc import Sequence

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, constant, variable
from sardonyx.nn import init
from sardonyx.nn.module import Module

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
    "LayerNorm", "RMSNorm",
]  # fmt: skip


class _BatchNorm(Module):
    unused_state = ("num_batches_tracked",)

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise InvalidArgument(f"momentum is {momentum}; a number from 0 to 1 expected")
        self.num_features, self.eps, self.momentum, self.affine = num_features, eps, momentum, affine
        self.weight = variable(init.ones([num_features])) if affine else None
        self.bias = variable(init.zeros([num_features])) if affine else None
        self.register_buffer("running_mean", init.zeros([num_features]))
        self.register_buffer("running_var", init.ones([num_features]))

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, num_features, ...]."""
        y = apply(
            "BatchNormalization",
            x,
            constant(init.ones([self.num_features])) if self.weight is None else self.weight,
            constant(init.zeros([self.num_features])) if self.bias is None else self.bias,
            self.running_mean,
            self.running_var,
            epsilon=self.eps,
            momentum=1 - self.momentum,
        )
        assert y.node is not None
        y.node.frozen = not self.training
        return y

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"


class BatchNorm1d(_BatchNorm):
    """Normalizes channels of [n, channels] or [n, channels, length]; see BatchNorm2d."""


class BatchNorm2d(_BatchNorm):
    """Normalizes each channel of [n, channels, height, width]: in training by the batch, else by running statistics.

    Args:
        momentum: the share of the batch when training moves the statistics. Its variance is divided by its size, as in
            ONNX; torch divides by one less.

    Attributes:
        weight, bias: [channels], ones and zeros; None without affine.
        running_mean, running_var: [channels], zeros and ones; no parameters.

    Example:
        >>> BatchNorm2d(3)(np.ones((1, 3, 2, 2), np.float32)).numpy().shape
        (1, 3, 2, 2)
    """


class BatchNorm3d(_BatchNorm):
    """Normalizes each channel of [n, channels, depth, height, width]; see BatchNorm2d."""


class LayerNorm(Module):
    """Normalizes over the last axes.

    Args:
        normalized_shape: their extents.

    Attributes:
        weight, bias: of that shape, ones and zeros; None without elementwise_affine.

    Example:
        >>> LayerNorm(4)(np.arange(4, dtype=np.float32)).numpy().round(2)
        array([-1.34, -0.45,  0.45,  1.34], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = variable(init.ones(shape)) if elementwise_affine else None
        self.bias = variable(init.zeros(shape)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., *normalized_shape]."""
        scale = constant(init.ones(self.normalized_shape)) if self.weight is None else self.weight
        axis = -len(self.normalized_shape)
        return apply("LayerNormalization", x, scale, self.bias, axis=axis, epsilon=self.eps)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"


class GroupNorm(Module):
    """Normalizes groups of channels of [n, channels, ...] (Wu and He 2018).

    Attributes:
        weight, bias: [num_channels], ones and zeros; None without affine.

    Example:
        >>> GroupNorm(2, 4)(np.ones((1, 4, 3, 3), np.float32)).numpy().shape
        (1, 4, 3, 3)
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise InvalidArgument(f"{num_channels} channels cannot be cut into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = variable(init.ones([num_channels])) if affine else None
        self.bias = variable(init.zeros([num_channels])) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, num_channels, ...]."""
        scale = constant(init.ones([self.num_channels])) if self.weight is None else self.weight
        shift = constant(init.zeros([self.num_channels])) if self.bias is None else self.bias
        return apply("GroupNormalization", x, scale, shift, num_groups=self.num_groups, epsilon=self.eps)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.weight is not None}"


class _InstanceNorm(Module):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.weight = variable(init.ones([num_features])) if affine else None
        self.bias = variable(init.zeros([num_features])) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, num_features, ...]."""
        scale = constant(init.ones([self.num_features])) if self.weight is None else self.weight
        shift = constant(init.zeros([self.num_features])) if self.bias is None else self.bias
        return apply("InstanceNormalization", x, scale, shift, epsilon=self.eps)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"


class InstanceNorm1d(_InstanceNorm):
    """Normalizes each channel of each item of [n, channels, length]; see InstanceNorm2d."""


class InstanceNorm2d(_InstanceNorm):
    """Normalizes each channel of each item of [n, channels, height, width] by itself (Ulyanov et al. 2016).

    Args:
        momentum: has no effect: there are no running statistics.

    Attributes:
        weight, bias: [channels], ones and zeros; None without affine.
    """


class InstanceNorm3d(_InstanceNorm):
    """Normalizes each channel of each item of [n, channels, depth, height, width]; see InstanceNorm2d."""


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axes (Zhang and Sennrich 2019).

    Args:
        normalized_shape: their extents.

    Attributes:
        weight: of that shape, ones; None without elementwise_affine.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = variable(init.ones(shape)) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., *normalized_shape]."""
        scale = constant(init.ones(self.normalized_shape)) if self.weight is None else self.weight
        return apply("RMSNormalization", x, scale, axis=-len(self.normalized_shape), epsilon=self.eps)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"

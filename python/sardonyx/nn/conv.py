"""Convolutions over one, two and three spatial axes, and transposed ones."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, constant, variable
from sardonyx.nn import init
from sardonyx.nn.init import Rng
from sardonyx.nn.module import Module
from sardonyx.nn.sizes import Sizes, both_sides, per_axis

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

# Names of ways to pad, and ONNX's for them.
_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class _Convolution(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        dilation: Sizes,
        groups: int,
        weight_shape: tuple[int, int],
        bias: bool,
        rng: Rng,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise InvalidArgument(
                f"{in_channels} channels in and {out_channels} out cannot be cut into {groups} groups"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = per_axis(kernel_size, self.axes, "kernel_size", 1)
        self.stride = per_axis(stride, self.axes, "stride", 1)
        self.dilation = per_axis(dilation, self.axes, "dilation", 1)
        source = init.generator(rng)
        shape = (*weight_shape, *self.kernel_size)
        bound = 1 / math.sqrt(max(init.fans(shape)[0], 1))
        self.weight = variable(init.uniform(shape, -bound, bound, source))
        self.bias = variable(init.uniform((out_channels,), -bound, bound, source)) if bias else None

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", (0,) * self.axes), ("dilation", (1,) * self.axes), ("groups", 1)):
            if getattr(self, name) != usual:
                text += f", {name}={getattr(self, name)}"
        return text if self.bias is not None else f"{text}, bias=False"


class _Conv(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | Literal["same", "valid"] = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rng: Rng = None,
    ) -> None:
        weight_shape = (out_channels, in_channels // max(groups, 1))
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups, weight_shape, bias, rng)
        if padding_mode not in _PAD_MODES:
            raise InvalidArgument(f"padding_mode is '{padding_mode}'; one of {', '.join(_PAD_MODES)} expected")
        self.padding_mode = padding_mode
        self.padding: tuple[int, ...] | str
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise InvalidArgument(f"padding is '{padding}'; numbers, same or valid expected")
            if padding == "same" and any(step != 1 for step in self.stride):
                raise InvalidArgument(f"padding 'same' needs a stride of 1, not {self.stride}")
            self.padding = padding
            extra = [d * (k - 1) if padding == "same" else 0 for k, d in zip(self.kernel_size, self.dilation)]
            self._pads = [*(n // 2 for n in extra), *(n - n // 2 for n in extra)]
        else:
            self.padding = per_axis(padding, self.axes, "padding")
            self._pads = both_sides(self.padding)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, in_channels, *extents]."""
        pads = self._pads
        if self.padding_mode != "zeros" and any(pads):
            around = [0, 0, *pads[: self.axes], 0, 0, *pads[self.axes :]]
            x = apply("Pad", x, constant(around), mode=_PAD_MODES[self.padding_mode])
            pads = [0] * len(pads)
        return apply(
            "Conv",
            x,
            self.weight,
            self.bias,
            kernel_shape=list(self.kernel_size),
            strides=list(self.stride),
            pads=pads,
            dilations=list(self.dilation),
            group=self.groups,
        )


class Conv1d(_Conv):
    """Convolution over [n, channels, length]; see Conv2d."""

    axes = 1


class Conv2d(_Conv):
    """Convolution over [n, channels, height, width].

    Args:
        padding: zeros on both sides of each axis; or "same" (extents stay; stride 1) or "valid" (none).
        groups: channels are cut into so many groups, and each filter sees one.
        padding_mode: zeros, reflect, replicate or circular.
        rng: where the initial values come from; see `sardonyx.nn.init`.

    Attributes:
        weight: [out_channels, in_channels / groups, *kernel_size], from U(-a, a) with a = 1 / sqrt(fan_in).
        bias: [out_channels], likewise; None without bias.

    Example:
        >>> Conv2d(3, 8, 3, padding=1)(np.ones((1, 3, 16, 16), np.float32)).numpy().shape
        (1, 8, 16, 16)
    """

    axes = 2


class Conv3d(_Conv):
    """Convolution over [n, channels, depth, height, width]; see Conv2d."""

    axes = 3


class _ConvTranspose(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        *,
        rng: Rng = None,
    ) -> None:
        weight_shape = (in_channels, out_channels // max(groups, 1))
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups, weight_shape, bias, rng)
        self.padding = per_axis(padding, self.axes, "padding")
        self.output_padding = per_axis(output_padding, self.axes, "output_padding")

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, in_channels, *extents]."""
        return apply(
            "ConvTranspose",
            x,
            self.weight,
            self.bias,
            kernel_shape=list(self.kernel_size),
            strides=list(self.stride),
            pads=both_sides(self.padding),
            output_padding=list(self.output_padding),
            dilations=list(self.dilation),
            group=self.groups,
        )


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution over [n, channels, length]; see ConvTranspose2d."""

    axes = 1


class ConvTranspose2d(_ConvTranspose):
    """The derivative of a convolution by its input, as a layer: makes images larger.

    Args:
        padding: cut off on both sides of each axis.
        output_padding: added at the end of each axis.

    Attributes:
        weight: [in_channels, out_channels / groups, *kernel_size], from U(-a, a) with a = 1 / sqrt(weight[0].size).
        bias: [out_channels], likewise; None without bias.

    Example:
        >>> ConvTranspose2d(8, 3, 2, stride=2)(np.ones((1, 8, 4, 4), np.float32)).numpy().shape
        (1, 3, 8, 8)
    """

    axes = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution over [n, channels, depth, height, width]; see ConvTranspose2d."""

    axes = 3

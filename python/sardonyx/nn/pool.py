"""Pooling: the largest or the mean element of windows, of windows that follow from the output's size, or of all."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, constant
from sardonyx.nn.module import Module
from sardonyx.nn.sizes import Sizes, both_sides, per_axis

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]


class _Pool(Module):
    axes: ClassVar[int]

    def __init__(self, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, ceil_mode: bool) -> None:
        super().__init__()
        self.kernel_size = per_axis(kernel_size, self.axes, "kernel_size", 1)
        self.stride = self.kernel_size if stride is None else per_axis(stride, self.axes, "stride", 1)
        self.padding = per_axis(padding, self.axes, "padding")
        self.ceil_mode = ceil_mode

    def _pool(self, op: str, x: Tensor, **attributes: Any) -> Tensor:
        return apply(
            op,
            x,
            kernel_shape=list(self.kernel_size),
            strides=list(self.stride),
            pads=both_sides(self.padding),
            ceil_mode=int(self.ceil_mode),
            **attributes,
        )

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        ceil = ", ceil_mode=True" if self.ceil_mode else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{ceil}"


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = per_axis(dilation, self.axes, "dilation", 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, *extents]."""
        return self._pool("MaxPool", x, dilations=list(self.dilation))


class MaxPool1d(_MaxPool):
    """The largest element of each window over [n, channels, length]; see MaxPool2d."""

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window over [n, channels, height, width].

    Args:
        stride: the kernel's size where None.
        ceil_mode: whether a last window may reach beyond the border.

    Example:
        >>> MaxPool2d(2)(np.ones((1, 3, 8, 8), np.float32)).numpy().shape
        (1, 3, 4, 4)
    """

    axes = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window over [n, channels, depth, height, width]; see MaxPool2d."""

    axes = 3


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, *extents]."""
        return self._pool("AveragePool", x, count_include_pad=int(self.count_include_pad))


class AvgPool1d(_AvgPool):
    """The mean of each window over [n, channels, length]; see AvgPool2d."""

    axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window over [n, channels, height, width].

    Args:
        stride: the kernel's size where None.
        ceil_mode: whether a last window may reach beyond the border.
        count_include_pad: whether padding counts as zeros in the mean.

    Example:
        >>> AvgPool2d(2)(np.ones((1, 3, 8, 8), np.float32)).numpy().shape
        (1, 3, 4, 4)
    """

    axes = 2


class AvgPool3d(_AvgPool):
    """The mean of each window over [n, channels, depth, height, width]; see AvgPool2d."""

    axes = 3


def _averages(size: int, outputs: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """[size, outputs]: output i is the mean of the elements from floor(i size / outputs) to
    ceil((i + 1) size / outputs)."""
    matrix = np.zeros((size, outputs))
    for i in range(outputs):
        start, end = i * size // outputs, -(-(i + 1) * size // outputs)
        matrix[start:end, i] = 1 / (end - start)
    return matrix.astype(dtype)


class _AdaptivePool(Module):
    axes: ClassVar[int]
    op: ClassVar[str]

    def __init__(self, output_size: Sizes) -> None:
        super().__init__()
        self.output_size = per_axis(output_size, self.axes, "output_size", 1)

    def _uneven(self, x: Tensor, extents: list[int]) -> Tensor:
        raise InvalidArgument(
            f"{type(self).__name__}: extents {extents} are no multiples of the output's {list(self.output_size)}"
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, *extents]; the extents must be known unless the output's are all 1."""
        if all(size == 1 for size in self.output_size):
            return apply(f"Global{self.op}", x)
        extents = list((x.shape or ())[2:])
        known = [extent for extent in extents if isinstance(extent, int)]
        if len(known) != self.axes or len(known) != len(extents):
            raise InvalidArgument(
                f"{type(self).__name__} to {list(self.output_size)} must know the {self.axes} spatial extents of its "
                f"input, which has the shape {x.shape}; give the placeholder numbers for them"
            )
        if known == list(self.output_size):
            return x
        if any(n % size for n, size in zip(known, self.output_size)):
            return self._uneven(x, known)
        window = [n // size for n, size in zip(known, self.output_size)]
        return apply(self.op, x, kernel_shape=window, strides=window)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_AdaptivePool):
    op = "AveragePool"

    def _uneven(self, x: Tensor, extents: list[int]) -> Tensor:
        for i, (extent, size) in enumerate(zip(extents, self.output_size)):
            if extent != size:
                order = list(range(2 + self.axes))
                order[2 + i], order[-1] = order[-1], order[2 + i]
                moved = i != self.axes - 1
                x = x.transpose(*order) if moved else x
                x = apply("MatMul", x, constant(_averages(extent, size, x.dtype)))
                x = x.transpose(*order) if moved else x
        return x


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of as many windows as the output has elements, over [n, channels, length]; see AdaptiveAvgPool2d."""

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of as many windows as the output has elements, over [n, channels, height, width].

    Output i is the mean of the elements from floor(i size / outputs) to ceil((i + 1) size / outputs).

    Example:
        >>> AdaptiveAvgPool2d((1, 1))(np.ones((1, 3, 8, 8), np.float32)).numpy().shape
        (1, 3, 1, 1)
    """

    axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of as many windows as the output has elements, over three spatial axes; see AdaptiveAvgPool2d."""

    axes = 3


class AdaptiveMaxPool1d(_AdaptivePool):
    """The largest element of as many windows as the output has elements; see AdaptiveMaxPool2d."""

    axes = 1
    op = "MaxPool"


class AdaptiveMaxPool2d(_AdaptivePool):
    """The largest element of as many windows as the output has elements, over [n, channels, height, width].

    The extents must be multiples of the output's.

    Example:
        >>> AdaptiveMaxPool2d(2)(np.ones((1, 3, 8, 8), np.float32)).numpy().shape
        (1, 3, 2, 2)
    """

    axes = 2
    op = "MaxPool"


class AdaptiveMaxPool3d(_AdaptivePool):
    """The largest element of as many windows as the output has elements; see AdaptiveMaxPool2d."""

    axes = 3
    op = "MaxPool"

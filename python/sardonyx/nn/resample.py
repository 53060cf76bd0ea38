"""Other resolutions: elements between those that are there, and channels that become pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, constant
from sardonyx.nn.module import Module

__all__ = ["PixelShuffle", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "interpolate"]

# Names of ways to find elements in between, with the number of spatial axes that they take, and ONNX's for them.
_MODES = {
    "nearest": ((1, 2, 3), "nearest"), "linear": ((1,), "linear"), "bilinear": ((2,), "linear"),
    "trilinear": ((3,), "linear"), "bicubic": ((2,), "cubic"),
}  # fmt: skip


def interpolate(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = False,
) -> Tensor:
    """[n, channels, *extents] at another resolution.

    Args:
        size: the new extents, one for all or one for each.
        scale_factor: how many times the old extents the new ones are; either this or `size`.
        mode: nearest, linear (one spatial axis), bilinear or bicubic (two) or trilinear (three).
        align_corners: whether first and last elements keep their places, rather than the borders of the image.

    Example:
        >>> interpolate(constant([[[1.0, 3.0]]]), 4, mode="linear").numpy()
        array([[[1. , 1.5, 2.5, 3. ]]], dtype=float32)
    """
    axes = x.rank - 2
    if mode not in _MODES or axes not in _MODES[mode][0]:
        raise InvalidArgument(
            f"mode is '{mode}' for {axes} spatial axes; one of {', '.join(_MODES)} that fits expected"
        )
    if (size is None) == (scale_factor is None):
        raise InvalidArgument("interpolate takes either size or scale_factor")
    attributes: dict[str, Any] = {"mode": _MODES[mode][1], "axes": list(range(2, axes + 2))}
    if mode == "nearest":
        attributes.update(coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    else:
        corners = "align_corners" if align_corners else "pytorch_half_pixel"
        attributes.update(coordinate_transformation_mode=corners, cubic_coeff_a=-0.75)
    if size is not None:
        sizes = [size] * axes if isinstance(size, int) else list(size)
        return apply("Resize", x, None, None, constant(sizes), **attributes)
    assert scale_factor is not None
    factors = [scale_factor] * axes if isinstance(scale_factor, (int, float)) else list(scale_factor)
    return apply("Resize", x, None, constant(factors, dtype=np.float32), **attributes)


class Upsample(Module):
    """`interpolate` as a module.

    Example:
        >>> Upsample(scale_factor=2)(np.ones((1, 3, 4, 4), np.float32)).numpy().shape
        (1, 3, 8, 8)
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, *extents]."""
        return interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        what = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{what}, mode='{self.mode}'"


class UpsamplingNearest2d(Upsample):
    """The nearest elements of [n, channels, height, width]."""

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """Between elements of [n, channels, height, width] on a line; corners keep their places."""

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Module):
    """[n, channels r r, height, width] to [n, channels, height r, width r] (Shi et al. 2016).

    Args:
        upscale_factor: r.
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels r r, height, width]."""
        return apply("DepthToSpace", x, blocksize=self.upscale_factor, mode="CRD")

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"upscale_factor={self.upscale_factor}"

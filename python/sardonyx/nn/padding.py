"""Padding: more elements around the last axes, constant ones or such as are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, constant
from sardonyx.nn.module import Module

__all__ = [
    "PAD_MODES", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d",
    "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "ZeroPad2d", "pad",
]  # fmt: skip

# Names of ways to pad, and ONNX's for them.
PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """x with more elements before and behind its last axes, or fewer where numbers are negative.

    Args:
        pad: two numbers for each axis, from the last one backwards: (left, right, top, bottom, ...).
        mode: constant, reflect, replicate or circular.
        value: of new elements; only with constant.

    Example:
        >>> pad(constant([1, 2]), (2, 1), value=7).numpy()
        array([7, 7, 1, 2, 7])
    """
    if mode not in PAD_MODES:
        raise InvalidArgument(f"the mode of padding is '{mode}'; one of {', '.join(PAD_MODES)} expected")
    if len(pad) % 2 or len(pad) > 2 * x.rank:
        raise InvalidArgument(f"pad has {len(pad)} numbers; two for each of at most {x.rank} axes expected")
    rest = [0] * (x.rank - len(pad) // 2)
    pads = constant([*rest, *reversed(pad[::2]), *rest, *reversed(pad[1::2])])
    filling = constant(value, dtype=x.dtype) if mode == "constant" else None
    return apply("Pad", x, pads, filling, mode=PAD_MODES[mode])


class _Pad(Module):
    axes: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.axes) if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 2 * self.axes:
            raise InvalidArgument(f"padding is {padding}; a number, or {2 * self.axes} of them, expected")
        self.value = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, *extents]."""
        return pad(x, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A number before and behind [n, channels, length]; see ConstantPad2d."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """A number around [n, channels, height, width].

    Args:
        padding: how many elements left, right, above and below; one number for all.

    Example:
        >>> ConstantPad2d((1, 0, 0, 2), 3.0)(np.ones((1, 1, 2, 2), np.float32)).numpy().shape
        (1, 1, 4, 3)
    """

    axes = 2


class ConstantPad3d(_ConstantPad):
    """A number around [n, channels, depth, height, width]; see ConstantPad2d."""

    axes = 3


class ZeroPad2d(ConstantPad2d):
    """Zeros around [n, channels, height, width]; see ConstantPad2d."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)


class ReflectionPad1d(_Pad):
    """What is inside, mirrored at the first and the last element of [n, channels, length]."""

    axes = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """What is inside, mirrored at the outermost elements of [n, channels, height, width]."""

    axes = 2
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """The first and the last element again, over [n, channels, length]."""

    axes = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """The outermost elements again, over [n, channels, height, width]."""

    axes = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """The outermost elements again, over [n, channels, depth, height, width]."""

    axes = 3
    mode = "replicate"

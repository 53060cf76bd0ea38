"""What layers share that take a size per spatial axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sardonyx.errors import InvalidArgument

Sizes: TypeAlias = "int | Sequence[int]"


def per_axis(value: Sizes, axes: int, name: str, least: int = 0) -> tuple[int, ...]:
    """A number for each axis: the same for all, or as given."""
    sizes = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(sizes) != axes or any(size < least for size in sizes):
        raise InvalidArgument(f"{name} is {value}; a number from {least} on, or {axes} of them, expected")
    return sizes


def both_sides(padding: Sequence[int]) -> list[int]:
    """ONNX's pads: starts of all axes, then their ends."""
    return [*padding, *padding]

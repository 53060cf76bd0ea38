"""Shapes, and elements that move: joined, cut, chosen and put in other places, by OneFlow's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sardonyx.compat.oneflow.elementwise import truth
from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, TensorLike, apply, apply_all, constant
from sardonyx.nn import Flatten

__all__ = [
    "cat", "chunk", "concat", "expand", "expand_as", "flatten", "flip", "gather", "gather_nd", "hstack", "index_select",
    "masked_select", "movedim", "narrow", "nonzero", "permute", "repeat", "reshape", "roll", "scatter", "scatter_add",
    "select", "split", "squeeze", "stack", "swapaxes", "swapdims", "t", "tile", "transpose", "tril", "triu", "unbind",
    "unsqueeze", "view", "vstack",
]  # fmt: skip


def _given(numbers: tuple[Any, ...]) -> list[int]:
    """Numbers one by one, or as one sequence."""
    one = len(numbers) == 1 and not isinstance(numbers[0], (int, np.integer))
    return [int(n) for n in (numbers[0] if one else numbers)]


def _extent(x: Tensor, dim: int) -> int:
    extent = (x.shape or ())[dim]
    if not isinstance(extent, int):
        raise InvalidArgument(f"the extent of axis {dim} must be known here; it is {extent}")
    return extent


def _at(x: Tensor, dim: int, key: Any) -> Tensor:
    """x indexed on one axis."""
    return x[(slice(None),) * (dim % x.rank) + (key,)]


# --- joined and cut


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One behind the other along an axis."""
    return apply("Concat", *tensors, axis=dim)


concat = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One behind the other along a new axis."""
    return apply("Concat", *(unsqueeze(x, dim) for x in tensors), axis=dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """One behind the other along axis 1; along axis 0 where there is no other."""
    return cat(tensors, 0 if tensors[0].rank == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """One behind the other along axis 0; vectors as rows."""
    return cat([unsqueeze(x, 0) if x.rank == 1 else x for x in tensors], 0)


def split(input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along an axis: of the extents given, or of one extent each, the last with what remains."""
    if isinstance(split_size_or_sections, int):
        size, extent = split_size_or_sections, _extent(input, dim)
        if size < 1:
            raise InvalidArgument(f"split: parts of extent {size}; 1 or more expected")
        sizes = [min(size, extent - start) for start in range(0, max(extent, 1), size)]
    else:
        sizes = list(split_size_or_sections)
    return tuple(apply_all("Split", [input, constant(sizes)], {"axis": dim}, outputs=len(sizes)))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most so many parts along an axis, all but the last of one extent."""
    if chunks < 1:
        raise InvalidArgument(f"chunk: {chunks} parts; 1 or more expected")
    return split(input, max(-(-_extent(input, dim) // chunks), 1), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, without it."""
    return tuple(_at(input, dim, i) for i in range(_extent(input, dim)))


# --- shapes


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements under another shape; -1 for the extent that follows from the others."""
    given = shape[0] if isinstance(shape[0], Tensor) else constant(_given(shape), dtype=np.int64)
    return apply("Reshape", input, given)


view = reshape


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Makes the axes from start_dim to end_dim one."""
    return Flatten(start_dim, end_dim)(input)  # type: ignore[no-any-return]


def permute(input: Tensor, *dims: Any) -> Tensor:
    """Axes in another order."""
    rank = input.rank
    return apply("Transpose", input, perm=[dim % rank for dim in _given(dims)])


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    order = list(range(input.rank))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return apply("Transpose", input, perm=order)


swapaxes = swapdims = transpose


def t(input: Tensor) -> Tensor:
    """A matrix with rows for columns; a vector as it is."""
    if input.rank > 2:
        raise InvalidArgument(f"t() of a tensor with {input.rank} axes; 2 at most expected: use permute")
    return apply("Transpose", input)


def movedim(input: Tensor, source: int, destination: int) -> Tensor:
    """One axis in another place; the others keep their order."""
    rank = input.rank
    order = [axis for axis in range(rank) if axis != source % rank]
    order.insert(destination % rank, source % rank)
    return apply("Transpose", input, perm=order)


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the axes given, where their extents are 1; without all such where none is given."""
    if dim is None:
        return apply("Squeeze", input)
    dims = [dim] if isinstance(dim, int) else list(dim)
    axes = [axis for axis in dims if (input.shape or ())[axis] == 1]
    return apply("Squeeze", input, constant(axes)) if axes else input


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of extent 1."""
    return apply("Unsqueeze", input, constant([dim]))


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of extent 1 repeated to the extents given; -1 keeps one."""
    return apply("Expand", input, constant([1 if n == -1 else n for n in _given(sizes)]))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Axes of extent 1 repeated to the extents of `other`."""
    return apply("Expand", input, apply("Shape", other))


def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """So many copies along each axis; more numbers than axes make new ones in front."""
    counts = _given(sizes)
    extra = len(counts) - input.rank
    if extra < 0:
        raise InvalidArgument(f"repeat got {len(counts)} numbers for {input.rank} axes")
    wide = apply("Unsqueeze", input, constant(list(range(extra)))) if extra else input
    return apply("Tile", wide, constant(counts))


def tile(input: Tensor, *reps: Any) -> Tensor:
    """So many copies along each axis; fewer numbers than axes are those of the last ones."""
    counts = _given(reps)
    return repeat(input, [1] * (input.rank - len(counts)) + counts)


# --- chosen


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` slices along an axis from `start` on."""
    begin = start if start >= 0 else start + _extent(input, dim)
    return _at(input, dim, slice(begin, begin + length))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One slice along an axis, without it."""
    return _at(input, dim, index)


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Slices along an axis at the places of a vector."""
    return apply("Gather", input, index, axis=dim)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """For each element of `index`, the one at that place along the axis, and at its own on all others."""
    return apply("GatherElements", input, index, axis=dim)


def gather_nd(input: Tensor, index: Tensor) -> Tensor:
    """What the last axis of `index` says: places on the first axes."""
    return apply("GatherND", input, index)


def scatter(input: Tensor, dim: int, index: Tensor, src: TensorLike) -> Tensor:
    """x with elements of `src`, or a number, at the places of `index` along an axis."""
    return _scatter(input, dim, index, src, "none")


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """x plus the elements of `src` at the places of `index` along an axis."""
    return _scatter(input, dim, index, src, "add")


def _scatter(x: Tensor, dim: int, index: Tensor, src: TensorLike, reduction: str) -> Tensor:
    if not isinstance(src, Tensor):
        src = apply("Expand", constant(src, dtype=x.dtype), apply("Shape", index))
    elif src.shape != index.shape:  # only the part that has places counts
        src = src[tuple(slice(_extent(index, axis)) for axis in range(index.rank))]
    return apply("ScatterElements", x, index, src, axis=dim, reduction=reduction)


def nonzero(input: Tensor) -> Tensor:
    """The places of elements that are not 0, as rows (i64)."""
    return apply("Transpose", apply("NonZero", input), perm=[1, 0])


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask, spread to the shape of x, is not 0; one axis."""
    spread = apply("Expand", truth(mask), apply("Shape", input))
    return apply("GatherND", input, nonzero(spread))


def flip(input: Tensor, dims: int | Sequence[int]) -> Tensor:
    """Axes run the other way."""
    for dim in [dims] if isinstance(dims, int) else dims:
        input = _at(input, dim, slice(None, None, -1))
    return input


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Slices moved along axes; those that leave at the end come in at the start. Without axes, as one vector."""
    if dims is None:
        flat = reshape(input, -1)
        return apply("Reshape", roll(flat, shifts, 0), apply("Shape", input))
    pairs = zip([shifts] if isinstance(shifts, int) else shifts, [dims] if isinstance(dims, int) else dims, strict=True)
    for shift, dim in pairs:
        start = -shift % max(_extent(input, dim), 1)
        if start:
            input = cat([_at(input, dim, slice(start, None)), _at(input, dim, slice(start))], dim)
    return input


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """0 above a diagonal of the last two axes."""
    return apply("Trilu", input, constant(diagonal), upper=0)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """0 below a diagonal of the last two axes."""
    return apply("Trilu", input, constant(diagonal), upper=1)

"""Examples with classes for `sardonyx train`: folders of pictures, .npz and .npy arrays, CSV tables."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx.cli.feeds import PICTURES, PictureLayout, read_picture
from sardonyx.cli.output import UsageError
from sardonyx.graph import Tensor

__all__ = ["Examples", "add_data_arguments", "read_examples", "split"]

Array = npt.NDArray[Any]
# Decoded pictures are kept where they take no more than this.
_KEPT_BYTES = 1 << 30


def add_data_arguments(parser: Any) -> None:
    """Adds the arguments that say how to read examples."""
    parser.add_argument("--labels", type=Path, metavar="FILE", help="the classes, where DATA is one .npy file")
    parser.add_argument(
        "--label-column", metavar="NAME", help="column of a CSV table that holds the classes (default: the last)"
    )
    parser.add_argument(
        "--size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="of pictures, where the model leaves it open"
    )
    parser.add_argument(
        "--scale", type=float, metavar="X", help="what inputs are multiplied by (default: 1/255 for pictures, else 1)"
    )
    for name, what in (("mean", "subtracted from"), ("std", "what then divides")):
        parser.add_argument(
            f"--{name}", nargs="+", type=float, metavar="X", help=f"{what} the scaled inputs: for each channel, or all"
        )


class Pictures:
    """Files that are decoded when they are asked for."""

    def __init__(self, paths: Sequence[Path], layout: PictureLayout) -> None:
        self.paths = list(paths)
        self.layout = layout
        size = int(np.prod(layout.extents))
        self._kept: dict[int, Array] | None = {} if size * len(self.paths) <= _KEPT_BYTES else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, places: Array) -> Array:
        return np.stack([self._read(int(place)) for place in places])

    def _read(self, place: int) -> Array:
        if self._kept is None:
            return read_picture(self.paths[place], self.layout)
        if place not in self._kept:
            self._kept[place] = read_picture(self.paths[place], self.layout)
        return self._kept[place]


@dataclass
class Examples:
    """Inputs by the name of the model's input, and the class of each example.

    Attributes:
        names: of the classes, where the data name them; the model's output k is that of names[k].
    """

    inputs: dict[str, Array | Pictures]
    labels: npt.NDArray[np.int64]
    names: list[str]
    dtypes: dict[str, np.dtype[Any]]
    scale: float
    mean: Array | None
    std: Array | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """How many classes there are: those named, or the largest label and one."""
        return len(self.names) or int(self.labels.max()) + 1

    def batch(self, places: Array) -> tuple[dict[str, Array], npt.NDArray[np.int64]]:
        """Inputs as the model takes them, and classes."""
        return {name: self._prepared(name, values[places]) for name, values in self.inputs.items()}, self.labels[places]

    def _prepared(self, name: str, values: Array) -> Array:
        dtype = self.dtypes[name]
        if dtype.kind not in "fV":
            return values.astype(dtype)
        wide = values.astype(np.float64 if dtype == np.float64 else np.float32)
        scaled = wide if self.scale == 1 else wide * wide.dtype.type(self.scale)
        if self.mean is not None:
            scaled = scaled - _over_channels(self.mean, values, "--mean")
        if self.std is not None:
            scaled = scaled / _over_channels(self.std, values, "--std")
        return scaled.astype(dtype)


def _over_channels(numbers: Array, values: Array, what: str) -> Array:
    """`numbers` in the shape that meets the channels of `values`: axis 1 of pictures, or else the last axis."""
    if len(numbers) == 1:
        return numbers
    axis = 1 if values.ndim == 4 and values.shape[1] == len(numbers) else values.ndim - 1
    if values.shape[axis] != len(numbers):
        raise UsageError(f"{what} has {len(numbers)} numbers; examples of shape {list(values.shape[1:])} do not")
    return numbers.reshape([-1] + [1] * (values.ndim - 1 - axis))


def read_examples(path: Path, placeholders: Sequence[Tensor], args: argparse.Namespace) -> Examples:
    """The examples at `path` for a model with these inputs.

    Raises:
        UsageError: there are none, or they do not fit; says what was found and what is expected.
    """
    names: list[str] = []
    scale = args.scale
    inputs: Mapping[str, Array | Pictures]
    if path.is_dir():
        inputs, labels, names = _folder(path, _only(placeholders, "pictures"), args.size)
        scale = 1 / 255 if scale is None else scale
    elif not path.exists():
        raise UsageError(f"there is no file or folder '{path}'")
    elif path.suffix == ".npz":
        inputs, labels = _archive(path, placeholders)
    elif path.suffix == ".npy":
        if args.labels is None:
            raise UsageError(f"'{path}' needs its classes in another file: --labels FILE.npy")
        inputs, labels = {_only(placeholders, "one array").name: _array(path)}, _array(args.labels)
    elif path.suffix == ".csv":
        inputs, labels, names = _table(path, _only(placeholders, "a table"), args.label_column)
    else:
        raise UsageError(f"'{path}' is no folder of pictures by class, .npz, .npy or .csv file")
    examples = Examples(
        dict(inputs), _checked_labels(labels, path), names, {x.name: x.dtype for x in placeholders},
        1.0 if scale is None else scale, _numbers(args.mean), _numbers(args.std),
    )  # fmt: skip
    for x in placeholders:
        count = len(examples.inputs[x.name])
        if count != len(examples):
            raise UsageError(f"'{path}': {count} examples for the input '{x.name}', but {len(examples)} labels")
        _check_shape(path, x, examples)
    return examples


def _check_shape(path: Path, x: Tensor, examples: Examples) -> None:
    prepared, _ = examples.batch(np.arange(1))
    found, wanted = prepared[x.name].shape, x.shape
    if wanted is not None and (
        len(found) != len(wanted)
        or any(isinstance(want, int) and want != have for have, want in zip(found[1:], wanted[1:], strict=True))
    ):
        raise UsageError(
            f"'{path}': examples for the input '{x.name}' have shape {list(found[1:])}; {list(wanted[1:])} expected"
        )


def _numbers(values: Sequence[float] | None) -> Array | None:
    return None if values is None else np.array(values, np.float32)


def _only(placeholders: Sequence[Tensor], what: str) -> Tensor:
    if len(placeholders) != 1:
        names = ", ".join(repr(x.name) for x in placeholders)
        raise UsageError(f"the model has the inputs {names}, not one for {what}; give an .npz with an array for each")
    return placeholders[0]


def _array(path: Path) -> Array:
    if not path.exists():
        raise UsageError(f"there is no file '{path}'")
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UsageError(f"'{path}' is no array that NumPy can read: {error}") from None
    return array


def _checked_labels(labels: Array, path: Path) -> npt.NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UsageError(
            f"the labels of '{path}' are {labels.dtype}{list(labels.shape)}; one integer for each example expected"
        )
    if not len(labels):
        raise UsageError(f"'{path}' holds no examples")
    return labels.astype(np.int64)


def _folder(path: Path, x: Tensor, size: Sequence[int] | None) -> tuple[dict[str, Pictures], Array, list[str]]:
    """Pictures in a folder for each class; the classes in the order of their names."""
    names = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(file for file in (path / name).rglob("*") if file.suffix.lower() in PICTURES)
        if not found:
            raise UsageError(f"'{path / name}' holds no pictures ({', '.join(sorted(PICTURES))})")
        paths += found
        labels += [label] * len(found)
    if not names:
        raise UsageError(f"'{path}' holds no folders; one for each class, with its pictures in it, expected")
    layout = PictureLayout.of(x.name, x.shape or (), size)
    return {x.name: Pictures(paths, layout)}, np.array(labels), names


def _archive(path: Path, placeholders: Sequence[Tensor]) -> tuple[dict[str, Array], Array]:
    """An array for each input, by its name, and the labels; or two arrays, one of which holds one integer a row."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError) as error:
        raise UsageError(f"'{path}' is no archive that NumPy can read: {error}") from None
    inputs = {x.name: arrays.pop(x.name) for x in placeholders if x.name in arrays}
    labels = [name for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "iu"]
    if not inputs and len(placeholders) == 1 and len(arrays) == 2 and labels:
        labels = labels[-1:]
        inputs = {placeholders[0].name: next(array for name, array in arrays.items() if name not in labels)}
    if len(inputs) != len(placeholders) or len(labels) != 1:
        listed = ", ".join(f"'{name}' {array.dtype}{list(array.shape)}" for name, array in arrays.items())
        wanted = ", ".join(repr(x.name) for x in placeholders)
        raise UsageError(f"'{path}' holds {listed}; arrays named {wanted} and one of integers, the labels, expected")
    return inputs, arrays[labels[0]]


def _table(path: Path, x: Tensor, label_column: str | None) -> tuple[dict[str, Array], Array, list[str]]:
    """Numbers, and a column of classes: integers, or texts, which are then the names of the classes."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    if not rows:
        raise UsageError(f"'{path}' is empty")
    header = None if any(map(_is_number, rows[0][1])) else rows.pop(0)[1]
    width = len(header or rows[0][1]) if rows else 0
    if width < 2:
        raise UsageError(f"'{path}' has no rows of numbers and a class")
    column = _column(path, label_column, header, width)
    features = np.empty((len(rows), width - 1), np.float32)
    texts = []
    for k, (number, row) in enumerate(rows):
        if len(row) != width:
            raise UsageError(f"'{path}', line {number}: {len(row)} cells; {width} expected")
        texts.append(row[column].strip())
        cells = row[:column] + row[column + 1 :]
        try:
            features[k] = [float(cell) for cell in cells]
        except ValueError:
            wrong = next(cell for cell in cells if not _is_number(cell))
            raise UsageError(f"'{path}', line {number}: '{wrong}' is no number") from None
    wanted = [extent for extent in (x.shape or ())[1:]]
    shaped = features.reshape(len(rows), *wanted) if _holds(wanted, width - 1) else features
    if all(text.lstrip("-").isdigit() for text in texts):
        return {x.name: shaped}, np.array([int(text) for text in texts]), []
    names = sorted(set(texts))
    place = {name: k for k, name in enumerate(names)}
    return {x.name: shaped}, np.array([place[text] for text in texts]), names


def _holds(extents: Sequence[int | str | None], count: int) -> bool:
    """Whether a row of so many cells can be an example of these extents (pixels of a picture, row by row)."""
    return all(isinstance(extent, int) for extent in extents) and int(np.prod([int(e or 0) for e in extents])) == count


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _column(path: Path, wanted: str | None, header: list[str] | None, width: int) -> int:
    if wanted is None:
        return width - 1
    if header is not None and wanted in header:
        return header.index(wanted)
    if wanted.lstrip("-").isdigit() and -width <= int(wanted) < width:
        return int(wanted) % width
    there = ", ".join(map(repr, header)) if header else f"0 to {width - 1}"
    raise UsageError(f"'{path}' has no column '{wanted}'; there are {there}")


def split(labels: npt.NDArray[np.int64], share: float, seed: int) -> tuple[Array, Array]:
    """Places for training and for validation: `share` of each class, drawn at random, for the latter."""
    random = np.random.default_rng([seed, 1])
    kept: list[Array] = []
    held: list[Array] = []
    for label in np.unique(labels):
        places = random.permutation(np.flatnonzero(labels == label))
        count = min(round(share * len(places)), len(places) - 1)
        held.append(places[:count])
        kept.append(places[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))

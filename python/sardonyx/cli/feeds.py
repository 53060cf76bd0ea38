"""Inputs for a model from the command line: .npy, .npz and picture files, numbers, or random values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx import _core
from sardonyx.cli.output import UsageError
from sardonyx.nodes import NodeArg
from sardonyx.session import InferenceSession

__all__ = ["PICTURES", "PictureLayout", "add_dim_argument", "dims_from", "feeds_from", "random_feeds", "read_picture"]

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_SESSION_TYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "int8": "int8", "int16": "int16", "int32": "int32",
    "int64": "int64", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64", "bool": "bool",
    "complex64": "complex64", "complex128": "complex128",
}  # fmt: skip
_BFLOAT16 = 16


def add_dim_argument(parser: Any) -> None:
    """Adds `--dim NAME=SIZE`."""
    parser.add_argument(
        "--dim", action="append", default=[], metavar="NAME=SIZE", help="extent for a symbolic dimension (default 1)"
    )


def dims_from(args: Sequence[str]) -> dict[str, int]:
    """`["N=4"]` as `{"N": 4}`."""
    dims = {}
    for arg in args:
        name, equals, size = arg.rpartition("=")
        if not equals or not size.isdigit():
            raise UsageError(f"--dim takes NAME=SIZE, got '{arg}'")
        dims[name] = int(size)
    return dims


def _dtype(port: NodeArg) -> np.dtype[Any]:
    found = re.fullmatch(r"(?:optional\()?tensor\((\w+)\)\)?", port.type)
    if found is None:
        raise UsageError(f"input '{port.name}' is a {port.type}; only tensors can be given here")
    name: str = found.group(1)
    if name == "string":
        return np.dtype(object)
    if name == "bfloat16":
        return _core.numpy_dtype(_BFLOAT16)
    if name in _SESSION_TYPES:
        return np.dtype(_SESSION_TYPES[name])
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(
        getattr(ml_dtypes, {"float8e4m3fn": "float8_e4m3fn", "float8e5m2": "float8_e5m2"}.get(name, name))
    )
    return dtype


def _shape(port: NodeArg, dims: Mapping[str, int]) -> list[int]:
    return [dim if isinstance(dim, int) else dims.get(dim or "", 1) for dim in port.shape]


def _random(port: NodeArg, dims: Mapping[str, int], random: np.random.Generator) -> npt.NDArray[Any]:
    dtype, shape = _dtype(port), _shape(port, dims)
    if dtype.kind == "O":
        return np.array([f"text {k}" for k in range(int(np.prod(shape)))], object).reshape(shape)
    if dtype.kind == "b":
        return random.random(shape) < 0.5
    if dtype.kind in "iu":
        return random.integers(0, 2, shape).astype(dtype)
    return random.standard_normal(shape, np.float32).astype(dtype)


def random_feeds(session: InferenceSession, dims: Mapping[str, int], seed: int = 0) -> dict[str, Any]:
    """Random values for every input: normal floats, integers and booleans of 0 and 1."""
    random = np.random.default_rng(seed)
    return {port.name: _random(port, dims, random) for port in session.get_inputs()}


@dataclass(frozen=True)
class PictureLayout:
    """How an input holds a picture. A height or width of None is that of the file."""

    channels_first: bool
    channels: int
    height: int | None
    width: int | None

    @staticmethod
    def of(name: str, shape: Sequence[int | str | None], size: Sequence[int] | None = None) -> PictureLayout:
        """The layout of the input `name` with the extents `shape`; `size`: height and width where they are open.

        Raises:
            UsageError: it is not a picture's.
        """
        if len(shape) != 4 or (shape[1] not in (1, 3) and shape[3] not in (1, 3)):
            raise UsageError(f"input '{name}' of shape {list(shape)} is not a picture (N,C,H,W or N,H,W,C)")
        first = shape[1] in (1, 3)
        channels, *extents = (shape[1], shape[2], shape[3]) if first else (shape[3], shape[1], shape[2])
        height, width = (
            extent if isinstance(extent, int) else wanted for extent, wanted in zip(extents, size or (None, None))
        )
        return PictureLayout(first, int(channels or 0), height, width)

    @property
    def extents(self) -> tuple[int, ...]:
        """The shape of a picture. Raises UsageError where its size is open."""
        if self.height is None or self.width is None:
            raise UsageError("the model leaves the size of its pictures open; --size HEIGHT WIDTH says it")
        size = (self.height, self.width)
        return (self.channels, *size) if self.channels_first else (*size, self.channels)


def read_picture(path: Path, layout: PictureLayout) -> npt.NDArray[np.uint8]:
    """The pixels of a file, 0 to 255, resized to the layout's extents."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise UsageError(f"reading '{path}' needs Pillow: pip install pillow") from None
    try:
        picture = Image.open(path).convert("RGB" if layout.channels == 3 else "L")
    except (UnidentifiedImageError, OSError) as error:
        if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
            raise
        raise UsageError(f"'{path}' is no picture that Pillow can read: {error}") from None
    if layout.height is not None and layout.width is not None:
        picture = picture.resize((layout.width, layout.height))
    pixels = np.asarray(picture, np.uint8).reshape(picture.height, picture.width, -1)
    return pixels.transpose(2, 0, 1) if layout.channels_first else pixels


def _picture(path: Path, port: NodeArg) -> npt.NDArray[Any]:
    pixels = read_picture(path, PictureLayout.of(port.name, port.shape))[np.newaxis]
    dtype = _dtype(port)
    return pixels.astype(dtype) if dtype.kind in "iu" else (pixels / np.float32(255)).astype(dtype)


def _value(text: str, port: NodeArg, dims: Mapping[str, int], seed: int) -> Any:
    if text == "random":
        return _random(port, dims, np.random.default_rng(seed))
    path = Path(text)
    if path.suffix.lower() in PICTURES:
        return _picture(path, port)
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".txt" and _dtype(port).kind == "O":
        return np.array(path.read_text(encoding="utf-8").splitlines(), object)
    try:
        return np.asarray(json.loads(text)).astype(_dtype(port))
    except (ValueError, TypeError):
        raise UsageError(
            f"--input {port.name}: '{text}' is not a .npy file, a picture, JSON numbers or the word random"
        ) from None


def feeds_from(
    session: InferenceSession, inputs: Sequence[str], dims: Mapping[str, int], seed: int = 0
) -> dict[str, Any]:
    """Feeds from `NAME=VALUE` arguments (the name may be left out for the only input); the rest is random."""
    ports = {port.name: port for port in [*session.get_inputs(), *session.get_overridable_initializers()]}
    feeds = random_feeds(session, dims, seed)
    for index, arg in enumerate(inputs):
        if arg.endswith(".npz"):
            with np.load(arg, allow_pickle=False) as archive:
                feeds.update({name: archive[name] for name in archive.files if name in ports})
            continue
        name, _, text = arg.partition("=")
        while name not in ports and "=" in text:
            more, _, text = text.partition("=")
            name = f"{name}={more}"
        if name not in ports:
            if "=" in arg or index >= len(session.get_inputs()):
                raise UsageError(f"no input is named '{name}'; the model has {', '.join(ports)}")
            name, text = session.get_inputs()[index].name, arg
        feeds[name] = _value(text, ports[name], dims, seed)
    return feeds

"""ImageDecoder: pictures decoded with Pillow, which is imported when the first one comes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument, InvalidGraph, RuntimeException
from sardonyx.operators import TensorType, register_operator

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["register"]

_FORMATS = ("BMP", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_CHANNELS = {"RGB": 3, "BGR": 3, "Grayscale": 1}


def _infer(encoded: TensorType, *, pixel_format: str = "RGB") -> TensorType:
    if pixel_format not in _CHANNELS:
        raise InvalidGraph(f"pixel_format is '{pixel_format}'; one of {', '.join(_CHANNELS)} expected")
    if isinstance(encoded, TensorType):
        if encoded.dtype != np.uint8:
            raise InvalidGraph(f"the picture is given as {encoded.dtype}; uint8 expected")
        if encoded.shape is not None and len(encoded.shape) != 1:
            raise InvalidGraph(f"the picture is given as an array of {len(encoded.shape)} dimensions; 1 expected")
    return TensorType(np.uint8, (None, None, _CHANNELS[pixel_format]))


def _pixels(picture: Image, mode: str) -> npt.NDArray[Any]:
    """Pixels of 8 bits; those of 16 keep their upper half, since Pillow's own conversion clips them."""
    if picture.mode == "F":
        raise InvalidArgument("its pixels are floating-point numbers, which have no range to be scaled to 0..255")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        gray = (np.clip(np.asarray(picture), 0, 0xFFFF) >> 8).astype(np.uint8)
        return gray if mode == "L" else np.repeat(gray[:, :, np.newaxis], 3, axis=2)
    return np.array(picture if picture.mode == mode else picture.convert(mode))


def _decode(encoded: npt.NDArray[np.uint8], *, pixel_format: str = "RGB") -> npt.NDArray[np.uint8]:
    try:
        import PIL
        import PIL.Image
    except ImportError as error:
        raise RuntimeException(
            "ImageDecoder needs Pillow, which is not installed: pip install sardonyx[image]"
        ) from error
    if encoded.ndim != 1 or encoded.dtype != np.uint8:
        raise InvalidArgument(f"the picture is given as {encoded.dtype}{list(encoded.shape)}; uint8[n] expected")
    try:
        with PIL.Image.open(io.BytesIO(encoded.tobytes()), formats=_FORMATS) as picture:
            pixels = _pixels(picture, "L" if pixel_format == "Grayscale" else "RGB")
    except PIL.UnidentifiedImageError as error:
        raise InvalidArgument(
            f"these {encoded.size} bytes are no picture in a format that Pillow reads here: {', '.join(_FORMATS)}"
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise InvalidArgument(f"the picture is refused: {error}") from error
    except (InvalidArgument, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever they stumble over
        raise InvalidArgument(f"the picture is damaged or cut off: {error}") from error
    if pixel_format == "Grayscale":
        return pixels[:, :, np.newaxis]
    return pixels if pixel_format == "RGB" else np.ascontiguousarray(pixels[:, :, ::-1])


def register() -> None:
    """Makes ImageDecoder an operator of ai.onnx."""
    register_operator("", "ImageDecoder", _decode, since_version=20, infer=_infer, pure=True)

"""ImageDecoder: formats, kinds of pixels, and bytes that are no picture."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import onnx
import PIL.Image
import pytest
from onnx import TensorProto, helper

import sardonyx as sx
from sardonyx import errors

rng = np.random.default_rng(2)
SMOOTH = (np.add.outer(np.arange(19), np.arange(23))[:, :, None] * np.array([3, 5, 6])).astype(np.uint8)
LOSSLESS: dict[str, dict[str, bool]] = {name: {} for name in ("bmp", "png", "ppm", "tiff", "jpeg2000")}
LOSSLESS["webp"] = {"lossless": True}


def model(pixel_format: str | None = None, dtype: int = TensorProto.UINT8, opset: int = 20) -> onnx.ModelProto:
    attributes = {} if pixel_format is None else {"pixel_format": pixel_format}
    node = helper.make_node("ImageDecoder", ["data"], ["picture"], name="n", **attributes)
    infos = [helper.make_tensor_value_info("data", dtype, ["N"])]
    outputs = [helper.make_tensor_value_info("picture", TensorProto.UINT8, None)]
    return helper.make_model(
        helper.make_graph([node], "g", infos, outputs), opset_imports=[helper.make_opsetid("", opset)], ir_version=10
    )


def encoded(picture: PIL.Image.Image, format_: str, **options: Any) -> bytes:
    with io.BytesIO() as stream:
        picture.save(stream, format=format_, **options)
        return stream.getvalue()


def decode(data: bytes, pixel_format: str | None = None) -> Any:
    (y,) = sx.InferenceSession(model(pixel_format)).run(None, [np.frombuffer(data, np.uint8)])
    assert y.dtype == np.uint8
    return y


@pytest.mark.parametrize("format_", LOSSLESS)
def test_lossless_formats(format_: str) -> None:
    data = encoded(PIL.Image.fromarray(SMOOTH), format_, **LOSSLESS[format_])
    np.testing.assert_array_equal(decode(data), SMOOTH)
    np.testing.assert_array_equal(decode(data, "RGB"), SMOOTH)
    np.testing.assert_array_equal(decode(data, "BGR"), SMOOTH[:, :, ::-1])
    gray = decode(data, "Grayscale")
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(gray[:, :, 0], SMOOTH @ weights, atol=0.51)


@pytest.mark.parametrize(("format_", "options"), [("jpeg", {}), ("jpeg", {"subsampling": 2}), ("webp", {})])
def test_lossy_formats(format_: str, options: dict[str, Any]) -> None:
    data = encoded(PIL.Image.fromarray(SMOOTH), format_, quality=90, **options)
    np.testing.assert_allclose(decode(data).astype(int), SMOOTH.astype(int), atol=12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_kinds_of_pixels(mode: str) -> None:
    picture = PIL.Image.fromarray(SMOOTH).convert(mode)
    data = encoded(picture, "tiff" if mode == "CMYK" else "png")
    np.testing.assert_array_equal(decode(data), np.array(picture.convert("RGB")))
    np.testing.assert_array_equal(decode(data, "Grayscale"), np.array(picture.convert("L"))[:, :, None])


@pytest.mark.parametrize("format_", ["png", "tiff", "ppm"])
def test_pixels_of_16_bits_keep_their_upper_half(format_: str) -> None:
    values = rng.integers(0, 1 << 16, (5, 7), dtype=np.uint16)
    data = encoded(PIL.Image.fromarray(values), format_)
    np.testing.assert_array_equal(decode(data, "Grayscale")[:, :, 0], values >> 8)
    np.testing.assert_array_equal(decode(data), np.repeat((values >> 8)[:, :, None], 3, axis=2))


def test_pixels_that_are_floats() -> None:
    data = encoded(PIL.Image.fromarray(np.ones((2, 2), np.float32)), "tiff")
    with pytest.raises(errors.InvalidArgument, match=r"ImageDecoder 'n'.*floating-point"):
        decode(data)


def test_the_output_is_typed_before_a_run() -> None:
    options = sx.SessionOptions()
    session = sx.InferenceSession(model("Grayscale"), options)
    (port,) = session.get_outputs()
    assert (port.type, port.shape) == ("tensor(uint8)", [None, None, 1])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format_", ["bmp", "jpeg", "jpeg2000", "png", "ppm", "tiff", "webp"])
def test_damaged_pictures(format_: str) -> None:
    data = encoded(PIL.Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), format_)
    for length in (10, 40, len(data) // 2):
        with pytest.raises(
            errors.InvalidArgument, match=r"\[ImageDecoder 'n'\] failed: th.*(damaged or cut off|no picture)"
        ):
            decode(data[:length])
    session = sx.InferenceSession(model())
    for _ in range(15):  # flipped bytes either change the picture or are told
        flipped = np.frombuffer(data, np.uint8).copy()
        flipped[rng.integers(0, min(len(flipped), 400), 3)] ^= rng.integers(1, 256, 3, dtype=np.uint8)
        with contextlib.suppress(errors.InvalidArgument):
            assert session.run(None, [flipped])[0].ndim == 3


def test_bytes_that_are_no_picture() -> None:
    for data in (b"", b"hello", b"%PDF-1.7", b"GIF89a" + bytes(50)):
        with pytest.raises(errors.InvalidArgument, match=r"no picture in a format.*BMP, JPEG") as caught:
            decode(data)
        assert caught.value.__cause__ is not None


def test_decompression_bombs_are_refused() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = (60000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(errors.InvalidArgument, match=r"refused.*3600000000 pixels"):
        decode(bomb)


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (model("YUV"), "pixel_format is 'YUV'; one of RGB, BGR, Grayscale"),
        (model(dtype=TensorProto.FLOAT), "given as float32; uint8 expected"),
        (model(opset=19), "ImageDecoder of ImageDecoder 'n' .* is not supported"),
    ],
)
def test_nodes_at_fault(proto: onnx.ModelProto, message: str) -> None:
    with pytest.raises(errors.Error, match=message):
        sx.InferenceSession(proto)


def test_pillow_is_imported_when_it_is_needed_and_asked_for_where_it_is_missing() -> None:
    program = f"""
import sys
import numpy as np
import sardonyx as sx
assert "PIL" not in sys.modules
sys.modules["PIL"] = None
session = sx.InferenceSession({model().SerializeToString()!r})
try:
    session.run(None, [np.zeros(3, np.uint8)])
except sx.errors.RuntimeException as error:
    assert "pip install sardonyx[image]" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)

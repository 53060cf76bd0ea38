"""`sardonyx demo`: reads the text in a picture and names the types of a few files, on real models."""

from __future__ import annotations

import argparse
import io
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sardonyx.cli.output import Output, UsageError
from sardonyx.demo.fetch import FetchError, fetch
from sardonyx.demo.file_type import FileTyper
from sardonyx.demo.ocr import TextReader
from sardonyx.session import InferenceSession

_EXAMPLES = """examples:
  sardonyx demo
  sardonyx demo --picture scan.png --file unknown.bin

The models come out of the wheels rapidocr-onnxruntime and magika (by pip, once; about 30 MB), and are kept in
~/.cache/sardonyx or where SARDONYX_CACHE says. Drawing and reading pictures needs Pillow."""

_LINES = ("Sardonyx reads this text", "from a picture it has just drawn", "0123456789  3.14159  2 + 2 = 4")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo", help="read text in a picture, tell file types", description=__doc__, epilog=_EXAMPLES
    )
    parser.add_argument("--picture", type=Path, help="read this picture instead of a drawn one")
    parser.add_argument("--file", type=Path, action="append", default=[], help="name the type of this file, too")
    parser.add_argument("--save-picture", type=Path, metavar="FILE", help="keep the drawn picture")
    return parser


def _picture(path: Path | None) -> Any:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise UsageError("the demo draws a picture with Pillow: pip install pillow") from None
    if path is not None:
        return Image.open(path).convert("RGB")
    picture = Image.new("RGB", (640, 256), (250, 248, 240))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(32)
    for index, line in enumerate(_LINES):
        draw.text((32, 28 + 70 * index), line, (20, 30, 60), font)
    return picture


def _samples() -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("hello.txt", "hello " * 100)
    return {
        "this command's source": Path(__file__).read_bytes(),
        "a page": b"<!DOCTYPE html>\n<html><head><title>A page</title></head>\n<body><p>Hello</p></body></html>\n" * 3,
        "settings": b'{\n  "name": "sardonyx",\n  "threads": 4,\n  "providers": ["CPUExecutionProvider"]\n}\n',
        "an archive": archive.getvalue(),
        "a query": b"SELECT name, COUNT(*) FROM users WHERE age > 30 GROUP BY name ORDER BY 2 DESC LIMIT 10;\n" * 3,
        "a program": b"#include <stdio.h>\n\nint main(void) {\n  printf(\"hello\\n\");\n  return 0;\n}\n" * 2,
    }  # fmt: skip


def _milliseconds(began: float) -> float:
    return (time.perf_counter() - began) * 1e3


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    picture = _picture(args.picture)
    try:
        files = fetch(output.note)
    except FetchError as error:
        output.note(f"sardonyx demo: {error}")
        return 1
    began = time.perf_counter()
    reader = TextReader(InferenceSession(files["detect.onnx"]), InferenceSession(files["recognise.onnx"]))
    typer = FileTyper(InferenceSession(files["file_type.onnx"]), files["file_type.json"])
    load_ms = _milliseconds(began)
    if args.save_picture is not None:
        picture.save(args.save_picture)
    pixels = np.asarray(picture)
    reader.read(pixels)
    began = time.perf_counter()
    lines = reader.read(pixels)
    read_ms = _milliseconds(began)
    output.text(f"Three models loaded in {load_ms:.0f} ms.")
    output.text()
    output.text(f"Text in the picture ({pixels.shape[1]}x{pixels.shape[0]}), read in {read_ms:.0f} ms:")
    for line in lines:
        output.text(f"  {line.text!r}  ({line.score:.0%} sure)")
    samples = _samples() | {str(path): path.read_bytes() for path in args.file}
    typer.classify(list(samples.values()))
    began = time.perf_counter()
    kinds = dict(zip(samples, typer.classify(list(samples.values())), strict=True))
    type_ms = _milliseconds(began)
    output.text()
    output.text(f"Types of {len(samples)} files, named in {type_ms:.0f} ms:")
    for name, (kind, score) in kinds.items():
        output.text(f"  {name}: {kind}  ({score:.0%} sure)")
    output.result(
        {
            "lines": [vars(line) for line in lines],
            "file_types": kinds,
            "load_ms": load_ms,
            "read_ms": read_ms,
            "file_types_ms": type_ms,
        }
    )
    expected = args.picture is not None or [line.text.replace(" ", "") for line in lines] == [
        line.replace(" ", "") for line in _LINES
    ]
    if not expected:
        output.note("sardonyx demo: the text read is not the text drawn")
    return 0 if expected else 1

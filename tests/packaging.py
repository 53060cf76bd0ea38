"""The built module: what it exports and links, and that it shares a process with other packages that read ONNX."""

import itertools
import re
import shutil
import subprocess
import sys

import pytest

import sardonyx
from sardonyx import _core

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ELF files with binutils")


def output_of(tool: str, *arguments: str) -> str:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    return subprocess.run([tool, *arguments], check=True, capture_output=True, text=True).stdout


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", sardonyx.__version__)


def test_exports_only_the_init_function() -> None:
    symbols = [line.split()[-1] for line in output_of("nm", "-D", "--defined-only", _core.__file__).splitlines()]
    assert symbols == ["PyInit__core"]


def test_links_only_the_language_and_system_libraries() -> None:
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", output_of("readelf", "-d", _core.__file__))
    assert needed
    system = re.compile(r"(libstdc\+\+|libgcc_s|libc|libm|ld-linux[\w-]*)\.so\.")
    assert [name for name in needed if not system.match(name)] == []


@pytest.mark.parametrize("order", [*itertools.permutations(["sardonyx", "onnx", "onnxruntime"])], ids="-".join)
def test_imports_in_any_order(order: tuple[str, ...]) -> None:
    program = [*(f"import {name}" for name in order), "model = onnx.ModelProto(ir_version=10)"]
    program.append("assert onnx.ModelProto.FromString(model.SerializeToString()) == model")
    subprocess.run([sys.executable, "-c", "; ".join(program)], check=True, timeout=120)

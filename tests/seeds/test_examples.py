"""The walks of examples/ as they stand, on a few digits: what they print, and the files that they leave."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = """
import runpy, sys
sys.path.insert(0, {folder!r})
import digits
whole = digits.load
digits.load = lambda: [x[:192] for x in whole()]
sys.argv[1:] = ["."]
runpy.run_path({example!r}, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("name", "model", "shown"),
    [
        ("hetu_cnn", "hetu_cnn.onnx", ["exported before the first run", "training: acc", "trained further: acc"]),
        ("singa_mnist", "mnist.onnx", ["training: acc", "re-training: acc", "transfer learning: acc"]),
    ],
)
def test_walk(tmp_path, name, model, shown):
    pytest.importorskip("sklearn")
    code = SHORT.format(folder=str(EXAMPLES), example=str(EXAMPLES / f"{name}.py"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in shown)
    assert (tmp_path / model).is_file()
    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"

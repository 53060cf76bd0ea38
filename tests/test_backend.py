"""The ONNX backend test suite, CPU cases, and the small print of sardonyx.backend."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx.backend.test
import pytest
from onnx import parser
from onnx.helper import make_node

import sardonyx.backend

os.environ.setdefault("ONNX_HOME", tempfile.mkdtemp(prefix="onnx_home_"))  # where the suite unpacks its models

_SUITE = onnx.backend.test.BackendTest(sardonyx.backend, __name__)
for _line in (Path(__file__).parent / "backend_exclusions.txt").read_text().splitlines():
    if not _line.startswith("#"):
        _SUITE.exclude(f"^{_line.partition(chr(9))[0]}$")
globals().update(_SUITE.test_cases)


def test_prepare_takes_lists_dicts_and_arrays_and_names_results() -> None:
    model = parser.parse_model('<ir_version: 8, opset_import: ["":17]> g (float[N] x) => (float[N] y) { y = Neg(x) }')
    model.graph.input[0].name = model.graph.node[0].input[0] = "x.1"
    model.graph.output[0].name = model.graph.node[0].output[0] = "20"
    prepared = sardonyx.backend.prepare(model, "CPU", intra_op_num_threads=1)
    assert (prepared.inputs, prepared.outputs) == (["x.1"], ["20"])
    x = np.array([1, -2], np.float32)
    for feeds in ([x], {"x.1": x}, x):
        result = prepared.run(feeds)
        assert result["20"].tolist() == result[0].tolist() == [-1, 2]


def test_run_node() -> None:
    x = np.array([[1, -2]], np.float32)
    assert sardonyx.backend.run_node(make_node("Abs", ["x"], ["y"]), [x])[0].tolist() == [[1, 2]]
    old = make_node("Unsqueeze", ["x"], ["y"], axes=[0])
    assert sardonyx.backend.run_node(old, [x], opset_version=11)[0].shape == (1, 1, 2)
    with pytest.raises(ValueError, match="zip"):
        sardonyx.backend.run_node(make_node("Abs", ["x"], ["y"]), [x, x])


def test_devices() -> None:
    assert sardonyx.backend.supports_device("CPU")
    assert sardonyx.backend.supports_device("CPU:0")
    assert not sardonyx.backend.supports_device("CUDA")
    assert not sardonyx.backend.is_compatible(onnx.ModelProto())
    with pytest.raises(ValueError, match="CUDA"):
        sardonyx.backend.prepare(parser.parse_model('<ir_version: 8, opset_import: ["":17]> g () => () {}'), "CUDA")

"""The command line: answers, JSON, exit statuses and messages."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from sardonyx.cli.main import main
from sardonyx.cost import model_cost
from sardonyx.demo import fetch as demo_fetch
from sardonyx.demo.file_type import FileTyper
from sardonyx.demo.ocr import connected_regions, ctc_decode

MODEL = """
    <ir_version: 8, opset_import: ["" : 17], producer_name: "tests">
    g (float[N, 3] x) => (float[N, 2] y)
    <float[3, 2] w = {1, 2, 3, 4, 5, 6}>
    { xw = MatMul(x, w)
      y = Relu(xw) }"""
COMMANDS = ("run", "inspect", "check", "explain", "bench", "profile", "demo")


@pytest.fixture
def model(tmp_path: pathlib.Path) -> str:
    onnx.save(parser.parse_model(MODEL), tmp_path / "model.onnx")
    return str(tmp_path / "model.onnx")


def run_json(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert main([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_run_on_files_and_numbers(model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.array([[1, 1, 1], [-1, 0, 0]], np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "feeds.npz", x=x)
    out = tmp_path / "out"
    for given in (f"x={tmp_path / 'x.npy'}", str(tmp_path / "x.npy"), str(tmp_path / "feeds.npz"), f"x={x.tolist()}"):
        assert main(["run", model, "--input", given, "--output-dir", str(out)]) == 0
        assert np.load(out / "y.npy").tolist() == [[9, 12], [0, 0]]
    assert "y: float32 2x2" in capsys.readouterr().out
    result = run_json(capsys, "run", model, "--dim", "N=4", "--fetch", "xw")
    assert result["outputs"]["xw"]["shape"] == [4, 2]


def test_run_on_a_picture(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (7, 5), (255, 0, 0)).save(tmp_path / "red.png")
    for shape, first in (("1, 3, 4, 6", [1.0, 1.0]), ("1, 4, 6, 3", [1.0, 0.0])):
        text = (
            f'<ir_version: 8, opset_import: ["":17]> g (float[{shape}] x) => (float[{shape}] y) {{ y = Identity(x) }}'
        )
        onnx.save(parser.parse_model(text), tmp_path / "m.onnx")
        result = run_json(capsys, "run", str(tmp_path / "m.onnx"), "--input", f"x={tmp_path / 'red.png'}")
        assert result["outputs"]["y"]["first"][:2] == first


def test_inspect(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "inspect", model, "--dim", "N=10")
    assert result["inputs"] == {"x": "float[N,3]"}
    assert result["operators"] == {"MatMul": 1, "Relu": 1}
    assert (result["cost"]["parameters"], result["cost"]["parameter_bytes"]) == (6, 24)
    assert result["cost"]["flops"] == 2 * 10 * 3 * 2 + 10 * 2
    assert main(["inspect", model]) == 0
    assert "MatMul" in capsys.readouterr().out


def test_costs_of_convolutions_and_memory() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 3, 8, 8] x, float[4, 3, 3, 3] w) => (float[N, 4, 6, 6] y) { y = Conv(x, w) }""")
    cost = model_cost(model, {"N": 2})
    assert cost.flops == 2 * (2 * 4 * 6 * 6) * (3 * 3 * 3)
    assert cost.activation_bytes == 4 * (2 * 3 * 64 + 4 * 27 + 2 * 4 * 36)


def test_check_lists_all_problems(model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json(capsys, "check", model)["problems"] == []
    bad = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>
        g (float[N] x) => (float[N] y) { a = com.acme.Foo(x)  y = com.acme.Bar(a) }""")
    onnx.save(bad, tmp_path / "bad.onnx")
    assert main(["check", str(tmp_path / "bad.onnx")]) == 1
    text = capsys.readouterr().out
    assert "Foo" in text and "Bar" in text
    assert main(["run", str(tmp_path / "bad.onnx")]) == 1
    error = capsys.readouterr().err
    assert "NotImplemented" in error and "Foo" in error and "Bar" in error


def test_explain(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "explain", model, "--run")
    assert result["nodes"]
    assert all(set(row) == {"name", "node", "fired", "reason"} for row in result["passes"])
    assert main(["explain", model]) == 0


def test_precision(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = run_json(capsys, "run", model, "--input", "x=[[1.00390625, 0, 0]]", "--precision", "bf16")["outputs"]["y"]
    exact = run_json(capsys, "run", model, "--input", "x=[[1, 0, 1e-3]]")["outputs"]["y"]
    assert exact["first"] == pytest.approx([1.005, 2.006], abs=1e-6)
    assert row["first"] == pytest.approx([1, 2], abs=0.01)
    kernels = [
        row["kernel"] for row in run_json(capsys, "profile", model, "--precision", "bf16", "--runs", "1")["rows"]
    ]
    assert "bf16" in kernels


def test_profile_writes_a_trace(model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "profile", model, "--runs", "3", "--trace", str(tmp_path / "trace.json"))
    assert result["rows"] and result["us_per_run"] > 0
    assert all(event["ph"] == "X" for event in json.loads((tmp_path / "trace.json").read_text()))
    assert main(["profile", model, "--runs", "1", "--by", "operator"]) == 0
    assert "GB/s" in capsys.readouterr().out


def test_bench_takes_turns(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(
        capsys, "bench", model, "--against", "onnxruntime", "--batch", "1", "2", "--seconds", "0.05", "--threads", "1"
    )
    assert [(row["batch"], row["runtime"]) for row in result["rows"]] == [
        (batch, name) for batch in (1, 2) for name in ("sardonyx", "onnxruntime")
    ]
    assert all(row["largest_difference"] < 1e-5 and row["median_ms"] > 0 for row in result["rows"])


@pytest.mark.parametrize(
    "args",
    [
        [], ["nothing"], ["run"], ["run", "nosuch.onnx"], ["check", "nosuch.onnx"], ["inspect", "nosuch.onnx"],
        ["run", "MODEL", "--input", "z=random"], ["run", "MODEL", "--input", "x=what"], ["run", "MODEL", "--dim", "N"],
        ["bench", "MODEL", "--against", "nothing"], ["run", "MODEL", "--input", "x=nosuch.npy"],
    ],
)  # fmt: skip
def test_wrong_use_ends_with_2_and_a_message(model: str, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main([model if arg == "MODEL" else arg for arg in args])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    captured = capsys.readouterr()
    assert captured.err.strip() and not captured.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"sardonyx {command}" in capsys.readouterr().out.split("examples:")[1]


def test_python_dash_m(model: str) -> None:
    done = subprocess.run([sys.executable, "-m", "sardonyx", "check", model], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "no problems\n")


def test_demo_without_a_network_says_so(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL")
    monkeypatch.setenv("SARDONYX_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["demo"]) == 1
    error = capsys.readouterr().err
    assert "could not be downloaded" in error and "network" in error


def test_demo_refuses_files_that_changed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARDONYX_CACHE", str(tmp_path))
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "detect.onnx").write_bytes(b"something else")
    asked = []

    def refuse(requirement: str, folder: str) -> pathlib.Path:
        asked.append(requirement)
        raise demo_fetch.FetchError("no network")

    monkeypatch.setattr(demo_fetch, "_download", refuse)
    with pytest.raises(demo_fetch.FetchError):
        demo_fetch.fetch(lambda _: None)
    assert asked == ["rapidocr-onnxruntime==1.4.4"]


def test_connected_regions() -> None:
    mask = np.array([[1, 0, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool)
    assert sorted(len(region) for region in connected_regions(mask)) == [1, 1, 9]
    random = np.random.default_rng(0).random((40, 40)) < 0.5
    regions = connected_regions(random)
    labels = np.zeros(random.shape, int)
    for index, region in enumerate(regions, 1):
        labels[region[:, 0], region[:, 1]] = index
    assert ((labels > 0) == random).all()
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        both = (a > 0) & (b > 0)
        assert (a[both] == b[both]).all()
    assert connected_regions(np.zeros((3, 3), bool)) == []


def test_ctc_decoding() -> None:
    best = [0, 1, 1, 0, 1, 2, 2, 0]
    assert ctc_decode(np.eye(3, dtype=np.float32)[best], ["a", "b"]) == ("aab", 1.0)
    assert ctc_decode(np.eye(3, dtype=np.float32)[[0, 0]], ["a", "b"]) == ("", 0.0)


def test_file_type_features(tmp_path: pathlib.Path) -> None:
    config = {"beg_size": 4, "end_size": 4, "block_size": 8, "padding_token": 256}
    (tmp_path / "config.json").write_text(json.dumps(config))
    typer = FileTyper(None, tmp_path / "config.json")  # type: ignore[arg-type]
    assert typer.features(b" ab ").tolist() == [97, 98, 32, 256, 256, 32, 97, 98]
    assert typer.features(b"  ab ").tolist() == [97, 98, 32, 256, 32, 32, 97, 98]
    assert typer.features(b"abcdefghijkl").tolist() == [97, 98, 99, 100, 105, 106, 107, 108]
    assert typer.features(b"").tolist() == [256] * 8

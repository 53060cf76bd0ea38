"""The measuring module, `sardonyx bench` and the scripts of bench/: forms and bookkeeping, never times."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from sardonyx import measure
from sardonyx.cli.main import main
from sardonyx.measure import runtimes

BENCH = pathlib.Path(__file__).parent.parent / "bench"
SCRIPTS = ("errors", "models", "memory", "startup", "threads", "training", "trees", "make_models", "run_all")
MODEL = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 3] x) => (float[N, 2] y)
    <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"""


@pytest.fixture
def model(tmp_path: pathlib.Path) -> str:
    onnx.save(parser.parse_model(MODEL), tmp_path / "model.onnx")
    return str(tmp_path / "model.onnx")


def script(name: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_has_examples(name: str) -> None:
    if name == "make_models":
        pytest.importorskip("torch")
    done = script(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout


def test_turns_are_counted_alike() -> None:
    rounds = measure.take_turns({"a": lambda: None, "b": lambda: sum(range(100))}, 0.0, min_rounds=4)
    assert {name: len(times) for name, times in rounds.seconds.items()} == {"a": 4, "b": 4}
    row = rounds.row("b", "a")
    assert row["runs"] == 4 and row["best_ms"] <= row["median_ms"] and row["spread"] >= 0


def test_a_ratio_is_taken_round_by_round() -> None:
    rounds = measure.Rounds({"ours": [1.0, 2.0, 4.0], "theirs": [2.0, 4.0, 4.0]})
    assert rounds.ratio("theirs", "ours") == 2.0
    assert rounds.median("ours") == 2.0


def test_differences_of_outputs() -> None:
    a = np.array([1.0, 200.0], np.float32)
    assert measure.largest_difference([a], [a]) == 0
    assert measure.largest_difference([a], [a + np.float32(1)]) == pytest.approx(1 / 201)
    assert measure.largest_difference([a], [a[:1]]) == float("inf")
    assert measure.largest_difference([a], [np.array([1, np.nan], np.float32)]) == float("inf")
    assert measure.largest_difference([np.array(["a"], object)], [np.array(["b"], object)]) == 0


def test_runtimes_that_cannot_take_part(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure.why_not("sardonyx", model) is None
    assert "no runtime" in (measure.why_not("other", model) or "")
    monkeypatch.setattr(runtimes, "installed", lambda name: None if name == "openvino" else "1")
    assert "pip install openvino" in (measure.why_not("openvino", model) or "")
    assert "model.pt2" in (measure.why_not("torch", model) or "")
    with pytest.raises(measure.Unavailable, match="not installed"):
        measure.load("openvino", model)


def test_fresh_processes(model: str) -> None:
    feeds, more = {"x": np.ones((1, 3), np.float32)}, {"x": np.ones((2, 3), np.float32)}
    used = measure.measure_memory("sardonyx", model, feeds)
    assert set(used) == {"peak", "after"} and used["peak"] >= used["after"]
    found = measure.measure_startup(["sardonyx"], model, feeds, more, repeats=1)
    assert set(found["sardonyx"]) == {"import", "create", "first_run", "run", "new_shape"}
    with pytest.raises(measure.Unavailable, match="InvalidArgument"):
        measure.measure_memory("sardonyx", model, {"z": feeds["x"]})


def test_a_report_in_each_form(tmp_path: pathlib.Path) -> None:
    table = measure.Table("speed", {"model": "model", "ms": "time | ms"}, plot=("bar", "model", "ms", "model"))
    table.rows += [{"model": "a|b", "ms": 1.25}, {"model": "c", "ms": None}]
    report = measure.Report("All", table)
    report.note("left out: d")
    report.note("left out: d")
    text = report.markdown()
    assert "| a\\|b | 1.25 |" in text and "| c |  |" in text and text.count("left out: d") == 1
    document = json.loads(json.dumps(report.document()))
    assert document["tables"] == [{"title": "speed", "rows": table.rows}]
    assert {"processor", "cpus", "system", "versions"} <= set(document["machine"])
    pytest.importorskip("matplotlib")
    report.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 0


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["bench", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command(model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench(
        capsys, model, "--batch", "1", "3", "--threads", "1", "2", "--seconds", "0", "--startup", "--memory",
        "--markdown", str(tmp_path / "report.md"),
    )  # fmt: skip
    assert [(row["threads"], row["batch"]) for row in found["rows"]] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    keys = {"runtime", "median_ms", "best_ms", "spread", "runs", "ratio", "largest_difference"}
    assert all(keys <= set(row) and row["ratio"] == 1 for row in found["rows"])
    assert [len(table["rows"]) for table in found["tables"]] == [4, 1, 1]
    assert "create session" in (tmp_path / "report.md").read_text()


def test_a_script_of_each_kind(model: str, tmp_path: pathlib.Path) -> None:
    folder = str(pathlib.Path(model).parent)
    for name, arguments in (
        ("models", ("--batch", "2", "--seconds", "0")),
        ("memory", ()),
        ("threads", ("--only", "model", "--seconds", "0", "--sweep", "1", "2")),
        ("startup", ("--repeats", "1", "--seconds", "0")),
    ):
        to = tmp_path / f"{name}.json"
        done = script(name, folder, "--against", *arguments, "--json", str(to), "--markdown")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("# ")
        tables = json.loads(to.read_text())["tables"]
        assert all(table["rows"] for table in tables) and tables[0]["rows"][0]["model"] == "model"


def test_errors_are_within_what_is_promised(tmp_path: pathlib.Path) -> None:
    done = script("errors", "--json", str(tmp_path / "errors.json"))
    rows = json.loads((tmp_path / "errors.json").read_text())["tables"][0]["rows"]
    assert done.returncode == 0, [row for row in rows if row["holds"] != "yes"]
    assert len(rows) > 20 and all({"baseline", "avx2", "best", "bound", "plain"} <= set(row) for row in rows)


def test_training_steps(tmp_path: pathlib.Path) -> None:
    table = tmp_path / "table.json"
    done = script("training", "--only", "mlp", "--against", "--seconds", "0", "--profile", "--json", str(table))
    assert done.returncode == 0, done.stderr
    times, means, profile = json.loads(table.read_text())["tables"]
    assert [row["runtime"] for row in times["rows"]] == ["sardonyx"] and times["rows"][0]["peak_mib"] > 0
    assert means["rows"] == []
    assert {"sardonyx::MatMul"} <= {row["operator"].split()[0] for row in profile["rows"]}


def test_training_beside_torch(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("torch")
    table = tmp_path / "table.json"
    options = ("--only", "mlp", "--against", "torch", "--seconds", "0", "--no-memory", "--json", str(table))
    done = script("training", *options)
    assert done.returncode == 0, done.stderr
    times, means = json.loads(table.read_text())["tables"]
    assert [row["runtime"] for row in times["rows"]] == ["sardonyx", "torch"]
    assert means["rows"][0]["ratio"] == pytest.approx(times["rows"][1]["ratio"])


def test_training_says_that_a_compiler_is_missing(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("torch")
    environment = {**os.environ, "CXX": "/nowhere/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = script("training", "--only", "mlp", "--against", "torch.compile", "--seconds", "0", "--no-memory",
                  environment=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "C++ compiler" in done.stderr

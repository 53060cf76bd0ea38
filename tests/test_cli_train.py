"""`sardonyx train` from end to end on scikit-learn's digits, and what it says of mistakes."""

from __future__ import annotations

import csv
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

import sardonyx as sx
from sardonyx import nn
from sardonyx.cli.main import main
from sardonyx.graph import export, placeholder

datasets = pytest.importorskip("sklearn.datasets")
pytest.importorskip("safetensors")

DIGITS = datasets.load_digits()
IMAGES = (DIGITS.images / 16).astype(np.float32)[:, None]
LABELS = DIGITS.target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Networks and digits in files."""
    path = tmp_path_factory.mktemp("digits")
    nn.init.seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10), nn.Softmax(),
    )  # fmt: skip
    for name, batch in (("cnn", "batch"), ("fixed", 1)):
        x = placeholder("x", shape=(batch, 1, 8, 8))
        export([net(x)], path / f"{name}.onnx", inputs=[x], output_names=["scores"])
    np.savez(path / "digits.npz", x=IMAGES, labels=LABELS)
    np.savez(path / "few.npz", x=IMAGES[:200], labels=LABELS[:200])
    return path


def train(*arguments: object) -> int:
    return main(["train", *map(str, arguments)])


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    assert train(*arguments, "--json") == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def accuracy(model: pathlib.Path, images: Any = IMAGES, labels: Any = LABELS) -> float:
    scores = sx.InferenceSession(str(model)).run(None, {"x": images})[0]
    return float((scores.argmax(1) == labels).mean())


def test_digits(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, curve = tmp_path / "out.onnx", tmp_path / "curve.csv"
    rate = ("--lr", 0.01, "--schedule", "cosine", "--warmup", 20)
    found = report(
        capsys, folder / "cnn.onnx", folder / "digits.npz", "-o", out, "--epochs", 4, *rate, "--curve", curve
    )
    assert found["before"] < 0.3 and found["accuracy"] > 0.95 and found["difference"] < 1e-5
    assert accuracy(out) > 0.95
    rows = list(csv.DictReader(curve.open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["validation_accuracy"]) == found["history"][-1]["validation_accuracy"]
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.node[-1].op_type == "Softmax" and model.graph.output[0].name == "scores"
    assert not any(a.name == "training_mode" and a.i for node in model.graph.node for a in node.attribute)


def test_progress_and_pictures_of_the_curve(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    curve = tmp_path / "curve.png"
    options = ("--epochs", 2, "--curve", curve)
    assert train(folder / "cnn.onnx", folder / "few.npz", "-o", tmp_path / "out.onnx", *options) == 0
    text = capsys.readouterr().out
    assert "4554 of 4570 parameters change; accuracy before" in text
    assert "epoch 2/2: loss" in text and "validation accuracy" in text and "checked" in text
    assert curve.read_bytes()[:4] == b"\x89PNG"


def test_new_head_trained_alone(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: Any) -> None:
    first = tmp_path / "first.onnx"
    report(capsys, folder / "cnn.onnx", folder / "digits.npz", "-o", first, "--epochs", 2, "--lr", 0.01)
    np.savez(tmp_path / "odd.npz", x=IMAGES, labels=LABELS % 2)
    out = tmp_path / "odd.onnx"
    found = report(
        capsys, first, tmp_path / "odd.npz", "-o", out, "--classes", "--freeze", "*", "--epochs", 4, "--lr", 0.01
    )
    assert found["classes"] == 2 and found["trained_parameters"] == 2 * 33
    assert accuracy(out, labels=LABELS % 2) > 0.9
    before, after = sx.graph.load(str(first)), sx.graph.load(str(out))
    kept = set(before.parameters) & set(after.parameters)
    assert len(kept) == 8  # of the convolution, the normalization with its statistics, and the first product
    for name in kept:
        np.testing.assert_array_equal(before[name].numpy(), after[name].numpy())
    cut = tmp_path / "cut.onnx"
    tensor = next(node.outputs[0].name for node in before.nodes if node.op == "MaxPool")
    assert report(capsys, first, folder / "few.npz", "-o", cut, "--classes", 10, "--cut", tensor, "--epochs", 1)
    weight = next(x for name, x in sx.graph.load(str(cut)).parameters.items() if name.startswith("head"))
    assert 8 in (weight.shape or ())  # the means of eight feature maps


def test_heads_on_tokens_and_maps(tmp_path: pathlib.Path, capsys: Any) -> None:
    """Features of tokens [batch, tokens, features] and of places: the mean over all but the features goes in."""
    ids = np.random.default_rng(0).integers(0, 20, (240, 6))
    right = (ids < 7).sum(1) > 2
    np.savez(tmp_path / "ids.npz", x=ids, labels=right.astype(np.int64))
    maps = np.random.default_rng(1).normal(size=(240, 2, 7)).astype(np.float32)
    np.savez(tmp_path / "maps.npz", x=maps, labels=(maps[:, 0].mean(1) > 0).astype(np.int64))
    nn.init.seed(4)
    x, y = placeholder("x", np.int64, ("batch", "tokens")), placeholder("x", shape=("batch", 2, 7))
    tokens = nn.Sequential(nn.Embedding(20, 16), nn.LayerNorm(16), nn.Linear(16, 12))
    places = nn.Sequential(nn.Conv1d(2, 9, 3), nn.ReLU())
    for name, net, given, wide in (("ids", tokens, x, 12), ("maps", places, y, 9)):
        export([net(given)], tmp_path / f"{name}.onnx", inputs=[given], output_names=["features"])
        out = tmp_path / f"{name}-out.onnx"
        options = ("-o", out, "--classes", 2, "--epochs", 25, "--lr", 0.02, "--precision", "bf16")
        found = report(capsys, tmp_path / f"{name}.onnx", tmp_path / f"{name}.npz", *options)
        assert found["accuracy"] > 0.85
        heads = [v for key, v in sx.graph.load(str(out)).parameters.items() if key.startswith("head.w")]
        assert wide in (heads[0].shape or ())


def test_pictures_by_class(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    names = ["one", "three", "two"]
    for name, digit in (("one", 1), ("two", 2), ("three", 3)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in np.flatnonzero(np.equal(LABELS, digit))[:60]:
            pixels = (IMAGES[k, 0] * 255).astype(np.uint8)
            image.fromarray(pixels).save(tmp_path / "data" / name / f"{k}.png")
    out = tmp_path / "out.onnx"
    options = ("-o", out, "--classes", "--epochs", 6, "--lr", 0.01, "--mean", 0.3, "--std", 0.4)
    found = report(capsys, folder / "fixed.onnx", tmp_path / "data", *options)
    assert found["classes"] == names and found["accuracy"] > 0.9
    assert {x.key: x.value for x in onnx.load(out).metadata_props}["classes"].split("\n") == names


def test_tables_and_arrays(tmp_path: pathlib.Path, capsys: Any) -> None:
    iris = datasets.load_iris()
    nn.init.seed(2)
    x = placeholder("x", shape=("n", 4))
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    export([net(x)], tmp_path / "net.onnx", inputs=[x])
    names = [iris.target_names[k] for k in iris.target]
    with (tmp_path / "iris.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "a", "b", "c", "d"])
        writer.writerows([name, *row] for name, row in zip(names, iris.data))
    options = ("-o", tmp_path / "out.onnx", "--epochs", 20, "--lr", 0.02)
    found = report(capsys, tmp_path / "net.onnx", tmp_path / "iris.csv", "--label-column", "kind", *options)
    assert found["classes"] == ["setosa", "versicolor", "virginica"] and found["accuracy"] > 0.9
    np.save(tmp_path / "x.npy", iris.data)
    np.save(tmp_path / "y.npy", iris.target)
    arrays = (tmp_path / "x.npy", "--labels", tmp_path / "y.npy")
    assert report(capsys, tmp_path / "net.onnx", *arrays, *options)["history"] == found["history"]


def test_early_stopping_keeps_the_best(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: Any) -> None:
    options = ("-o", tmp_path / "out.onnx", "--epochs", 30, "--patience", 2, "--lr", 0.03, "--optimizer", "rmsprop")
    found = report(capsys, folder / "cnn.onnx", folder / "few.npz", *options)
    losses = [row["validation_loss"] for row in found["history"]]
    assert len(losses) == found["best_epoch"] + 2 < 30
    assert found["loss"] == pytest.approx(min(losses), rel=1e-6) == losses[found["best_epoch"] - 1]


def test_resumed_runs_give_the_same_file(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: Any) -> None:
    files = []
    for name, parts in (("whole", [4]), ("parts", [1, 3, 4])):
        out, checkpoint = tmp_path / f"{name}.onnx", tmp_path / f"{name}.safetensors"
        for epochs in parts:
            options = ("--epochs", epochs, "--checkpoint", checkpoint, "--resume", "--seed", 5)
            assert train(folder / "cnn.onnx", folder / "few.npz", "-o", out, *options) == 0
        files.append(out.read_bytes())
    assert files[0] == files[1]
    assert "behind epoch 3" in capsys.readouterr().out


def broken_png(path: pathlib.Path) -> pathlib.Path:
    pytest.importorskip("PIL")
    (path / "pictures" / "a").mkdir(parents=True)
    (path / "pictures" / "a" / "x.png").write_bytes(b"no picture")
    return path / "pictures"


def saved(path: pathlib.Path, **arrays: Any) -> pathlib.Path:
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


def text(path: pathlib.Path, content: str) -> pathlib.Path:
    (path / "data.csv").write_text(content)
    return path / "data.csv"


NAN = np.where(np.arange(len(IMAGES))[:, None, None, None] == 150, np.float32(np.nan), IMAGES)
MISTAKES: list[tuple[Callable[[pathlib.Path], pathlib.Path] | None, list[object], int, str]] = [
    (lambda p: p / "none.npz", [], 2, "there is no file or folder"),
    (lambda p: p, [], 2, "holds no folders; one for each class"),
    (broken_png, [], 2, "is no picture that Pillow can read"),
    (lambda p: text(p, "a,b\n1,2,3\n"), [], 2, "line 2: 3 cells; 2 expected"),
    (lambda p: text(p, "a,b\n1,2\nx,3\n"), [], 2, "line 3: 'x' is no number"),
    (lambda p: text(p, "a,b\n1,2\n"), ["--label-column", "c"], 2, "no column 'c'; there are 'a', 'b'"),
    (lambda p: text(p, "1,2,3\n"), [], 2, r"have shape \[2\]; \[1, 8, 8\] expected"),
    (lambda p: saved(p, x=IMAGES, labels=LABELS + 1), [], 2, "labels are out of range, the first, 10, at .*0 to 9"),
    (lambda p: saved(p, x=IMAGES, labels=LABELS[:9]), [], 2, "1797 examples for the input 'x', but 9 labels"),
    (lambda p: saved(p, x=IMAGES, labels=LABELS / 1), [], 2, "one of integers, the labels, expected"),
    (lambda p: saved(p, x=IMAGES[:, :, 1:], labels=LABELS), [], 2, r"shape \[1, 7, 8\]; \[1, 8, 8\] expected"),
    (lambda p: saved(p, x=NAN, labels=LABELS), ["--validation", 0], 1, r"step \d+: .*the input 'x' holds NaN"),
    (None, ["--lr", 1e30, "--optimizer", "sgd"], 1, r"step \d+: the loss is not finite: "),
    (None, ["--freeze", "*"], 1, "depends on no trainable variable"),
    (None, ["--freeze", "layer9.*"], 1, "no parameter matches 'layer9"),
    (None, ["--cut", "x"], 2, "needs a new head: --classes N"),
    (None, ["--classes", 10, "--cut", "nowhere"], 1, "no tensor 'nowhere'"),
    (None, ["--classes", 3], 2, "0 to 2 expected for 3 classes"),
    (None, ["--output-name", "z"], 2, "no output 'z'; there are 'scores'"),
    (None, ["--resume"], 2, "need --checkpoint"),
    (None, ["--patience", 3, "--validation", 0], 2, "--patience needs examples"),
    (None, ["--validation", 1.5], 2, "a share from 0 up to 1"),
    (None, ["--epochs", 0], 2, "--epochs is 0"),
    (None, ["--momentum", 0.9], 2, "--optimizer adam has no --momentum"),
    (None, ["--mean", 1, 2], 2, "--mean has 2 numbers"),
    (None, ["-o", "/nowhere/out.onnx"], 2, "there is no folder"),
    (None, ["--curve", "curve.txt"], 2, "--curve takes .csv"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "options", "status", "message"), MISTAKES)
def test_mistakes(
    data: Callable[[pathlib.Path], pathlib.Path] | None,
    options: list[object],
    status: int,
    message: str,
    folder: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = folder / "few.npz" if data is None else data(tmp_path)
    out = tmp_path / "out.onnx"
    found = train(folder / "cnn.onnx", path, "-o", out, "--epochs", 2, *options)
    error = capsys.readouterr().err
    assert found == status, error
    assert error.startswith("sardonyx train: ")
    assert re.search(message, error), error
    assert not out.exists()


def test_mistakes_of_models(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = folder / "few.npz", tmp_path / "out.onnx"
    assert train(tmp_path / "none.onnx", data, "-o", out) == 2
    assert "there is no model" in capsys.readouterr().err
    cases = (
        ("float[N, 10, 8] y", "y = Squeeze(x, one)", "which output gives a number for each class"),
        ("float[N, 64] y", "c = Floor(x)  y = Flatten(c)", "depends on no trainable variable"),
    )
    for declared, nodes, message in cases:
        source = f"""<ir_version: 8, opset_import: ["" : 17]>
            g (float[N, 1, 8, 8] x) => ({declared}) <int64[1] one = {{1}}> {{ {nodes} }}"""
        onnx.save(parser.parse_model(source), tmp_path / "bad.onnx")
        assert train(tmp_path / "bad.onnx", data, "-o", out) in (1, 2)
        assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_run(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: Any) -> None:
    checkpoint = ("--checkpoint", tmp_path / "c.safetensors")
    common = (folder / "cnn.onnx", folder / "few.npz", "-o", tmp_path / "out.onnx", "--epochs", 1, *checkpoint)
    assert train(*common) == 0
    assert train(*common) == 2
    assert "--resume goes on from it" in capsys.readouterr().err
    assert train(*common, "--resume", "--batch", 8) == 1
    assert "a run with batch 32; this one has 8" in capsys.readouterr().err

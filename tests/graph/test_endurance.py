"""Long training: the same bits twice, on any number of threads, after being killed, and after a full disk."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sardonyx as sx
from sardonyx import losses, nn, optim, weights
from sardonyx.graph import Executor, export, placeholder

IMAGES = np.random.default_rng(5).normal(size=(256, 1, 12, 12)).astype(np.float32)
LABELS = np.random.default_rng(6).integers(0, 10, 256)


def network() -> nn.Sequential:
    nn.init.seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1),
        nn.Conv2d(6, 12, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(300, 40), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(40, 10),
    )  # fmt: skip


def trained(threads: int, steps: int) -> tuple[list[bytes], dict[str, Any]]:
    """The losses, as bits, and the state at the end."""
    sx.set_seed(17)
    net = network()
    x, t = placeholder("x", shape=("n", 1, 12, 12)), placeholder("t", np.int64, ("n",))
    loss = losses.softmax_cross_entropy(net(x), t)
    optimizer = optim.AdamW(optim.cosine(3e-3, steps), clip_norm=1.0)
    executor = Executor([loss, optimizer.minimize(loss)], threads=threads)
    order = np.random.default_rng(7)
    seen = []
    for _ in range(steps):
        places = order.choice(len(IMAGES), 32, replace=False)
        seen.append(executor.run({x: IMAGES[places], t: LABELS[places]})[0].tobytes())
    return seen, {**net.state_dict(), **{name: value.numpy() for name, value in optimizer.state.items()}}


def test_a_thousand_steps_give_the_same_bits() -> None:
    seen, state = trained(threads=2, steps=1000)
    assert float(np.frombuffer(seen[-1], np.float32)[0]) < 0.5 * float(np.frombuffer(seen[0], np.float32)[0])
    for threads in (2, 1):
        again, other = trained(threads, steps=1000)
        assert again == seen
        for name, value in state.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


# --- a process that trains and saves


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network and data for `sardonyx train`, and what an unbroken run makes of them."""
    pytest.importorskip("safetensors")
    folder = tmp_path_factory.mktemp("endurance")
    x = placeholder("x", shape=("n", 1, 12, 12))
    export([network()(x)], folder / "net.onnx", inputs=[x])
    np.savez(folder / "data.npz", x=IMAGES, labels=LABELS)
    done = process(folder, folder, "unbroken", 6)
    assert done.wait() == 0
    return folder


def process(files: Path, folder: Path, name: str, epochs: int, **options: Any) -> subprocess.Popen[bytes]:
    """Trains in 8 steps of an epoch, with a checkpoint after every third step; goes on where there is one."""
    command = [sys.executable, "-m", "sardonyx", "train", files / "net.onnx", files / "data.npz"]
    command += ["-o", folder / f"{name}.onnx", "--checkpoint", folder / f"{name}.safetensors", "--resume"]
    command += ["--checkpoint-steps", "3", "--epochs", str(epochs), "--batch", "27", "--seed", "9"]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, **options)


def test_a_killed_process_goes_on_with_the_same_bits(files: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "killed.safetensors"
    draw = random.Random(4)
    kills = 0
    while kills < 4:
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        running = process(files, tmp_path, "killed", 6)
        # Killed soon after it has saved once, so that every turn gets further.
        while running.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        running.send_signal(signal.SIGKILL)
        if running.wait() == 0:
            break
        kills += 1
    assert kills >= 1
    assert process(files, tmp_path, "killed", 6).wait() == 0
    assert (tmp_path / "killed.onnx").read_bytes() == (files / "unbroken.onnx").read_bytes()
    leftovers = {path.name for path in tmp_path.iterdir()} - {"killed.onnx", "killed.safetensors"}
    assert not leftovers


def test_a_full_disk_leaves_the_last_checkpoint(files: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "full.safetensors"
    assert process(files, tmp_path, "full", 1).wait() == 0
    (tmp_path / "full.onnx").unlink()
    good = checkpoint.read_bytes()
    most = len(good) // 2

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    running = process(files, tmp_path, "full", 6, preexec_fn=limit, stderr=subprocess.PIPE)
    message = running.communicate()[1].decode()
    assert running.returncode == 1
    assert "cannot save" in message and "what was there before is unchanged" in message
    assert checkpoint.read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]
    assert process(files, tmp_path, "full", 6).wait() == 0
    assert (tmp_path / "full.onnx").read_bytes() == (files / "unbroken.onnx").read_bytes()


@pytest.mark.parametrize("write", ["model", "external", "npz", "safetensors"])
def test_a_full_disk_leaves_files_that_are_written_again(write: str, tmp_path: Path) -> None:
    name = {"npz": "w.npz", "safetensors": "w.safetensors"}.get(write, "net.onnx")
    code = f"""
import resource, signal, sys
import numpy as np
from sardonyx import graph, weights
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
w = graph.variable(np.zeros(50_000, np.float32))
x = graph.placeholder("x", np.float32, (50_000,))
def save():
    if {write!r} in ("model", "external"):
        graph.export([x * w], {name!r}, inputs=[x], external_data={write == "external"})
    else:
        weights.save({name!r}, {{"w": w.numpy()}})
save()
w.assign(np.ones(50_000, np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save()
except Exception as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.startswith(f"Fail: cannot save '{name}'"), done.stderr
    assert "what was there before is unchanged" in done.stderr
    names = {name, "net.onnx.data"} if write == "external" else {name}
    assert {path.name for path in tmp_path.iterdir()} == names
    if write in ("model", "external"):
        session = sx.InferenceSession(str(tmp_path / name))
        assert not session.run(None, {"x": np.ones(50_000, np.float32)})[0].any()
    else:
        assert not weights.load(tmp_path / name)["w"].any()

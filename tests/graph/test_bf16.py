"""Training with `precision="bf16"`: what is rounded, how much, and what stays f32, beside float64 and torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sardonyx import losses, nn, optim
from sardonyx.errors import InvalidArgument
from sardonyx.graph import Executor, Tensor, gradients, placeholder, variable
from tests.cpu import has_bf16_products

ROUNDING = 2.0**-8  # the most that rounding to bf16 changes a number, relatively
RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def multiplies_bf16() -> bool:
    """Whether a product of two values that change is computed in bf16 here."""
    x = placeholder("x", shape=(4, 8))
    executor = Executor([x @ variable(normal(8, 3), "w")], precision="bf16")
    return any("bf16" in row["kernel"] for row in executor.profile({x: normal(4, 8)}, runs=1))


def test_products_are_in_bf16_where_the_cpu_has_them() -> None:
    assert multiplies_bf16() == has_bf16_products()


def bound(magnitude: np.ndarray, terms: int) -> np.ndarray:
    """What a sum of products may be off: the roundings of both factors, and those of sums in f32."""
    return magnitude * (2.02 * ROUNDING + (terms + 2) * 2.0**-23)


@pytest.mark.parametrize("form", ["MatMul", "Linear"])
@pytest.mark.parametrize(("rows", "k", "columns"), [(1, 7, 5), (33, 64, 47), (128, 300, 96)])
def test_gradients_of_products(form: str, rows: int, k: int, columns: int) -> None:
    x, w, t = normal(rows, k), normal(k, columns), normal(rows, columns)
    a, b, s = placeholder("a", shape=("n", k)), variable(w, "w"), placeholder("s", shape=("n", columns))
    if form == "MatMul":
        y = a @ b
    else:
        layer = nn.Linear(k, columns, bias=False)
        b = layer.weight
        b.assign(w.T)
        y = layer(a)
    fetches = [y, *gradients(y, [a, b], seed=s)]
    got = Executor(fetches, precision="bf16").run({a: x, s: t})
    exact = [m.astype(np.float64) for m in (x, w, t)]
    products = [(exact[0], exact[1]), (exact[2], exact[1].T), (exact[0].T, exact[2])]
    if form == "Linear":
        got[2] = got[2].T
    for value, (left, right) in zip(got, products, strict=True):
        assert value.dtype == np.float32
        error = np.abs(value - left @ right)
        assert (error <= bound(np.abs(left) @ np.abs(right), left.shape[1])).all()
        if has_bf16_products() and value.size > 100:
            assert error.max() > 1e-4 * np.abs(value).max()  # it was not computed in f32 after all


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    loaded = pytest.importorskip("sklearn.datasets").load_digits()
    images = (loaded.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], loaded.target[order].astype(np.int64)
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def train(network: Any, precision: str, threads: int = 0, epochs: int = 6) -> tuple[float, nn.Module, list[float]]:
    """Accuracy on what was held back, the network and the losses."""
    images, labels, held, expected = digits()
    nn.init.seed(1)
    net = network()
    x, t = placeholder("x", shape=("n", 1, 8, 8)), placeholder("t", np.int64, ("n",))
    loss = losses.softmax_cross_entropy(net(x), t)
    optimizer = optim.AdamW(3e-3)
    lists = {"train": [loss, optimizer.minimize(loss)], "test": [net(x)]}
    executor = Executor(lists, precision=precision, threads=threads)
    seen = []
    for epoch in range(epochs):
        for places in np.array_split(np.random.default_rng(epoch).permutation(len(images)), 22):
            seen.append(float(executor.run({x: images[places], t: labels[places]}, "train")[0]))
    (logits,) = executor.run({x: held}, "test")
    for value in [*net.parameters(), *optimizer.state.values()]:
        assert value.dtype in (np.float32, np.int64)
    return float((logits.argmax(1) == expected).mean()), net, seen


@pytest.mark.parametrize("network", [mlp, cnn])
def test_learns_digits_as_well(network: Any) -> None:
    exact, _, _ = train(network, "f32")
    rounded, _, seen = train(network, "bf16")
    assert exact > 0.94
    assert abs(exact - rounded) <= 0.01
    assert seen[-1] < 0.2 * seen[0]


@pytest.mark.parametrize("network", [mlp, cnn])
def test_same_bits_on_any_number_of_threads(network: Any) -> None:
    one, two = (train(network, "bf16", threads, epochs=1)[2] for threads in (1, 2))
    assert one == two


def gradients_of(network: Any, precision: str) -> list[np.ndarray]:
    images, labels, _, _ = digits()
    nn.init.seed(2)
    net = network()
    x, t = placeholder("x", shape=("n", 1, 8, 8)), placeholder("t", np.int64, ("n",))
    loss = losses.softmax_cross_entropy(net(x), t)
    parameters = list(net.parameters())
    return Executor(gradients(loss, parameters), precision=precision, training=True).run(
        {x: images[:64], t: labels[:64]}
    )


@pytest.mark.parametrize("network", [mlp, cnn])
def test_gradients_of_networks(network: Any) -> None:
    """On the way to the gradient of the first layer lie up to six products, each of two factors that are rounded."""
    for exact, rounded in zip(gradients_of(network, "f32"), gradients_of(network, "bf16"), strict=True):
        assert np.linalg.norm(rounded - exact) <= 12 * ROUNDING * np.linalg.norm(exact) + 1e-6


def test_updates_are_f32() -> None:
    w = variable(normal(64, 48), "w")
    x, t = placeholder("x", shape=(16, 64)), placeholder("t", shape=(16, 48))
    loss = losses.mse(x @ w, t)
    (gradient,) = gradients(loss, [w])
    before = w.numpy()
    feeds: dict[Tensor, Any] = {x: normal(16, 64), t: normal(16, 48)}
    found, _ = Executor([gradient, optim.SGD(1e-5).minimize(loss)], precision="bf16").run(feeds)
    # Steps far below what bf16 could tell apart are not lost.
    np.testing.assert_allclose(w.numpy() - before, -1e-5 * found, atol=2.0**-23 * np.abs(before).max())
    assert (w.numpy() != before).mean() > 0.5


def test_other_cpus_compute_in_f32() -> None:
    """Without bfloat16 products, nothing is rounded: the bits are those of f32."""
    program = """
import numpy as np, sys
sys.path.insert(0, sys.argv[1])
from tests.graph import test_bf16 as tests
for network in (tests.mlp, tests.cnn):
    assert tests.train(network, "bf16", epochs=1)[2] == tests.train(network, "f32", epochs=1)[2]
assert not tests.multiplies_bf16()
"""
    for tier in ("avx512_vnni", "baseline"):
        environment = os.environ | {"SARDONYX_ISA": tier}
        command = [sys.executable, "-c", program, str(Path(__file__).parents[2])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_unknown_precision() -> None:
    with pytest.raises(InvalidArgument, match="precision is 'f16'; 'f32' or 'bf16' expected"):
        Executor([variable(normal(2), "w")], precision="f16")

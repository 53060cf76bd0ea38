"""Losses and optimizers beside torch and float64 NumPy; statistics, dropout, accumulation and mistakes in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import sardonyx as sx
from sardonyx import losses, optim
from sardonyx.errors import InvalidArgument
from sardonyx.graph import Executor, Tensor, data, gradients, op, placeholder, variable

RNG = np.random.default_rng(1)
W = RNG.normal(size=(4, 3)).astype(np.float32)
X = RNG.normal(size=(8, 4)).astype(np.float32)
T = RNG.normal(size=(8, 3)).astype(np.float32)

OPTIMIZERS: list[tuple[Callable[[], optim.Optimizer], str, dict[str, Any]]] = [
    (lambda: optim.SGD(0.1), "SGD", {"lr": 0.1}),
    (lambda: optim.SGD(0.1, 0.9, weight_decay=0.01), "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    (lambda: optim.SGD(0.1, 0.9, dampening=0.3), "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    (lambda: optim.SGD(0.1, 0.8, nesterov=True), "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    (lambda: optim.Adam(0.05, weight_decay=0.1), "Adam", {"lr": 0.05, "weight_decay": 0.1}),
    (lambda: optim.Adam(0.05, amsgrad=True), "Adam", {"lr": 0.05, "amsgrad": True}),
    (lambda: optim.AdamW(0.05, weight_decay=0.1), "AdamW", {"lr": 0.05, "weight_decay": 0.1}),
    (lambda: optim.Adagrad(0.1, lr_decay=0.1), "Adagrad", {"lr": 0.1, "lr_decay": 0.1}),
    (lambda: optim.RMSprop(0.02, momentum=0.5), "RMSprop", {"lr": 0.02, "momentum": 0.5}),
]


@pytest.mark.parametrize(("make", "name", "arguments"), OPTIMIZERS)
def test_optimizer_like_torch(make: Callable[[], optim.Optimizer], name: str, arguments: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Parameter(torch.tensor(W, dtype=torch.float64))
    optimizer = getattr(torch.optim, name)([theirs], **arguments)
    w = variable(W.astype(np.float64), "w")
    loss = losses.mse(data(X.astype(np.float64)) @ w, data(T.astype(np.float64)))
    executor = Executor([loss, make().minimize(loss)])
    for _ in range(5):
        optimizer.zero_grad()
        expected = torch.nn.functional.mse_loss(torch.tensor(X).double() @ theirs, torch.tensor(T).double())
        expected.backward()
        optimizer.step()
        np.testing.assert_allclose(executor.run()[0], expected.item(), rtol=2e-6)
    # The learning rate and the step's number are f32.
    np.testing.assert_allclose(w.numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_lamb_scales_to_the_weights() -> None:
    w = variable(W, "w")
    (gradient,) = gradients(losses.mse(data(X) @ w, data(T)), [w])
    g = gradient.numpy().astype(np.float64)
    direction = g / (np.abs(g) + 1e-6)
    expected = W - 0.1 * np.linalg.norm(W) / np.linalg.norm(direction) * direction
    loss = losses.mse(data(X) @ w, data(T))
    Executor([optim.LAMB(0.1).minimize(loss)]).run()
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["mse", "l1", "huber", "bce_with_logits", "classes", "one_hot", "nll"])
def test_loss_like_torch(name: str, reduction: Any) -> None:
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    logits = RNG.normal(size=(6, 5)).astype(np.float32) * 3
    other = RNG.normal(size=(6, 5)).astype(np.float32)
    classes = RNG.integers(0, 5, 6)
    x, theirs = variable(logits), torch.tensor(logits, requires_grad=True)
    if name == "mse":
        ours, expected = (
            losses.mse(x, data(other), reduction),
            f.mse_loss(theirs, torch.tensor(other), reduction=reduction),
        )
    elif name == "l1":
        ours, expected = (
            losses.l1(x, data(other), reduction),
            f.l1_loss(theirs, torch.tensor(other), reduction=reduction),
        )
    elif name == "huber":
        ours = losses.huber(x, data(other), 0.7, reduction)
        expected = f.huber_loss(theirs, torch.tensor(other), delta=0.7, reduction=reduction)
    elif name == "bce_with_logits":
        soft = RNG.uniform(size=(6, 5)).astype(np.float32)
        ours = losses.bce_with_logits(x, data(soft), reduction)
        expected = f.binary_cross_entropy_with_logits(theirs, torch.tensor(soft), reduction=reduction)
    elif name == "classes":
        ours = losses.softmax_cross_entropy(x, data(classes), reduction)
        expected = f.cross_entropy(theirs, torch.tensor(classes), reduction=reduction)
    elif name == "one_hot":
        ours = losses.softmax_cross_entropy(x, data(np.eye(5, dtype=np.float32)[classes]), reduction)
        expected = f.cross_entropy(theirs, torch.tensor(classes), reduction=reduction)
    else:
        ours = losses.nll(op.LogSoftmax(x, axis=1), data(classes), reduction)
        expected = f.nll_loss(f.log_softmax(theirs, 1), torch.tensor(classes), reduction=reduction)
    expected.sum().backward()
    np.testing.assert_allclose(ours.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradients(ours, [x])[0].numpy(), theirs.grad.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["classes", "ignored", "pixels", "probabilities", "nll", "bce", "positives"])
def test_weighted_loss_like_torch(kind: str, reduction: Any) -> None:
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    shape = (6, 5, 3, 2) if kind == "pixels" else (6, 5)
    logits = RNG.normal(size=shape) * 3
    classes = RNG.integers(0, 5, (6, *shape[2:]))
    weight = RNG.uniform(0.2, 3.0, 5)
    classes.flat[1] = 2  # ignored below: more than none, and not all
    x, theirs = variable(logits), torch.tensor(logits, requires_grad=True)
    given, right = torch.tensor(weight), torch.tensor(classes)
    if kind in ("classes", "pixels"):
        ours = losses.softmax_cross_entropy(x, data(classes), reduction, weight=weight)
        expected = f.cross_entropy(theirs, right, given, reduction=reduction)
    elif kind == "ignored":
        ours = losses.softmax_cross_entropy(x, data(classes), reduction, 2, weight)
        expected = f.cross_entropy(theirs, right, given, ignore_index=2, reduction=reduction)
    elif kind == "probabilities":
        soft = RNG.dirichlet(np.ones(5), 6)
        ours = losses.softmax_cross_entropy(x, data(soft), reduction, weight=data(weight))
        expected = f.cross_entropy(theirs, torch.tensor(soft), given, reduction=reduction)
    elif kind == "nll":
        ours = losses.nll(op.LogSoftmax(x, axis=1), data(classes), reduction, 2, weight.astype(np.float32))
        expected = f.nll_loss(f.log_softmax(theirs, 1), right, given, ignore_index=2, reduction=reduction)
    else:
        soft = RNG.uniform(size=(6, 5))
        option = {"weight" if kind == "bce" else "pos_weight": weight.tolist()}
        ours = losses.bce_with_logits(x, data(soft), reduction, **option)
        option = {name: torch.tensor(value, dtype=torch.float64) for name, value in option.items()}
        expected = f.binary_cross_entropy_with_logits(theirs, torch.tensor(soft), reduction=reduction, **option)
    expected.sum().backward()
    np.testing.assert_allclose(ours.numpy(), expected.detach().numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradients(ours, [x])[0].numpy(), theirs.grad.numpy(), rtol=1e-6, atol=1e-6)


def trained(loss: Tensor, update: sx.graph.Update, feeds: list[dict[Tensor, Any]]) -> list[float]:
    executor = Executor([loss, update])
    return [float(executor.run(feed)[0]) for feed in feeds]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64, np.bool_])
def test_one_hot_rows_of_any_type(dtype: Any) -> None:
    logits, classes = RNG.normal(size=(5, 3)).astype(np.float32), np.array([0, 2, 1, 1, 0])
    rows = losses.softmax_cross_entropy(data(logits), data(np.eye(3, dtype=dtype)[classes]))
    found = losses.softmax_cross_entropy(data(logits), data(classes))
    np.testing.assert_allclose(rows.numpy(), found.numpy(), rtol=1e-6)


HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda **more: optim.SGD(1e-3, 0.9, **more),
        lambda **more: optim.Adam(1e-3, **more),
        lambda **more: optim.LAMB(1e-3, **more),
        lambda **more: optim.Adagrad(1e-3, accumulate=2, **more),
        lambda **more: optim.RMSprop(1e-3, clip_norm=0.5, **more),
    ],
)
def test_variables_of_half_precision_have_masters(make: Any, dtype: Any) -> None:
    start = RNG.uniform(0.5, 1.5, (4, 3)).astype(dtype)
    batch = RNG.normal(size=(8, 4)).astype(dtype)
    batch[:, 1] = 0  # a row without gradients: no 0 / 0
    half, x = variable(start, "w"), placeholder("x", dtype, ("n", 4))
    full, wide = variable(start.astype(np.float32), "w"), placeholder("x", np.float32, ("n", 4))
    steps = []
    for w, fed in ((half, x), (full, wide)):
        loss = ((fed @ w).astype(np.float32) * 0.1).mean()
        steps.append(Executor([loss, make().minimize(loss)]))
    for _ in range(40):
        steps[0].run({x: batch})
        steps[1].run({wide: batch.astype(np.float32)})
    assert half.dtype == dtype
    found, expected = (w.numpy().astype(np.float32) for w in (half, full))
    assert not np.array_equal(expected, start.astype(np.float32))
    # Each of these steps is far below what the type can tell apart.
    np.testing.assert_allclose(found, expected, rtol=2.0 ** -(8 if dtype == ml_dtypes.bfloat16 else 10), atol=1e-3)


def test_masters_follow_what_is_assigned() -> None:
    w = variable(np.ones(2, np.float16), "w")
    optimizer = optim.SGD(1e-5)
    loss = w.astype(np.float32).sum()
    executor = Executor([loss, optimizer.minimize(loss)])
    executor.run()
    w.assign([3.0, 1.0])
    executor.run()
    np.testing.assert_allclose(optimizer.state["w.master"].numpy(), [3 - 1e-5, 1 - 2e-5], rtol=0, atol=3e-7)


def test_a_loss_that_is_flat_is_refused() -> None:
    w, x = variable(np.ones((4, 3), np.float32), "w"), placeholder("x", shape=("n", 4))
    for loss in (
        (x @ w).argmax(1).astype(np.float32).mean(),
        op.Round(x @ w).mean(),
        (x @ w).astype(np.int32).astype(np.float32).sum(),
    ):
        with pytest.raises(InvalidArgument, match=r"only by way of (ArgMax|Round|Cast), whose gradient is zero"):
            optim.SGD(0.1).minimize(loss)
    loss = op.Where((x @ w) > 0.0, (x @ w), 0.0).mean()
    optim.SGD(0.1).minimize(loss)


def test_accumulation_equals_one_large_batch() -> None:
    results = []
    for accumulate in (1, 4):
        w = variable(W, "w")
        x, t = placeholder("x", shape=("n", 4)), placeholder("t", shape=("n", 3))
        loss = losses.mse(x @ w, t)
        step = optim.Adam(0.1, accumulate=accumulate).minimize(loss)
        size = 8 // accumulate
        parts = [{x: X[i : i + size], t: T[i : i + size]} for i in range(0, 8, size)]
        trained(loss, step, parts * 3)
        results.append(w.numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_clipping() -> None:
    for arguments, expected in (({"clip_norm": 0.5}, 0.5), ({"clip_value": 0.01}, 0.01 * np.sqrt(12))):
        w = variable(W, "w")
        loss = losses.mse(data(X) @ w, data(T), "sum") * 100.0
        Executor([optim.SGD(1.0, **arguments).minimize(loss)]).run()
        np.testing.assert_allclose(np.linalg.norm(w.numpy() - W), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (optim.exponential(2.0, 0.5, 2), lambda n: 2 * 0.5 ** (n // 2)),
        (optim.piecewise(1.0, {2: 0.1, 4: 0.5}), lambda n: 1.0 if n < 2 else 0.1 if n < 4 else 0.05),
        (optim.cosine(1.0, 4, 0.2), lambda n: 0.6 + 0.4 * np.cos(np.pi * min(n / 4, 1))),
        (optim.warmup(3, 0.6), lambda n: 0.6 * min((n + 1) / 3, 1)),
        (optim.warmup(2, optim.exponential(1.0, 0.5)), lambda n: min((n + 1) / 2, 1) * 0.5 ** max(n - 2, 0)),
    ],
)
def test_schedules(schedule: optim.Schedule, expected: Callable[[int], float]) -> None:
    w = variable([0.0], "w")
    executor = Executor([optim.SGD(schedule).minimize(w.sum())])
    before = 0.0
    for n in range(6):
        executor.run()
        now = float(w.numpy()[0])
        np.testing.assert_allclose(before - now, expected(n), rtol=1e-5)
        before = now


def test_one_cycle_like_torch() -> None:
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
    w = variable(np.zeros(1), "w")
    executor = Executor([optim.SGD(optim.one_cycle(0.1, 20)).minimize(w.sum())])
    before = 0.0
    for _ in range(20):
        executor.run()
        now = float(w.numpy()[0])
        np.testing.assert_allclose(before - now, theirs.get_last_lr()[0], rtol=1e-4, atol=1e-8)
        before = now
        optimizer.step()
        theirs.step()


def test_batch_normalization_keeps_statistics() -> None:
    scale, bias = variable(np.ones(3), "scale"), variable(np.zeros(3), "bias")
    mean = variable(np.zeros(3), "mean", trainable=False)
    var = variable(np.ones(3), "var", trainable=False)
    x = placeholder("x", np.float64, ("n", 3, 5))
    y = op.BatchNormalization(x, scale, bias, mean, var, momentum=0.75)
    loss = (y * y * y).mean()
    executor = Executor({"train": [y, optim.SGD(0.0).minimize(loss)], "test": [y]})
    batch = RNG.normal(1.0, 2.0, size=(7, 3, 5))
    found = executor.run({x: batch}, "train")[0]
    center, spread = batch.mean((0, 2)), batch.var((0, 2))
    np.testing.assert_allclose(found, (batch - center[:, None]) / np.sqrt(spread + 1e-5)[:, None], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mean.numpy(), 0.25 * center, rtol=1e-6)
    np.testing.assert_allclose(var.numpy(), 0.75 + 0.25 * spread, rtol=1e-6)
    found = executor.run({x: batch}, "test")[0]
    moved = (batch - mean.numpy()[:, None]) / np.sqrt(var.numpy() + 1e-5)[:, None]
    np.testing.assert_allclose(found, moved, rtol=1e-6, atol=1e-9)


def test_dropout_drops_in_training_only() -> None:
    sx.set_seed(5)
    w = variable(np.ones(1000), "w")
    y = op.Dropout(w, 0.25)
    executor = Executor({"train": [y, optim.SGD(0.0).minimize(y.sum())], "test": [y]})
    first, second = executor.run(name="train")[0], executor.run(name="train")[0]
    assert set(np.unique(first)) == {0.0, 1 / 0.75}
    assert 150 < (first == 0).sum() < 350
    assert (first != second).any()
    assert (executor.run(name="test")[0] == 1).all()


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    w = variable([2.0, 1.0], "w")
    x = placeholder("x", shape=(2,))
    hidden = op.Log(x * w)
    loss = hidden.sum()
    optimizer = optim.SGD(0.1, 0.9)
    executor = Executor([loss, optimizer.minimize(loss)])
    executor.run({x: [1.0, 1.0]})
    before = w.numpy()
    with pytest.raises(sx.errors.NotFinite, match=r"step 1: .*Log '.*' is the first node to give NaN or Inf"):
        executor.run({x: [-1.0, 1.0]})
    with pytest.raises(sx.errors.NotFinite, match="input 'x' holds NaN or Inf"):
        executor.run({x: [np.nan, 1.0]})
    np.testing.assert_array_equal(w.numpy(), before)
    executor.run({x: [1.0, 1.0]})
    assert (w.numpy() != before).all()


def test_updates_reuse_the_memory_of_variables() -> None:
    w = variable(np.ones(1 << 20, np.float32), "w")
    executor = Executor([optim.SGD(0.1).minimize((w * w).sum())])
    for _ in range(3):
        executor.run()
    np.testing.assert_allclose(w.numpy()[:3], np.float32(0.8) ** 3, rtol=1e-5)
    copy = w.numpy()
    executor.run()
    np.testing.assert_allclose(copy[:3], np.float32(0.8) ** 3, rtol=1e-5)  # what was read stays


@pytest.mark.parametrize("make", [lambda: optim.AdamW(0.01), lambda: optim.SGD(0.1, 0.9)], ids=["AdamW", "SGD"])
def test_rows_of_an_embedding_are_updated_where_they_are(make: Any) -> None:
    """The gradient of a large table is never whole, and the bits are those of one that is."""
    shape = (40000, 24)
    start = RNG.normal(size=shape).astype(np.float32)
    ids = placeholder("ids", np.int64, ("n",))
    weight = RNG.normal(size=shape[1]).astype(np.float32)
    found = []
    for whole in (False, True):
        table = variable(start.copy(), name="table")
        read = op.Gather(table, ids)
        loss = (read * read * weight).sum()
        optimizer = make()
        if whole:  # the gradient is an output, too
            executor = Executor([loss, optimizer.minimize(loss), *gradients(loss, [table])])
        else:
            executor = Executor([loss, optimizer.minimize(loss)])
        for step in range(4):
            executor.run({ids: np.array([3, 39999, 3, -1, 7, 3 + step, 3])})
        with pytest.raises(InvalidArgument, match="out of range"):
            executor.run({ids: np.array([40000])})
        found.append(table.numpy().copy())
        if not whole:
            assert executor.planned_bytes() < 0.1 * start.nbytes
    np.testing.assert_array_equal(*found)


def test_variables_may_change_places() -> None:
    a, b = variable([1.0], "a"), variable([2.0], "b")
    executor = Executor([sx.graph.Update({a: b, b: a})])
    for turn in range(3):
        executor.run()
        assert (a.numpy()[0], b.numpy()[0]) == ((2, 1) if turn % 2 == 0 else (1, 2))
    executor = Executor([sx.graph.Update({a: a * 2.0, b: a * 3.0})])
    executor.run()
    assert (a.numpy()[0], b.numpy()[0]) == (4, 6)


def test_same_bits_twice() -> None:
    results = []
    for _ in range(2):
        sx.set_seed(3)
        w = variable(W, "w")
        x = placeholder("x", shape=("n", 4))
        loss = losses.mse(op.Dropout(op.Tanh(x @ w), 0.5), data(T))
        losses_seen = trained(loss, optim.Adam(0.01).minimize(loss), [{x: X}] * 50)
        results.append((losses_seen, w.numpy()))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda w: optim.SGD(0.1).minimize(placeholder("x").sum()), "no trainable variable"),
        (lambda w: optim.SGD(0.1).minimize(w.sum(), [variable([1.0], "other")]), "does not depend on .*'other'"),
        (lambda w: optim.SGD(-1.0), "lr is -1.0"),
        (lambda w: optim.SGD(0.1, nesterov=True), "positive momentum"),
        (lambda w: optim.Adam(betas=(1.0, 0.9)), "betas"),
        (lambda w: optim.Adam(clip_norm=0.0), "clip_norm"),
        (lambda w: optim.Adam(accumulate=0), "accumulate"),
        (lambda w: losses.mse(w, w, "avg"), "mean, sum or none"),  # type: ignore[arg-type]
        (lambda w: losses.huber(w, w, 0.0), "delta"),
        (
            lambda w: losses.nll(data(np.zeros((3, 4))), data(np.zeros(3, np.int64)), weight=[1.0, 2.0]),
            r"weight has shape \(2,\); one number for each of the 4 classes",
        ),
        (lambda w: Executor([optim.SGD(0.1).minimize(op.BitCast(w, to=np.float32).sum())]).run(), "BitCast.*bits"),
        (
            lambda w: Executor([optim.SGD(0.1).minimize(w.sum()), optim.SGD(0.1).minimize(w.sum())]).run(),
            "two updates in one run",
        ),
    ],
)
def test_mistakes(mistake: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises((sx.errors.InvalidArgument, sx.errors.NotImplemented), match=message):
        mistake(variable([1.0, 2.0], "w"))

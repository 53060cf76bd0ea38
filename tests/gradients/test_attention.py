"""Gradients of f32 Attention by its weights, which have a kernel of their own, against those in f64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sardonyx.graph import Executor, gradients, op, placeholder

# Batch, heads, queries, keys, the size of a head and of its values; the last one goes by blocks of queries.
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 5, 7, 4, 6),
    (2, 2, 128, 128, 64, 64),
    (3, 2, 33, 17, 20, 5),
    (1, 2, 300, 700, 8, 9),
]


def step(shape: tuple[int, ...], dtype: Any, attributes: dict[str, Any], mask: Any = None) -> tuple[Executor, Any]:
    """An executor for the gradients of Q, K and V, and its feeds."""
    batch, heads, rows, keys, size, value_size = shape
    rng = np.random.default_rng(6)
    extents = {"q": (rows, size), "k": (keys, size), "v": (keys, value_size), "w": (rows, value_size)}
    feeds = {
        placeholder(name, dtype, (batch, many, heads * each)): rng.normal(0, 2, (batch, many, heads * each)).astype(
            dtype
        )
        for name, (many, each) in extents.items()
    }
    q, k, v, w = feeds
    given = [] if mask is None else [mask if mask.dtype == np.bool_ else mask.astype(dtype)]
    y = op.Attention(q, k, v, *given, q_num_heads=heads, kv_num_heads=heads, **attributes)
    return Executor(gradients((y * w).sum(), [q, k, v])), feeds


def check(shape: tuple[int, ...], attributes: dict[str, Any], mask: Any = None) -> None:
    executor, feeds = step(shape, np.float32, attributes, mask)
    found = executor.run(feeds)
    assert "sardonyx::AttentionGradient" in [row["op"] for row in executor.profile(feeds, runs=1)]
    executor, feeds = step(shape, np.float64, attributes, mask)
    for y, z in zip(found, executor.run(feeds), strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(z).max())) / 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_plain(shape: tuple[int, ...]) -> None:
    check(shape, {})


@pytest.mark.parametrize(
    "attributes", [{"is_causal": 1, "scale": 0.3}, {"left_window_size": 2, "right_window_size": 1}]
)
def test_some_keys(attributes: dict[str, Any]) -> None:
    check((2, 2, 33, 33, 8, 8), attributes)


def test_masks() -> None:
    rng = np.random.default_rng(7)
    seen = rng.random((2, 1, 9, 14)) > 0.4
    seen[0, 0, 3] = False  # a query that sees nothing
    check((2, 2, 9, 14, 8, 8), {}, seen)
    check((2, 2, 9, 14, 8, 8), {}, rng.normal(size=(9, 14)))


def test_same_bits_on_any_number_of_threads() -> None:
    outcomes = []
    for threads in (1, 2, 3):
        executor, feeds = step((2, 3, 70, 50, 16, 16), np.float32, {})
        outcomes.append(Executor(executor.outputs["default"], threads=threads).run(feeds))
    for other in outcomes[1:]:
        for a, b in zip(outcomes[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


def test_second_derivatives() -> None:
    """Of what the kernel gives, through expressions."""
    rng = np.random.default_rng(5)
    values = {name: rng.normal(size=(2, 3, 8)) for name in "qkvw"}

    def second(dtype: Any) -> list[Any]:
        xs = [placeholder(name, dtype, value.shape) for name, value in values.items()]
        y = op.Attention(*xs[:3], q_num_heads=2, kv_num_heads=2)
        first = gradients((y * xs[3]).sum(), xs[:3])
        total = sum((g * g).sum() for g in first)
        return Executor(gradients(total, xs)).run({x: values[x.name].astype(dtype) for x in xs})

    for y, z in zip(second(np.float32), second(np.float64), strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4)

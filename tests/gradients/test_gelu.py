"""The gradient of Gelu, which has a kernel of its own, against float64 over the whole range."""

import math

import numpy as np

from sardonyx.graph import Executor, gradients, placeholder
from sardonyx.graph.tensor import apply


def slope(x: float) -> float:
    return 0.5 * math.erfc(-x * math.sqrt(0.5)) + x * math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def gradient_at(values: np.ndarray) -> np.ndarray:
    x = placeholder("x", np.float32, values.shape)
    return Executor(gradients(apply("Gelu", x), [x])).run({x: values})[0]


def test_within_two_units_of_one():
    values = np.linspace(-15, 15, 100_003, dtype=np.float32)
    expected = np.array([slope(float(v)) for v in values])
    assert np.abs(gradient_at(values) - expected).max() < 2.4e-7


def test_far_out_and_not_a_number():
    found = gradient_at(np.array([-np.inf, -3e38, -1e-30, 0, 1e-30, 3e38, np.inf, np.nan], np.float32))
    assert np.array_equal(found, np.array([0, 0, 0.5, 0.5, 0.5, 1, 1, np.nan], np.float32), equal_nan=True), found

"""Weights in f16: on request, where f16 holds them; by themselves, where f16 changes none of them."""

import numpy as np
import pytest
from onnx import ModelProto, helper

import sardonyx as sx
from sardonyx.errors import InvalidArgument
from tests.test_precision import kernels, model, session

F16_ROUNDING = 2.0**-11  # the most that rounding to f16 changes a number of at least 2^-14, relatively
F16_LEAST = 2.0**-25  # and a smaller one, absolutely
SHAPES = [(1, 768, 3072), (1, 7, 5), (5, 33, 17), (40, 129, 70), (200, 96, 300)]


def operands(rows: int, k: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows + k)
    b = rng.standard_normal((k, columns)) * 10.0 ** rng.integers(-7, 3, (k, columns))
    return rng.standard_normal((rows, k)).astype(np.float32), b.astype(np.float32)


def product(b: np.ndarray, transposed: bool) -> ModelProto:
    """y = a b, by Gemm where b is given transposed."""
    if transposed:
        return model([helper.make_node("Gemm", ["a", "b"], ["y"], transB=1)], {"a": None}, ["y"], {"b": b.T})
    return model([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": None}, ["y"], {"b": b})


def run(made: sx.InferenceSession, a: np.ndarray) -> tuple[np.ndarray, bool]:
    """The product, and whether its weights are in f16."""
    (y,) = made.run(None, {"a": a})
    return y, "f16" in " ".join(kernels(made)).split()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("rows", "k", "columns"), SHAPES)
def test_products_round_their_weights_only(rows: int, k: int, columns: int, transposed: bool) -> None:
    a, b = operands(rows, k, columns)
    y, short = run(session(product(b, transposed), "f16"), a)
    assert short
    size, exact = np.abs(a).astype(np.float64), a.astype(np.float64) @ b.astype(np.float64)
    rounding = size @ np.maximum(F16_ROUNDING * np.abs(b), F16_LEAST)
    error = np.abs(y - exact)
    assert (error <= rounding + (k + 2) * 2.0**-23 * (size @ np.abs(b).astype(np.float64))).all()
    assert error.max() > 2.0**-23 * np.abs(exact).max() or rows * k < 100  # it was rounded


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("rows", "k", "columns"), SHAPES)
def test_weights_that_f16_holds_are_exact(rows: int, k: int, columns: int, transposed: bool) -> None:
    a, b = operands(rows, k, columns)
    halves = b.astype(np.float16).astype(np.float32)
    halves[0, 0] = np.nan
    y, short = run(session(product(halves, transposed), "f16"), a)
    assert short
    # A product of two inputs is in f32, and has the same bits.
    two = model([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": None, "b": None}, ["y"], {})
    (expected,) = session(two, "f32").run(None, {"a": a, "b": halves})
    assert np.array_equal(y, expected, equal_nan=True)


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 12, 13, 30, 49, 60, 300])
@pytest.mark.parametrize(("k", "columns"), [(2500, 1701), (801, 250)])
def test_many_weights_that_f16_holds_are_kept_so_unasked(rows: int, k: int, columns: int) -> None:
    rng = np.random.default_rng(7)
    a = rng.standard_normal((rows, k)).astype(np.float32)
    halves = rng.standard_normal((k, columns)).astype(np.float16).astype(np.float32)
    y, short = run(session(product(halves, False), "f32"), a)
    assert short
    two = model([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": None, "b": None}, ["y"], {})
    assert np.array_equal(y, session(two, "f32").run(None, {"a": a, "b": halves})[0])
    if rows > 1:
        return
    halves[-1, -1] = 1 + 2.0**-12  # one that f16 rounds
    assert not run(session(product(halves, False), "f32"), a)[1]


@pytest.mark.parametrize("beyond", [65520.0, -1e30])
def test_weights_beyond_f16_stay_f32(beyond: float) -> None:
    a, b = operands(40, 129, 70)
    b[-1, -1] = beyond
    y, short = run(session(product(b, False), "f16"), a)
    assert not short
    assert np.array_equal(y, run(session(product(b, False), "f32"), a)[0])


def test_infinite_weights_do_not_count_as_beyond() -> None:
    a, b = operands(40, 129, 70)
    b[3, 4] = np.inf
    y, short = run(session(product(b, False), "f16"), a)
    assert short
    assert np.isinf(y[:, 4]).all()


def test_stacked_weights() -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 20, 31), (3, 31, 17)))
    (y,) = session(product(b, False), "f16").run(None, {"a": a})
    size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    assert (np.abs(y - a.astype(np.float64) @ b) <= (F16_ROUNDING + 33 * 2.0**-23) * size + F16_LEAST * 31 * 4).all()


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_recurrent(op: str) -> None:
    rng = np.random.default_rng(4)
    hidden, inputs, gates = 96, 40, {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    weights = {
        "w": rng.standard_normal((2, gates * hidden, inputs)).astype(np.float32) / 6,
        "r": rng.standard_normal((2, gates * hidden, hidden)).astype(np.float32) / 10,
    }
    node = helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=hidden, direction="bidirectional")
    x = rng.standard_normal((20, 3, inputs)).astype(np.float32)
    (exact,), (y,) = (
        session(model([node], {"x": None}, ["y"], weights), precision).run(None, {"x": x})
        for precision in ("f32", "f16")
    )
    assert 1e-6 < np.abs(y - exact).max() < 4 * F16_ROUNDING
    rounded = {name: value.astype(np.float16).astype(np.float32) for name, value in weights.items()}
    (same,) = session(model([node], {"x": None}, ["y"], rounded), "f32").run(None, {"x": x})
    assert np.array_equal(y, same)


def test_same_bits_for_any_threads_and_batch() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 50, 300), (300, 170)))
    graph = model([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": ["n", "m", 300]}, ["y"], {"b": b})
    (expected,) = session(graph, "f16", threads=1).run(None, {"a": a})
    made = session(graph, "f16")
    assert np.array_equal(made.run(None, {"a": a})[0], expected)
    assert np.array_equal(made.run(None, {"a": a[2:3]})[0][0], expected[2])
    assert np.array_equal(made.run(None, {"a": a[2:3, 7:8]})[0][0, 0], expected[2, 7])


def test_it_is_for_inference() -> None:
    with pytest.raises(InvalidArgument, match="precision is 'f16'; 'f32' or 'bf16' expected"):
        sx.graph.Executor([sx.graph.placeholder("x")], precision="f16")
    assert sx.Precision("f16") is sx.Precision.F16

"""Dropout and the random operators: shapes, types, moments, seeds."""

import dataclasses
import math

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import sardonyx as sx
from tests.ops.harness import Case, check, raises, session

rng = np.random.default_rng(9)
x = rng.standard_normal((3, 40)).astype(np.float32)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
ones = np.ones_like(x)

test_inference = check(
    [Case("Dropout", [x.astype(t)], expect=x.astype(t)) for t in FLOATS]
    + [
        Case("Dropout", [x, np.float32(0.3)], outputs=2, expect=[x, np.ones(x.shape, bool)]),
        Case("Dropout", [x, np.float32(0.3), np.array(False)], outputs=2, expect=[x, np.ones(x.shape, bool)]),
        Case("Dropout", [x, np.float32(0), np.array(True)], outputs=2, expect=[x, np.ones(x.shape, bool)]),
        Case("Dropout", [x], {"ratio": 0.3}, opset=7, outputs=2, expect=[x, ones]),
        Case("Dropout", [x], {"ratio": 0.3}, opset=10, outputs=2, expect=[x, np.ones(x.shape, bool)]),
        Case("Dropout", [x], {"ratio": 0.3, "is_test": 1, "consumed_inputs": [0]}, opset=1, expect=x),
        raises(Case("Dropout", [x, np.float32(1.5), np.array(True)]), "Dropout 'node'.*ratio is 1.5"),
    ]
)


def run(case, times=1):
    inference = session(case.model(initializers=False, symbolic=False), "ORT_ENABLE_ALL")
    results = [inference.run(None, case.feeds(initializers=False)) for _ in range(times)]
    return results if times > 1 else results[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_dropout(dtype, ratio):
    data = np.ones((200, 301), dtype)
    y, mask = run(Case("Dropout", [data, np.asarray(ratio, dtype), np.array(True)], {"seed": 5}, outputs=2))
    assert y.dtype == data.dtype and mask.dtype == bool and mask.shape == data.shape
    assert abs(mask.mean() - (1 - ratio)) < 0.01
    np.testing.assert_allclose(y.astype(np.float64), mask / (1 - float(np.asarray(ratio, dtype))), rtol=1e-2)


def number(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_moments(dtype):
    attrs = {"shape": [200, 301], "dtype": number(dtype), "seed": 3.0}
    (u,) = run(Case("RandomUniform", [], {**attrs, "low": -2.0, "high": 6.0}))
    (g,) = run(Case("RandomNormal", [], {**attrs, "mean": 1.0, "scale": 2.0}))
    assert u.dtype == dtype and g.dtype == dtype and u.shape == g.shape == (200, 301)
    u, g = u.astype(np.float64), g.astype(np.float64)
    assert u.min() >= -2 and u.max() <= 6 and abs(u.mean() - 2) < 0.05 and abs(u.std() - 8 / 12**0.5) < 0.05
    assert abs(g.mean() - 1) < 0.05 and abs(g.std() - 2) < 0.05
    # Neighbours are independent.
    assert abs(np.corrcoef(g.ravel()[:-1], g.ravel()[1:])[0, 1]) < 0.02


def test_like():
    (y,) = run(Case("RandomUniformLike", [x]))
    assert y.shape == x.shape and y.dtype == np.float32
    (y,) = run(Case("RandomNormalLike", [np.zeros((4, 5), np.int32)], {"dtype": TensorProto.DOUBLE}))
    assert y.shape == (4, 5) and y.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.bool_, np.float16])
def test_bernoulli(dtype):
    (y,) = run(Case("Bernoulli", [np.full((200, 300), 0.3, np.float32)], {"dtype": number(dtype), "seed": 1.0}))
    assert y.dtype == dtype and abs(y.astype(np.float64).mean() - 0.3) < 0.01
    assert set(np.unique(y.astype(np.float64))) == {0, 1}


def test_bernoulli_extremes():
    (y,) = run(Case("Bernoulli", [np.array([0, 1, 0, 1], np.float64)]))
    np.testing.assert_array_equal(y, [0, 1, 0, 1])


def test_multinomial():
    logits = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-30]], np.float32))
    (y,) = run(Case("Multinomial", [logits], {"sample_size": 20000, "seed": 2.0, "dtype": TensorProto.INT64}))
    assert y.shape == (2, 20000) and y.dtype == np.int64
    np.testing.assert_allclose(np.bincount(y[0], minlength=3) / 20000, [0.1, 0.2, 0.7], atol=0.02)
    np.testing.assert_allclose(np.bincount(y[1], minlength=3) / 20000, [0.5, 0.5, 0], atol=0.02)


@pytest.mark.parametrize("op", ["RandomUniform", "RandomNormal"])
def test_seeds(op):
    seeded = Case(op, [], {"shape": [50], "seed": 7.0})
    (first,), (second,) = run(seeded, 2)
    (again,) = run(seeded)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    (other,) = run(Case(op, [], {"shape": [50], "seed": 8.0}))
    assert not np.array_equal(first, other)
    (one,), (two,) = run(Case(op, [], {"shape": [50]}, id="unseeded"), 2)
    assert not np.array_equal(one, two)


def test_global_seed():
    case = Case("RandomNormal", [], {"shape": [50]}, id="unseeded")
    sx.set_seed(11)
    (first,) = run(case)
    sx.set_seed(11)
    (again,) = run(case)
    (next_one,) = run(case)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(again, next_one)


def one_run(model, feeds=None, threads=0):
    options = sx.SessionOptions()
    options.intra_op_num_threads = threads
    return sx.InferenceSession(model, options).run(None, feeds or {})


def random_model(seeds=()):
    """One node of each random operator, after one another; `seeds` gives them seeds of their own."""
    nodes = [
        ("RandomUniform", [], {"shape": [64, 65]}),
        ("RandomNormal", [], {"shape": [64, 65]}),
        ("RandomUniformLike", ["x"], {}),
        ("RandomNormalLike", ["x"], {}),
        ("Bernoulli", ["half"], {}),
        ("Multinomial", ["zeros"], {"sample_size": 4160}),
        ("Dropout", ["x", "ratio", "training"], {}),
        ("RandomUniform", [], {"shape": [64, 65]}),
    ]
    made = []
    for k, (op, inputs, attributes) in enumerate(nodes):
        if seeds:
            attributes["seed"] = int(seeds[k]) if op == "Dropout" else float(seeds[k])
        made.append(helper.make_node(op, inputs, [f"y{k}"], **attributes))
    constants = {
        "half": np.full((64, 65), 0.5, np.float32),
        "zeros": np.zeros((1, 2), np.float32),
        "ratio": np.float32(0.5),
        "training": np.array(True),
    }
    graph = helper.make_graph(
        made,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["M", "N"])],
        [onnx.ValueInfoProto(name=f"y{k}") for k in range(len(nodes))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


ONES = {"x": np.ones((64, 65), np.float32)}


def test_all_operators_follow_the_global_seed():
    sx.set_seed(21)
    first = one_run(random_model(), ONES)
    sx.set_seed(21)
    session_ = sx.InferenceSession(random_model())
    for a, b, c in zip(first, session_.run(None, ONES), session_.run(None, ONES)):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(b, c)
    sx.set_seed(22)
    for a, b in zip(first, one_run(random_model(), ONES)):
        assert not np.array_equal(a, b)


def test_nodes_draw_different_numbers():
    y = one_run(random_model(), ONES)
    uniform = [y[0], y[2], y[7]]
    for i, a in enumerate(uniform):
        for b in uniform[:i]:
            assert not np.intersect1d(a, b).size > 40  # floats of 24 bits: about 1 of 4160 meets by chance
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / a.size**0.5


@pytest.mark.parametrize("seeds", [(), range(8)])
def test_the_number_of_threads_changes_nothing(seeds):
    large = {"x": np.ones((300, 301), np.float32)}
    sx.set_seed(5)
    one = one_run(random_model(seeds), large, threads=1)
    sx.set_seed(5)
    many = one_run(random_model(seeds), large, threads=2)
    for a, b in zip(one, many):
        np.testing.assert_array_equal(a, b)


def test_own_seeds_do_not_follow_the_global_one():
    sx.set_seed(1)
    first = one_run(random_model(range(8)), ONES)
    sx.set_seed(2)
    for a, b in zip(first, one_run(random_model(range(8)), ONES)):
        np.testing.assert_array_equal(a, b)


def test_other_shapes_in_between_do_not_start_a_sequence_again():
    def draws(shapes):
        session_ = sx.InferenceSession(random_model(range(8)))
        return [session_.run(["y2", "y6"], {"x": np.ones(shape, np.float32)}) for shape in shapes]

    a = draws([(4, 5), (4, 5), (4, 5)])
    b = draws([(4, 5), (2, 10), (4, 5)])
    for k in (0, 2):
        for x, y in zip(a[k], b[k]):
            np.testing.assert_array_equal(x, y)
    assert not np.array_equal(a[0][0], a[2][0]) and not np.array_equal(a[0][1], a[2][1])


def kolmogorov(sample, distribution):
    """The greatest distance of the sample's distribution function from the given one, times the root of its size."""
    x = np.sort(sample.ravel().astype(np.float64))
    steps = np.arange(len(x) + 1) / len(x)
    y = distribution(x)
    return np.sqrt(len(x)) * max(np.max(steps[1:] - y), np.max(y - steps[:-1]))


KOLMOGOROV_LIMIT = 1.95  # passed by one sample in a thousand


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 7])
def test_distributions(seed):
    sx.set_seed(seed)
    count = 200_000
    for dtype in (np.float32, np.float64):
        attributes = {"shape": [count], "dtype": number(dtype)}
        (u,) = run(Case("RandomUniform", [], {**attributes, "low": -1.0, "high": 3.0}, id="u"))
        (g,) = run(Case("RandomNormal", [], {**attributes, "mean": 2.0, "scale": 0.5}, id="g"))
        assert kolmogorov(u, lambda x: (x + 1) / 4) < KOLMOGOROV_LIMIT
        normal = np.vectorize(lambda x: (1 + math.erf((x - 2) / 0.5 / 2**0.5)) / 2)
        assert kolmogorov(g, normal) < KOLMOGOROV_LIMIT
        # Five standard deviations of the mean and of the variance of so many numbers.
        assert abs(u.mean(dtype=float) - 1) < 5 * (16 / 12 / count) ** 0.5
        assert abs(g.mean(dtype=float) - 2) < 5 * 0.5 / count**0.5
        assert abs(g.var(dtype=float) / 0.25 - 1) < 5 * (2 / count) ** 0.5
        assert abs(u.var(dtype=float) / (16 / 12) - 1) < 5 * (0.8 / count) ** 0.5
    for p in (0.001, 0.3, 0.9):
        (b,) = run(Case("Bernoulli", [np.full(count, p)], id=f"b{p}"))
        assert abs(b.mean() - p) < 5 * (p * (1 - p) / count) ** 0.5


def test_bodies_draw_anew_in_every_iteration():
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 22]> g (int64 n) => (float[K,3] y) {
        go = Constant <value = bool {1}> ()
        y = Loop (n, go) <body = b (int64 i, bool c) => (bool d, float[3] z) {
            d = Identity(c) z = RandomNormal <shape = [3]> () }>
    }""")
    (y,) = one_run(model, {"n": np.array(50)})
    assert len(np.unique(y)) == 150


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**32 + 5, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_with_a_seed_draws_as_the_reference_does(seed, dtype):
    data = np.asarray(rng.standard_normal((123, 7)), dtype)
    unsigned = seed % 2**64
    state = np.random.RandomState(unsigned if unsigned < 2**32 else [unsigned % 2**32, unsigned >> 32])
    case = Case("Dropout", [data, np.asarray(0.3, dtype), np.array(True)], {"seed": seed}, outputs=2)
    for y, mask in run(case, 3):
        expected = state.uniform(0, 1, data.shape) >= dtype(0.3)
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_allclose(y, expected * data / (1 - 0.3), rtol=1e-6)
    (y,) = run(dataclasses.replace(case, outputs=1))
    state = np.random.RandomState(unsigned if unsigned < 2**32 else [unsigned % 2**32, unsigned >> 32])
    np.testing.assert_array_equal(y != 0, state.uniform(0, 1, data.shape) >= dtype(0.3))


test_errors = check(
    [
        raises(
            Case("RandomUniform", [], {"shape": [3], "dtype": TensorProto.INT32}), "RandomUniform 'node'.*dtype is 6"
        ),
        raises(Case("RandomNormal", [], {"shape": [-3]}), "RandomNormal 'node'"),
        raises(Case("RandomNormalLike", [np.zeros(3, np.int32)]), "RandomNormalLike 'node'.*dtype"),
        raises(Case("Multinomial", [np.zeros(3, np.float32)]), "Multinomial 'node'.*batch"),
    ]
)

"""Dropout and the random operators: shapes, types, moments, seeds."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

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

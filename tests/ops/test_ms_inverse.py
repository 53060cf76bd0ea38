"""Inverse of single matrices and batches, in every float type."""

import numpy as np

from tests.ops.harness import Case, check, raises

rng = np.random.default_rng(8)


def inverse(x):
    return np.linalg.inv(x.astype(np.float64)).astype(x.dtype)


def matrices(*shape):
    return rng.normal(size=shape) + 3 * np.eye(shape[-1])


test_inverse = check(
    [
        Case("Inverse", [matrices(*shape).astype(t)], domain="com.microsoft", expect=inverse, rtol=rtol, atol=rtol)
        for shape in ((3, 3), (2, 4, 5, 5), (1, 1), (17, 17))
        for t, rtol in ((np.float32, 1e-4), (np.float64, 1e-10), (np.float16, 2e-2))
    ]
    + [raises(Case("Inverse", [np.ones((2, 3), np.float32)], domain="com.microsoft", expect=inverse), "square")]
)

"""Scaler, Imputer, Binarizer and Normalizer."""

import numpy as np

from tests.ops.harness import Case, check, raises

DOMAIN = "ai.onnx.ml"
X = np.array([[1, -2, 3], [4, 5, -6], [0, 0, 0]])
TYPES = [np.float32, np.float64, np.int32, np.int64]
NAN = np.array([[1.0, np.nan, 3.0], [np.nan, 5.0, 1.0]])


def scaled(offset, scale):
    return lambda x: ((x - np.float32(offset)) * np.float32(scale)).astype(np.float32)


test_scaler = check(
    [
        *(
            Case("Scaler", [X.astype(t)], {"offset": o, "scale": s}, domain=DOMAIN, expect=scaled(o, s))
            for t in TYPES
            for o, s in (([0.5], [2.0]), ([0.5, 1.0, -1.0], [2.0, 3.0, 0.25]))
        ),
        Case("Scaler", [np.zeros((0, 3), np.float32)], {"offset": [1.0], "scale": [2.0]}, domain=DOMAIN),
        raises(
            Case("Scaler", [X.astype(np.float32)], {"offset": [1.0, 2.0], "scale": [1.0, 2.0]}, domain=DOMAIN),
            "scale has 2",
        ),
        raises(
            Case("Scaler", [X.astype(np.float32)], {"offset": [1.0], "scale": [1.0, 2.0]}, domain=DOMAIN), "as many"
        ),
    ]
)

test_imputer = check(
    [
        *(
            Case(
                "Imputer",
                [NAN.astype(t)],
                {"imputed_value_floats": [7.0, 8.0, 9.0], "replaced_value_float": float("nan")},
                domain=DOMAIN,
                expect=lambda x: np.where(np.isnan(x), np.array([7, 8, 9], x.dtype), x),
            )
            for t in (np.float32, np.float64)
        ),
        *(
            Case(
                "Imputer",
                [X.astype(t)],
                {"imputed_value_int64s": [7], "replaced_value_int64": 0},
                domain=DOMAIN,
                expect=lambda x: np.where(x == 0, x.dtype.type(7), x),
            )
            for t in (np.int32, np.int64)
        ),
        raises(Case("Imputer", [X], {"imputed_value_floats": [1.0]}, domain=DOMAIN), "imputed_value_int64s"),
        raises(Case("Imputer", [X], {"imputed_value_int64s": [1, 2]}, domain=DOMAIN), "imputes 2"),
    ]
)

test_binarizer = check(
    [
        Case("Binarizer", [X.astype(t)], {"threshold": 0.5}, domain=DOMAIN, expect=lambda x: (x > 0.5).astype(x.dtype))
        for t in TYPES
    ]
)


def normalized(norm):
    def function(x):
        x = np.asarray(x, np.float32)
        total = {"MAX": x.max(1), "L1": abs(x).sum(1), "L2": np.sqrt((x * x).sum(1))}[norm][:, None]
        return (x / np.where(total == 0, 1, total)).astype(np.float32)

    return function


test_normalizer = check(
    [
        *(
            Case("Normalizer", [X.astype(t)], {"norm": n}, domain=DOMAIN, expect=normalized(n))
            for t in TYPES
            for n in ("MAX", "L1", "L2")
        ),
        raises(Case("Normalizer", [X.astype(np.float32)], {"norm": "L3"}, domain=DOMAIN), "L3"),
    ]
)

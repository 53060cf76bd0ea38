"""LabelEncoder, CategoryMapper and OneHotEncoder."""

import numpy as np
from onnx import numpy_helper

from tests.ops.harness import Case, check, raises
from tests.ops.peer import PeerCase

DOMAIN = "ai.onnx.ml"
KEYS = {"strings": ["a", "b", "c"], "int64s": [4, 5, 6], "floats": [1.5, float("nan"), -0.0]}
LOOKED_UP = {
    "strings": np.array([["b", "x"], ["c", "a"]], object),
    "int64s": np.array([[5, 9], [6, 4]]),
    "floats": np.array([[np.nan, 9], [0, 1.5]], np.float32),
}
DEFAULTS = {"default_string": "none", "default_int64": 77, "default_float": 7.5}


def tensors(**given):
    return {name: numpy_helper.from_array(np.array(value), name) for name, value in given.items()}


test_label_encoder = check(
    [
        *(
            PeerCase(
                "LabelEncoder",
                [LOOKED_UP[k]],
                {f"keys_{k}": KEYS[k], f"values_{v}": KEYS[v]} | defaults,
                domain=DOMAIN,
                opset=opset,
                id=f"{k}-{v}-{opset}-{len(defaults)}",
            )
            for k in KEYS
            for v in KEYS
            for opset in ((4,) if k == "floats" else (2, 4))  # NaN is a key like others since 4
            for defaults in ({}, DEFAULTS)
        ),
        *(
            Case(
                "LabelEncoder",
                [np.array([3, 1, 8], k)],
                tensors(
                    keys_tensor=np.array([1, 2, 3], k),
                    values_tensor=np.array([10, 20, 30], v),
                    default_tensor=np.array([9], v),
                ),
                domain=DOMAIN,
                opset=4,
                expect=np.array([30, 10, 9], v),
                id=f"{np.dtype(k)}-{np.dtype(v)}",
            )
            for k in (np.int16, np.int32, np.int64, np.float32, np.float64)
            for v in (np.int16, np.int32, np.int64, np.float32, np.float64)
        ),
        Case(
            "LabelEncoder",
            [np.array(["b", "x"], object)],
            {"classes_strings": ["a", "b"]},
            domain=DOMAIN,
            opset=1,
            expect=np.array([1, -1]),
        ),
        Case(
            "LabelEncoder",
            [np.array([1, 7])],
            {"classes_strings": ["a", "b"]},
            domain=DOMAIN,
            opset=1,
            expect=np.array(["b", "_Unused"], object),
        ),
        raises(
            Case(
                "LabelEncoder",
                [LOOKED_UP["int64s"]],
                {"keys_int64s": [1], "values_int64s": [1, 2]},
                domain=DOMAIN,
                opset=2,
            ),
            "1 keys",
        ),
        raises(
            Case(
                "LabelEncoder",
                [LOOKED_UP["int64s"]],
                {"keys_strings": ["a"], "values_int64s": [1]},
                domain=DOMAIN,
                opset=2,
            ),
            "keys are str",
        ),
    ]
)

CATEGORIES = {"cats_strings": ["a", "b"], "cats_int64s": [3, 4], "default_int64": -5, "default_string": "?"}
test_category_mapper = check(
    [
        Case("CategoryMapper", [np.array([["b", "x"]], object)], CATEGORIES, domain=DOMAIN, expect=np.array([[4, -5]])),
        Case("CategoryMapper", [np.array([3, 9])], CATEGORIES, domain=DOMAIN, expect=np.array(["a", "?"], object)),
    ]
)

test_one_hot_encoder = check(
    [
        *(
            Case(
                "OneHotEncoder",
                [np.array([[1, 3], [2, 9]], t)],
                {"cats_int64s": [1, 2, 3]},
                domain=DOMAIN,
                expect=np.float32([[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]]),
            )
            for t in (np.float32, np.float64, np.int32, np.int64)
        ),
        Case(
            "OneHotEncoder",
            [np.array(["b", "q"], object)],
            {"cats_strings": ["a", "b"]},
            domain=DOMAIN,
            expect=np.float32([[0, 1], [0, 0]]),
        ),
        Case(
            "OneHotEncoder",
            [np.float32([np.nan, np.inf, 1e30])],
            {"cats_int64s": [0]},
            domain=DOMAIN,
            expect=np.zeros((3, 1), np.float32),
        ),
        raises(
            Case("OneHotEncoder", [np.array([9])], {"cats_int64s": [1], "zeros": 0}, domain=DOMAIN), "none of its 1"
        ),
    ]
)

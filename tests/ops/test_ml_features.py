"""ArrayFeatureExtractor and FeatureVectorizer."""

import numpy as np

from tests.ops.harness import Case, check, raises

DOMAIN = "ai.onnx.ml"
X = np.arange(24).reshape(2, 3, 4)

test_extractor = check(
    [
        *(
            Case(
                "ArrayFeatureExtractor",
                [X.astype(t), np.array([3, 0, 3])],
                domain=DOMAIN,
                expect=lambda x, y: x[..., y],
            )
            for t in (np.float32, np.float64, np.int32, np.int64)
        ),
        Case(
            "ArrayFeatureExtractor",
            [np.array([["a", "b"], ["c", "d"]], object), np.array([1])],
            domain=DOMAIN,
            expect=lambda x, y: x[:, y],
        ),
        Case("ArrayFeatureExtractor", [X[0, 0], np.array([2, 1])], domain=DOMAIN, expect=lambda x, y: x[None, y]),
        raises(Case("ArrayFeatureExtractor", [X, np.array([4])], domain=DOMAIN), "index 4"),
        raises(Case("ArrayFeatureExtractor", [X, np.array([-1])], domain=DOMAIN), "index -1"),
    ]
)


def side_by_side(*xs):
    a, b = xs
    return np.concatenate([a.astype(np.float32), np.zeros((2, 1), np.float32), b[:, :1].astype(np.float32)], 1)


test_vectorizer = check(
    [
        Case(
            "FeatureVectorizer",
            [X[0, :2], X[1, :2, :2].astype(t)],
            {"inputdimensions": [5, 1]},
            domain=DOMAIN,
            expect=side_by_side,
        )
        for t in (np.float32, np.float64, np.int32, np.int64)
    ]
    + [
        raises(Case("FeatureVectorizer", [X[0], X[0, :2]], {"inputdimensions": [4, 4]}, domain=DOMAIN), "rows"),
        raises(Case("FeatureVectorizer", [X[0], X[0]], {"inputdimensions": [4]}, domain=DOMAIN), "one for each input"),
    ]
)

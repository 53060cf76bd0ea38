"""TfIdfVectorizer against onnxruntime: modes, skips, lengths of n-grams, integers and strings."""

import numpy as np

from tests.ops.harness import check, raises
from tests.ops.peer import PeerCase

POOL = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]
INTS = np.array([1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8])
GRAMS = {"ngram_counts": [0, 4], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6], "max_gram_length": 2}


def case(x, *, text=False, **attrs):
    pool = {"pool_strings": [f"w{i}" for i in POOL]} if text else {"pool_int64s": POOL}
    x = np.array([f"w{i}" for i in x.ravel()], object).reshape(x.shape) if text else x
    return PeerCase("TfIdfVectorizer", [x], GRAMS | pool | attrs, domain="", opset=9)


test_tfidf = check(
    [
        case(x, text=text, mode=mode, min_gram_length=least, max_skip_count=skip)
        for x in (INTS, INTS.reshape(2, 6), INTS.reshape(2, 6).astype(np.int32), INTS[:1])
        for text in (False, True)
        for mode in ("TF", "IDF", "TFIDF")
        for least in (1, 2)
        for skip in (0, 1, 5)
    ]
    + [
        case(INTS, mode="TFIDF", min_gram_length=1, max_skip_count=1, weights=[2.0, 3.0, 1.0, 0.5, 4.0, 1.5, 0.1]),
        raises(case(INTS, mode="XX", min_gram_length=1, max_skip_count=0), "XX"),
        raises(case(INTS, mode="TF", min_gram_length=1, max_skip_count=0, ngram_counts=[0, 40]), "pool of 10"),
        raises(case(INTS, mode="TF", min_gram_length=1, max_skip_count=0, ngram_indexes=[0, 1]), "ngram_indexes 2"),
    ]
)

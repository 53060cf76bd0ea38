"""Tokenizer against onnxruntime: separators, expressions, characters, marks, padding."""

import numpy as np

from tests.ops.harness import check, raises
from tests.ops.peer import PeerCase

X = np.array([["the quick,brown", "fox; jumps"], ["", "über die Mäuse"]], object)


def case(x=X, **attrs):
    return PeerCase("Tokenizer", [x], {"mark": 0, "pad_value": "#", "mincharnum": 1} | attrs)


test_tokenizer = check(
    [
        *(
            case(x, mark=mark, mincharnum=least, **how)
            for x in (X, X[0])
            for mark in (0, 1)
            for least in (1, 3)
            for how in (
                {"separators": [" "]},
                {"separators": [",", ";", " "]},
                {"separators": ["[,; ]+"]},
                {"tokenexp": "[a-z]+"},
                {"tokenexp": r"\w+"},
                {"tokenexp": "the|qu?i|[^a-z ]"},
            )
        ),
        case(separators=[""]),
        case(X[0], separators=[""], mark=1),
        raises(case(), "exactly one of separators and tokenexp"),
        raises(case(separators=[" "], mincharnum=0), "mincharnum"),
        raises(case(tokenexp="[a-"), "pattern"),
    ]
)

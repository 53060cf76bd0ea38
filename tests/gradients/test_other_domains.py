"""Gradients of operators of com.microsoft, and of those of ai.onnx that are still in preview."""

from typing import Any

import numpy as np
from onnx import parser

from tests.gradients.harness import Case, away, parametrize, positive

I64 = np.int64


def narrow(*arrays: Any) -> list[Any]:
    return [a.astype(np.float32) if a is not None and a.dtype == np.float64 else a for a in arrays]


def ms(op: str, inputs: list[Any], attrs: dict[str, Any] | None = None, **more: Any) -> Case:
    return Case(op, narrow(*inputs), attrs or {}, domain="com.microsoft", narrow=True, **more)


X, Y = away((2, 3, 4), 1), away((2, 3, 4), 2)
IMAGE, WEIGHTS = away((1, 4, 4, 3), 3), away((2, 4, 3, 2), 4)
A, B = away((3, 4), 5), away((4, 2), 6)
CODES = np.random.default_rng(7).integers(0, 256, (3, 2, 8), np.uint8)

PRODUCTS = [
    ms("FusedConv", [IMAGE, WEIGHTS, away((2,), 8)], {"activation": "Tanh", "pads": [1, 0, 1, 1]}),
    ms(
        "FusedConv",
        [IMAGE, WEIGHTS, None, away((1, 2, 2, 2), 9)],
        {"activation": "LeakyRelu", "activation_params": [0.3]},
        id="residual",
    ),
    ms("FusedGemm", [A, B, away((2,), 10)], {"activation": "Sigmoid", "alpha": 0.7}),
    *(
        ms(op, [away((2, 4, 3), 11), away((2, 4, 2), 12)], {"transA": 1, "alpha": 0.3})
        for op in ("FusedMatMul", "TransposeMatMul")
    ),
    ms(
        "FusedMatMul",
        [away((3, 2, 4), 11), away((3, 2, 5), 12)],
        {"transBatchA": 1, "transA": 1, "transBatchB": 1},
        id="batch",
    ),
    ms(
        "MatMulNBits",
        [away((2, 20), 13), CODES, positive((3, 2), 14), None, None, away((3,), 15)],
        {"K": 20, "N": 3, "bits": 4, "block_size": 16},
        fixed=[2],
    ),
    ms(
        "MatMulBnb4",
        [away((2, 16), 13), CODES.reshape(-1)[:24], positive((3,), 14)],
        {"K": 16, "N": 3, "block_size": 16, "quant_type": 1},
        fixed=[2],
    ),
    ms("Inverse", [away((2, 3, 3), 16) + 3 * np.eye(3)]),
]

LAYERS = [
    *(ms(op, [X]) for op in ("Gelu", "FastGelu", "QuickGelu")),
    ms("BiasGelu", [X, away((4,), 17)]),
    ms("FastGelu", [X, away((4,), 17)], id="bias"),
    ms("BiasSplitGelu", [X, away((4,), 17)]),
    ms("BiasAdd", [X, away((4,), 17), Y]),
    ms("SkipLayerNormalization", [X, Y, positive((4,), 18), away((4,), 19), away((4,), 20)], {"epsilon": 0.1}),
    ms("SkipSimplifiedLayerNormalization", [X, Y, positive((4,), 18)], {"epsilon": 0.1}, outputs=["y", "", "", "sum"]),
    ms(
        "EmbedLayerNormalization",
        [
            np.array([[0, 2], [1, 1]], np.int32),
            None,
            away((3, 4), 21),
            away((2, 4), 22),
            None,
            positive((4,), 18),
            away((4,), 19),
        ],
        {"epsilon": 0.1},
    ),
    ms(
        "GroupNorm",
        [away((1, 2, 2, 4), 23), positive((4,), 18), away((4,), 19)],
        {"groups": 2, "activation": 1, "epsilon": 0.1},
    ),
    ms("GatherND", [X, np.array([[0, 1], [1, 2]], I64)]),
    ms("GridSample", [away((1, 2, 3, 4), 24), away((1, 2, 2, 2), 25, 0.05, 0.4)]),
    ms("Pad", [A, np.array([1, 0, 0, 2], I64)]),
    ms("Trilu", [A]),
    ms("ExpandDims", [A, np.array(1, np.int32)]),
    ms("Unique", [away((5,), 26)]),
    ms("Range", [np.array(0.5), np.array(3.1), np.array(0.7)]),
    ms("DequantizeLinear", [np.array([[3, 200], [7, 90]], np.uint8), positive((2,), 27), np.array([9, 100], np.uint8)]),
    ms(
        "RotaryEmbedding",
        [away((2, 3, 8), 28), np.array([[0, 4, 2], [1, 1, 3]], I64), away((5, 2), 29), away((5, 2), 30)],
        {"num_heads": 2},
    ),
    ms(
        "RotaryEmbedding",
        [away((1, 2, 3, 4), 28), np.array([1], I64), away((5, 2), 29), away((5, 2), 30)],
        {"interleaved": 1},
        id="interleaved",
    ),
]

Q, K, V = away((2, 3, 4), 31), away((2, 4, 4), 32), away((2, 4, 6), 33)
PAST = [away((2, 2, 2, 2), 34), away((2, 2, 2, 3), 35)]
ATTENTION = [
    ms("MultiHeadAttention", [Q, K, V], {"num_heads": 2}),
    ms(
        "MultiHeadAttention",
        [Q, K, V, away((14,), 36), np.array([2, 4], np.int32)],
        {"num_heads": 2, "mask_filter_value": -3.0},
        id="lengths",
        constant=[4],
        symbolic=False,
    ),
    ms(
        "MultiHeadAttention",
        [
            Q,
            away((2, 2, 4, 2), 37),
            away((2, 2, 4, 3), 38),
            None,
            np.array([[1, 0, 1, 1], [1, 1, 1, 0]], np.int32),
            away((1, 2, 3, 4), 39),
        ],
        {"num_heads": 2, "mask_filter_value": -3.0},
        id="by-head",
    ),
    ms(
        "MultiHeadAttention",
        [Q, K, V, None, None, None, *PAST],
        {"num_heads": 2, "unidirectional": 1, "scale": 0.4},
        id="past",
        outputs=["y", "k", "v"],
    ),
    ms("MultiHeadAttention", [Q, away((2, 4, 2, 2, 2), 40)], {"num_heads": 2}, id="packed-keys"),
    ms("MultiHeadAttention", [away((2, 3, 2, 3, 2), 41)], {"num_heads": 2, "unidirectional": 1}, id="packed"),
    ms("Attention", [Q, away((4, 12), 42, 0.1, 0.6), away((12,), 43)], {"num_heads": 2, "unidirectional": 1}),
    ms(
        "Attention",
        [Q, away((4, 14), 42, 0.1, 0.6), away((14,), 43), np.array([[1, 0, 1], [1, 1, 1]], np.int32)],
        {"num_heads": 2, "qkv_hidden_sizes": [4, 4, 6], "mask_filter_value": -3.0},
        id="widths",
    ),
    ms(
        "Attention",
        [Q, away((4, 12), 42, 0.1, 0.6), away((12,), 43), None, away((2, 2, 2, 3, 2), 44)],
        {"num_heads": 2},
        id="past",
        outputs=["y", "present"],
    ),
]
SCORES = parser.parse_graph("scores (double[B,H,L,S] s) => (double[B,H,L,S] t) { a = Tanh(s) t = Mul(a, a) }")
PROBABILITIES = parser.parse_graph("probabilities (double[B,H,L,S] s) => (double[B,H,L,S] t) { t = Mul(s, s) }")
PREVIEW = [
    Case(
        "FlexAttention",
        [away((2, 4, 3, 2), 45), away((2, 2, 5, 2), 46), away((2, 2, 5, 3), 47)],
        attrs,
        domain="ai.onnx.preview",
        id=id,
    )
    for attrs, id in [
        ({}, "plain"),
        ({"scale": 0.3, "score_mod": SCORES}, "scores"),
        ({"score_mod": SCORES, "prob_mod": PROBABILITIES}, "both"),
    ]
]


@parametrize(PRODUCTS)
def test_products(case: Case) -> None:
    case.run()


@parametrize(LAYERS)
def test_layers(case: Case) -> None:
    case.run()


@parametrize(ATTENTION)
def test_attention(case: Case) -> None:
    case.run()


@parametrize(PREVIEW)
def test_preview(case: Case) -> None:
    case.run()

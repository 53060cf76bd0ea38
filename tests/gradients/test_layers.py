"""Gradients of layers of networks: normalization, attention, recurrent networks, einsum, dropout and others."""

from typing import Any

import numpy as np
import pytest
from onnx import helper

import sardonyx as sx
from tests.gradients.harness import TRAINING, Case, away, parametrize, positive

I64 = np.int64
X = away((2, 3, 4), 1)
IMAGE = away((2, 4, 3, 2), 2)

NORMS = [
    Case("GroupNormalization", [IMAGE, positive((4,), 3), away((4,), 4)], {"num_groups": 2, "epsilon": 0.1}),
    Case("GroupNormalization", [IMAGE, positive((2,), 3), away((2,), 4)], {"num_groups": 2}, opset=18, id="18"),
    Case("InstanceNormalization", [IMAGE, positive((4,), 3), away((4,), 4)], {"epsilon": 0.1}),
    Case("InstanceNormalization", [away((2, 3, 5), 3), positive((3,), 3), away((3,), 4)], id="line"),
    *(Case("LpNormalization", [X], {"axis": a, "p": p}, id=f"{a}-{p}") for a in (-1, 1) for p in (1, 2)),
    Case("LpNormalization", [np.stack([X[0], np.zeros((3, 4))])[:1]], id="one"),
    Case("MeanVarianceNormalization", [IMAGE]),
    Case("MeanVarianceNormalization", [X], {"axes": [-1]}, id="axes"),
    Case("LRN", [away((2, 5, 3), 5)], {"size": 3, "alpha": 0.7, "beta": 0.6, "bias": 1.3}),
    Case("LRN", [away((1, 3, 2, 2), 5)], {"size": 4, "alpha": 0.5}, id="even"),
    Case("SimplifiedLayerNormalization", [X, positive((4,), 6)], {"epsilon": 0.1}),
]

EINSUMS = [
    Case("Einsum", [away(shape, 7 + i) for i, shape in enumerate(shapes)], {"equation": equation}, id=equation)
    for equation, shapes in [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("bij,bkj->bik", [(2, 3, 4), (2, 2, 4)]),
        ("...ij,...jk->...ik", [(2, 1, 2, 3), (3, 3, 2)]),
        ("ij->ji", [(2, 3)]),
        ("ij->j", [(2, 3)]),
        ("ij->", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("iji->j", [(2, 3, 2)]),
        ("ii,i->", [(3, 3), (3,)]),
        ("i,j->ij", [(2,), (3,)]),
        ("i,i,i->i", [(3,), (3,), (3,)]),
        ("ij,k->i", [(2, 3), (2,)]),
        ("ij,ij->i", [(2, 1), (2, 3)]),
        ("i...,i...->...", [(2, 3), (2, 1)]),
        (",ij->ij", [(), (2, 3)]),
    ]
]

OTHERS = [
    Case("Dropout", [X]),
    Case("Dropout", [X, np.array(0.4), np.array(False)], fixed=[1], id="inference"),
    Case("Det", [away((2, 3, 3), 8)]),
    Case("Det", [away((2, 2), 9)], id="one"),
    Case("TopK", [away((3, 5), 10), np.array([2], I64)], outputs=["y0", "y1"]),
    Case("TopK", [away((3, 5), 10), np.array([2], I64)], {"axis": 0, "largest": 0}, outputs=["y0", ""], id="least"),
    Case(
        "RotaryEmbedding",
        [
            away((2, 3, 8), 11).astype(np.float32),
            away((5, 2), 12).astype(np.float32),
            away((5, 2), 13).astype(np.float32),
            np.array([[0, 4, 2], [1, 1, 3]], I64),
        ],
        {"num_heads": 2},
        narrow=True,
    ),
    Case(
        "RotaryEmbedding",
        [
            away((2, 2, 3, 6), 11).astype(np.float32),
            away((2, 3, 2), 12).astype(np.float32),
            away((2, 3, 2), 13).astype(np.float32),
        ],
        {"interleaved": 1, "rotary_embedding_dim": 4},
        narrow=True,
        id="interleaved",
    ),
    *(
        Case(
            "CausalConvWithState",
            [
                a.astype(np.float32)
                for a in (away((2, 3, 4), 14), away((3, 1, 3), 15), away((3,), 16), away((2, 3, 2), 17))
            ],
            {"activation": activation},
            narrow=True,
            outputs=["y", "present"],
            id=activation,
        )
        for activation in ("none", "silu")
    ),
    Case(
        "CausalConvWithState",
        [away((1, 2, 5), 14).astype(np.float32), away((2, 1, 2), 15).astype(np.float32)],
        narrow=True,
        id="bare",
    ),
    *(
        Case(
            "LinearAttention",
            [
                a if a is None else a.astype(np.float32)
                for a in (
                    away((2, 3, 8), 18, 0.2, 0.8),
                    away((2, 3, 4), 19, 0.2, 0.8),
                    away((2, 3, 6), 20),
                    away((2, 2, 2, 3), 21) if past else None,
                    -positive((2, 3, 4 if past else 2), 22) if "gated" in rule else None,
                    positive((2, 3, 2 if past else 1), 23, 0.2, 0.8) if "delta" in rule else None,
                )
            ],
            {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": rule, "scale": 0.0 if past else 0.7},
            narrow=True,
            outputs=["y", "state"],
            id=f"{rule}-{past}",
        )
        for rule in ("linear", "gated", "delta", "gated_delta")
        for past in (False, True)
    ),
    Case("DynamicQuantizeLinear", [away((3, 4), 24).astype(np.float32)], outputs=["", "scale", ""], narrow=True),
    *(
        Case(
            "DequantizeLinear",
            [np.array([[3, 200, 7], [90, 1, 40]], np.uint8), scale, np.full(scale.shape, 100, np.uint8)],
            {"axis": axis, **more},
            narrow=True,
            id=f"{scale.shape}",
        )
        for scale, axis, more in [
            (np.array(0.3, np.float32), 1, {}),
            (np.array([0.3, 0.7, 0.2], np.float32), 1, {}),
            (np.array([0.3, 0.7], np.float32), 0, {}),
            (np.array([[0.3, 0.7], [0.5, 0.1]], np.float32), 1, {"block_size": 2}),
        ]
    ),
]

Q3, K3, V3 = away((2, 3, 8), 30), away((2, 4, 4), 31), away((2, 4, 6), 32)
Q4, K4, V4 = away((2, 2, 3, 4), 33), away((2, 2, 4, 4), 34), away((2, 2, 4, 3), 35)
MASK = np.array([[True, False, True, True], [True, True, False, False], [False, False, False, False]])
PAST = [away((2, 2, 3, 4), 36), away((2, 2, 3, 3), 37)]
HEADS = {"q_num_heads": 4, "kv_num_heads": 2}
ATTENTION: list[Case] = [
    Case("Attention", [Q4, K4, V4]),
    Case("Attention", [Q4, K4, V4], {"is_causal": 1, "scale": 0.3, "softcap": 2.0}, id="causal"),
    Case("Attention", [Q3, K3, V3], HEADS, id="grouped"),
    Case("Attention", [Q3, K3, V3, away((3, 4), 38)], HEADS, id="bias"),
    Case("Attention", [Q4, K4, V4, MASK], id="mask"),
    Case("Attention", [Q4, K4, V4, MASK[:, :3]], id="short-mask"),
    Case("Attention", [Q4, K4, V4, away((1, 2, 3, 3), 38)], id="short-bias"),
    Case("Attention", [Q4, K4, V4, None, *PAST], {"is_causal": 1}, outputs=["y", "k", "v"], id="past"),
    Case("Attention", [Q4, K4, V4, None, None, None, np.array([2, 4], I64)], {"is_causal": 1}, id="valid"),
    Case("Attention", [Q4, K4, V4], {"left_window_size": 1, "right_window_size": 1}, id="window"),
    *(
        Case(
            "Attention",
            [Q4, K4, V4],
            {"qk_matmul_output_mode": mode, "softcap": 1.5},
            outputs=["y", "", "", "s"],
            id=f"scores-{mode}",
        )
        for mode in range(4)
    ),
]


def recurrent(
    op: str,
    gates: int,
    id: str = "",
    *,
    peepholes: bool = False,
    bias: bool = True,
    lengths: bool = False,
    state: bool = False,
    steps: int = 3,
    **attrs: Any,
) -> Case:
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    first = attrs.get("layout", 0) == 1
    x = away((2, steps, 3) if first else (steps, 2, 3), 40)
    initial = (2, directions, 2) if first else (directions, 2, 2)
    inputs: list[Any] = [
        x,
        away((directions, gates * 2, 3), 41, 0.1, 0.6),
        away((directions, gates * 2, 2), 42, 0.1, 0.6),
        away((directions, gates * 4), 43) if bias else None,
        np.array([steps, steps - 1], np.int32) if lengths else None,
        away(initial, 44) if state else None,
    ]
    outputs = ["y", "h"]
    if op == "LSTM":
        inputs += [away(initial, 45) if state else None, away((directions, 6), 46) if peepholes else None]
        outputs.append("c")
    while inputs[-1] is None:
        inputs.pop()
    return Case(op, inputs, {"hidden_size": 2, **attrs}, outputs=outputs, id=id or "plain")


ACTIVATIONS = ["Affine", "LeakyRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus", "ThresholdedRelu"]
RECURRENT = [
    *(
        case
        for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
        for case in (
            recurrent(op, gates),
            recurrent(op, gates, "reverse", direction="reverse", state=True, lengths=True),
            recurrent(op, gates, "both", direction="bidirectional", state=True, bias=False),
            recurrent(op, gates, "batch", layout=1, direction="bidirectional", state=True, lengths=True),
            recurrent(op, gates, "clip", clip=0.4),
        )
    ),
    *(
        recurrent("RNN", 1, name, activations=[name], activation_alpha=[0.3], activation_beta=[0.4], bias=False)
        for name in ACTIVATIONS
    ),
    recurrent("GRU", 3, "reset-behind", linear_before_reset=1, state=True),
    recurrent("GRU", 3, "reset-behind-bare", linear_before_reset=1, bias=False),
    recurrent("GRU", 3, "reset-behind-reverse", linear_before_reset=1, direction="reverse", state=True, lengths=True),
    recurrent(
        "GRU",
        3,
        "reset-behind-batch",
        linear_before_reset=1,
        layout=1,
        direction="bidirectional",
        state=True,
        lengths=True,
    ),
    recurrent("GRU", 3, "reset-behind-clip", linear_before_reset=1, clip=0.4),
    recurrent("GRU", 3, "other-functions", activations=["HardSigmoid", "Softsign"]),
    recurrent("RNN", 1, "two-functions", direction="bidirectional", activations=["Relu", "Sigmoid"], state=True),
    recurrent("RNN", 1, "relu-lengths", activations=["Relu"], lengths=True),
    recurrent("LSTM", 4, "peepholes", peepholes=True, state=True, direction="bidirectional"),
    recurrent("LSTM", 4, "coupled", input_forget=1, peepholes=True, clip=0.9),
    recurrent("LSTM", 4, "one-step", steps=1),
]


@parametrize(NORMS)
def test_norms(case: Case) -> None:
    case.run()


@parametrize(EINSUMS)
def test_einsum(case: Case) -> None:
    case.run()


@parametrize(ATTENTION)
def test_attention(case: Case) -> None:
    case.run()


@parametrize(RECURRENT)
def test_recurrent(case: Case) -> None:
    case.run()


@parametrize(OTHERS)
def test_others(case: Case) -> None:
    case.run()


def test_dropout_in_training() -> None:
    """Each run draws a mask: what it kept takes the gradient, scaled as forwards."""
    case = Case("Dropout", [X, np.array(0.25), np.array(True)], outputs=["y", "mask"])
    nodes, infos, feeds = case.graph(False)
    nodes.append(helper.make_node("Mul", ["y", "y"], ["square"]))
    nodes.append(
        helper.make_node("Gradient", ["x0", "x1", "x2"], ["d"], domain=TRAINING, xs=["x0"], zs=["x1", "x2"], y="square")
    )
    session = sx.InferenceSession(case.model(nodes, infos, ["y", "mask", "d"], []))
    for _ in range(3):
        y, mask, d = session.run(None, feeds)
        np.testing.assert_allclose(y, np.where(mask, X / 0.75, 0))
        np.testing.assert_allclose(d, 2 * y / 0.75)


@pytest.mark.parametrize(
    ("case", "x", "message"),
    [
        (Case("Dropout", [X, np.array(0.25), np.array(True)]), "x1", "no gradient by its ratio"),
        (Case("RoiAlign", [IMAGE, np.zeros((1, 4)), np.zeros(1, I64)]), "x1", "no gradient by its regions"),
        (
            Case("Resize", [IMAGE, np.arange(8.0), None, np.array([2, 4, 3, 3], I64)],
                 {"coordinate_transformation_mode": "tf_crop_and_resize"}),
            "x1",
            "no gradient by its region",
        ),
    ],
    ids=lambda value: value.op if isinstance(value, Case) else "",
)  # fmt: skip
def test_refused(case: Case, x: str, message: str) -> None:
    nodes, infos, feeds = case.graph(False)
    zs = [name for name in feeds if name != x]
    nodes.append(helper.make_node("Gradient", [x, *zs], ["d"], domain=TRAINING, xs=[x], zs=zs, y="y0"))
    with pytest.raises(sx.errors.NotImplemented, match=message):
        sx.InferenceSession(case.model(nodes, infos, ["d"], []))

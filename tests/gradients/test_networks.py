"""Gradients of what networks are made of: softmax, normalization, pooling, padding."""

import numpy as np

from tests.gradients.harness import Case, away, parametrize, positive

I64 = np.int64
X = away((2, 3, 4), 1)
IMAGE = away((2, 3, 4, 5), 2)

CASES = [
    *(Case(op, [X], {"axis": axis}, id=str(axis)) for op in ("Softmax", "LogSoftmax") for axis in (-1, 0, 1)),
    Case("Hardmax", [X]),
    *(Case("Trilu", [X], {"upper": u}, id=str(u)) for u in (0, 1)),
    Case("Trilu", [X, np.array(-1, I64)], id="k"),
    *(
        Case("CumSum", [X, np.array(1, I64)], {"exclusive": e, "reverse": r}, id=f"{e}{r}")
        for e in (0, 1)
        for r in (0, 1)
    ),
    *(
        Case("CumProd", [X, np.array(-1, I64)], {"exclusive": e, "reverse": r}, id=f"{e}{r}")
        for e in (0, 1)
        for r in (0, 1)
    ),
    *(Case("DepthToSpace", [away((1, 8, 2, 3), 3)], {"blocksize": 2, "mode": m}, id=m) for m in ("DCR", "CRD")),
    Case("SpaceToDepth", [away((1, 2, 4, 6), 3)], {"blocksize": 2}),
    Case("Pad", [away((2, 3), 4), np.array([1, 0, 2, 1], I64), np.float64(0.3)]),
    Case("Pad", [away((2, 5), 4), np.array([2, -1], I64), None, np.array([1], I64)], id="crop"),
    Case("GlobalAveragePool", [IMAGE]),
    Case("GlobalMaxPool", [IMAGE]),
    Case("LayerNormalization", [X, positive((4,), 5), away((4,), 6)]),
    Case("LayerNormalization", [X, positive((3, 4), 5)], {"axis": 1, "epsilon": 0.1}, id="axis"),
    Case("RMSNormalization", [X, positive((4,), 5)]),
    Case("RMSNormalization", [X, positive((3, 4), 5)], {"axis": -2, "epsilon": 0.1}, id="axis"),
    Case("BatchNormalization", [IMAGE, positive((3,), 7), away((3,), 8), away((3,), 9), positive((3,), 10)]),
    Case(
        "BatchNormalization",
        [IMAGE, positive((3,), 7), away((3,), 8), away((3,), 9), positive((3,), 10)],
        {"training_mode": 1},
        outputs=["y", "", ""],
        fixed=[3, 4],
        id="training",
    ),
    Case("Conv", [away((2, 2, 5, 4), 11), away((3, 2, 3, 3), 12), away((3,), 13)], {"pads": [1, 1, 1, 1]}),
    Case(
        "Conv",
        [away((1, 4, 6, 5), 11), away((2, 2, 3, 2), 12)],
        {"strides": [2, 1], "pads": [1, 0, 0, 1], "group": 2, "dilations": [1, 2]},
        id="strided",
    ),
    Case("Conv", [away((2, 2, 7), 11), away((2, 1, 3), 12)], {"group": 2, "auto_pad": "SAME_UPPER"}, id="line"),
    Case("MaxPool", [away((2, 2, 5, 6), 14)], {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 1, 0]}),
    Case("MaxPool", [away((1, 2, 7), 14)], {"kernel_shape": [3], "dilations": [2], "ceil_mode": 1}, id="line"),
    *(
        Case(
            "AveragePool",
            [away((2, 2, 5, 6), 15)],
            {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "count_include_pad": i, "ceil_mode": i},
            id=str(i),
        )
        for i in (0, 1)
    ),
    *(
        Case(
            op,
            [away((3, 4, 2), 16), np.array([[0, 3], [2, 2], [1, 0]], I64), *weights],
            {"reduction": r, **more},
            id=f"{r}-{n}",
            fixed=[2],
        )
        for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
        for r in ("mean", "sum", "none")
        for n, (weights, more) in enumerate([([], {}), ([positive((4,), 17)], {"ignore_index": 2})])
    ),
    Case("SoftmaxCrossEntropyLoss", [away((3, 4), 16), np.array([0, 3, 1], I64)], outputs=["y0", "y1"], id="log-prob"),
]


@parametrize(CASES)
def test_networks(case: Case) -> None:
    case.run()

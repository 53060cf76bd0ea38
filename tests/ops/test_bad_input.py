"""Inputs that the specification forbids: an error names the node and what was found, before memory is taken."""

import numpy as np
import pytest

from tests.ops.harness import Case, check, const, raises
from tests.ops.peer import PeerCase

I64, F32 = np.int64, np.float32
HUGE, LEAST, MOST = 2**62, -(2**63), 2**63 - 1
X = np.arange(24, dtype=F32).reshape(2, 3, 4)
IMAGE = np.ones((1, 2, 5, 5), F32)


def ints(*values):
    return const(np.array(values, I64))


def reals(*values):
    return const(np.array(values, F32))


def bad(op, inputs, match, attrs=None, **more):
    """The message must hold the node's label, perhaps with the operator that it was rewritten to, and `match`."""
    more.setdefault("expect", [])
    made = PeerCase if more.get("domain") == "com.microsoft" else Case
    return raises(made(op, inputs, attrs or {}, **more), rf"\[[\w.:]+ 'node'\].*{match}")


def ml(op, inputs, match, attrs=None):
    return bad(op, inputs, match, attrs, domain="ai.onnx.ml", opset=3)


TOO_LARGE = "63 bits|64 bits|too large|overflow"

test_sizes = check(
    [
        bad("Reshape", [X, ints(HUGE, 4)], ""),
        bad("Reshape", [X, ints(-1, -1)], "-1"),
        bad("Reshape", [X, ints(-2, 12)], "-2"),
        bad("Reshape", [X, ints(5, -1)], r"\[5,-1\]"),
        bad("Reshape", [X, ints(0, 0, 0, 0)], "3"),
        bad("Reshape", [X, ints(2**32, 2**32, -1)], ""),
        bad("Expand", [X, ints(HUGE, 2, 3, 4)], TOO_LARGE),
        bad("Expand", [X, ints(2, 5, 4)], "5"),
        bad("Expand", [X, ints(-1, 3, 4)], "-1"),
        bad("Tile", [X, ints(HUGE, HUGE, 1)], TOO_LARGE),
        bad("Tile", [X, ints(1, -1, 1)], "-3|-1"),
        bad("Tile", [X, ints(1, 1)], "2"),
        bad("ConstantOfShape", [ints(HUGE, 4)], TOO_LARGE),
        bad("ConstantOfShape", [ints(3, -1)], "-1"),
        bad("Range", [const(0, I64), const(5, I64), const(0, I64)], "0"),
        bad("Range", [const(LEAST, I64), const(MOST, I64), const(1, I64)], ""),
        bad("Range", [const(0, F32), const(np.nan, F32), const(1, F32)], "nan"),
        bad("Range", [const(0, F32), const(np.inf, F32), const(1, F32)], "inf"),
        bad("Range", [const(0, F32), const(5, F32), const(np.nan, F32)], "nan"),
        bad("Pad", [X, ints(MOST, 0, 0, MOST, 0, 0)], ""),
        bad("Pad", [X, ints(-3, 0, 0, 0, 0, 0)], "-"),
        bad("Pad", [X, ints(1, 2)], "2"),
        bad("Pad", [X, ints(0, 0, 0, 0, 0, 0)], "mode", {"mode": "mirror"}),
        bad("Slice", [X, ints(0), ints(1), ints(3)], "3"),
        bad("Slice", [X, ints(0), ints(1), ints(0), ints(0)], "0"),
        bad("Slice", [X, ints(0, 1), ints(1)], ""),
        bad("Slice", [X, ints(0, 0), ints(1, 1), ints(0, 0)], ""),
        bad("SpaceToDepth", [IMAGE], "2", {"blocksize": 2}),
        bad("SpaceToDepth", [IMAGE], "", {"blocksize": 0}),
        bad("SpaceToDepth", [IMAGE], "", {"blocksize": HUGE}),
        bad("DepthToSpace", [IMAGE], "", {"blocksize": 2}),
        bad("DepthToSpace", [IMAGE], "", {"blocksize": MOST}),
        bad("Unsqueeze", [X, ints(5)], "5"),
        bad("Unsqueeze", [X, ints(0, 0)], "0"),
        bad("Squeeze", [X, ints(0)], "2"),
        bad("Squeeze", [X, ints(LEAST)], str(LEAST)),
        bad("Split", [X, ints(1, 2)], "", outputs=2),
        bad("Split", [X, ints(3, -1)], "", outputs=2),
        bad("Split", [X, ints(MOST, MOST)], "", outputs=2),
        bad("Concat", [X, X[:, :2]], "3", {"axis": 0}),
        bad("Concat", [X, X], "3", {"axis": 3}),
        bad("Flatten", [X], "4", {"axis": 4}),
        bad("Transpose", [X], "", {"perm": [0, 0, 1]}),
        bad("Transpose", [X], "", {"perm": [0, 1]}),
        bad("EyeLike", [X], "3"),
        bad("CenterCropPad", [X, ints(HUGE, HUGE, 4)], ""),
        bad("CenterCropPad", [X, ints(-1, 3, 4)], "-1"),
        bad("HannWindow", [const(MOST, I64)], ""),
        bad("HannWindow", [const(-1, I64)], "-1"),
        bad("Col2Im", [np.ones((1, 4, 4), F32), ints(2**40, 2**40), ints(2, 2)], ""),
        bad("OneHot", [ints(1), ints(-1), reals(0, 1)], "-1"),
        bad("OneHot", [ints(1, 2), ints(HUGE), reals(0, 1)], ""),
        bad("RandomUniform", [], TOO_LARGE, {"shape": [HUGE, 4]}),
        bad("RandomNormal", [], "-1", {"shape": [-1]}),
        bad("DFT", [np.ones((1, 4, 1), F32), const(0, I64)], "0"),
        bad("STFT", [np.ones((1, 16, 1), F32), const(1, I64), None, const(2**31, I64)], "2147483648"),
        bad(
            "QuantizeLinear",
            [X, const(np.ones((2, 3, 2), F32))],
            r"\[2,3,1\] expected",
            {"block_size": MOST, "axis": 2},
        ),
        bad("DFT", [np.ones((1, 4, 1), F32), const(HUGE, I64)], ""),
        bad("STFT", [np.ones((1, 16, 1), F32), const(0, I64), None, const(4, I64)], "0"),
    ]
)

test_scales = check(
    [
        bad("Resize", [IMAGE, None, reals(1, 1, scale, 1)], text)
        for scale, text in ((np.nan, "nan"), (np.inf, "inf"), (-1, "-1"), (0, "0"))
    ]
    + [
        bad("Resize", [IMAGE, None, reals(1, 1, 3e38, 3e38)], ""),
        bad("Resize", [IMAGE, None, None, ints(1, 2, -5, 5)], "-5"),
        bad("Resize", [IMAGE, None, None, ints(1, 2, HUGE, HUGE)], ""),
        bad("Resize", [IMAGE, None, None, ints(1, 2, 5)], "3"),
        bad("Resize", [IMAGE, None, reals(1, 1, 2)], "3"),
        bad("Resize", [IMAGE], "scales|sizes"),
        bad("Resize", [IMAGE, None, reals(1, 1, 2, 2)], "mode", {"mode": "smooth"}),
        raises(
            Case("Upsample", [IMAGE, reals(1, 1, np.nan, 1)], opset=9, expect=[]), r"\[(Resize|Upsample) 'node'\].*nan"
        ),
        raises(Case("Upsample", [IMAGE, reals(1, 1, 0, 1)], opset=9, expect=[]), r"\[(Resize|Upsample) 'node'\].*0"),
        bad("MaxPool", [IMAGE], "0", {"kernel_shape": [0, 2]}),
        bad("MaxPool", [IMAGE], "", {"kernel_shape": [MOST, MOST], "pads": [MOST, MOST, MOST, MOST]}),
        bad("MaxPool", [IMAGE], "0", {"kernel_shape": [2, 2], "strides": [0, 1]}),
        bad("AveragePool", [IMAGE], "-1", {"kernel_shape": [2, 2], "pads": [-1, 0, 0, 0]}),
        bad("MaxPool", [IMAGE], "", {"kernel_shape": [2]}),
        bad("MaxPool", [X[0]], "", {"kernel_shape": [2]}),
        bad("Conv", [IMAGE, const(np.ones((1, 3, 2, 2), F32))], "3"),
        bad("Conv", [IMAGE, const(np.ones((3, 1, 2, 2), F32))], "group", {"group": 0}),
        bad("Conv", [IMAGE, const(np.ones((3, 1, 2, 2), F32))], "", {"group": 2}),
        bad("Conv", [IMAGE, const(np.ones((3, 2, 2, 2), F32))], "", {"dilations": [MOST, 1]}),
        bad("ConvTranspose", [IMAGE, const(np.ones((2, 3, 2, 2), F32))], "", {"strides": [MOST, MOST]}),
        bad("ConvTranspose", [IMAGE, const(np.ones((2, 3, 2, 2), F32))], "", {"output_shape": [-4, 4]}),
    ]
)

test_indices = check(
    [
        bad("Gather", [X, ints(0, 2)], "index 2"),
        bad("Gather", [X, ints(-3)], "index -3"),
        bad("Gather", [X, ints(LEAST)], f"index {LEAST}"),
        bad("Gather", [X, ints(0)], "axis 3", {"axis": 3}),
        bad("Gather", [np.zeros((0, 3), F32), ints(0)], "index 0"),
        bad("GatherElements", [X, const(np.full((2, 3, 4), 4, I64))], "index 4", {"axis": 2}),
        bad("GatherElements", [X, ints(0)], "rank"),
        bad("GatherND", [X, const([[0, 3]], I64)], "index 3"),
        bad("GatherND", [X, const([[0, 1, 2, 3]], I64)], "4"),
        bad("GatherND", [X, const([[0]], I64)], "batch_dims", {"batch_dims": -1}),
        bad("ScatterElements", [X, const(np.full((1, 1, 1), 2, I64)), np.ones((1, 1, 1), F32)], "index 2"),
        bad("ScatterElements", [X, const(np.zeros((3, 1, 1), I64)), np.ones((3, 1, 2), F32)], ""),
        bad("ScatterND", [X, const([[2]], I64), np.ones((1, 3, 4), F32)], "index 2"),
        bad("ScatterND", [X, const([[1]], I64), np.ones((1, 3, 5), F32)], "5"),
        bad("ScatterElements", [X, const(np.zeros((1, 1, 1), I64)), np.ones((1, 1, 1), F32)], "", {"reduction": "sub"}),
        bad("Compress", [X, const(np.ones(9, bool))], "", {"axis": 0}),
        bad("Compress", [X, const(np.ones((2, 1), bool))], "", {"axis": 0}),
        bad(
            "MaxUnpool",
            [np.ones((1, 1, 1, 1), F32), const(np.full((1, 1, 1, 1), 99, I64))],
            "99",
            {"kernel_shape": [2, 2]},
        ),
        bad(
            "MaxUnpool",
            [np.ones((1, 1, 1, 1), F32), const(np.full((1, 1, 1, 1), -1, I64))],
            "-1",
            {"kernel_shape": [2, 2]},
        ),
        bad("SequenceAt", [[X, X], const(2, I64)], "2"),
        bad("SequenceErase", [[X, X], const(-3, I64)], "-3"),
        bad("SequenceInsert", [[X, X], X, const(4, I64)], "4"),
        bad("SplitToSequence", [X, const(0, I64)], "0"),
        bad("SplitToSequence", [X, ints(1, 5)], ""),
        bad("ConcatFromSequence", [[X, X]], "5", {"axis": 5}),
        bad("TopK", [X, ints(5)], "5"),
        bad("TopK", [X, ints(-1)], "-1"),
        bad("TopK", [X, ints(1)], "7", {"axis": 7}),
        bad("ReverseSequence", [X, ints(1, 5, 1)], "5"),
        bad("ReverseSequence", [X, ints(1, -1, 1)], "-1"),
        bad("ArgMax", [np.zeros((0, 2), F32)], "", {"axis": 0}),
        bad("ReduceSum", [X, ints(3)], "3"),
        bad("ReduceSum", [X, ints(0, 0)], ""),
        bad("ReduceMax", [np.zeros((0, 2), np.bool_), ints(0)], "")
        if False
        else bad("CumSum", [X, const(3, I64)], "3"),
        bad("Trilu", [X[0, 0]], "rank|dim|\\[4\\]"),
        bad("NonMaxSuppression", [np.ones((1, 4, 4), F32), np.ones((2, 1, 4), F32)], ""),
        bad("NonMaxSuppression", [np.ones((1, 4, 3), F32), np.ones((1, 1, 4), F32)], "3"),
        bad("RoiAlign", [IMAGE, np.ones((1, 4), F32), ints(1)], "1"),
        bad("RoiAlign", [IMAGE, np.ones((1, 4), F32), ints(-1)], "-1"),
        bad("RoiAlign", [IMAGE, np.ones((1, 4), F32), ints(0)], "", {"output_height": 0}),
        bad("RoiAlign", [IMAGE, np.ones((1, 4), F32), ints(0)], "", {"output_height": HUGE, "output_width": HUGE}),
        bad("MaxRoiPool", [IMAGE, reals(3, 0, 0, 2, 2).value.reshape(1, 5)], "3", {"pooled_shape": [2, 2]}),
        bad("NegativeLogLikelihoodLoss", [X[:, :, 0], ints(0, 3)], "3"),
        bad("SoftmaxCrossEntropyLoss", [X[:, :, 0], ints(0, -1)], "-1"),
        ml("ArrayFeatureExtractor", [X[0], ints(4)], "4"),
        ml("ArrayFeatureExtractor", [X[0], ints(-1)], "-1"),
        bad("TensorScatter", [IMAGE, IMAGE[:, :, :2], ints(7)], "7"),
    ]
)

test_integer_arithmetic = check(
    [
        bad("Div", [np.array([1, 2], t), const(np.array([1, 0], t))], "by zero|zero")
        for t in (np.int8, np.uint8, np.int32, np.int64)
    ]
    + [bad("Mod", [np.array([1, 2], t), const(np.array([1, 0], t))], "zero") for t in (np.int32, np.int64, np.uint8)]
)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_the_least_integer_by_minus_one_wraps(dtype):
    """As in two's complement; it must not trap."""
    least = np.array([np.iinfo(dtype).min], dtype)
    Case("Div", [least, const(np.array([-1], dtype))], expect=least).run()
    Case("Mod", [least, const(np.array([-1], dtype))], expect=np.zeros(1, dtype)).run()
    Case("Neg", [least], expect=least).run()
    Case("Abs", [least], expect=least).run()


test_forms = check(
    [
        bad("Add", [X], "required|input"),
        bad("Add", [X, X, X], "3 inputs"),
        bad("Add", [X, X.astype(np.float64)], "f64"),
        bad("Add", [X, X[:, :2]], "3"),
        bad("Relu", [np.array(["a"], object)], "str"),
        bad("MatMul", [X, X], "4"),
        bad("MatMul", [np.float32(1), X], ""),
        bad("Gemm", [X, X[0]], ""),
        bad("Gemm", [X[0], X[0]], ""),
        bad("Softmax", [X], "axis 3", {"axis": 3}),
        bad("LayerNormalization", [X, reals(1, 2)], ""),
        bad("LayerNormalization", [X, reals(1, 1, 1, 1)], "axis", {"axis": 7}),
        bad("BatchNormalization", [IMAGE, reals(1), reals(1), reals(1), reals(1)], ""),
        bad("GroupNormalization", [IMAGE, reals(1, 1), reals(1, 1)], "", {"num_groups": 3}),
        bad("GroupNormalization", [IMAGE, reals(1, 1), reals(1, 1)], "", {"num_groups": 0}),
        bad(
            "LSTM",
            [X, const(np.ones((1, 24, 4), F32)), const(np.ones((1, 24, 6), F32))],
            "",
            {"hidden_size": 5},
            outputs=2,
        ),
        bad(
            "LSTM",
            [X, const(np.ones((1, 24, 5), F32)), const(np.ones((1, 24, 6), F32))],
            "",
            {"hidden_size": 6},
            outputs=2,
        ),
        bad(
            "GRU",
            [X, const(np.ones((1, 18, 4), F32)), const(np.ones((1, 18, 6), F32)), None, const([9, 9, 9], np.int32)],
            "9",
            {"hidden_size": 6},
            outputs=2,
        ),
        bad("Cast", [X], "to"),
        bad("Cast", [X], "99", {"to": 99}),
        bad("Concat", [X], "axis"),
        bad("Einsum", [X], "", {"equation": "ij->i"}),
        bad("Einsum", [X, X], "", {"equation": "abc,abd->e"}),
        bad("QuantizeLinear", [X, reals(1, 2)], ""),
        bad("DequantizeLinear", [X.astype(np.int8), reals(1, 2, 3), const([0], np.int8)], ""),
        bad("Clip", [X, reals(1, 2)], ""),
        bad("Softmax", [X], "colour", {"colour": 1}),
        bad("LRN", [IMAGE], "0", {"size": 0}),
        bad("Dropout", [X, const(1.5, F32), const(True)], "1.5", outputs=1),
        bad("GridSample", [IMAGE, np.ones((1, 3, 3, 3), F32)], "3"),
        bad("GridSample", [IMAGE, np.ones((2, 3, 3, 2), F32)], ""),
        bad("Det", [X], ""),
        bad(
            "TfIdfVectorizer",
            [ints(1, 2)],
            "",
            {
                "max_gram_length": 1,
                "max_skip_count": 0,
                "min_gram_length": 1,
                "mode": "TF",
                "ngram_counts": [0],
                "ngram_indexes": [-1],
                "pool_int64s": [1],
            },
        ),
        bad(
            "TfIdfVectorizer",
            [ints(1, 2)],
            "",
            {
                "max_gram_length": 1,
                "max_skip_count": 0,
                "min_gram_length": 1,
                "mode": "TF",
                "ngram_counts": [0],
                "ngram_indexes": [HUGE],
                "pool_int64s": [1],
            },
        ),
        bad("AffineGrid", [np.ones((1, 2, 3), F32), ints(1, 1, HUGE, HUGE)], ""),
        bad("AffineGrid", [np.ones((1, 2, 3), F32), ints(1, 1, -2, 2)], "-2"),
        bad("BitShift", [np.array([1], np.uint8), const([1], np.uint8)], "UP", {"direction": "UP"}),
        bad("Attention", [IMAGE, IMAGE[..., :4], IMAGE], ""),
    ]
)

test_microsoft = check(
    [
        bad(op, [X], "required|input", domain="com.microsoft")
        for op in (
            "QLinearAdd",
            "QLinearMul",
            "BiasGelu",
            "SkipLayerNormalization",
            "QGemm",
            "BiasSplitGelu",
            "QLinearConcat",
        )
    ]
    + [
        bad(
            "EmbedLayerNormalization",
            [const([[9]], np.int32), None, *[const(np.ones((2, 4), F32))] * 2, None, *[const(np.ones(4, F32))] * 2],
            "index 9",
            domain="com.microsoft",
            outputs=["y"],
        ),
        bad("Inverse", [X], "square", domain="com.microsoft"),
        bad("Unique", [X], "", domain="com.microsoft", outputs=3),
    ]
)

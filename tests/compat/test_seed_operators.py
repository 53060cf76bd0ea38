"""The 95 operators that Hetu, SINGA and OneFlow read or write between them: values, gradients and export.

Values are judged by onnxruntime where it is installed, else by onnx's reference; gradients by finite differences in
float64; exports by onnx's full check.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sardonyx import graph
from sardonyx.graph import op
from sardonyx.graph.registry import operator_rows
from tests.gradients.harness import away, positive

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

X = away((2, 3, 4), 1)
INSIDE = away((2, 3, 4), 2, 0.1, 0.9)
P = positive((2, 3, 4), 3)
IMAGES = away((2, 4, 6, 6), 4)
TRUTH = X > 0
PICKED = np.array([[0, 2], [1, 1]])
F32 = np.float32


@dataclasses.dataclass
class Case:
    """One operator; float64 inputs are differentiated where it has a gradient and they are not among `fixed`."""

    op: str
    inputs: tuple[Any, ...] = ()
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    outputs: int = 1
    fixed: tuple[int, ...] = ()

    def arrays(self, dtype: Any) -> list[Any]:
        given = [None if x is None else np.asarray(x) for x in self.inputs]
        return [x if x is None or x.dtype != np.float64 else x.astype(dtype) for x in given]

    def apply(self, tensors: list[Any]) -> list[Any]:
        found = op.call(self.op, *tensors, outputs=self.outputs, **self.attributes)
        return found if self.outputs > 1 else [found]


def unary(*names: str, x: Any = X, **attributes: Any) -> list[Case]:
    return [Case(name, (x,), attributes) for name in names]


def binary(*names: str, x: Any = X, y: Any = None) -> list[Case]:
    return [Case(name, (x, away((3, 1), 5) if y is None else y)) for name in names]


CASES = [
    *unary("Abs", "Asinh", "Atan", "Ceil", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish"),
    *unary("Identity", "LeakyRelu", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh"),
    *unary("Softplus", "Softsign", "Tan", "Tanh", "Shape", "NonZero"),
    *unary("Acos", "Asin", "Atanh", x=INSIDE),
    *unary("Log", "Sqrt", x=P),
    *unary("Acosh", x=P + 1),
    *unary("Flatten", axis=2),
    *unary("Softmax", axis=1),
    *unary("Transpose", perm=[2, 0, 1]),
    *unary("ArgMax", "ArgMin", axis=1, keepdims=0),
    *unary("Not", x=TRUTH),
    *unary("GlobalAveragePool", x=IMAGES),
    *unary("SpaceToDepth", "DepthToSpace", x=IMAGES, blocksize=2),
    *binary("Add", "Sub", "Mul", "Div", "Max", "Mean", "Min", "Sum"),
    *binary("Equal", "Greater", "Less", y=X[:, :1]),
    *binary("And", "Or", "Xor", x=TRUTH, y=TRUTH[:, ::-1].copy()),
    Case("Pow", (P, away((3, 1), 6))),
    Case("PRelu", (X, positive((3, 1), 7))),
    Case("Clip", (X, np.float64(-0.7), np.float64(0.9)), fixed=(1, 2)),
    Case("Where", (TRUTH, X, away((2, 3, 4), 8))),
    Case("Cast", (X,), {"to": F32}),
    Case("MatMul", (X, away((4, 5), 9))),
    Case("Gemm", (X[0], away((5, 4), 10), away((5,), 11)), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Conv", (IMAGES, away((6, 2, 3, 3), 12), away((6,), 13)), {"group": 2, "pads": [1] * 4, "strides": [2, 2]}),
    Case("MaxPool", (IMAGES,), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("AveragePool", (IMAGES,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}),
    Case(
        "BatchNormalization",
        (IMAGES, *(positive((4,), 14 + i) for i in range(4))),
    ),
    Case("Dropout", (X,)),
    *(Case(name, (X, np.array([1]))) for name in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")),
    Case("Concat", (X, away((2, 2, 4), 19)), {"axis": 1}),
    Case("Split", (X, np.array([1, 2])), {"axis": 1}, outputs=2),
    Case("Slice", (X, np.array([0, 3]), np.array([2, 0]), np.array([1, 2]), np.array([1, -2]))),
    Case("Gather", (X, PICKED), {"axis": 1}),
    Case("GatherND", (X, PICKED)),
    Case("ScatterElements", (X[0], np.array([[0, 2], [3, 1]]), away((2, 2), 20)), {"axis": 1}),
    Case("Expand", (X[:, :1], np.array([2, 3, 4]))),
    Case("Tile", (X, np.array([1, 2, 1]))),
    Case("Pad", (X, np.array([0, 1, 0, 0, 0, 2]), np.float64(0.5)), fixed=(2,)),
    Case("Reshape", (X, np.array([4, -1]))),
    Case("Squeeze", (X[:, :1], np.array([1]))),
    Case("Unsqueeze", (X, np.array([0, -1]))),
    Case("OneHot", (PICKED, np.array(3), np.array([0.25, 2.0], F32))),
    Case("ConstantOfShape", (np.array([2, 3]),), {"value": np.array([1.5], F32)}),
    Case("Constant", (), {"value": np.arange(3, dtype=F32)}),
    Case("Range", (np.array(1), np.array(9), np.array(3))),
    Case("Resize", (IMAGES.astype(F32), None, np.array([1, 1, 2, 2], F32)), {"mode": "linear"}),
    Case("QuantizeLinear", (X.astype(F32), F32(0.02), np.uint8(128))),
    Case("DequantizeLinear", (np.arange(12, dtype=np.uint8).reshape(3, 4), F32(0.02), np.uint8(5))),
]
# Gone from ONNX since opset 10; models that hold it load.
OLD = "Upsample"

OPERATORS = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Clip Concat
Constant ConstantOfShape Conv Cos Cosh DepthToSpace DequantizeLinear Div Dropout Elu Equal Erf Exp Expand
Flatten Floor Gather GatherND Gemm GlobalAveragePool Greater HardSigmoid HardSwish Identity LeakyRelu Less Log
MatMul Max MaxPool Mean Min Mul Neg NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize Round ScatterElements Selu Shape Sigmoid
Sign Sin Sinh Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh Tile Transpose
Unsqueeze Upsample Where Xor
"""

parametrize = pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)


def test_every_operator_has_a_case() -> None:
    names = OPERATORS.split()
    assert len(names) == 95
    assert sorted([case.op for case in CASES] + [OLD]) == sorted(names)


def run_elsewhere(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    if onnxruntime is not None:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))
    return list(onnx.reference.ReferenceEvaluator(model).run(None, feeds))


@parametrize
def test_value_and_export(case: Case) -> None:
    arrays = case.arrays(F32)
    # The extents of shapes and indices are numbers of axes: unknown ones leave an output without a rank.
    shapes = [None if x is None else x.shape if x.dtype == np.int64 else [None] * x.ndim for x in arrays]
    tensors = [
        None if x is None else graph.placeholder(f"x{i}", x.dtype, shape)
        for i, (x, shape) in enumerate(zip(arrays, shapes, strict=True))
    ]
    outputs = case.apply(tensors)
    given = [x for x in tensors if x is not None]
    model = graph.export(outputs, inputs=given)
    onnx.checker.check_model(model, full_check=True)

    values = [x for x in arrays if x is not None]
    found = graph.Executor(outputs).run(dict(zip(given, values, strict=True)))
    expected = run_elsewhere(model, {x.name: value for x, value in zip(given, values, strict=True)})
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_upsample_of_old_models_loads() -> None:
    images = IMAGES.astype(F32)
    node = onnx.helper.make_node(OLD, ["x", "scales"], ["y"], mode="nearest")
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4) for name in "xy"]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 3], F32), "scales")
    wrapped = onnx.helper.make_graph([node], "old", infos[:1], infos[1:], [scales])
    old = onnx.helper.make_model(wrapped, opset_imports=[onnx.helper.make_opsetid("", 9)], ir_version=4)
    loaded = graph.load(old)
    found = graph.Executor(loaded.outputs).run({loaded.inputs[0]: images})[0]
    np.testing.assert_array_equal(found, images.repeat(2, 2).repeat(3, 3))
    onnx.checker.check_model(graph.export(loaded.outputs, inputs=loaded.inputs), full_check=True)


DIFFERENTIABLE = [
    case
    for case in CASES
    if case.op != "Constant"
    and operator_rows()["", case.op]["gradient"] == "rule"
    and any(np.asarray(x).dtype == np.float64 for x in case.inputs)
]


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda case: case.op)
def test_gradient(case: Case) -> None:
    arrays = case.arrays(np.float64)
    xs = [i for i, x in enumerate(arrays) if x is not None and x.dtype == np.float64 and i not in case.fixed]
    tensors = [None if x is None else graph.data(x) for x in arrays]
    rng = np.random.default_rng(0)
    outputs = case.apply(tensors)
    weights = [rng.uniform(0.5, 1.5, y.numpy().shape) for y in outputs]
    loss = sum((y.astype(np.float64) * w).sum() for y, w in zip(outputs, weights, strict=True))
    found = graph.evaluate(graph.gradients(loss, [tensors[i] for i in xs]))

    def value(i: int, x: Any) -> float:
        moved = [graph.data(x) if k == i else t for k, t in enumerate(tensors)]
        results = graph.evaluate(case.apply(moved))
        return float(sum((np.asarray(y, np.float64) * w).sum() for y, w in zip(results, weights, strict=True)))

    # Results of Cast to f32 have steps of their own.
    step, tolerance = (1e-2, 1e-4) if case.op == "Cast" else (1e-5, 1e-7)
    for i, gradient in zip(xs, found, strict=True):
        direction = rng.uniform(-1, 1, arrays[i].shape)
        slope = (value(i, arrays[i] + step * direction) - value(i, arrays[i] - step * direction)) / (2 * step)
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5, atol=tolerance)

"""Gradients of elementwise operators."""

import numpy as np

from tests.gradients.harness import Case, away, parametrize, positive

X = away((3, 4), 1)
INSIDE = away((3, 4), 2, 0.1, 0.9)  # within (-1, 1)
P = positive((3, 4), 3)

UNARY = [
    *(Case(op, [X]) for op in ("Abs", "Neg", "Exp", "Reciprocal", "Tanh", "Erf", "Sin", "Cos", "Tan", "Atan")),
    *(Case(op, [X]) for op in ("Sinh", "Cosh", "Asinh", "Sigmoid", "Softplus", "Softsign", "Mish", "HardSwish")),
    *(Case(op, [X]) for op in ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Identity")),
    *(Case(op, [P]) for op in ("Log", "Sqrt")),
    *(Case(op, [INSIDE]) for op in ("Asin", "Acos", "Atanh", "HardSigmoid")),
    *(Case(op, [X]) for op in ("Floor", "Ceil", "Round", "Sign")),
    Case("Acosh", [P + 1]),
    Case("LeakyRelu", [X], {"alpha": 0.3}, id="alpha"),
    Case("Elu", [X], {"alpha": 0.5}, id="alpha"),
    Case("Celu", [X], {"alpha": 0.5}, id="alpha"),
    Case("Selu", [X], {"alpha": 1.5, "gamma": 0.7}, id="both"),
    Case("ThresholdedRelu", [X * 2], {"alpha": 0.9}),
    Case("HardSigmoid", [X * 4], {"alpha": 0.3, "beta": 0.4}, id="outside"),
    Case("HardSwish", [X * 4], id="outside"),
    Case("Swish", [X], {"alpha": 1.7}),
    Case("Gelu", [X], {"approximate": "tanh"}, id="tanh"),
    Case("Shrink", [X], {"lambd": 0.6, "bias": 0.2}),
    Case("Exp", [np.float64(0.3)]),
    Case("Tanh", [np.zeros((0, 3))]),
]

BINARY = [
    Case(op, [away(a, 4), away(b, 5)])
    for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum")
    for a, b in [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1, 3), (4, 1)), ((), (2, 3)), ((1, 3), (2, 1))]
] + [
    Case("Pow", [positive((2, 3), 6), away((3,), 7)]),
    Case("Pow", [away((2, 3), 8), np.array([2.0, 3.0, 1.0])], fixed=[1], id="integral"),
    Case("Pow", [away((2, 3), 8), np.array(2, np.int64)], id="integer-exponent"),
    Case("Mod", [away((2, 3), 9, 1, 5), positive((3,), 10)], {"fmod": 1}),
    Case("PRelu", [away((2, 3, 4), 11), positive((3, 1), 12)]),
    Case("Max", [away((2, 3), 13), away((3,), 14), away((2, 1), 15)], id="three"),
    Case("Sum", [X], id="one"),
    Case("SwiGLU", [away((2, 4), 16), away((2, 4), 17)], {"alpha": 1.3}),
    Case("Where", [np.array([[True, False, True]]), away((2, 1), 18), away((2, 3), 19)]),
    Case("Clip", [X, np.array(-0.7), np.array(0.9)]),
    Case("Clip", [X, None, np.array(0.9)], id="max"),
    Case("Cast", [X], {"to": 11}),
    Case("CastLike", [X, away((2,), 20)]),
]


@parametrize(UNARY)
def test_unary(case: Case) -> None:
    case.run()


@parametrize(BINARY)
def test_binary(case: Case) -> None:
    case.run()

"""Functions of single elements, and comparisons, by OneFlow's names."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, TensorLike, apply, constant

__all__ = [
    "abs", "acos", "acosh", "add", "addcdiv", "addcmul", "asin", "asinh", "atan", "atanh", "cast", "ceil", "celu",
    "clamp", "clamp_max", "clamp_min", "clip", "cos", "cosh", "div", "elu", "eq", "equal", "erf", "exp", "expm1",
    "floor", "floor_divide", "fmod", "ge", "gelu", "glu", "gt", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "isfinite", "isinf", "isnan", "le", "leaky_relu", "log", "log1p", "log2", "log10", "log_softmax", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logsigmoid", "lt", "masked_fill", "maximum", "minimum", "mish", "mul",
    "ne", "neg", "negative", "pow", "prelu", "quick_gelu", "reciprocal", "relu", "relu6", "remainder", "round", "rsqrt",
    "selu", "sigmoid", "sign", "silu", "sin", "sinh", "softmax", "softplus", "softshrink", "softsign", "sqrt", "square",
    "sub", "tan", "tanh", "threshold", "true_divide", "trunc", "where",
]  # fmt: skip


def _unary(op: str, formula: str) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        return apply(op, input)

    function.__doc__ = formula
    return function


def _binary(op: str, formula: str) -> Callable[[TensorLike, TensorLike], Tensor]:
    def function(input: TensorLike, other: TensorLike) -> Tensor:
        return apply(op, input, other)

    function.__doc__ = formula
    return function


def _logical(op: str, formula: str) -> Callable[[TensorLike, TensorLike], Tensor]:
    def function(input: TensorLike, other: TensorLike) -> Tensor:
        return apply(op, truth(input), truth(other))

    function.__doc__ = formula
    return function


def truth(x: TensorLike) -> TensorLike:
    """Whether elements are not 0."""
    if isinstance(x, Tensor):
        return x if x.dtype == np.bool_ else apply("Cast", x, to=np.bool_)
    return np.asarray(x, np.bool_)


abs = _unary("Abs", "|x|.")
acos = _unary("Acos", "The angle from 0 to pi whose cosine is x.")
acosh = _unary("Acosh", "The number from 0 on whose hyperbolic cosine is x.")
asin = _unary("Asin", "The angle from -pi/2 to pi/2 whose sine is x.")
asinh = _unary("Asinh", "The number whose hyperbolic sine is x.")
atan = _unary("Atan", "The angle from -pi/2 to pi/2 whose tangent is x.")
atanh = _unary("Atanh", "The number whose hyperbolic tangent is x.")
ceil = _unary("Ceil", "The smallest integer from x on.")
cos = _unary("Cos", "cos(x), x in radians.")
cosh = _unary("Cosh", "cosh(x).")
erf = _unary("Erf", "2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.")
exp = _unary("Exp", "exp(x).")
floor = _unary("Floor", "The largest integer up to x.")
hardswish = _unary("HardSwish", "x * min(max(x + 3, 0), 6) / 6.")
isinf = _unary("IsInf", "Whether x is infinite.")
isnan = _unary("IsNaN", "Whether x is no number.")
log = _unary("Log", "The natural logarithm.")
mish = _unary("Mish", "x * tanh(log(1 + exp(x))).")
neg = negative = _unary("Neg", "-x.")
reciprocal = _unary("Reciprocal", "1 / x.")
round = _unary("Round", "The nearest integer; of two, the even one.")
selu = _unary("Selu", "scale * (x where x > 0, else alpha (exp(x) - 1)) with the constants of Klambauer et al. 2017.")
sigmoid = _unary("Sigmoid", "1 / (1 + exp(-x)).")
sign = _unary("Sign", "-1, 0 or 1.")
sin = _unary("Sin", "sin(x), x in radians.")
sinh = _unary("Sinh", "sinh(x).")
softsign = _unary("Softsign", "x / (1 + |x|).")
sqrt = _unary("Sqrt", "The square root.")
tan = _unary("Tan", "tan(x), x in radians.")
tanh = _unary("Tanh", "tanh(x).")

mul = _binary("Mul", "a * b.")
div = true_divide = _binary("Div", "a / b.")
pow = _binary("Pow", "a ^ b.")
maximum = _binary("Max", "The larger of a and b.")
minimum = _binary("Min", "The smaller of a and b.")
eq = equal = _binary("Equal", "Whether a equals b, element by element.")
ge = _binary("GreaterOrEqual", "Whether a >= b.")
gt = _binary("Greater", "Whether a > b.")
le = _binary("LessOrEqual", "Whether a <= b.")
lt = _binary("Less", "Whether a < b.")
logical_and = _logical("And", "Whether neither a nor b is 0.")
logical_or = _logical("Or", "Whether a and b are not both 0.")
logical_xor = _logical("Xor", "Whether one of a and b alone is 0.")


def add(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """a + alpha * b."""
    return apply("Add", input, _times(other, alpha))


def sub(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """a - alpha * b."""
    return apply("Sub", input, _times(other, alpha))


def _times(x: TensorLike, factor: float) -> TensorLike:
    return x if factor == 1 else x * factor if isinstance(x, Tensor) else np.multiply(x, factor)


def ne(input: TensorLike, other: TensorLike) -> Tensor:
    """Whether a differs from b."""
    return apply("Not", apply("Equal", input, other))


def logical_not(input: Tensor) -> Tensor:
    """Whether x is 0."""
    return apply("Not", truth(input))


def isfinite(input: Tensor) -> Tensor:
    """Whether x is a number and not infinite."""
    return apply("Not", apply("Or", apply("IsNaN", input), apply("IsInf", input)))


def fmod(input: Tensor, other: TensorLike) -> Tensor:
    """The rest of a / b, with the sign of a."""
    return apply("Mod", input, other, fmod=1)


def remainder(input: Tensor, other: TensorLike) -> Tensor:
    """The rest of a / b, with the sign of b."""
    return input % other


def floor_divide(input: Tensor, other: TensorLike) -> Tensor:
    """a / b rounded down."""
    return input // other


def square(input: Tensor) -> Tensor:
    """x * x."""
    return apply("Mul", input, input)


def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(x)."""
    return apply("Reciprocal", apply("Sqrt", input))


def trunc(input: Tensor) -> Tensor:
    """x without its fraction."""
    return apply("Mul", apply("Sign", input), apply("Floor", apply("Abs", input)))


def expm1(input: Tensor) -> Tensor:
    """exp(x) - 1, exact near 0 too: 2 sinh(x / 2) exp(x / 2)."""
    half = input * 0.5
    return apply("Sinh", half) * apply("Exp", half) * 2.0


def log1p(input: Tensor) -> Tensor:
    """log(1 + x), exact near 0 too: 2 atanh(x / (2 + x)) there."""
    near = apply("Clip", input, -0.5, 0.5)
    close = apply("Atanh", near / (near + 2.0)) * 2.0
    return apply("Where", apply("Equal", near, input), close, apply("Log", input + 1.0))


def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return apply("Log", input) * (1.0 / math.log(2.0))


def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return apply("Log", input) * (1.0 / math.log(10.0))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1.0) -> Tensor:
    """x + value * a * b."""
    return input + tensor1 * tensor2 * value


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1.0) -> Tensor:
    """x + value * a / b."""
    return input + tensor1 / tensor2 * value


def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """min(max(x, min), max); None for no bound."""
    return apply("Clip", input, min, max)


clip = clamp


def clamp_min(input: Tensor, min: float) -> Tensor:
    """max(x, min)."""
    return clamp(input, min)


def clamp_max(input: Tensor, max: float) -> Tensor:
    """min(x, max)."""
    return clamp(input, None, max)


def cast(input: Tensor, dtype: npt.DTypeLike) -> Tensor:
    """Elements of another type."""
    return input.astype(dtype)


def where(condition: Tensor, x: TensorLike, y: TensorLike) -> Tensor:
    """x where the condition is not 0, else y; a number takes the type of the other, two numbers are f32."""
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        x, y = constant(x, dtype=np.float32), constant(y, dtype=np.float32)
    return apply("Where", truth(condition), x, y)


def masked_fill(input: Tensor, mask: Tensor, value: float) -> Tensor:
    """`value` where the mask is not 0."""
    return where(mask, value, input)


# --- activations


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); `inplace` has no effect."""
    return apply("Relu", input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return clamp(input, 0.0, 6.0)


def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return apply("Mul", input, apply("Sigmoid", input))


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x), with the normal distribution's Phi; or with tanh for it."""
    return apply("Gelu", input, approximate=approximate)


def quick_gelu(input: Tensor) -> Tensor:
    """x * sigmoid(1.702 x)."""
    return apply("Mul", input, apply("Sigmoid", input * 1.702))


def leaky_relu(input: Tensor, alpha: float = 0.01) -> Tensor:
    """x where x > 0, else alpha * x."""
    return apply("LeakyRelu", input, alpha=alpha)


def prelu(input: Tensor, alpha: Tensor) -> Tensor:
    """x where x > 0, else x times the number of its channel (axis 1), or one number for all."""
    beyond = 0 if alpha.shape == (1,) else input.rank - 2
    return apply("PRelu", input, alpha.reshape([-1] + [1] * beyond))


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1)."""
    return apply("Elu", input, alpha=alpha)


def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x / alpha) - 1)."""
    return apply("Celu", input, alpha=alpha)


def softplus(input: Tensor, beta: float = 1.0) -> Tensor:
    """log(1 + exp(beta x)) / beta."""
    return apply("Softplus", input) if beta == 1 else apply("Softplus", input * beta) * (1.0 / beta)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x))."""
    return -apply("Softplus", -input)


def hardsigmoid(input: Tensor) -> Tensor:
    """min(max(x / 6 + 1/2, 0), 1)."""
    return apply("HardSigmoid", input, alpha=1 / 6, beta=0.5)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """min(max(x, min_val), max_val)."""
    return clamp(input, min_val, max_val)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return apply("Shrink", input, lambd=lambd, bias=0.0)


def softshrink(input: Tensor, alpha: float = 0.5) -> Tensor:
    """x moved towards 0 by alpha, and no further."""
    return apply("Shrink", input, lambd=alpha, bias=alpha)


def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where x > threshold, else `value`."""
    return where(input > threshold, input, value)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along an axis times the sigmoid of the second."""
    first, second = _halves(input, dim)
    return first * apply("Sigmoid", second)


def _halves(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    before = (slice(None),) * (dim % x.rank)
    extent = (x.shape or ())[dim]
    if not isinstance(extent, int) or extent % 2:
        raise InvalidArgument(f"glu: the extent of axis {dim} is {extent}; an even number expected")
    return x[before + (slice(extent // 2),)], x[before + (slice(extent // 2, None),)]


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis."""
    return apply("Softmax", input, axis=dim)


def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """log(softmax(x)) along an axis."""
    return apply("LogSoftmax", input, axis=dim)

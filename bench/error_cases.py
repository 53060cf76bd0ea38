"""The fast paths that errors.py measures: for each a model, its feeds, the exact result and what is promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

import sardonyx as sx

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
ROUNDING = 2.0**-24  # half an ulp of 1, the unit of f32
OPSET = 23


@dataclass
class Case:
    """One path.

    `units` says what an error counts in, and `unit` how much that is for each element; `bound` is what the
    documentation promises in these units, or, with `of_plain`, a multiple of the plain f32 error.
    """

    path: str
    model: bytes
    feeds: Arrays
    exact: Array
    plain: Array
    unit: Array | float
    units: str
    bound: float
    length: int = 0
    kernel: str = ""  # must be part of the name of a kernel that ran
    winograd: bool = True
    of_plain: bool = False
    precision: str = "f32"

    def errors(self) -> dict[str, Any]:
        """Largest errors of the path and of a plain f32 computation, the bound, and the kernels that ran."""
        options = sx.SessionOptions()
        options.winograd = self.winograd
        options.precision = self.precision
        session = sx.InferenceSession(self.model, options)
        result = session.run(None, self.feeds)[0]
        kernels = "; ".join(dict.fromkeys(row.kernel for row in session.get_provider_report() if row.kernel))
        plain = self.largest(self.plain)
        return {
            "path": self.path,
            "kernels": kernels,
            "expected_kernel": self.kernel,
            "length": self.length or None,
            "units": self.units,
            "plain": plain,
            "error": self.largest(result),
            "bound": self.bound * max(plain, 1.0) if self.of_plain else self.bound,
        }

    def largest(self, result: Array) -> float:
        """The largest error of `result` in units."""
        return float(np.max(np.abs(result.astype(np.float64) - self.exact) / self.unit))


def model_of(nodes: Sequence[NodeProto], feeds: Arrays, constants: Arrays, result: Array) -> bytes:
    """A model whose first axis is symbolic and whose last node gives "y"."""

    def port(name: str, array: Array) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    graph = helper.make_graph(
        nodes,
        "g",
        [port(name, array) for name, array in feeds.items()],
        [port("y", result)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    made: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()
    return made


def spacing(exact: Array, least: float = 2.0**-126) -> Array:
    """The distance of neighbouring f32 numbers at each value, and at `least` for smaller ones."""
    return np.spacing(np.maximum(np.abs(exact), least).astype(np.float32)).astype(np.float64)


def plain_product(a: Array, b: Array) -> Array:
    """a @ b summed up one by one in f32."""
    total = np.zeros((*a.shape[:-1], b.shape[-1]), np.float32)
    for k in range(a.shape[-1]):
        total += a[..., k : k + 1] * b[..., k : k + 1, :]
    return total


def products(random: np.random.Generator) -> Iterator[Case]:
    """Matrix products with constant and with computed right sides, and of a single row."""
    for path, m, n, k, constant in (
        ("product, packed weights", 96, 200, 1000, True),
        ("product of two inputs", 96, 200, 1000, False),
        ("product of one row", 1, 512, 3072, True),
        ("product, long sums", 8, 64, 20000, True),
    ):
        a, b = (random.standard_normal(shape, np.float32) for shape in ((m, k), (k, n)))
        exact, magnitude = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b).astype(float)
        feeds, constants = ({"a": a}, {"b": b}) if constant else ({"a": a, "b": b}, {})
        node = helper.make_node("MatMul", ["a", "b"], ["y"])
        yield Case(
            path, model_of([node], feeds, constants, exact.astype(np.float32)), feeds, exact, plain_product(a, b),
            ROUNDING * magnitude, "u * sum of magnitudes", k, k,
        )  # fmt: skip


def halves(random: np.random.Generator) -> Iterator[Case]:
    """f16 and bf16 products: computed in f32 and rounded once."""
    for name, rounding in (("float16", 2.0**-11), ("bfloat16", 2.0**-8)):
        dtype = sx._core.numpy_dtype(getattr(TensorProto, name.upper()))
        a, b = (random.standard_normal(shape).astype(dtype) for shape in ((64, 512), (512, 96)))
        wide, other = a.astype(np.float64), b.astype(np.float64)
        exact, magnitude = wide @ other, np.abs(wide) @ np.abs(other)
        node = helper.make_node("MatMul", ["a", "b"], ["y"])
        plain = plain_product(a.astype(np.float32), b.astype(np.float32)).astype(dtype)
        yield Case(
            f"product in {name}", model_of([node], {"a": a}, {"b": b}, exact.astype(dtype)), {"a": a}, exact, plain,
            rounding * np.abs(exact) + 512 * ROUNDING * magnitude, "rounding of the result + length * u * magnitudes",
            1, 512,
        )  # fmt: skip


def rounded_to_bf16(x: Array) -> Array:
    """`x` rounded to bf16, as f32."""
    return x.astype(sx._core.numpy_dtype(TensorProto.BFLOAT16)).astype(np.float32)


def requested(random: np.random.Generator) -> Iterator[Case]:
    """An f32 product whose factors, or weights, are rounded because the session's options say so."""
    a, b = random.standard_normal((64, 768), np.float32), random.standard_normal((768, 96), np.float32)
    exact, magnitude = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b).astype(float)
    plain = plain_product(rounded_to_bf16(a), rounded_to_bf16(b))
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    yield Case(
        'product, precision="bf16"', model_of([node], {"a": a}, {"b": b}, plain), {"a": a}, exact, plain,
        (2.0**-7 + 768 * ROUNDING) * magnitude, "(2^-7 + length * u) * sum of magnitudes", 1, 768, "bf16",
        precision="bf16",
    )  # fmt: skip
    yield Case(
        'product, precision="f16"', model_of([node], {"a": a}, {"b": b}, plain), {"a": a}, exact,
        plain_product(a, b.astype(np.float16).astype(np.float32)),
        (2.0**-11 + 768 * ROUNDING) * magnitude + 2.0**-25 * np.abs(a).astype(float).sum(1, keepdims=True),
        "(2^-11 + length * u) * sum of magnitudes", 1, 768, "weights in f16", precision="f16",
    )  # fmt: skip


def convolved(x: Array, w: Array, stride: int, pad: int, groups: int, total: Array) -> Array:
    """Adds x convolved with w to `total` in its type, tap by tap and channel by channel."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))).astype(total.dtype)
    filters, channels = w.shape[:2]
    height, width = total.shape[2:]
    group_filters = filters // groups
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            window = padded[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            for c in range(channels):
                for group in range(groups):
                    to = slice(group * group_filters, (group + 1) * group_filters)
                    taps = w[to, c, i, j].astype(total.dtype)
                    total[:, to] += window[:, group * channels + c, None] * taps[None, :, None, None]
    return total


def convolutions(random: np.random.Generator) -> Iterator[Case]:
    """Each way to convolve: blocks of channels, depthwise, Winograd, groups, a first layer, strides, f32 and bf16."""
    for path, channels, filters, groups, size, window, stride, winograd, kernel in (
        ("convolution 1x1", 256, 64, 1, 14, 1, 1, True, "direct"),
        ("convolution 3x3, direct", 64, 64, 1, 28, 3, 1, False, "direct"),
        ("convolution 3x3, stride 2", 64, 64, 1, 28, 3, 2, True, "direct"),
        ("convolution 3x3, Winograd", 64, 64, 1, 28, 3, 1, True, "winograd"),
        ("convolution 3x3, Winograd, 7x7 image", 256, 64, 1, 7, 3, 1, True, "winograd"),
        ("convolution 7x7 of a picture", 3, 64, 1, 56, 7, 2, True, ""),
        ("convolution 5x5, depthwise", 96, 96, 96, 28, 5, 1, True, "depthwise"),
        ("convolution 3x3, 8 groups", 64, 64, 8, 14, 3, 1, True, ""),
        ('convolution 1x1, precision="bf16"', 256, 64, 1, 14, 1, 1, True, "direct, bf16"),
        ('convolution 3x3, direct, precision="bf16"', 64, 64, 1, 28, 3, 1, False, "direct, bf16"),
        ('convolution 3x3, Winograd, precision="bf16"', 64, 64, 1, 28, 3, 1, True, "winograd, bf16"),
        ('convolution 3x3, Winograd, 14x14 image, precision="bf16"', 192, 160, 1, 14, 3, 1, True, "winograd, bf16"),
        ('convolution 7x7 of a picture, precision="bf16"', 3, 64, 1, 56, 7, 2, True, "plain input, bf16"),
        ('convolution 5x5, depthwise, precision="bf16"', 96, 96, 96, 28, 5, 1, True, "depthwise, bf16"),
    ):
        x = random.standard_normal((1, channels, size, size), np.float32)
        w = random.standard_normal((filters, channels // groups, window, window), np.float32)
        pad, out = window // 2, (size + 2 * (window // 2) - window) // stride + 1
        zeros = np.zeros((1, filters, out, out))
        exact = convolved(x, w, stride, pad, groups, zeros.copy())
        magnitude = convolved(np.abs(x), np.abs(w), stride, pad, groups, zeros.copy())
        precision = "bf16" if "bf16" in path else "f32"
        as_used = [rounded_to_bf16(array) if precision == "bf16" else array for array in (x, w)]
        plain = convolved(as_used[0], as_used[1], stride, pad, groups, zeros.astype(np.float32))
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[pad] * 4, strides=[stride] * 2, group=groups)
        length = channels // groups * window * window
        transforms = "winograd" in kernel
        unit, units, bound = ROUNDING * magnitude, "u * sum of magnitudes", length
        if precision == "bf16":
            unit = (2.0**-7 + length * ROUNDING) * magnitude + 2.0**-8 * np.abs(exact)
            units, bound = "(2^-7 + length * u) * sum of magnitudes + 2^-8 * result", 1
        yield Case(
            path, model_of([node], {"x": x}, {"w": w}, exact.astype(np.float32)), {"x": x}, exact, plain,
            unit, units, 6 if transforms else bound, length, kernel, winograd, of_plain=transforms,
            precision=precision,
        )  # fmt: skip


def elementwise(random: np.random.Generator) -> Iterator[Case]:
    """Vector functions. Results below `least` count as `least`, where the function crosses zero by cancellation."""

    def each(function: Callable[[float], float]) -> Callable[[Array], Array]:
        return lambda x: np.vectorize(function, otypes=[np.float64])(x)

    def erf32(x: Array) -> Array:
        return each(math.erf)(x).astype(np.float32)

    def gelu(x: Array) -> Array:
        return 0.5 * x * (1 + each(math.erf)(x / math.sqrt(2)))

    def gelu32(x: Array) -> Array:
        return np.float32(0.5) * x * (np.float32(1) + erf32(x * np.float32(math.sqrt(0.5))))

    one = np.float32(1)
    rows: list[tuple[str, float, float, float, float, Callable[[Array], Array], Callable[[Array], Array]]] = [
        ("Exp", -80, 80, 2, 0, np.exp, np.exp),
        ("Log", 1e-30, 100, 2, 0, np.log, np.log),
        ("Tanh", -12, 12, 4, 0, np.tanh, np.tanh),
        ("Sigmoid", -80, 80, 4, 0, lambda x: 1 / (1 + np.exp(-x)), lambda x: one / (one + np.exp(-x))),
        ("Erf", -5, 5, 4, 0, each(math.erf), erf32),
        ("Gelu", -6, 6, 4, 0.5, gelu, gelu32),
        ("Softplus", -80, 80, 4, 0, lambda x: np.logaddexp(0, x), lambda x: np.logaddexp(np.float32(0), x)),
        ("Mish", -20, 30, 6, 0, lambda x: x * np.tanh(np.logaddexp(0, x)),
         lambda x: x * np.tanh(np.logaddexp(np.float32(0), x))),
        ("Sin", -100, 100, 4, 0, np.sin, np.sin),
        ("Cos", -100, 100, 4, 0, np.cos, np.cos),
        ("Tan", -100, 100, 4, 0, np.tan, np.tan),
        ("Asin", -1, 1, 4, 0, np.arcsin, np.arcsin),
        ("Acos", -1, 1, 4, 0, np.arccos, np.arccos),
        ("Atan", -20, 20, 4, 0, np.arctan, np.arctan),
        ("Sinh", -80, 80, 4, 0, np.sinh, np.sinh),
        ("Cosh", -80, 80, 4, 0, np.cosh, np.cosh),
        ("Asinh", -20, 20, 4, 0, np.arcsinh, np.arcsinh),
        ("Acosh", 1, 20, 4, 0, np.arccosh, np.arccosh),
        ("Atanh", -1, 1, 4, 0, np.arctanh, np.arctanh),
    ]  # fmt: skip
    for op, low, high, bound, least, exactly, plainly in rows:
        x = random.uniform(low, high, 40_000).astype(np.float32)
        exact = exactly(x.astype(np.float64))
        node = helper.make_node(op, ["x"], ["y"])
        units = f"ulp of the result, or of {least}" if least else "ulp of the result"
        yield Case(
            op, model_of([node], {"x": x}, {}, x), {"x": x}, exact, plainly(x).astype(np.float32),
            spacing(exact, least or 2.0**-126), units, bound,
        )  # fmt: skip


def rows(random: np.random.Generator) -> Iterator[Case]:
    """Softmax, normalization and sums along rows."""
    n = 1000
    x = (3 * random.standard_normal((32, n))).astype(np.float32)
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    exact = powers / powers.sum(-1, keepdims=True)
    plain = np.exp(x - x.max(-1, keepdims=True))
    total = np.zeros((32, 1), np.float32)
    for k in range(n):
        total += plain[:, k : k + 1]
    softmax = helper.make_node("Softmax", ["x"], ["y"], axis=-1)
    # Differences x - max are exact to half an ulp of their own, which exp makes relative.
    shifts = 1 + np.abs(wide - wide.max(-1, keepdims=True))
    yield Case(
        "Softmax", model_of([softmax], {"x": x}, {}, x), {"x": x}, exact, plain / total, ROUNDING * exact * shifts,
        "u * result * (1 + |x - max|)", 16, n,
    )  # fmt: skip
    scale, bias = (random.standard_normal(n, np.float32) for _ in range(2))
    centred = wide - wide.mean(-1, keepdims=True)
    by = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    exact = centred * by * scale + bias
    mean = x.mean(-1, keepdims=True, dtype=np.float32)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True, dtype=np.float32)
    plain = (x - mean) / np.sqrt(variance + np.float32(1e-5)) * scale + bias
    norm = helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["y"], axis=-1)
    yield Case(
        "LayerNormalization", model_of([norm], {"x": x}, {"scale": scale, "bias": bias}, x), {"x": x}, exact, plain,
        ROUNDING * ((np.abs(wide) + np.abs(wide).mean(-1, keepdims=True)) * by * np.abs(scale) + np.abs(bias)),
        "u * ((|x| + mean |x|) / deviation * |scale| + |bias|)", 16, n,
    )  # fmt: skip
    total = np.zeros((32, 1), np.float32)
    for k in range(n):
        total += x[:, k : k + 1]
    axes = np.array([1], np.int64)
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"])
    yield Case(
        "ReduceSum", model_of([node], {"x": x}, {"axes": axes}, total), {"x": x}, wide.sum(-1, keepdims=True), total,
        ROUNDING * np.abs(wide).sum(-1, keepdims=True), "u * sum of magnitudes", n, n,
    )  # fmt: skip


def attention(random: np.random.Generator) -> Iterator[Case]:
    """The attention core: products, softmax and products again without rounding to memory in between."""
    heads, steps, depth = 4, 128, 64
    q, k, v = (random.standard_normal((1, heads, steps, depth), np.float32) for _ in range(3))
    wide = [array.astype(np.float64) for array in (q, k, v)]
    scores = wide[0] @ wide[1].swapaxes(-1, -2) / math.sqrt(depth)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    weights = powers / powers.sum(-1, keepdims=True)
    plain = plain_product(q, k.swapaxes(-1, -2)) / np.float32(math.sqrt(depth))
    plain = np.exp(plain - plain.max(-1, keepdims=True))
    plain = plain_product(plain / plain.sum(-1, keepdims=True, dtype=np.float32), v)
    # What the scores lose makes the weights wrong by a factor.
    lost = (np.abs(wide[0]) @ np.abs(wide[1]).swapaxes(-1, -2) / math.sqrt(depth)).max()
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    feeds = {"q": q, "k": k, "v": v}
    yield Case(
        "Attention", model_of([node], feeds, {}, q), feeds, weights @ wide[2], plain,
        ROUNDING * (1 + lost) * (weights @ np.abs(wide[2])), "u * (1 + largest |q||k|) * sum of magnitudes",
        depth + steps, depth + steps,
    )  # fmt: skip


def gates(random: np.random.Generator) -> Iterator[Case]:
    """The state that the gates of an LSTM make of sums, which W of ones and zeros hands them as they are."""
    n, batch = 64, 500
    sums = random.uniform(-12, 12, (1, batch, 4 * n)).astype(np.float32)
    before = random.uniform(-3, 3, (1, batch, n)).astype(np.float32)
    constants = {"w": np.eye(4 * n, dtype=np.float32)[None], "r": np.zeros((1, 4 * n, n), np.float32)}

    def parts(x: Array, c: Array) -> tuple[Array, Array]:
        one = x.dtype.type(1)
        opened = one / (one + np.exp(-x))
        return opened[..., 2 * n : 3 * n] * c, opened[..., :n] * np.tanh(x[..., 3 * n :])

    kept, added = parts(sums.astype(np.float64), before.astype(np.float64))
    feeds = {"x": sums, "h": np.zeros_like(before), "c": before}
    node = helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["", "", "y"], hidden_size=n)
    yield Case(
        "gates of an LSTM", model_of([node], feeds, constants, before), feeds, kept + added,
        sum(parts(sums, before), np.float32(0)), ROUNDING * (np.abs(kept) + np.abs(added)),
        "u * (|kept| + |added|)", 8,
    )  # fmt: skip
    sums, before = sums[..., : 3 * n], np.tanh(before)
    constants = {"w": np.eye(3 * n, dtype=np.float32)[None], "r": np.zeros((1, 3 * n, n), np.float32)}
    # The reset gate acts on a bias, since nothing comes of h by way of R.
    constants["b"] = np.concatenate([np.zeros((1, 5 * n)), random.uniform(-1, 1, (1, n))], 1).astype(np.float32)

    def mixed(x: Array, h: Array, bias: Array) -> tuple[Array, Array]:
        one = x.dtype.type(1)
        update, reset = np.split(one / (one + np.exp(-x[..., : 2 * n])), 2, -1)
        return (one - update) * np.tanh(x[..., 2 * n :] + reset * bias), update * h

    bias = constants["b"][0, 5 * n :]
    fresh, kept = mixed(*(each.astype(np.float64) for each in (sums, before, bias)))
    feeds = {"x": sums, "h": before}
    node = helper.make_node("GRU", ["x", "w", "r", "b", "", "h"], ["", "y"], hidden_size=n, linear_before_reset=1)
    yield Case(
        "gates of a GRU", model_of([node], feeds, constants, before), feeds, fresh + kept,
        sum(mixed(sums, before, bias), np.float32(0)), ROUNDING * (1 + np.abs(before)), "u * (1 + |h|)", 8,
    )  # fmt: skip


def integers(random: np.random.Generator) -> Iterator[Case]:
    """8-bit sums, which are exact, and a quantized convolution, which may be one step off at a tie."""
    a = random.integers(0, 256, (64, 700), np.uint8)
    b = random.integers(-128, 128, (700, 96)).astype(np.int8)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    yield Case(
        "8-bit product", model_of([node], {"a": a}, {"b": b}, exact.astype(np.int32)), {"a": a}, exact,
        exact.astype(np.int32), 1.0, "one", 0, 700,
    )  # fmt: skip
    x = random.integers(0, 256, (1, 32, 14, 14), np.uint8)
    w = random.integers(-127, 128, (32, 32, 3, 3)).astype(np.int8)
    sums = convolved(x.astype(np.float64) - 128, w.astype(np.float64), 1, 1, 1, np.zeros((1, 32, 14, 14)))
    scales = {name: np.array(value, np.float32) for name, value in (("sx", 0.02), ("sw", 0.01), ("sy", 0.9))}
    zeros = {"zx": np.array(128, np.uint8), "zw": np.array(0, np.int8), "zy": np.array(128, np.uint8)}
    steps = sums * (float(scales["sx"]) * float(scales["sw"]) / float(scales["sy"]))
    exact = np.clip(np.round(steps) + 128, 0, 255)
    small = np.round(sums.astype(np.float32) * (scales["sx"] * scales["sw"] / scales["sy"]))
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "sx", "zx"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wf"]),
        helper.make_node("Conv", ["xf", "wf"], ["yf"], pads=[1] * 4),
        helper.make_node("QuantizeLinear", ["yf", "sy", "zy"], ["y"]),
    ]
    yield Case(
        "8-bit convolution between DequantizeLinear and QuantizeLinear",
        model_of(nodes, {"x": x}, {"w": w, **scales, **zeros}, exact.astype(np.uint8)), {"x": x}, exact,
        np.clip(small + 128, 0, 255), 1.0, "quantization step", 1, 288,
    )  # fmt: skip


def transforms(random: np.random.Generator) -> Iterator[Case]:
    """The Fourier transform by radix steps."""
    n = 1024
    x = random.standard_normal((4, n, 2), np.float32)
    wide = x.astype(np.float64)
    spectrum = np.fft.fft(wide[..., 0] + 1j * wide[..., 1])
    exact = np.stack([spectrum.real, spectrum.imag], -1)
    angles = -2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    real, imaginary = x[..., 0], x[..., 1]
    plain = np.stack(
        [plain_product(real, cosines) - plain_product(imaginary, sines),
         plain_product(real, sines) + plain_product(imaginary, cosines)], -1,
    )  # fmt: skip
    norm = np.sqrt((wide**2).sum((1, 2), keepdims=True))
    node = helper.make_node("DFT", ["x"], ["y"])
    yield Case(
        "DFT of 1024", model_of([node], {"x": x}, {}, x), {"x": x}, exact, plain, ROUNDING * norm,
        "u * norm of the input", 10, n,
    )  # fmt: skip


FAMILIES: dict[str, Callable[[np.random.Generator], Iterator[Case]]] = {
    "products": products,
    "halves": halves,
    "requested": requested,
    "convolutions": convolutions,
    "elementwise": elementwise,
    "rows": rows,
    "attention": attention,
    "gates": gates,
    "integers": integers,
    "transforms": transforms,
}

"""SINGA's layers: parameters, and the operations that they are used in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from sardonyx.compat.singa.device import get_default_device
from sardonyx.compat.singa.eager import Tensor, call
from sardonyx.errors import InvalidArgument

__all__ = [
    "LSTM",
    "RNN",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Layer",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "Pooling2d",
    "SeparableConv2d",
]

_Pair = int | Sequence[int]


def _pair(value: _Pair) -> list[int]:
    return [int(value)] * 2 if isinstance(value, (int, np.integer)) else [int(v) for v in value]


def _window(padding: _Pair, odd_padding: Sequence[int], pad_mode: str) -> dict[str, Any]:
    """Attributes for padding: by a rule, or by numbers.

    Args:
        odd_padding: what is added before and behind the height, before and behind the width.
    """
    if pad_mode != "NOTSET":
        return {"auto_pad": pad_mode}
    pads = [pad + odd_padding[2 * i + side] for side in range(2) for i, pad in enumerate(_pair(padding))]
    return {"pads": pads}


class Layer:
    """What all share. Attributes that are tensors are its parameters, those that are layers its parts."""

    _made: dict[str, int] = {}  # noqa: RUF012 - counts for all layers

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        layer = super().__new__(cls)
        number = Layer._made[cls.__name__] = Layer._made.get(cls.__name__, -1) + 1
        layer.name = f"{cls.__name__}_{number}"
        return layer

    name: str

    def get_params(self) -> dict[str, Any]:
        """Parameters by name, those of parts in dictionaries."""
        found: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                found[name] = value
            elif isinstance(value, Layer):
                found[name] = value.get_params()
        return found

    def set_params(self, **parameters: Any) -> None:
        """Gives parameters other values: arrays or tensors, dictionaries of them for parts."""
        for name, value in parameters.items():
            own = getattr(self, name, None)
            if isinstance(own, Layer):
                own.set_params(**value)
            elif isinstance(own, Tensor):
                own.copy_from(value)
            else:
                raise InvalidArgument(f"{type(self).__name__} has no parameter '{name}'; it has {[*self.get_params()]}")

    def _parameter(self, name: str, shape: Sequence[int], std: float = 0.0, fill: float = 0.0) -> Tensor:
        random = get_default_device().random
        array = random.normal(0.0, std, tuple(shape)) if std else np.full(tuple(shape), fill)
        return Tensor(data=array, requires_grad=True, stores_grad=True, name=f"{self.name}.{name}")

    def _statistic(self, name: str, shape: Sequence[int], fill: float) -> Tensor:
        tensor = self._parameter(name, shape, fill=fill)
        tensor.requires_grad = tensor.stores_grad = tensor.lazy.trainable = False
        return tensor


class Linear(Layer):
    """x W + b."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features, self.out_features, self.bias = in_features, out_features, bias
        self.W = self._parameter("W", (in_features, out_features), math.sqrt(2.0 / (in_features + out_features)))
        if bias:
            self.b = self._parameter("b", (out_features,))

    def __call__(self, x: Tensor) -> Tensor:
        """[n, in_features] to [n, out_features]."""
        y = call("MatMul", x, self.W)
        return call("Add", y, self.b) if self.bias else y


class Conv2d(Layer):
    """Convolution of images [n, channels, height, width]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Pair,
        stride: _Pair = 1,
        padding: _Pair = 0,
        dilation: _Pair = 1,
        group: int = 1,
        bias: bool = True,
        pad_mode: str = "NOTSET",
        odd_padding: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        if in_channels % group or out_channels % group:
            raise InvalidArgument(f"{in_channels} and {out_channels} channels cannot be split into {group} groups")
        self.kernel_size = _pair(kernel_size)
        area = self.kernel_size[0] * self.kernel_size[1]
        std = math.sqrt(2.0 / (in_channels * area + out_channels))
        self.W = self._parameter("W", (out_channels, in_channels // group, *self.kernel_size), std)
        self.bias = bias
        if bias:
            self.b = self._parameter("b", (out_channels,))
        self.attributes = {
            "kernel_shape": self.kernel_size,
            "strides": _pair(stride),
            "dilations": _pair(dilation),
            "group": group,
            **_window(padding, odd_padding, pad_mode),
        }

    def __call__(self, x: Tensor) -> Tensor:
        """To [n, out_channels, ...]."""
        return call("Conv", x, self.W, self.b if self.bias else None, **self.attributes)


class SeparableConv2d(Layer):
    """A convolution of each channel by itself, then one that mixes channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Pair,
        stride: _Pair = 1,
        padding: _Pair = 0,
        bias: bool = False,
    ) -> None:
        self.depthwise_conv = Conv2d(
            in_channels, in_channels, kernel_size, stride, padding, group=in_channels, bias=bias
        )
        self.point_conv = Conv2d(in_channels, out_channels, 1, bias=bias)

    def __call__(self, x: Tensor) -> Tensor:
        """To [n, out_channels, ...]."""
        return self.point_conv(self.depthwise_conv(x))


class BatchNorm2d(Layer):
    """In training: by mean and variance of the batch; running ones keep a share `momentum` of themselves."""

    def __init__(self, num_features: int, momentum: float = 0.9) -> None:
        self.num_features, self.momentum = num_features, momentum
        self.scale = self._parameter("scale", (num_features,), fill=1.0)
        self.bias = self._parameter("bias", (num_features,))
        self.running_mean = self._statistic("running_mean", (num_features,), 0.0)
        self.running_var = self._statistic("running_var", (num_features,), 1.0)

    def __call__(self, x: Tensor) -> Tensor:
        """The same shape."""
        statistics = self.running_mean, self.running_var
        return call("BatchNormalization", x, self.scale, self.bias, *statistics, momentum=float(self.momentum))


class Pooling2d(Layer):
    """The largest elements or the means of windows."""

    def __init__(
        self,
        kernel_size: _Pair,
        stride: _Pair | None = None,
        padding: _Pair = 0,
        is_max: bool = True,
        pad_mode: str = "NOTSET",
        odd_padding: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        self.is_max = is_max
        self.attributes = {
            "kernel_shape": _pair(kernel_size),
            "strides": _pair(kernel_size if stride is None else stride),
            **_window(padding, odd_padding, pad_mode),
        }

    def __call__(self, x: Tensor) -> Tensor:
        """[n, channels, height, width] to fewer rows and columns."""
        return call("MaxPool" if self.is_max else "AveragePool", x, **self.attributes)


class _Pooling2d(Pooling2d):
    largest: ClassVar[bool]

    def __init__(
        self,
        kernel_size: _Pair,
        stride: _Pair | None = None,
        padding: _Pair = 0,
        odd_padding: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        super().__init__(kernel_size, stride, padding, self.largest, odd_padding=odd_padding)


class _Pooling1d(_Pooling2d):
    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        odd_padding: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        super().__init__((1, kernel_size), (1, stride or kernel_size), (0, padding), odd_padding)


class MaxPool2d(_Pooling2d):
    """The largest elements of windows."""

    largest = True


class AvgPool2d(_Pooling2d):
    """The means of windows."""

    largest = False


class MaxPool1d(_Pooling1d):
    """The largest elements of windows of columns."""

    largest = True


class AvgPool1d(_Pooling1d):
    """The means of windows of columns."""

    largest = False


def _one_layer(num_layers: int, bidirectional: bool) -> None:
    if num_layers != 1 or bidirectional:
        raise InvalidArgument("one layer in one direction expected; feed the outputs of one to the next for more")


class RNN(Layer):
    """h = tanh(x Wx + h Wh + b), step by step; or max(..., 0)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0,
        bidirectional: bool = False,
    ) -> None:
        _one_layer(num_layers, bidirectional)
        if nonlinearity not in ("tanh", "relu"):
            raise InvalidArgument(f"nonlinearity is '{nonlinearity}'; tanh or relu expected")
        self._activation = {"tanh": "Tanh", "relu": "Relu"}[nonlinearity]
        self.Wx = self._parameter("Wx", (input_size, hidden_size), 1.0 / math.sqrt(input_size))
        self.Wh = self._parameter("Wh", (hidden_size, hidden_size), 1.0 / math.sqrt(hidden_size))
        self.b = self._parameter("b", (hidden_size,))

    def __call__(self, xs: Sequence[Tensor], h0: Tensor) -> tuple[list[Tensor], Tensor]:
        """A tensor [n, input_size] for each step, and the first state; gives the state of each step, and the last."""
        states = [h0]
        for x in xs:
            states.append(self.step_forward(x, states[-1]))
        return states[1:], states[-1]

    def step_forward(self, x: Tensor, h: Tensor) -> Tensor:
        """The next state."""
        return call(self._activation, x @ self.Wx + h @ self.Wh + self.b)


class LSTM(Layer):
    """Hochreiter and Schmidhuber 1997, step by step, with the gates' weights side by side: i, f, o, g."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: str = "tanh",
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0,
        bidirectional: bool = False,
    ) -> None:
        _one_layer(num_layers, bidirectional)
        self.hidden_size = hidden_size
        self.Wx = self._parameter("Wx", (input_size, 4 * hidden_size), 1.0 / math.sqrt(input_size))
        self.Wh = self._parameter("Wh", (hidden_size, 4 * hidden_size), 1.0 / math.sqrt(hidden_size))
        self.b = self._parameter("b", (4 * hidden_size,))

    def __call__(self, xs: Sequence[Tensor], state: tuple[Tensor, Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
        """A tensor [n, input_size] for each step, and the first (h, c); gives h of each step, and the last h and c."""
        h, c = state
        outputs = []
        for x in xs:
            h, c = self.step_forward(x, h, c)
            outputs.append(h)
        return outputs, h, c

    def step_forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The next h and c."""
        gates = x @ self.Wx + h @ self.Wh + self.b
        size = self.hidden_size
        i, f, o = (call("Sigmoid", gates[:, k * size : (k + 1) * size]) for k in range(3))
        g = call("Tanh", gates[:, 3 * size :])
        next_c = f * c + i * g
        return o * call("Tanh", next_c), next_c

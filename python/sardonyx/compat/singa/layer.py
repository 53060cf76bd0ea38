"""SINGA's layers as releases from 3.1 on have them: sized by their first input, and functions among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sardonyx.compat.singa import autograd, layers
from sardonyx.compat.singa.eager import Tensor, call
from sardonyx.compat.singa.layers import AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d, Pooling2d
from sardonyx.errors import InvalidArgument

__all__ = [
    "LSTM", "RNN", "Add", "AvgPool1d", "AvgPool2d", "BatchNorm2d", "BinaryCrossEntropy", "Cat", "Conv2d",
    "CrossEntropy", "Dropout", "Embedding", "Flatten", "Layer", "Linear", "MaxPool1d", "MaxPool2d", "MeanSquareError",
    "Pooling2d", "ReLU", "Reshape", "SeparableConv2d", "Sigmoid", "SoftMax", "SoftMaxCrossEntropy", "Tanh",
]  # fmt: skip

_ACTIVATIONS = {"NOTSET": "", "RELU": "Relu", "SIGMOID": "Sigmoid", "TANH": "Tanh"}


class Layer(layers.Layer):
    """What all share. Subclasses write `forward`, and `initialize` where parameters depend on the first input.

    Example:
        >>> class Twice(Layer):
        ...     def __init__(self):
        ...         self.linear = Linear(2)
        ...     def forward(self, x):
        ...         return self.linear(self.linear(x))
        >>> Twice()(Tensor((3, 2))).shape
        (3, 2)
    """

    _ready = False

    def initialize(self, *inputs: Any) -> None:
        """Makes parameters; called once, before the first `forward`, with the same inputs."""

    def forward(self, *inputs: Any) -> Any:
        """What the layer computes; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); write one that returns its outputs")

    def __call__(self, *inputs: Any) -> Any:
        """`forward`."""
        if not self._ready:
            self.initialize(*inputs)
            self._ready = True
        return self.forward(*inputs)

    def register_layers(self, *parts: layers.Layer) -> None:
        """Makes layers parts of this one that lie in no attribute, such as those of a list, by class and place."""
        for i, part in enumerate(parts):
            setattr(self, f"{type(part).__name__}_{i}", part)


class _Sized(Layer):
    """One of `layers`, made when its input tells the first of its arguments: what `axis` of it has."""

    kind: ClassVar[type[Any]]
    axis: ClassVar[int]

    def _later(self, *args: Any, **options: Any) -> None:
        self._arguments = args, options

    def initialize(self, *inputs: Any) -> None:
        """See Layer.initialize."""
        args, options = self._arguments
        first = inputs[0] if isinstance(inputs[0], Tensor) else inputs[0][0]
        type(self).kind.__init__(self, first.shape[self.axis], *args, **options)

    def forward(self, *inputs: Any) -> Any:
        """See the layer of that name in `layers`."""
        return type(self).kind.__call__(self, *inputs)


class Linear(_Sized, layers.Linear):
    """x W + b. One number: the outputs; two: inputs and outputs."""

    kind = layers.Linear
    axis = -1

    def __init__(self, out_features: int, *args: Any, bias: bool = True) -> None:
        self._later(*(args if args else [out_features]), **({} if len(args) > 1 else {"bias": bias}))


class Conv2d(_Sized, layers.Conv2d):
    """Convolution of images: Conv2d(kernels, kernel size, ...), or Conv2d(inputs, kernels, kernel size, ...).

    Args:
        activation: of the result: RELU, SIGMOID, TANH or NOTSET.
        options: as `layers.Conv2d` has them.
    """

    kind = layers.Conv2d
    axis = 1

    def __init__(
        self, nb_kernels: int, kernel_size: Any, *args: Any, activation: str = "NOTSET", **options: Any
    ) -> None:
        if activation not in _ACTIVATIONS:
            raise InvalidArgument(f"activation is '{activation}'; one of {', '.join(_ACTIVATIONS)} expected")
        self._activation = _ACTIVATIONS[activation]
        self._later(*([kernel_size, *args] if args else [nb_kernels, kernel_size]), **options)

    def forward(self, *inputs: Any) -> Any:
        """To [n, kernels, ...]."""
        y = super().forward(*inputs)
        return call(self._activation, y) if self._activation else y


class SeparableConv2d(_Sized, layers.SeparableConv2d):
    """A convolution of each channel by itself, then one that mixes channels; arguments as for Conv2d."""

    kind = layers.SeparableConv2d
    axis = 1

    def __init__(self, nb_kernels: int, kernel_size: Any, *args: Any, **options: Any) -> None:
        self._later(*([kernel_size, *args] if args else [nb_kernels, kernel_size]), **options)


class BatchNorm2d(_Sized, layers.BatchNorm2d):
    """See `layers.BatchNorm2d`; a number of channels may be given, and follows from the input."""

    kind = layers.BatchNorm2d
    axis = 1

    def __init__(self, *num_features: int, momentum: float = 0.9) -> None:
        self._later(momentum)


class RNN(_Sized, layers.RNN):
    """See `layers.RNN`."""

    kind = layers.RNN
    axis = -1

    def __init__(self, hidden_size: int, **options: Any) -> None:
        self._later(hidden_size, **options)


class LSTM(_Sized, layers.LSTM):
    """See `layers.LSTM`."""

    kind = layers.LSTM
    axis = -1

    def __init__(self, hidden_size: int, **options: Any) -> None:
        self._later(hidden_size, **options)


class Embedding(Layer):
    """Rows of a table [input_dim, output_dim], from N(0, 1 / output_dim)."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        self.W = self._parameter("W", (input_dim, output_dim), output_dim**-0.5)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Rows at the places of the input."""
        return autograd.embedding(inputs[0], self.W)


def _layer(name: str, function: Callable[..., Any]) -> type[Layer]:
    """A function of `autograd` as a layer, whose arguments behind its inputs it keeps."""

    def __init__(self: Any, *args: Any, **options: Any) -> None:
        self._arguments = args, options

    def forward(self: Any, *inputs: Any) -> Any:
        args, options = self._arguments
        return function(*inputs, *args, **options)

    members = {"__init__": __init__, "forward": forward, "__module__": __name__}
    return type(name, (Layer,), {**members, "__doc__": f"See autograd.{function.__name__}."})


class Cat(Layer):
    """Tensors, or a list of them, side by side along an axis."""

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis

    def forward(self, *inputs: Any) -> Tensor:
        """See autograd.cat."""
        given: Sequence[Tensor] = inputs[0] if len(inputs) == 1 and not isinstance(inputs[0], Tensor) else inputs
        return autograd.cat(given, self.axis)


Add = _layer("Add", autograd.add)
BinaryCrossEntropy = _layer("BinaryCrossEntropy", autograd.binary_cross_entropy)
CrossEntropy = _layer("CrossEntropy", autograd.cross_entropy)
Dropout = _layer("Dropout", autograd.dropout)
Flatten = _layer("Flatten", autograd.flatten)
MeanSquareError = _layer("MeanSquareError", autograd.mse_loss)
ReLU = _layer("ReLU", autograd.relu)
Reshape = _layer("Reshape", autograd.reshape)
Sigmoid = _layer("Sigmoid", autograd.sigmoid)
SoftMax = _layer("SoftMax", autograd.softmax)
SoftMaxCrossEntropy = _layer("SoftMaxCrossEntropy", autograd.softmax_cross_entropy)
Tanh = _layer("Tanh", autograd.tanh)

"""Recurrent layers: RNN, LSTM and GRU, of several layers and in one or both directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, apply_all, constant, variable
from sardonyx.nn import init
from sardonyx.nn.init import Rng
from sardonyx.nn.linear import Dropout
from sardonyx.nn.module import Module

__all__ = ["GRU", "LSTM", "RNN"]


def _joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else apply("Concat", *parts, axis=axis)


class _Recurrent(Module):
    op: ClassVar[str]
    gates: ClassVar[tuple[int, ...]]  # ONNX's gates by their places in the weights
    states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InvalidArgument(f"num_layers is {num_layers}; a positive number expected")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout = Dropout(dropout)
        self._attributes: dict[str, Any] = {}
        source = init.generator(rng)
        bound = 1 / math.sqrt(max(hidden_size, 1))
        rows = len(self.gates) * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * (2 if bidirectional else 1)
            for suffix in self._suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                for name, shape in shapes.items():
                    setattr(self, f"{name}_{suffix}", variable(init.uniform(shape, -bound, bound, source)))

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}", f"l{layer}_reverse"] if self.bidirectional else [f"l{layer}"]

    def _weights(self, name: str, layer: int) -> list[Tensor]:
        """One tensor a direction, with gates in ONNX's order."""
        found = []
        for suffix in self._suffixes(layer):
            weight: Tensor = getattr(self, f"{name}_{suffix}")
            if self.gates != tuple(sorted(self.gates)):
                parts = apply_all(
                    "Split", [weight], {"axis": 0, "num_outputs": len(self.gates)}, outputs=len(self.gates)
                )
                weight = apply("Concat", *(parts[i] for i in self.gates), axis=0)
            found.append(weight)
        return found

    def _layer(self, x: Tensor, layer: int, states: Sequence[Tensor]) -> list[Tensor]:
        zero = constant([0])
        weights = [
            _joined([apply("Unsqueeze", w, zero) for w in self._weights(name, layer)], 0)
            for name in ("weight_ih", "weight_hh")
        ]
        bias = None
        if self.bias:
            both = zip(self._weights("bias_ih", layer), self._weights("bias_hh", layer))
            bias = _joined([apply("Unsqueeze", apply("Concat", a, b, axis=0), zero) for a, b in both], 0)
        attributes = {
            "hidden_size": self.hidden_size,
            "direction": "bidirectional" if self.bidirectional else "forward",
            **self._attributes,
        }
        inputs = [x, *weights, bias, None, *states]
        return apply_all(self.op, inputs, attributes, outputs=1 + self.states)

    def forward(self, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Runs over a sequence.

        Args:
            x: [length, n, input_size]; [n, length, input_size] with batch_first.
            hx: the first state, [num_layers * directions, n, hidden_size]; for LSTM a pair (h, c). Zeros where None.

        Returns:
            [length, n, directions * hidden_size] (or batch first), and the last state, shaped like `hx`.
        """
        if self.batch_first:
            x = x.transpose(1, 0, 2)
        given = [] if hx is None else [hx] if self.states == 1 else list(hx)
        if given and len(given) != self.states:
            raise InvalidArgument(f"{len(given)} states given; {self.states} expected")
        directions = 2 if self.bidirectional else 1
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            states = [s if self.num_layers == 1 else s[layer * directions : (layer + 1) * directions] for s in given]
            y, *ends = self._layer(x, layer, states)
            last.append(ends)
            # [length, directions, n, hidden] -> [length, n, directions * hidden]
            x = y.transpose(0, 2, 1, 3).reshape([0, 0, -1]) if self.bidirectional else y.squeeze(1)
            if layer + 1 < self.num_layers:
                x = self.dropout(x)
        joined = [_joined(ends, 0) for ends in zip(*last)]
        return x.transpose(1, 0, 2) if self.batch_first else x, joined[0] if self.states == 1 else tuple(joined)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        text = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (("num_layers", 1), ("bias", True), ("batch_first", False), ("bidirectional", False)):
            if getattr(self, name) != usual:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(_Recurrent):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or with relu.

    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0: of layer 0, from U(-a, a) with a = 1 / sqrt(hidden_size);
            those of the second direction end in "_reverse".

    Example:
        >>> y, h = RNN(4, 8)(np.ones((5, 2, 4), np.float32))
        >>> y.numpy().shape, h.numpy().shape
        ((5, 2, 8), (1, 2, 8))
    """

    op = "RNN"
    gates = (0,)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Rng = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise InvalidArgument(f"nonlinearity is '{nonlinearity}'; tanh or relu expected")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng=rng)
        self.nonlinearity = nonlinearity
        self._attributes = {"activations": [nonlinearity.capitalize()] * (2 if bidirectional else 1)}


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); gates of the weights in the order i, f, g, o.

    Attributes:
        weight_ih_l0, ...: as in RNN, with 4 * hidden_size rows.

    Example:
        >>> y, (h, c) = LSTM(4, 8, num_layers=2, bidirectional=True)(np.ones((5, 2, 4), np.float32))
        >>> y.numpy().shape, c.numpy().shape
        ((5, 2, 16), (4, 2, 8))
    """

    op = "LSTM"
    gates = (0, 3, 1, 2)
    states = 2


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014); gates of the weights in the order r, z, n.

    The reset gate multiplies what the recurrent weights give, as in torch and cuDNN.

    Attributes:
        weight_ih_l0, ...: as in RNN, with 3 * hidden_size rows.

    Example:
        >>> y, h = GRU(4, 8, batch_first=True)(np.ones((2, 5, 4), np.float32))
        >>> y.numpy().shape
        (2, 5, 8)
    """

    op = "GRU"
    gates = (1, 0, 2)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._attributes = {"linear_before_reset": 1}

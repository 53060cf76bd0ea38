"""Parameters with first values: `init.random_normal((32, 1, 5, 5), stddev=0.1, name="W1")`.

Values come from NumPy's global generator, so that `np.random.seed` makes a program repeatable; an `Executor` with
`seed=` draws those of its graph again, from that seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, variable

Random: TypeAlias = "np.random.RandomState"
_Draw: TypeAlias = "Callable[[Random, tuple[int, ...]], npt.NDArray[Any]]"


class Initializer:
    """How to draw the first value of a parameter."""

    def __init__(self, shape: Sequence[int], draw: _Draw) -> None:
        self.shape = tuple(int(extent) for extent in shape)
        self._draw = draw

    def value(self, random: Random, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A first value."""
        return np.asarray(self._draw(random, self.shape), dtype=dtype)


# Parameters whose first values no executor has drawn yet.
_fresh: WeakKeyDictionary[Tensor, Initializer] = WeakKeyDictionary()


def parameter(initializer: Initializer, name: str, trainable: bool, dtype: npt.DTypeLike) -> Tensor:
    """A variable whose first value is drawn."""
    drawn = initializer.value(np.random.mtrand._rand, dtype)
    tensor = variable(drawn, name, trainable=trainable and np.issubdtype(drawn.dtype, np.floating))
    _fresh[tensor] = initializer
    return tensor


def settle(variables: Sequence[Tensor], seed: int | None) -> None:
    """Draws first values again from `seed`, where one is given; no later call changes these variables."""
    random = np.random.RandomState(seed)
    for tensor in variables:
        initializer = _fresh.pop(tensor, None)
        if initializer is not None and seed is not None:
            tensor.assign(initializer.value(random, tensor.dtype))


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Numbers of inputs and outputs: of matrices by rows and columns, of filters [out, in, ...]."""
    if len(shape) < 2:
        raise InvalidArgument(f"an initializer that scales by fans needs a shape of two axes or more, not {shape}")
    if len(shape) == 2:
        return float(shape[0]), float(shape[1])
    area = float(np.prod(shape[2:]))
    return shape[1] * area, shape[0] * area


def _truncated(random: Random, shape: tuple[int, ...], mean: float, stddev: float, inner: bool) -> npt.NDArray[Any]:
    """Normal numbers within (or, for inner=False, beyond) two standard deviations."""
    drawn: npt.NDArray[Any] = random.normal(size=shape)
    while True:
        wrong = (np.abs(drawn) > 2) if inner else (np.abs(drawn) < 2)
        if not wrong.any():
            return drawn * stddev + mean
        drawn[wrong] = random.normal(size=int(wrong.sum()))


def _constant(value: float = 0.0) -> _Draw:
    return lambda random, shape: np.full(shape, value)


def _normal(mean: float = 0.0, stddev: float = 1.0) -> _Draw:
    return lambda random, shape: random.normal(mean, stddev, shape)


def _uniform(minval: float = -1.0, maxval: float = 1.0) -> _Draw:
    return lambda random, shape: random.uniform(minval, maxval, shape)


def _truncated_normal(mean: float = 0.0, stddev: float = 1.0) -> _Draw:
    return lambda random, shape: _truncated(random, shape, mean, stddev, True)


def _reversed_truncated_normal(mean: float = 0.0, stddev: float = 1.0) -> _Draw:
    return lambda random, shape: _truncated(random, shape, mean, stddev, False)


_MODES: dict[str, Callable[[float, float], float]] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
}


def _share(gain: float, mode: str, shape: tuple[int, ...]) -> float:
    if mode not in _MODES:
        raise InvalidArgument(f"mode is '{mode}'; one of {', '.join(_MODES)} expected")
    return gain / max(_MODES[mode](*_fans(shape)), 1.0)


def _scaled_normal(gain: float, mode: str) -> _Draw:
    """Of variance gain / fan (Glorot and Bengio 2010, He et al. 2015, LeCun et al. 1998)."""
    return lambda random, shape: random.normal(0.0, math.sqrt(_share(gain, mode, shape)), shape)


def _scaled_uniform(gain: float, mode: str) -> _Draw:
    """Within sqrt(gain / fan) of 0."""

    def draw(random: Random, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        limit = math.sqrt(_share(gain, mode, shape))
        return random.uniform(-limit, limit, shape)

    return draw


class _Kind:
    """A kind of initializer: called with a shape, it makes a parameter."""

    def __init__(self, draw: Callable[..., _Draw], *names: str) -> None:
        self._draw = draw
        self._names = names

    def __call__(
        self,
        shape: Sequence[int],
        *args: Any,
        name: str | None = None,
        trainable: bool = True,
        dtype: npt.DTypeLike = np.float32,
        ctx: object = None,
        **options: Any,
    ) -> Tensor:
        """A parameter.

        Args:
            args, options: those of the distribution (mean, stddev; minval, maxval; gain, mode).
        """
        if len(args) > len(self._names):  # name, and what follows it, by position
            name, *rest = args[len(self._names) :]
            trainable = rest[0] if rest else trainable
        values = dict(zip(self._names, args, strict=False)) | options
        return parameter(Initializer(shape, self._draw(**values)), name or "", trainable, dtype)

    def generator(self, **options: Any) -> Callable[..., Tensor]:
        """The factory that makes parameters of this kind from a shape."""
        return lambda shape, name=None, trainable=True, dtype=np.float32, ctx=None: self(
            shape, name=name, trainable=trainable, dtype=dtype, **options
        )


def _fixed(draw: Callable[[float, str], _Draw], gain: float, mode: str) -> Callable[[], _Draw]:
    return lambda: draw(gain, mode)


zeros = _Kind(lambda: _constant(0.0))
nulls = zeros
ones = _Kind(lambda: _constant(1.0))
constant = _Kind(lambda fill_value=0.0: _constant(fill_value), "fill_value")
random_normal = _Kind(_normal, "mean", "stddev")
random_uniform = _Kind(_uniform, "minval", "maxval")
truncated_normal = _Kind(_truncated_normal, "mean", "stddev")
reversed_truncated_normal = _Kind(_reversed_truncated_normal, "mean", "stddev")
general_xavier_normal = _Kind(_scaled_normal, "gain", "mode")
general_xavier_uniform = _Kind(_scaled_uniform, "gain", "mode")
xavier_normal = _Kind(_fixed(_scaled_normal, 1.0, "avg"))
xavier_uniform = _Kind(_fixed(_scaled_uniform, 3.0, "avg"))
he_normal = _Kind(_fixed(_scaled_normal, 2.0, "fan_in"))
he_uniform = _Kind(_fixed(_scaled_uniform, 6.0, "fan_in"))
lecun_normal = _Kind(_fixed(_scaled_normal, 1.0, "fan_in"))
lecun_uniform = _Kind(_fixed(_scaled_uniform, 3.0, "fan_in"))

GenZeros = zeros.generator
GenOnes = ones.generator
GenConstant = constant.generator
GenNormal = random_normal.generator
GenUniform = random_uniform.generator
GenTruncatedNormal = truncated_normal.generator
GenReversedTruncatedNormal = reversed_truncated_normal.generator
GenGeneralXavierNormal = general_xavier_normal.generator
GenGeneralXavierUniform = general_xavier_uniform.generator
GenXavierNormal = xavier_normal.generator
GenXavierUniform = xavier_uniform.generator
GenHeNormal = he_normal.generator
GenHeUniform = he_uniform.generator
GenLecunNormal = lecun_normal.generator
GenLecunUniform = lecun_uniform.generator

"""Random shapes, values and attributes: what recipes draw one node from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from tests.differential import types

WORDS = ["", "a", "b", "ab", "Ba", "abc abc", "größe", "日本語", " x ", "0", "-1", "3.5", "The quick", "zz zz"]


class Reject(Exception):
    """These types, or this version, cannot be drawn together; another draw is made."""


@dataclasses.dataclass
class Node:
    """What a recipe answers: a node with its inputs, and how its outputs are judged.

    inputs: an array, a list (sequence), a dict (map), or None for an absent optional input.
    kinds: type strings of the inputs; by default those that the schema gives to the drawn types.
    outputs: how many outputs, or their names with "" for those not wanted.
    out_kinds: type strings of the outputs where the schema leaves them open.
    steps: epsilons of the arithmetic's type that a result may be off, relative to `scale`, or to the result and 1.
    single: the operator computes in f32 even on doubles (a stash type, float attributes of another quotient).
    off: by how much integers may differ (where a rounded quotient may lie on either side).
    roundings: how often a result narrower than f32 may have been rounded to its own type on the way.
    scale: the magnitude of intermediate results (of a sum, the sum of magnitudes); a number, or one for each output.
    widen: the judges may compute in wider floating-point types than those drawn.
    constant: inputs that must be initializers; variable: those that must not.
    expect: a function of the inputs that gives the outputs; the judge where neither other one can run the node, and
        one more where they can. `only` leaves the other two out.
    check: asserts on inputs and outputs, instead of expected outputs (random operators).
    before: nodes of ai.onnx ahead of this one: operator, inputs, outputs.
    captured: graph inputs that only bodies read: value and kind.
    moves: the elements of input 0 are moved, or replaced by zeros, and never changed: the judges see their numbers.
    like: the same in another version's words (operator, version, inputs, attributes), for the judges.
    stable: the newest version means the same with these inputs and attributes.
    """

    inputs: Sequence[Any]
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)
    _: dataclasses.KW_ONLY
    kinds: Sequence[str | None] | None = None
    outputs: int | Sequence[str] = 1
    out_kinds: dict[int, str] = dataclasses.field(default_factory=dict)
    steps: float = 8
    off: int = 0
    roundings: int = 1
    single: bool = False
    scale: Any = None
    widen: bool = True
    constant: Sequence[int] = ()
    variable: Sequence[int] = ()
    expect: Callable[..., Any] | None = None
    only: bool = False
    check: Callable[..., None] | None = None
    before: Sequence[tuple[str, list[str], list[str]]] = ()
    captured: dict[str, tuple[Any, str]] = dataclasses.field(default_factory=dict)
    moves: bool = False
    like: Node | None = None
    op: str | None = None
    version: int | None = None
    stable: bool = True


class Draw:
    """A seeded source of everything random about one node of one operator version.

    `kinds` holds the type string drawn for each type variable of the schema.
    """

    def __init__(
        self,
        schema: onnx.defs.OpSchema,
        kinds: dict[str, str],
        seed: Any,
        small: bool = False,
        pinned: frozenset[str] = frozenset(),
    ) -> None:
        self.schema = schema
        self.pinned = pinned
        self.op = schema.name
        self.version = schema.since_version
        self.kinds = kinds
        self.rng = np.random.default_rng(seed)
        self.small = small

    def kind(self, variable: str = "T") -> str:
        return self.kinds[variable]

    def name(self, variable: str = "T") -> str:
        """Element type of the kind drawn for a variable: "float16"."""
        return types.element(self.kinds[variable])

    def bind(self, variable: str, kind: str) -> None:
        """The variable's kind follows from others'."""
        if self.kinds[variable] != kind:
            allowed = next(t.allowed_type_strs for t in self.schema.type_constraints if t.type_param_str == variable)
            self.need(variable not in self.pinned and kind in allowed)
            self.kinds[variable] = kind

    def has(self, attribute: str) -> bool:
        return attribute in self.schema.attributes

    def need(self, condition: bool) -> None:
        if not condition:
            raise Reject

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def choice(self, items: Sequence[Any]) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def some(self, items: Sequence[Any], low: int = 0) -> list[Any]:
        """A random subset, in random order."""
        order = list(self.rng.permutation(len(items)))
        return [items[i] for i in order[: self.integer(min(low, len(items)), len(items))]]

    def real(self, low: float, high: float) -> float:
        """A number that f32 holds exactly, as a float attribute does."""
        return float(np.float32(self.rng.uniform(low, high)))

    def extent(self, low: int = 1, high: int = 9) -> int:
        return self.integer(low, min(high, low + 2) if self.small else high)

    def wide(self, low: int, high: int, most: int) -> int:
        """An extent that is sometimes beyond `high`, up to `most`: past the ends of vectors, tiles and tasks."""
        return self.integer(high, most) if not self.small and self.chance(0.12) else self.extent(low, high)

    def shape(self, low: int = 0, high: int = 4, *, empty: float = 0.06, most: int = 9) -> tuple[int, ...]:
        """A shape of rank low..high; extents 1..most, often 1, seldom more, and 0 with probability `empty`."""
        rank = self.integer(low, min(high, low + 1) if self.small else high)
        shape = [1 if self.chance(0.2) else self.extent(1, most) for _ in range(rank)]
        if rank and not self.small and self.chance(0.06):
            shape[self.integer(0, rank - 1)] = self.integer(most, 16 * most)
        if rank and self.chance(empty):
            shape[self.integer(0, rank - 1)] = 0
        return tuple(shape)

    def broadcast(self, count: int, high: int = 4, *, empty: float = 0.06) -> list[tuple[int, ...]]:
        """Shapes that broadcast together."""
        full = self.shape(0, high, empty=empty)
        shapes = []
        for _ in range(count):
            shape = [1 if self.chance(0.3) else extent for extent in full]
            shapes.append(tuple(shape[self.integer(0, len(shape)) :] if self.chance(0.4) else shape))
        if self.chance(0.8):
            shapes[self.integer(0, count - 1)] = full
        return shapes

    def axis(self, rank: int, low: int | None = None) -> int:
        return self.integer(-rank if low is None else low, rank - 1)

    def array(
        self,
        kind: str,
        shape: Sequence[int],
        low: float = -4,
        high: float = 4,
        *,
        special: float = 0,
        whole: bool = False,
    ) -> np.ndarray:
        """Elements of a type. Numbers lie in low..high (`whole`: anywhere the integer type reaches); with probability
        `special` some floating-point elements are NaN, infinite or zeros of either sign."""
        name = types.element(kind)
        shape = tuple(shape)
        dtype = types.dtype(name)
        if name == "string":
            return np.array([self.choice(WORDS) for _ in range(int(np.prod(shape)))], object).reshape(shape)
        if name == "bool":
            return self.rng.random(shape) < 0.5
        if types.is_complex(name):
            return np.asarray(self.rng.normal(size=shape) + 1j * self.rng.normal(size=shape)).astype(dtype)
        if types.is_integer(name):
            least, most = types.limits(name)
            if not whole:
                least, most = max(least, int(np.ceil(low))), min(most, int(np.floor(high)))
            if name == "uint64":
                return np.asarray(self.rng.integers(least, most, shape, endpoint=True, dtype=np.uint64))
            return np.asarray(self.rng.integers(least, most, shape, endpoint=True, dtype=np.int64)).astype(dtype)
        values = np.asarray(self.rng.uniform(low, high, shape))
        if name == "float8e8m0":
            values = np.exp2(np.round(self.rng.uniform(-3, 3, shape)))
        if special and self.chance(special):
            mask = self.rng.random(shape) < 0.4
            values = np.where(mask, self.rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0], shape), values)
        with np.errstate(all="ignore"):
            return np.asarray(values).astype(dtype)

    def value(self, kind: str, shape: Callable[[], Sequence[int]] | None = None, **range_: Any) -> Any:
        """A tensor, sequence, optional or map of a type."""
        outer, inner = types.split(kind)
        if outer == "tensor":
            return self.array(inner, (shape or self.shape)(), **range_)
        if outer == "seq":
            return [self.value(inner, shape, **range_) for _ in range(self.integer(1, 4))]
        if outer == "optional":
            return self.value(inner, shape, **range_)
        key, _, name = inner.partition(",")
        keys: Any = ["a", "b", "key c"] if key == "string" else [0, 1, 3, 17]
        return {k: self.array(name.strip(), (), **range_).item() for k in self.some(keys, 1)}

    def attributes(self, **chances: Callable[[], Any]) -> dict[str, Any]:
        """Each of the attributes that this version has, present with probability 0.7."""
        return {name: make() for name, make in chances.items() if self.has(name) and self.chance(0.7)}

"""Gradients of one-node models against finite differences in float64, first and second order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import sardonyx as sx

NEWEST_OPSET = 28
TRAINING = "ai.onnx.preview.training"
# The step balances the rounding of a difference, eps / h, against its truncation, h ** 2: both are near 1e-10 of the
# magnitude at h = 1e-5.
STEP = 1e-5
TOLERANCE = 1e-6
# The same for operators that know no float64: rounding in float32, and sums of it.
NARROW_STEP = 4e-3
NARROW_TOLERANCE = 4e-3


@dataclasses.dataclass
class Case:
    """One node whose floating-point inputs are differentiated.

    op: operator name; `domain` and `opset` as in the model.
    inputs: arrays; None for an absent optional input. Those of float64 are differentiated, unless they stand in
        `fixed`; they should lie away from kinks of the function.
    attrs: attributes as `onnx.helper.make_node` takes them.
    outputs: the names of the outputs, "" for one not wanted; those of float64 are differentiated.
    second: whether second derivatives are compared too.
    narrow: float32 takes the part of float64.
    constant: the inputs that are initializers.
    symbolic: whether it works for unknown extents too.
    nodes: what is run in place of one node of `op`; it reads x0, x1 ... and gives `outputs`.
    """

    op: str
    inputs: Sequence[Any]
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)
    _: dataclasses.KW_ONLY
    opset: int | None = None
    domain: str = ""
    outputs: Sequence[str] = ("y0",)
    fixed: Sequence[int] = ()
    id: str = ""
    second: bool = True
    narrow: bool = False
    nodes: Sequence[onnx.NodeProto] = ()
    constant: Sequence[int] = ()
    symbolic: bool = True

    def dtype(self) -> Any:
        return np.float32 if self.narrow else np.float64

    def name(self) -> str:
        shapes = "-".join("x".join(map(str, np.shape(x))) or "scalar" for x in self.inputs if x is not None)
        return f"{self.op}-{self.id or shapes}"

    def variables(self) -> list[int]:
        return [
            i
            for i, x in enumerate(self.inputs)
            if x is not None and np.asarray(x).dtype == self.dtype() and i not in self.fixed and i not in self.constant
        ]

    def graph(self, symbolic: bool) -> tuple[list[onnx.NodeProto], list[Any], dict[str, np.ndarray]]:
        names, infos, feeds = [], [], {}
        for i, value in enumerate(self.inputs):
            names.append("" if value is None else f"x{i}")
            if value is None:
                continue
            array = np.asarray(value)
            if i in self.constant:
                continue
            feeds[f"x{i}"] = array
            shape = [f"n{i}_{k}" for k in range(array.ndim)] if symbolic else array.shape
            infos.append(helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(array.dtype), shape))
        if self.nodes:
            return list(self.nodes), infos, feeds
        node = helper.make_node(self.op, names, list(self.outputs), name="node", domain=self.domain, **self.attrs)
        return [node], infos, feeds

    def model(self, nodes: list[Any], infos: list[Any], outputs: list[str], weights: list[Any]) -> onnx.ModelProto:
        weights = weights + [numpy_helper.from_array(np.asarray(self.inputs[i]), f"x{i}") for i in self.constant]
        graph = helper.make_graph(nodes, "case", infos, [onnx.ValueInfoProto(name=name) for name in outputs], weights)
        opsets = [helper.make_opsetid("", NEWEST_OPSET), helper.make_opsetid(TRAINING, 1)]
        if self.domain:
            opsets.append(helper.make_opsetid(self.domain, self.opset or 1))
        elif self.opset:
            opsets[0] = helper.make_opsetid("", self.opset)
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def run(self) -> None:
        for symbolic in (False, True) if self.symbolic else (False,):
            self.check(symbolic)

    def check(self, symbolic: bool) -> None:
        rng = np.random.default_rng(7)
        nodes, infos, feeds = self.graph(symbolic)
        forward = [name for name in self.outputs if name]
        results = sx.InferenceSession(self.model(nodes, infos, forward, [])).run(forward, feeds)
        terms, weights = [], []
        for name, result in zip(forward, results, strict=True):
            if np.asarray(result).dtype != self.dtype():
                continue
            weight = rng.uniform(0.5, 1.5, np.shape(result)) * rng.choice([-1.0, 1.0], np.shape(result))
            weights.append(numpy_helper.from_array(np.asarray(weight, self.dtype()), f"{name}.weight"))
            nodes.append(helper.make_node("Mul", [name, f"{name}.weight"], [f"{name}.weighted"]))
            nodes.append(helper.make_node("ReduceSum", [f"{name}.weighted"], [f"{name}.sum"], keepdims=0))
            terms.append(f"{name}.sum")
        nodes.append(helper.make_node("Sum", terms, ["loss"]))
        xs = [f"x{i}" for i in self.variables()]
        zs = [name for name in feeds if name not in xs]
        gradients = [f"d{x}" for x in xs]
        nodes.append(
            helper.make_node(
                "Gradient", xs + zs, gradients, domain=TRAINING, xs=xs, y="loss", **({"zs": zs} if zs else {})
            )
        )
        first = sx.InferenceSession(self.model(nodes, infos, ["loss", *gradients], weights))
        found = first.run(gradients, feeds)
        compare(first, ["loss"], feeds, xs, [np.ones(())], found, f"{self.name()}, symbolic={symbolic}")
        if not self.second:
            return
        directions = [rng.uniform(-1, 1, np.shape(g)).astype(self.dtype()) for g in found]
        products = []
        for name, direction in zip(gradients, directions, strict=True):
            weights.append(numpy_helper.from_array(np.asarray(direction), f"{name}.direction"))
            nodes.append(helper.make_node("Mul", [name, f"{name}.direction"], [f"{name}.along"]))
            nodes.append(helper.make_node("ReduceSum", [f"{name}.along"], [f"{name}.dot"], keepdims=0))
            products.append(f"{name}.dot")
        nodes.append(helper.make_node("Sum", products, ["along"]))
        seconds = [f"d2{x}" for x in xs]
        nodes.append(
            helper.make_node(
                "Gradient", xs + zs, seconds, domain=TRAINING, xs=xs, y="along", **({"zs": zs} if zs else {})
            )
        )
        twice = sx.InferenceSession(self.model(nodes, infos, seconds, weights))
        compare(first, gradients, feeds, xs, directions, twice.run(seconds, feeds), f"second order of {self.name()}")


def compare(
    session: Any,
    outputs: list[str],
    feeds: dict[str, np.ndarray],
    xs: list[str],
    weights: list[np.ndarray],
    gradients: list[np.ndarray],
    what: str,
) -> None:
    """Compares `gradients` of sum(outputs * weights) by each x with central differences."""

    def value(at: dict[str, np.ndarray]) -> float:
        return float(sum(np.sum(y * w) for y, w in zip(session.run(outputs, at), weights, strict=True)))

    for x, gradient in zip(xs, gradients, strict=True):
        dtype = feeds[x].dtype
        step_size, tolerance = (NARROW_STEP, NARROW_TOLERANCE) if dtype == np.float32 else (STEP, TOLERANCE)
        expected = np.zeros(feeds[x].shape)
        for index in np.ndindex(feeds[x].shape):
            step = step_size * max(1.0, abs(feeds[x][index]))
            sides = []
            for sign in (1, -1):
                moved = feeds[x].copy()
                moved[index] += sign * step
                sides.append((float(moved[index]), value({**feeds, x: moved})))
            (right, above), (left, below) = sides
            expected[index] = (above - below) / (right - left)
        assert gradient.dtype == dtype and gradient.shape == expected.shape, f"{what}: {x}"
        scale = max(1.0, float(np.max(np.abs(expected), initial=0)), abs(value(feeds)))
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance * scale, err_msg=f"{what}: {x}")


def parametrize(cases: Sequence[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name())


def away(shape: Sequence[int], seed: int = 0, low: float = 0.2, high: float = 1.5) -> np.ndarray:
    """Numbers of either sign whose magnitude lies in [low, high), no two equal."""
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)


def positive(shape: Sequence[int], seed: int = 0, low: float = 0.3, high: float = 1.7) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape)

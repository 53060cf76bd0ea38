"""Chains of elementwise operators in one pass: the bits of the operators one by one, on random graphs and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import sardonyx as sx

Levels = sx.GraphOptimizationLevel
FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL
UNARY = ["Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Relu"]
UNARY += ["Tanh", "HardSwish", "Mish", "Softplus", "Softsign", "LeakyRelu", "Elu", "HardSigmoid", "Celu", "Gelu"]
BINARY = ["Add", "Sub", "Mul", "Div"]
VARIADIC = ["Max", "Min", "Sum"]
COMPARE = ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]
SHAPES: list[tuple[int, ...]] = [
    (),
    (1,),
    (7,),
    (1025,),
    (3, 1),
    (5, 33),
    (2, 1, 129),
    (17, 3, 65),
    (2, 3, 1, 5, 7),
    (0,),
    (4, 0, 3),
    (70, 1000),
]


class Chain:
    """A random model of elementwise nodes on values of one shape and on narrower inputs."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = SHAPES[int(self.rng.integers(len(SHAPES)))]
        self.symbolic = bool(self.rng.random() < 0.3)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.feeds: dict[str, np.ndarray[Any, Any]] = {}
        self.wide: list[str] = []  # numbers of the whole shape
        self.narrow: list[str] = []  # numbers of another shape
        self.masks: list[str] = []
        self.made: list[tuple[str, int]] = []
        for _ in range(int(self.rng.integers(1, 4))):
            self.wide.append(self.input(self.shape, FLOAT))
        for _ in range(int(self.rng.integers(0, 4))):
            self.narrow.append(self.input(self.narrowed(), FLOAT))
        if self.rng.random() < 0.5:
            self.masks.append(self.input(self.shape, BOOL))
        if self.rng.random() < 0.3:
            self.masks.append(self.input(self.narrowed(), BOOL))
        for value in (0.5, 0.0):
            self.constants.append(numpy_helper.from_array(np.float32(value), f"c{value}"))
            self.narrow.append(f"c{value}")
        self.constants += [numpy_helper.from_array(np.float32(e), f"e{e}") for e in (2, 3, -1)]
        for _ in range(int(self.rng.integers(2, 25))):
            self.step()

    def pick(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def narrowed(self) -> tuple[int, ...]:
        extents = [1 if self.rng.random() < 0.5 else extent for extent in self.shape]
        return tuple(extents[int(self.rng.integers(len(extents) + 1)) :])

    def input(self, shape: tuple[int, ...], kind: int) -> str:
        name = f"x{len(self.inputs)}"
        declared = [f"N{extent}" if self.symbolic and extent > 1 else extent for extent in shape]
        self.inputs.append(helper.make_tensor_value_info(name, kind, declared))
        if kind == BOOL:
            self.feeds[name] = self.rng.random(shape) < 0.5
            return name
        values = self.rng.normal(0, 2, shape).astype(np.float32)
        if self.rng.random() < 0.3:
            odd = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-42, 3e38], np.float32)
            values = np.where(self.rng.random(shape) < 0.2, self.rng.choice(odd, shape), values).astype(np.float32)
        self.feeds[name] = values
        return name

    def emit(self, op: str, inputs: list[str], kind: int, **attributes: Any) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.made.append((name, kind))
        (self.masks if kind == BOOL else self.wide).append(name)

    def step(self) -> None:
        rng = self.rng
        x = self.pick(self.wide)
        y = self.pick(self.wide if rng.random() < 0.6 else self.narrow)
        pair = [x, y] if rng.random() < 0.5 else [y, x]
        kind = rng.random()
        whole = [m for m in self.masks if m.startswith("v") or self.feeds[m].shape == self.shape]
        if kind < 0.4:
            self.emit(self.pick(BINARY), pair, FLOAT)
        elif kind < 0.65:
            self.emit(self.pick(UNARY), [x], FLOAT)
        elif kind < 0.72:
            self.emit(self.pick(VARIADIC), [*pair, self.pick(self.wide)], FLOAT)
        elif kind < 0.78:
            self.emit("Pow", [x, self.pick(["e2", "e3", "e-1"])], FLOAT)
        elif kind < 0.82:
            self.emit("Clip", [x, "c0.0", "c0.5"], FLOAT)
        elif kind < 0.88:
            self.emit(self.pick(COMPARE), pair, BOOL)
        elif self.masks and kind < 0.94:
            self.emit("Where", [self.pick(self.masks), *pair], FLOAT)
        elif whole and kind < 0.96:
            self.emit("Cast", [self.pick(whole)], FLOAT, to=FLOAT)
        elif whole and kind < 0.98:
            self.emit(self.pick(["And", "Or", "Xor"]), [self.pick(whole), self.pick(self.masks)], BOOL)
        elif whole:
            self.emit("Not", [self.pick(whole)], BOOL)

    def model(self) -> bytes:
        read = {name for node in self.nodes for name in node.input}
        outputs = [made for made in self.made if made[0] not in read or self.rng.random() < 0.2]
        used = [value for value in self.inputs if value.name in read]
        self.feeds = {value.name: self.feeds[value.name] for value in used}
        infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
        graph = helper.make_graph(self.nodes, "chain", used, infos, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10).SerializeToString()


def run(model: bytes, feeds: dict[str, Any], level: Any, threads: int) -> list[np.ndarray[Any, Any]]:
    options = sx.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = threads
    session = sx.InferenceSession(model, options)
    session.run(None, feeds)
    return [np.asarray(y) for y in session.run(None, feeds)]


def same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype == np.bool_:
        return bool(np.array_equal(a, b))
    nan = np.isnan(a) & np.isnan(b)  # which of two NaNs an addition gives is the processor's choice
    return bool(np.array_equal(np.where(nan, 0, a).view(np.uint32), np.where(nan, 0, b).view(np.uint32)))


@pytest.mark.parametrize("block", range(10))
def test_random_chains_have_the_bits_of_single_operators(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        chain = Chain(seed)
        model = chain.model()
        plain = run(model, chain.feeds, Levels.ORT_ENABLE_BASIC, 1)
        for threads in (1, 2):
            for y, expected in zip(run(model, chain.feeds, Levels.ORT_ENABLE_ALL, threads), plain, strict=True):
                assert same_bits(y, expected), f"seed {seed}"

"""Tables of one-node models: every case runs raw, simplified and lowered, and is judged by the ONNX reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import sardonyx as sx

NEWEST_OPSET = 28
IR_VERSION = 10

# Epsilons of the element type (by its size in bytes) that a result may be off: a few operations in f32 and f64; results
# of 16 bits are rounded once from f32, while the reference rounds after every operation; narrower ones are exact.
STEPS = {8: 16, 4: 16, 2: 4, 1: 0}


def epsilon(dtype: Any) -> float:
    """The distance from 1 to the next number of a floating-point element type."""
    return float(ml_dtypes.finfo(np.dtype(dtype)).eps)


@dataclasses.dataclass
class Constant:
    """An input that is an initializer in some of the models and a graph input in the others."""

    value: Any


def const(value: Any, dtype: Any = None) -> Constant:
    return Constant(np.asarray(value, dtype=dtype))


@dataclasses.dataclass
class Case:
    """One node with its inputs.

    op: operator name.
    inputs: arrays; None for an absent optional input, `const(array)` for one that may be an initializer, a list of
        arrays for a sequence.
    attrs: attributes as `onnx.helper.make_node` takes them.
    opset: version of the operator's domain; `domain` is that domain.
    outputs: how many outputs, or their names with "" for those not wanted.
    rtol, atol: |y - expected| <= atol + rtol * |expected|; a few epsilons of the expected element type by default.
    expect: expected outputs (an array, or a list of them), or a function of the inputs that gives them; the ONNX
        reference where it is None. `dtype` and shape must agree exactly.
    """

    op: str
    inputs: Sequence[Any]
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)
    _: dataclasses.KW_ONLY
    opset: int | None = None
    domain: str = ""
    outputs: int | Sequence[str] = 1
    id: str | None = None
    rtol: float | None = None
    atol: float | None = None
    expect: Any = None

    def name(self) -> str:
        if self.id:
            return f"{self.op}-{self.id}"
        kinds = [_describe(_plain(x)) for x in self.inputs if x is not None]
        version = f"-v{self.opset}" if self.opset else ""
        return "-".join([self.op + version, *kinds, *(f"{k}={v}" for k, v in self.attrs.items() if np.isscalar(v))])

    def output_names(self) -> list[str]:
        if isinstance(self.outputs, int):
            return [f"y{i}" for i in range(self.outputs)]
        return list(self.outputs)

    def model(self, *, initializers: bool, symbolic: bool, expected: Sequence[Any] | None = None) -> onnx.ModelProto:
        """The one-node model; `symbolic` names every extent of its inputs instead of fixing it."""
        names, infos, constants = [], [], []
        for i, given in enumerate(self.inputs):
            if given is None:
                names.append("")
                continue
            names.append(f"x{i}")
            value = _plain(given)
            if initializers and isinstance(given, Constant):
                constants.append(numpy_helper.from_array(value, f"x{i}"))
            else:
                infos.append(helper.make_value_info(f"x{i}", _type_of(value, f"n{i}_" if symbolic else None)))
        node = helper.make_node(self.op, names, self.output_names(), name="node", domain=self.domain, **self.attrs)
        wanted = [name for name in self.output_names() if name]
        outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
        for info, value in zip(outputs, expected or []):
            info.type.CopyFrom(_type_of(value, None, shape=False))
        graph = helper.make_graph([node], "case", infos, outputs, constants)
        opsets = [helper.make_opsetid("", (self.opset or NEWEST_OPSET) if self.domain == "" else NEWEST_OPSET)]
        if self.domain:
            opsets.append(helper.make_opsetid(self.domain, self.opset or 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def feeds(self, *, initializers: bool) -> dict[str, Any]:
        return {
            f"x{i}": _plain(x)
            for i, x in enumerate(self.inputs)
            if x is not None and not (initializers and isinstance(x, Constant))
        }

    def expected(self) -> list[Any]:
        if callable(self.expect):
            found = self.expect(*[None if x is None else _plain(x) for x in self.inputs])
        elif self.expect is not None:
            found = self.expect
        else:
            model = self.model(initializers=True, symbolic=False)
            with np.errstate(all="ignore"):
                return list(ReferenceEvaluator(model).run(None, self.feeds(initializers=True)))
        return list(found) if isinstance(found, (list, tuple)) else [np.asarray(found)]

    def run(self) -> None:
        expected = self.expected()
        wanted = [name for name in self.output_names() if name]
        assert len(expected) == len(wanted), "the expectation has another number of outputs than the node"
        for level, initializers, symbolic in VARIANTS:
            what = (
                f"{level}, {'initializers' if initializers else 'inputs'}, {'symbolic' if symbolic else 'fixed'} shapes"
            )
            model = self.model(initializers=initializers, symbolic=symbolic, expected=expected)
            found = session(model, level).run(None, self.feeds(initializers=initializers))
            assert len(found) == len(expected), what
            for name, y, e in zip(wanted, found, expected):
                compare(y, e, rtol=self.rtol, atol=self.atol, what=f"{name} ({what})")


@dataclasses.dataclass
class Raises:
    """A case that must fail, at load or at run, with a message that matches."""

    case: Case
    match: str

    def name(self) -> str:
        return self.case.name() + "-raises"

    def run(self) -> None:
        for level, initializers, symbolic in VARIANTS:
            model = self.case.model(initializers=initializers, symbolic=symbolic)
            with pytest.raises(Exception, match=self.match) as caught:
                session(model, level).run(None, self.case.feeds(initializers=initializers))
            assert "assertion" not in str(caught.value).lower(), str(caught.value)


def raises(case: Case, match: str) -> Raises:
    return Raises(case, match)


# Optimization level, constants as initializers, symbolic input shapes.
VARIANTS = [
    ("ORT_DISABLE_ALL", True, False),
    ("ORT_ENABLE_BASIC", True, False),
    ("ORT_ENABLE_ALL", True, False),
    ("ORT_DISABLE_ALL", False, True),
    ("ORT_ENABLE_ALL", False, True),
]


def session(model: onnx.ModelProto, level: str) -> Any:
    options = sx.SessionOptions()
    options.graph_optimization_level = getattr(sx.GraphOptimizationLevel, level)
    return sx.InferenceSession(model.SerializeToString(), options)


def check(cases: Sequence[Case | Raises]) -> Callable[[Any], None]:
    """The test function over a table: `test_softmax = check([Case(...), raises(Case(...), "axis 4"), ...])`."""

    @pytest.mark.parametrize("case", cases, ids=[case.name() for case in cases])
    def test(case: Case | Raises) -> None:
        case.run()

    return test


def compare(
    found: Any, expected: Any, *, rtol: float | None = None, atol: float | None = None, what: str = "y"
) -> None:
    """Asserts equal kind, dtype and shape, and elements equal within the tolerance; NaN is equal to NaN."""
    if isinstance(expected, (list, tuple)):
        assert isinstance(found, (list, tuple)) and len(found) == len(expected), what
        for i, (y, e) in enumerate(zip(found, expected)):
            compare(y, e, rtol=rtol, atol=atol, what=f"{what}[{i}]")
        return
    if expected is None:
        assert found is None, what
        return
    y, e = np.asarray(found), np.asarray(expected)
    assert y.shape == e.shape, f"{what}: shape {y.shape}, expected {e.shape}"
    if _is_text(e):
        assert _is_text(y), f"{what}: dtype {y.dtype}, expected strings"
        assert y.astype(object).tolist() == e.astype(object).tolist(), what
        return
    assert y.dtype == e.dtype, f"{what}: dtype {y.dtype}, expected {e.dtype}"
    if not _is_float(e.dtype):
        np.testing.assert_array_equal(_widen(y), _widen(e), err_msg=what)
        return
    if e.dtype.kind == "c":
        compare(y.real, e.real, rtol=rtol, atol=atol, what=what + ".real")
        compare(y.imag, e.imag, rtol=rtol, atol=atol, what=what + ".imag")
        return
    step = epsilon(e.dtype)
    steps = STEPS[e.dtype.itemsize]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            y.astype(np.float64),
            e.astype(np.float64),
            rtol=steps * step if rtol is None else rtol,
            atol=min(steps, 1) * step if atol is None else atol,
            equal_nan=True,
            err_msg=what,
        )


def _widen(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int64) if array.dtype.kind == "V" else array


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Constant) else value


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "OUS"


def _is_float(dtype: np.dtype) -> bool:
    if dtype.kind in "fc":
        return True
    try:
        ml_dtypes.finfo(dtype)
    except ValueError:
        return False
    return True


def _element_type(array: np.ndarray) -> int:
    return TensorProto.STRING if _is_text(array) else helper.np_dtype_to_tensor_dtype(array.dtype)


def _type_of(value: Any, symbols: str | None, shape: bool = True) -> onnx.TypeProto:
    if isinstance(value, (list, tuple)):
        element = (
            _type_of(value[0], None, shape=False) if value else helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        )
        return helper.make_sequence_type_proto(element)
    array = np.asarray(value)
    extents: list[Any] | None = list(array.shape)
    if symbols is not None:
        extents = [f"{symbols}{axis}" for axis in range(array.ndim)]
    return helper.make_tensor_type_proto(_element_type(array), extents if shape else None)


def _describe(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "seq"
    array = np.asarray(value)
    return f"{'str' if _is_text(array) else array.dtype.name}{'x'.join(map(str, array.shape)) or 'scalar'}"

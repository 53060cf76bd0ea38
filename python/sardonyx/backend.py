"""The interface of onnx.backend.base: prepare, run_model, run_node and supports_device.

Example:
    >>> node = onnx.helper.make_node("Relu", ["x"], ["y"])
    >>> run_node(node, [np.array([-1.0, 2.0], np.float32)])[0]
    array([0., 2.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.backend.base
from onnx import defs, helper

from sardonyx.options import SessionOptions
from sardonyx.session import InferenceSession

__all__ = ["Backend", "BackendRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class BackendRep(onnx.backend.base.BackendRep):
    """A prepared model."""

    def __init__(self, session: InferenceSession) -> None:
        self.session = session
        self.inputs = [port.name for port in session.get_inputs()]
        self.outputs = [port.name for port in session.get_outputs()]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Runs the model on a list in the order of the inputs, a dict by name, or one array.

        Returns a named tuple: outputs by position, by attribute, or by ONNX name as in `result["a/b:0"]`.
        """
        results = self.session.run(None, inputs)
        named: tuple[Any, ...] = onnx.backend.base.namedtupledict("Outputs", self.outputs)(*results)
        return named


class Backend(onnx.backend.base.Backend):
    """Runs ONNX models and nodes on the CPU."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether `prepare` would take the model."""
        try:
            cls.prepare(model, device, **kwargs)
        except Exception:
            return False
        return True

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """A model (ModelProto, bytes or path) ready to run; keywords are fields of SessionOptions."""
        if not cls.supports_device(device):
            raise ValueError(f"device '{device}' is not available; only CPU is")
        options = SessionOptions()
        for name, value in kwargs.items():
            setattr(options, name, value)
        return BackendRep(InferenceSession(model, options))

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """`prepare(model).run(inputs)`."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Runs one node on a list of arrays for its inputs, absent ones left out; `opset_version` picks its meaning."""
        names = [name for name in node.input if name]
        values = dict(zip(names, inputs, strict=True)) if not isinstance(inputs, dict) else inputs
        arrays = {name: np.asarray(value) for name, value in values.items()}
        graph = helper.make_graph(
            [node],
            "node",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in arrays.items()
            ],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        version = int(kwargs.pop("opset_version", 0)) or defs.onnx_opset_version()
        opsets = [helper.make_opsetid("", version)]
        if node.domain not in ("", "ai.onnx"):
            newest = [s.since_version for s in defs.get_all_schemas_with_history() if s.domain == node.domain]
            opsets.append(helper.make_opsetid(node.domain, max(newest, default=1)))
        return cls.run_model(helper.make_model(graph, opset_imports=opsets), arrays, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """True for CPU."""
        return device.split(":")[0].upper() == "CPU"


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device

"""IOBinding: inputs and outputs bound once and used by many runs."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sardonyx import _core
from sardonyx.devices import require_cpu
from sardonyx.errors import InvalidArgument
from sardonyx.ortvalue import OrtValue, onnx_type_of

__all__ = ["IOBinding"]


class _Session(Protocol):
    """What a binding needs of an InferenceSession."""

    _core: _core.Session


class IOBinding:
    """Values bound to the inputs and outputs of a session, for `InferenceSession.run_with_iobinding`.

    Outputs bound to a value or an address are written there; those bound by name only get a new value in each run.

    Example:
        >>> binding = session.io_binding()
        >>> binding.bind_cpu_input("x", array)
        >>> binding.bind_output("y")
        >>> session.run_with_iobinding(binding)
        >>> y = binding.copy_outputs_to_cpu()[0]
    """

    def __init__(self, session: _Session) -> None:
        self._core = _core.Binding(session._core)

    def bind_cpu_input(self, name: str, arr_on_cpu: npt.ArrayLike) -> None:
        """Binds an array to an input; its memory is read at every run."""
        self._core.bind_input(name, _core.Value.from_object(np.asarray(arr_on_cpu)))

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Any, buffer_ptr: int
    ) -> None:
        """Binds memory at an address, which must stay valid, as a tensor of the given type and shape."""
        require_cpu(device_type)
        self._core.bind_input(name, _core.Value.over_memory(buffer_ptr, list(shape), onnx_type_of(element_type)))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Binds a value to an input."""
        self._core.bind_input(name, ortvalue._value)

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Any = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Asks for an output; with `buffer_ptr` it is written to that address (type and shape are then needed)."""
        require_cpu(device_type)
        if buffer_ptr is None:
            self._core.bind_output(name)
            return
        if element_type is None or shape is None:
            raise InvalidArgument(f"output '{name}': an address needs element_type and shape beside it")
        self._core.bind_output(name, _core.Value.over_memory(buffer_ptr, list(shape), onnx_type_of(element_type)))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Asks for an output to be written into a value's memory."""
        self._core.bind_output(name, ortvalue._value)

    def synchronize_inputs(self) -> None:
        """Nothing to wait for: all memory is the CPU's."""

    def synchronize_outputs(self) -> None:
        """Nothing to wait for: all memory is the CPU's."""

    def get_outputs(self) -> list[OrtValue]:
        """The results of the last run, in the order in which outputs were bound."""
        return [OrtValue(value) for value in self._core.results()]

    def get_outputs_as_ortvaluevector(self) -> list[OrtValue]:
        """The same as `get_outputs`."""
        return self.get_outputs()

    def copy_outputs_to_cpu(self) -> list[Any]:
        """Copies of the last run's results as arrays, lists and dicts."""
        return [value.numpy().copy() if value.is_tensor() else value.to_python() for value in self.get_outputs()]

    def clear_binding_inputs(self) -> None:
        """Forgets the bound inputs."""
        self._core.clear_inputs()

    def clear_binding_outputs(self) -> None:
        """Forgets the bound outputs and the results."""
        self._core.clear_outputs()

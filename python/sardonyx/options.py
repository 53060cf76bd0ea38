"""Options of sessions and of single runs, with the fields and defaults of onnxruntime."""

from __future__ import annotations

import difflib
import enum
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sardonyx import _core
from sardonyx.errors import InvalidArgument, RuntimeException
from sardonyx.operators import Operator
from sardonyx.ortvalue import OrtValue

_EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"

__all__ = ["ExecutionMode", "ExecutionOrder", "GraphOptimizationLevel", "Precision", "RunOptions", "SessionOptions"]


class GraphOptimizationLevel(enum.IntEnum):
    """How far a model is rewritten before it runs.

    `ORT_DISABLE_ALL` runs the graph as it is; `ORT_ENABLE_BASIC` and `ORT_ENABLE_EXTENDED` simplify it (constants,
    dead code, portable fusions); `ORT_ENABLE_LAYOUT` and `ORT_ENABLE_ALL` also fuse and pack for this machine.
    """

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """Accepted for compatibility: Sardonyx always runs nodes one by one and splits the work inside each."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(enum.IntEnum):
    """Accepted for compatibility: the order never changes a result."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


class Precision(str, enum.Enum):
    """What the products and convolutions of an f32 model may be computed in.

    `BF16` keeps the constant operands of products in bfloat16, which takes half the memory, and multiplies by the
    CPU's bfloat16 dot products where it has them. With those, convolutions and what lies between them keep weights
    and data in bfloat16 too. `F16` keeps the constant operands of products in float16: half the memory as well, eight
    times more precise, and multiplied in f32. Sums, inputs and outputs stay f32.
    """

    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


class _Checked:
    """Refuses unknown fields, with a suggestion, and values of the wrong type."""

    _fields: ClassVar[dict[str, tuple[type, Any]]] = {}

    def __init__(self) -> None:
        for name, (_, default) in self._fields.items():
            object.__setattr__(self, name, default)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if name not in self._fields:
            near = difflib.get_close_matches(name, self._fields, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'{hint}")
        wanted = self._fields[name][0]
        try:
            if wanted is str:
                value = os.fspath(value)
            number = not isinstance(value, (str, bytes))
            good = isinstance(value, wanted) or (number and wanted in (int, float) and wanted(value) == value)
            good = good or (wanted is bool and isinstance(value, int))
            good = good or (issubclass(wanted, enum.Enum) and number != issubclass(wanted, str))
            if not good:
                raise TypeError
            value = wanted(value)
        except (TypeError, ValueError):
            kinds = [kind.value for kind in wanted] if issubclass(wanted, Precision) else []
            expected = "one of " + ", ".join(map(repr, kinds)) if kinds else f"a {wanted.__name__}"
            raise TypeError(f"{type(self).__name__}.{name} is {expected}, got {value!r}") from None
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        changed = {n: getattr(self, n) for n, (_, default) in self._fields.items() if getattr(self, n) != default}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


class SessionOptions(_Checked):
    """How a session loads and runs its model.

    What has an effect: `graph_optimization_level`, `intra_op_num_threads` (0: every CPU that the process may use),
    `enable_profiling`, `profile_file_prefix`, `optimized_model_filepath`, `log_severity_level`,
    the methods; and beyond onnxruntime `precision` (`Precision` or its value, "f32", "bf16" or "f16") and `winograd`
    (False: 3x3 convolutions add up every product, which is slower and rounds less). The other fields are accepted so
    that existing code runs: memory is always planned, results are always deterministic, and one pool of threads serves
    the process.

    Raises (where a field is set):
        AttributeError: there is no field of that name; names a near one.
        TypeError: the value is of another type; says which is expected.

    Example:
        >>> options = SessionOptions()
        >>> options.intra_op_num_threads = 2
        >>> session = InferenceSession("model.onnx", options)
    """

    enable_cpu_mem_arena: bool
    enable_mem_pattern: bool
    enable_mem_reuse: bool
    enable_profiling: bool
    execution_mode: ExecutionMode
    execution_order: ExecutionOrder
    graph_optimization_level: GraphOptimizationLevel
    inter_op_num_threads: int
    intra_op_num_threads: int
    log_severity_level: int
    log_verbosity_level: int
    logid: str
    optimized_model_filepath: str
    precision: Precision
    profile_file_prefix: str
    use_deterministic_compute: bool
    use_per_session_threads: bool
    winograd: bool

    _fields: ClassVar[dict[str, tuple[type, Any]]] = {
        "enable_cpu_mem_arena": (bool, True),
        "enable_mem_pattern": (bool, True),
        "enable_mem_reuse": (bool, True),
        "enable_profiling": (bool, False),
        "execution_mode": (ExecutionMode, ExecutionMode.ORT_SEQUENTIAL),
        "execution_order": (ExecutionOrder, ExecutionOrder.DEFAULT),
        "graph_optimization_level": (GraphOptimizationLevel, GraphOptimizationLevel.ORT_ENABLE_ALL),
        "inter_op_num_threads": (int, 0),
        "intra_op_num_threads": (int, 0),
        "log_severity_level": (int, -1),
        "log_verbosity_level": (int, 0),
        "logid": (str, ""),
        "optimized_model_filepath": (str, ""),
        "precision": (Precision, Precision.F32),
        "profile_file_prefix": (str, "onnxruntime_profile_"),
        "use_deterministic_compute": (bool, False),
        "use_per_session_threads": (bool, True),
        "winograd": (bool, True),
    }

    def __init__(self) -> None:
        super().__init__()
        self._config: dict[str, str] = {}
        self._free_dims: dict[str, int] = {}
        self._free_denotations: dict[str, int] = {}
        self._initializers: dict[str, OrtValue] = {}
        self._providers: list[tuple[str, dict[str, str]]] = []
        self._operators: list[Operator] = []
        self._operator_libraries: list[str] = []

    def add_free_dimension_override_by_name(self, dim_name: str, dim_value: int) -> None:
        """Fixes the symbolic extent `dim_name` of the model's inputs at `dim_value`."""
        self._free_dims[str(dim_name)] = int(dim_value)

    def add_free_dimension_override_by_denotation(self, dim_denotation: str, dim_value: int) -> None:
        """Fixes the extents of the model's inputs that carry the denotation (`DATA_BATCH`) at `dim_value`."""
        self._free_denotations[str(dim_denotation)] = int(dim_value)

    def add_initializer(self, name: str, ort_value: OrtValue) -> None:
        """Replaces the value of the initializer `name`; type and shape must be those of the model's."""
        self._initializers[str(name)] = ort_value

    def add_external_initializers(self, names: Sequence[str], ort_values: Sequence[OrtValue]) -> None:
        """`add_initializer` for each pair."""
        if len(names) != len(ort_values):
            raise InvalidArgument(f"{len(names)} names for {len(ort_values)} values")
        for name, value in zip(names, ort_values, strict=True):
            self.add_initializer(name, value)

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Sets a configuration entry.

        `session.model_external_initializers_file_folder_path` says where the external data of a model given as bytes
        lies; every other key is kept and has no effect.
        """
        self._config[str(key)] = str(value)

    def get_session_config_entry(self, key: str) -> str:
        """The value of a configuration entry; raises RuntimeException where there is none."""
        if key not in self._config:
            raise RuntimeException(f"SessionOptions has no configuration entry '{key}'")
        return self._config[key]

    def add_provider(self, provider: str, options: dict[str, Any] | None = None) -> None:
        """Appends a provider, used where the session itself is given none."""
        self._providers.append((provider, {str(k): str(v) for k, v in (options or {}).items()}))

    def has_providers(self) -> bool:
        """Whether `add_provider` was called."""
        return bool(self._providers)

    def register_operator(
        self,
        domain: str,
        name: str,
        function: Callable[..., Any],
        *,
        since_version: int = 1,
        infer: Callable[..., Any] | None = None,
        pure: bool = False,
    ) -> None:
        """`sardonyx.register_operator` for the sessions made with these options alone."""
        added = Operator(domain, name, function, since_version, infer, pure)
        added._core_operator()
        self._operators.append(added)

    def register_custom_ops_library(self, path: str | os.PathLike[str]) -> None:
        """`sardonyx.load_operators` for the sessions made with these options alone.

        The library is one compiled against `sardonyx/custom_op.h`; those compiled for onnxruntime cannot be loaded.
        """
        _core.library_operators(os.fspath(path))
        if os.fspath(path) not in self._operator_libraries:
            self._operator_libraries.append(os.fspath(path))

    def _core_options(self) -> dict[str, Any]:
        return {
            "optimization_level": int(self.graph_optimization_level),
            "threads": self.intra_op_num_threads,
            "profiling": self.enable_profiling,
            "winograd": self.winograd,
            "precision": self.precision.value,
            "free_dims": self._free_dims,
            "free_denotations": self._free_denotations,
            "external_folder": self._config.get(_EXTERNAL_DATA_FOLDER),
            "initializers": self._initializers,
            "operators": self._core_operators(),
        }

    def _core_operators(self) -> list[_core.Operator]:
        operators = [added._core_operator() for added in self._operators]
        for path in self._operator_libraries:
            operators += _core.library_operators(path)
        return operators


class RunOptions(_Checked):
    """How one run behaves.

    Beyond onnxruntime: `deadline`, the seconds that a run may take from its start (0: any time); a run that takes
    longer raises DeadlineExceeded. Setting `terminate` from another thread makes the runs that use this object raise
    Terminated.

    Example:
        >>> options = RunOptions()
        >>> options.deadline = 0.5
        >>> session.run(None, feeds, options)
    """

    deadline: float
    log_severity_level: int
    log_verbosity_level: int
    logid: str
    only_execute_path_to_fetches: bool
    synchronize_execution_providers: bool
    training_mode: bool

    _fields: ClassVar[dict[str, tuple[type, Any]]] = {
        "deadline": (float, 0.0),
        "log_severity_level": (int, -1),
        "log_verbosity_level": (int, 0),
        "logid": (str, ""),
        "only_execute_path_to_fetches": (bool, False),
        "synchronize_execution_providers": (bool, True),
        "terminate": (bool, False),
        "training_mode": (bool, False),
    }

    def __init__(self) -> None:
        self._cancel = _core.CancelFlag()
        self._config: dict[str, str] = {}
        super().__init__()

    @property
    def terminate(self) -> bool:
        """Whether runs that use this object are to stop."""
        return self._cancel.set

    @terminate.setter
    def terminate(self, value: bool) -> None:
        self._cancel.set = value

    def __reduce__(self) -> tuple[Callable[..., RunOptions], tuple[dict[str, Any], dict[str, str]]]:
        return _restore_run_options, ({name: getattr(self, name) for name in self._fields}, self._config)

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Keeps a configuration entry; none has an effect."""
        self._config[str(key)] = str(value)

    def get_run_config_entry(self, key: str) -> str:
        """The value of a configuration entry; raises RuntimeException where there is none."""
        if key not in self._config:
            raise RuntimeException(f"RunOptions has no configuration entry '{key}'")
        return self._config[key]


def _restore_run_options(fields: dict[str, Any], config: dict[str, str]) -> RunOptions:
    options = RunOptions()
    for name, value in fields.items():
        setattr(options, name, value)
    for key, value in config.items():
        options.add_run_config_entry(key, value)
    return options

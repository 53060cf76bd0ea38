"""Modules: layers that own their parameters, and networks made of them."""

from __future__ import annotations

import copy
import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple, TypeVar

import ml_dtypes
import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, data, variable

__all__ = ["Incompatible", "Module", "ModuleDict", "ModuleList", "Sequential"]

M = TypeVar("M", bound="Module")

# Whether a call runs inside the call of another module, which has named the parameters.
_inside: ContextVar[bool] = ContextVar("inside", default=False)


class Incompatible(NamedTuple):
    """What a state that was loaded with strict=False lacked, and what it had too much."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A part of a network: subclasses assign variables and other modules to attributes and write `forward`.

    A variable that is assigned to an attribute is a parameter; its name is the path of attributes to it
    ("layer1.0.conv1.weight"). `register_buffer` is for variables that are state but no parameters.

    In training mode, which is the default, batch normalization and dropout do what the graph is compiled for: an
    `Executor` with an optimizer's update trains, any other infers. After `eval()` they infer in any graph.

    Attributes:
        training: whether `eval()` was called last (False) or `train()` or none (True).

    Example:
        >>> class Net(Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden, self.out = Linear(4, 8), Linear(8, 2)
        ...     def forward(self, x):
        ...         return self.out(ReLU()(self.hidden(x)))
        >>> [name for name, _ in Net().named_parameters()]
        ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
        >>> Net()(np.ones((3, 4), np.float32)).numpy().shape
        (3, 2)
    """

    # Names that states saved by other frameworks hold for such a module and that it has no use for.
    unused_state: ClassVar[tuple[str, ...]] = ()

    training: bool
    _buffers: set[str]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # so that a subclass may assign before super().__init__()
        module = super().__new__(cls)
        module.__dict__.update(training=True, _buffers=set())
        return module

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module computes; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); write one that returns its outputs")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward`; arrays become tensors that hold data."""
        given = [data(x) if isinstance(x, np.ndarray) else x for x in inputs]
        if _inside.get():
            return self.forward(*given, **options)
        for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
            if not tensor.name.endswith(f".{name}"):  # else it was named as a part of a larger network
                tensor.name = name
        token = _inside.set(True)
        try:
            return self.forward(*given, **options)
        finally:
            _inside.reset(token)

    # --- what it is made of

    def _variables(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.variable is not None:
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules among the attributes."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        """The modules among the attributes."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module, those in it, those in them...; each once, by its first path."""
        return self._walk(prefix, set())

    def _walk(self, prefix: str, seen: set[int] | None) -> Iterator[tuple[str, Module]]:
        """All modules by path; each once unless `seen` is None."""
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module, those in it, those in them...; each once."""
        return (module for _, module in self.named_modules())

    def _named(self, buffers: bool) -> Iterator[tuple[str, Tensor]]:
        seen: set[Tensor] = set()
        for path, module in self.named_modules():
            for name, tensor in module._variables():
                if (name in module._buffers) == buffers and tensor not in seen:
                    seen.add(tensor)
                    yield f"{path}.{name}" if path else name, tensor

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Each parameter once, by its path."""
        return self._named(buffers=False)

    def parameters(self) -> Iterator[Tensor]:
        """Each parameter once."""
        return (tensor for _, tensor in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Each buffer once, by its path."""
        return self._named(buffers=True)

    def buffers(self) -> Iterator[Tensor]:
        """Each buffer once."""
        return (tensor for _, tensor in self.named_buffers())

    def register_buffer(self, name: str, value: Tensor | npt.ArrayLike) -> None:
        """Adds state that is no parameter, as running statistics are."""
        tensor = value if isinstance(value, Tensor) else variable(value, trainable=False)
        if tensor.variable is None:
            raise InvalidArgument(f"buffer '{name}' must be a variable, not {tensor!r}")
        tensor.trainable = False
        self._buffers.add(name)
        setattr(self, name, tensor)

    def add_module(self, name: str, module: Module) -> None:
        """Assigns a module to an attribute whose name may be no identifier."""
        setattr(self, name, module)

    # --- modes

    def train(self: M, mode: bool = True) -> M:
        """Batch normalization and dropout follow the graph again (or, with mode=False, infer in any)."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Batch normalization and dropout infer in any graph: statistics stay as they are, nothing is dropped."""
        return self.train(False)

    def to(self: M, device: str) -> M:
        """The module itself, which is on the CPU. Raises InvalidArgument for any other device."""
        if str(device).split(":")[0] != "cpu":
            raise InvalidArgument(f"device '{device}' is not available; modules run on 'cpu'")
        return self

    def cpu(self: M) -> M:
        """The module itself."""
        return self

    def cuda(self: M, device: int | str | None = None) -> M:
        """Raises InvalidArgument: modules run on the CPU."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    def apply(self: M, function: Callable[[Module], object]) -> M:
        """Calls `function` with each module, children first."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def freeze(self: M, *patterns: str) -> M:
        """Optimizers leave the parameters alone whose paths match one of `patterns` ("layer1.*"); all without any.

        Raises:
            InvalidArgument: a pattern matches no parameter.
        """
        return self._set_trainable(patterns, False)

    def unfreeze(self: M, *patterns: str) -> M:
        """Takes `freeze` back."""
        return self._set_trainable(patterns, True)

    def _set_trainable(self: M, patterns: tuple[str, ...], on: bool) -> M:
        parameters = dict(self.named_parameters())
        for pattern in patterns or ("*",):
            names = fnmatch.filter(parameters, pattern)
            if not names and parameters:
                raise InvalidArgument(f"no parameter matches '{pattern}'; there are {_some(parameters)}")
            for name in names:
                parameters[name].trainable = on
        return self

    # --- state

    def _state(self) -> dict[str, Tensor]:
        """Parameters and buffers by every path to them."""
        state: dict[str, Tensor] = {}
        for path, module in self._walk("", None):
            own = sorted(module._variables(), key=lambda item: item[0] in module._buffers)
            state.update({f"{path}.{name}" if path else name: tensor for name, tensor in own})
        return state

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of parameters and buffers, by path."""
        return {name: tensor.numpy() for name, tensor in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Incompatible:
        """Gives parameters and buffers the values of `state`, or changes nothing at all.

        Args:
            state: arrays, or anything that NumPy can read (such as tensors of other frameworks), by path.
            strict: whether names must be the same; else what has no counterpart is left alone and returned.

        Raises:
            InvalidArgument: names are missing or unknown, or shapes or types do not fit; names all of them.
        """
        own = self._state()
        modules = dict(self._walk("", None))
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own and not _is_unused(name, modules)]
        wrong: list[str] = []
        new: dict[str, npt.NDArray[Any]] = {}
        for name, tensor in own.items():
            if name in state:
                value = np.asarray(state[name])
                if value.shape != tensor.shape:
                    wrong.append(f"'{name}' has shape {list(value.shape)}; {list(tensor.shape or ())} expected")
                elif _kind(value.dtype) not in (_kind(tensor.dtype), "i"):
                    wrong.append(f"'{name}' has type {value.dtype}; {tensor.dtype} expected")
                new[name] = value
        if strict and missing:
            wrong.append(f"{len(missing)} missing: {_some(missing)}")
        if strict and unexpected:
            near = difflib.get_close_matches(unexpected[0], missing, n=1)
            hint = f" (is '{unexpected[0]}' meant to be '{near[0]}'?)" if near else ""
            wrong.append(f"{len(unexpected)} unknown: {_some(unexpected)}{hint}")
        if wrong:
            raise InvalidArgument(f"the state does not fit {type(self).__name__}: " + "; ".join(wrong))
        for name, value in new.items():
            own[name].assign(value)
        return Incompatible(missing, unexpected)

    def __deepcopy__(self: M, memo: dict[int, Any]) -> M:
        """A module with variables of its own."""
        twin: M = type(self).__new__(type(self))
        memo[id(self)] = twin
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.variable is not None:
                if id(value) not in memo:
                    memo[id(value)] = variable(value.numpy(), value.name, trainable=value.trainable)
                twin.__dict__[name] = memo[id(value)]
            else:
                twin.__dict__[name] = value if isinstance(value, Tensor) else copy.deepcopy(value, memo)
        return twin

    # --- text

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        inside = "".join(f"\n  {line}" for line in lines)
        return f"{type(self).__name__}({self.extra_repr()}{inside}" + ("\n)" if lines else ")")


def _is_unused(name: str, modules: Mapping[str, Module]) -> bool:
    path, _, last = name.rpartition(".")
    return path in modules and last in modules[path].unused_state


def _kind(dtype: np.dtype[Any]) -> str:
    return "f" if dtype.kind == "f" or dtype == ml_dtypes.bfloat16 else "i" if dtype.kind in "iub" else dtype.kind


def _some(names: Iterable[str], most: int = 8) -> str:
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(f"'{name}'" for name in shown[:most]) + more


class Sequential(Module):
    """Modules one after the other, named by their places; or by the keys of a dict.

    Example:
        >>> net = Sequential(Linear(4, 8), ReLU(), Linear(8, 2))
        >>> net[-1].weight.shape
        (2, 8)
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            for name, child in module.items() if isinstance(module, Mapping) else [(str(i), module)]:
                _require_module(child)
                self.add_module(name, child)

    def forward(self, x: Any) -> Any:
        """The last module's output."""
        for module in self.children():
            x = module(x)
        return x

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, key: int | slice) -> Any:
        named = list(self.named_children())
        return Sequential(dict(named[key])) if isinstance(key, slice) else named[key][1]

    def __setitem__(self, key: int, module: Module) -> None:
        _require_module(module)
        setattr(self, list(self.named_children())[key][0], module)

    def append(self, module: Module) -> Sequential:
        """Adds a module at the end."""
        _require_module(module)
        self.add_module(str(len(self)), module)
        return self


class ModuleList(Module):
    """A list whose modules are parts of the network; it computes nothing by itself.

    Example:
        >>> layers = ModuleList(Linear(4, 4) for _ in range(3))
        >>> len(layers), len(list(layers.parameters()))
        (3, 6)
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, key: int | slice) -> Any:
        children = list(self.children())
        return ModuleList(children[key]) if isinstance(key, slice) else children[key]

    def __setitem__(self, key: int, module: Module) -> None:
        _require_module(module)
        setattr(self, list(self.named_children())[key][0], module)

    def append(self, module: Module) -> ModuleList:
        """Adds a module at the end."""
        _require_module(module)
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Adds modules at the end."""
        for module in modules:
            self.append(module)
        return self


class ModuleDict(Module):
    """Modules by name that are parts of the network; it computes nothing by itself.

    Example:
        >>> heads = ModuleDict({"classes": Linear(4, 3), "boxes": Linear(4, 4)})
        >>> sorted(heads), heads["boxes"].weight.shape
        (['boxes', 'classes'], (4, 4))
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __contains__(self, name: object) -> bool:
        return name in list(self.keys())

    def __getitem__(self, name: str) -> Module:
        return dict(self.named_children())[name]

    def __setitem__(self, name: str, module: Module) -> None:
        _require_module(module)
        self.add_module(name, module)

    def keys(self) -> Iterator[str]:
        """The names."""
        return (name for name, _ in self.named_children())

    def values(self) -> Iterator[Module]:
        """The modules."""
        return self.children()

    def items(self) -> Iterator[tuple[str, Module]]:
        """Names and modules."""
        return self.named_children()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Adds modules by name."""
        for name, module in modules.items():
            self[name] = module


def _require_module(value: object) -> None:
    if not isinstance(value, Module):
        raise InvalidArgument(f"a module expected, not {type(value).__name__}")

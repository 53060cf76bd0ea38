"""Runs graphs written in Python."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sardonyx import _core
from sardonyx.errors import InvalidArgument, NotFinite
from sardonyx.graph.build import Built, attribute_proto, build, sort, training_updates, value_info
from sardonyx.graph.tensor import Node, Tensor, is_data
from sardonyx.options import Precision, SessionOptions

__all__ = ["Executor", "Update", "evaluate", "gradients"]


class Update:
    """New values for variables, as an optimizer gives them: something that an `Executor` can run.

    Attributes:
        values: the next value of each variable.
        watched: a tensor that must be finite before any variable changes (the loss).

    Raises:
        InvalidArgument: a key of `values` is no variable.

    Example:
        >>> counter = variable([0.0], trainable=False)
        >>> executor = Executor([Update({counter: counter + 1.0})])
        >>> for _ in range(3):
        ...     _ = executor.run()
        >>> counter.numpy()
        array([3.], dtype=float32)
    """

    def __init__(self, values: Mapping[Tensor, Tensor], watched: Tensor | None = None) -> None:
        for target, value in values.items():
            if target.variable is None:
                raise InvalidArgument(f"{target!r} cannot be updated with {value!r}: it is no variable")
        self.values = dict(values)
        self.watched = watched


Fetch: TypeAlias = "Tensor | Update"
Recompute: TypeAlias = "bool | Sequence[Tensor | str]"


def gradients(y: Tensor, xs: Sequence[Tensor], seed: Tensor | None = None) -> list[Tensor]:
    """The derivative of sum(y * seed) by each of `xs` (seed: ones where none is given).

    Where y does not depend on an x its gradient is zeros. Gradients are tensors like others: they can be differentiated
    again.

    Raises (when the graph is compiled):
        NotImplemented: names the operator on the way that has no gradient, and why.

    Example:
        >>> x = variable([3.0])
        >>> gradients(x * x, [x])[0].numpy()
        array([6.], dtype=float32)
    """
    if not xs:
        return []
    target = y if seed is None else y * seed
    node = Node("Gradient", list(xs), {"y": target}, outputs=len(xs), domain="ai.onnx.preview.training")
    for x, gradient in zip(xs, node.outputs, strict=True):
        gradient._dtype, gradient._shape = x.dtype, x.shape
    return list(node.outputs)


def _roots(fetches: Sequence[Fetch]) -> list[Tensor]:
    """The tensors that a run computes: those to return, then those that updates store."""
    returned = [fetch for fetch in fetches if isinstance(fetch, Tensor)]
    return returned + [value for fetch in fetches if isinstance(fetch, Update) for value in fetch.values.values()]


def _wanted(recompute: Recompute) -> bool:
    return recompute if isinstance(recompute, bool) else True


def _differentiated(roots: Sequence[Tensor]) -> list[Tensor]:
    """The tensors whose gradients the roots are computed from."""
    nodes = sort(roots)[0]
    found = [node.attributes["y"] for node in nodes if node.op == "Gradient" and "y" in node.attributes]
    return list(dict.fromkeys(y for y in found if isinstance(y, Tensor)))


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=3)
    return f"; did you mean {', '.join(repr(x) for x in near)}?" if near else ""


class _Compiled:
    """One list of fetches, ready to run."""

    def __init__(
        self,
        fetches: Sequence[Fetch],
        training: bool,
        options: dict[str, Any],
        move_statistics: bool = True,
        recompute: Recompute = False,
        ranks: Mapping[Tensor, int] | None = None,
    ) -> None:
        self.fetches = list(fetches)
        self.training = training
        self._move_statistics = training and move_statistics
        updates = [target for fetch in fetches if isinstance(fetch, Update) for target in fetch.values]
        twice = next((x for x in updates if updates.count(x) > 1), None)
        if twice is not None:
            raise InvalidArgument(f"two updates in one run change {twice!r}")
        roots = _roots(fetches)
        returned = len(roots) - len(updates)
        results = _differentiated(roots) if _wanted(recompute) else []
        names = [f"output_{i}" for i in range(returned)] + [f"update_{i}" for i in range(len(updates))]
        shown = names + [f"differentiated_{i}" for i in range(len(results))]
        self.built = build(
            [*roots, *results],
            training=training,
            bind_variables=True,
            output_names=shown,
            graph_name="step",
            ranks=ranks,
        )
        bindings = self._bind(dict(zip(updates, names[returned:], strict=True)))
        kept = None if isinstance(recompute, bool) else self._kept(recompute, results)
        self.program = _core.Program(
            self.built.model.SerializeToString(), bindings, options, shown[len(names) :] if results else None, kept
        )
        self.fed = self.built.fed

    def _kept(self, kept: Sequence[Tensor | str], results: Sequence[Tensor]) -> list[str]:
        """The names of the tensors that are to be kept."""
        forward = {y: self.built.names[y] for node in sort(results)[0] for y in node.outputs if y in self.built.names}
        found: dict[str, None] = {}
        for wanted in kept if results else ():
            if isinstance(wanted, Tensor):
                if wanted not in forward:
                    raise InvalidArgument(f"recompute: {wanted!r} is not computed on the way to the loss")
                found[forward[wanted]] = None
                continue
            names = [name for name in forward.values() if name == wanted or fnmatch.fnmatchcase(name, wanted)]
            if not names:
                raise InvalidArgument(
                    f"recompute: no tensor on the way to the loss matches '{wanted}'{_near(wanted, forward.values())}"
                )
            found.update(dict.fromkeys(names))
        return list(found)

    def _bind(self, update_of: dict[Tensor, str]) -> list[tuple[str, _core.Variable, str]]:
        """(input, variable, output that gives its next value) for each variable; adds what the model lacks for it."""
        built = self.built
        graph = built.model.graph
        if self._move_statistics:
            protos = {proto.output[0]: proto for proto in graph.node if proto.output}
            for target, node, output in training_updates(built.nodes):
                if target not in update_of:
                    update_of[target] = protos[built.names[node.outputs[0]]].output[output]
                    graph.output.add(name=update_of[target])
        bindings = []
        for target in {**dict.fromkeys(built.variables), **dict.fromkeys(update_of)}:
            assert target.variable is not None
            update = update_of.get(target, "")
            name = built.names.get(target)
            if name is None:  # its next value does not depend on it
                name = f"unread_{update}"
                graph.input.append(value_info(target, name))
            bindings.append((name, target.variable, update))
        return bindings

    def run(self, feeds: Sequence[Any]) -> list[Any]:
        try:
            results = iter(self.program.run(list(feeds)))
        except InvalidArgument as error:
            if "CheckFinite" not in str(error):
                raise
            raise NotFinite(self._blame(feeds)) from None
        return [next(results) if isinstance(fetch, Tensor) else None for fetch in self.fetches]

    def _blame(self, feeds: Sequence[Any]) -> str:
        """Which node first gives something that is not finite."""
        watched = [fetch.watched for fetch in self.fetches if isinstance(fetch, Update) and fetch.watched is not None]
        nodes, leaves = sort(watched)
        by_leaf = dict(zip(self.fed, feeds, strict=True))
        for leaf in leaves:
            value = by_leaf.get(leaf) if leaf.variable is None else leaf.numpy()
            if value is not None and not _all_finite(np.asarray(value)):
                kind = "variable" if leaf.variable is not None else "input"
                return f"the loss is not finite: the {kind} '{self.built.names.get(leaf, leaf.name)}' holds NaN or Inf"
        tensors = [y for node in nodes for y in node.outputs[:1]]
        compiled = _Compiled(tensors, self.training, SessionOptions()._core_options() | {"optimization_level": 0})
        values = compiled.program.run([by_leaf[leaf] for leaf in compiled.fed])
        for tensor, value in zip(tensors, values, strict=False):
            assert tensor.node is not None
            if not _all_finite(np.asarray(value)):
                place = tensor.node.name or self.built.names.get(tensor, "")
                return f"the loss is not finite: {tensor.node.op} '{place}' is the first node to give NaN or Inf"
        return "the loss is not finite"


def _all_finite(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind not in "fcV" or bool(np.isfinite(array.astype(np.float64)).all())


class Executor:
    """Compiles fetches once for each set of input shapes and runs them.

    Args:
        outputs: tensors and updates to compute in a run; or several such lists by name ("train", "validate"), which
            share variables.
        training: whether batch normalization uses and moves its statistics and dropout drops; by default where a
            list holds an update.
        threads: at most so many; 0: all CPUs that the process may use.
        recompute: compute values of the forward half again for the backward half instead of keeping them, which takes
            less memory, more time and gives the same bits. True chooses what is kept so that a step takes the least
            memory; otherwise tensors to keep, or patterns of their names ("block*.out"): all else is computed again.
        precision: "bf16" lets products and convolutions, forward and backward, multiply bfloat16 with sums in f32 where
            the CPU has the instructions, at up to twice the speed. Variables, the optimizer's state, updates and all
            else stay f32.

    Raises:
        InvalidArgument: an output is no tensor and no update, two updates change one variable, or a pattern of
            `recompute` matches nothing (the last two when the graph is compiled, in the first run).
        NotImplemented: names the operator that cannot be run or differentiated (then too).

    Example:
        >>> x = placeholder("x", shape=("n", 4))
        >>> w = variable(np.ones((4, 2), np.float32), "w")
        >>> Executor([x @ w]).run({x: np.ones((3, 4), np.float32)})[0].shape
        (3, 2)
    """

    def __init__(
        self,
        outputs: Sequence[Fetch] | Mapping[str, Sequence[Fetch]],
        *,
        training: bool | None = None,
        threads: int = 0,
        recompute: Recompute = False,
        precision: Precision | str = Precision.F32,
    ) -> None:
        self.outputs = dict(outputs) if isinstance(outputs, Mapping) else {"default": list(outputs)}
        for name, fetches in self.outputs.items():
            _check_fetches(name, fetches)
        self._training = training
        options = SessionOptions()
        options.intra_op_num_threads = threads
        if precision not in (Precision.F32, Precision.BF16):
            raise InvalidArgument(f"precision is {precision!r}; 'f32' or 'bf16' expected")
        options.precision = Precision(precision)
        self._recompute = [recompute] if isinstance(recompute, (str, Tensor)) else recompute
        self._options = options._core_options()
        self._compiled: dict[tuple[str, frozenset[tuple[Tensor, int]]], _Compiled] = {}
        self._latest: dict[str, _Compiled] = {}
        self.steps = 0  # runs that updated variables

    def _get(self, name: str, ranks: Mapping[Tensor, int]) -> _Compiled:
        key = (name, frozenset(ranks.items()))
        if key not in self._compiled:
            if name not in self.outputs:
                raise InvalidArgument(f"there is no list of outputs named '{name}'; there are {sorted(self.outputs)}")
            fetches = self.outputs[name]
            training = self._training
            if training is None:
                training = any(isinstance(fetch, Update) for fetch in fetches)
            self._compiled[key] = _Compiled(fetches, training, self._options, recompute=self._recompute, ranks=ranks)
        self._latest[name] = self._compiled[key]
        return self._compiled[key]

    def planned_bytes(self, name: str = "default") -> int:
        """The memory that a run of a list takes beside its variables and what it is fed, as planned by the last run."""
        compiled = self._latest.get(name) or self._get(name, {})
        return int(compiled.program.planned_bytes())

    def run(self, feed_dict: Mapping[Tensor, Any] | None = None, name: str = "default") -> list[Any]:
        """Runs a list of fetches.

        Args:
            feed_dict: a value for each placeholder that the outputs depend on.
            name: which list, where there are several.

        Returns:
            An array for each tensor, None for each update, in order.

        Raises:
            InvalidArgument: a placeholder is missing, or a value does not fit.
            NotFinite: the loss is NaN or Inf; no variable has changed. Names the step and the first node.
        """
        feeds = dict(feed_dict or {})
        ranks = _open_ranks(feeds)
        compiled = self._get(name, ranks)
        values = []
        for leaf in compiled.fed:
            if leaf in feeds:
                values.append(_fed(leaf, feeds.pop(leaf)))
            elif leaf.is_placeholder:
                wanted = ", ".join(f"'{built_name(compiled.built, x)}'" for x in compiled.fed)
                raise InvalidArgument(
                    f"placeholder '{built_name(compiled.built, leaf)}' was not fed; this run needs {wanted}"
                )
            else:
                values.append(leaf.numpy())
        for leaf in feeds:
            if not (isinstance(leaf, Tensor) and leaf.is_placeholder):
                raise InvalidArgument(f"{leaf!r} is no placeholder; only placeholders can be fed")
        try:
            results = compiled.run(values)
        except NotFinite as error:
            raise NotFinite(f"step {self.steps}: {error}") from None
        for leaf, rank in ranks.items():
            leaf.fed_rank = rank
        self.steps += any(isinstance(fetch, Update) for fetch in compiled.fetches)
        return results

    def profile(
        self, feed_dict: Mapping[Tensor, Any] | None = None, name: str = "default", runs: int = 10
    ) -> list[_core.ProfileRow]:
        """Runs a list of fetches `runs` times, after once that does not count, and returns what each node took.

        Updates are carried out. `sardonyx.profile.write_trace` writes the rows for Perfetto.

        Returns:
            A dict for each node of each run: name, op, kernel, start_us and duration_us in microseconds, bytes_read and
            bytes_written.
        """
        self.run(feed_dict, name)
        program = self._latest[name].program
        program.set_profiling(True)
        try:
            for _ in range(runs):
                self.run(feed_dict, name)
        finally:
            program.set_profiling(False)
        return program.take_profile()


def _check_fetches(name: str, fetches: Sequence[Fetch]) -> None:
    if not fetches:
        raise InvalidArgument(f"the list of outputs '{name}' is empty; tensors and updates to compute expected")
    for i, fetch in enumerate(fetches):
        if not isinstance(fetch, (Tensor, Update)):
            raise InvalidArgument(
                f"output {i} of the list '{name}' is a {type(fetch).__name__}; a tensor, or what minimize() of an "
                "optimizer gives, expected"
            )


def _open_ranks(feeds: Mapping[Any, Any]) -> dict[Tensor, int]:
    """The numbers of axes that placeholders without a shape are fed."""
    return {
        leaf: np.ndim(value)
        for leaf, value in feeds.items()
        if isinstance(leaf, Tensor) and leaf.is_placeholder and leaf.shape is None
    }


def built_name(built: Built, tensor: Tensor) -> str:
    """What the compiled graph calls a tensor."""
    return built.names.get(tensor, tensor.name)


def _fed(leaf: Tensor, value: Any) -> Any:
    """Python numbers and lists take the placeholder's element type; arrays must have it."""
    if isinstance(value, Tensor):
        value = value.numpy()
    return value if hasattr(value, "dtype") else np.asarray(value, leaf.dtype)


# --- evaluation without an executor

_CACHE_SIZE = 64
_cache: OrderedDict[Any, _Compiled] = OrderedDict()
_training = False


@contextlib.contextmanager
def training_mode(on: bool = True) -> Any:
    """Within the block, `Tensor.numpy()` and `evaluate` compute as in training: dropout drops, and batch normalization
    uses its batch and moves its statistics."""
    global _training
    before, _training = _training, on
    try:
        yield
    finally:
        _training = before


def _signature(fetches: Sequence[Fetch], mode: tuple[bool, bool]) -> tuple[Any, list[Tensor]]:
    """What two graphs have in common when one can run for the other; and the data to run this one on."""
    nodes, leaves = sort(_roots(fetches))
    number: dict[Tensor, int] = {}
    key: list[Any] = [mode]
    fed: list[Tensor] = []
    for leaf in leaves:
        number[leaf] = len(number)
        if leaf.variable is not None:
            key.append(id(leaf.variable))
        elif is_data(leaf):
            fed.append(leaf)
            key.append((leaf.dtype, len(leaf.shape or ())))
        elif not leaf.is_placeholder:
            key.append((leaf.dtype.str, leaf.shape, leaf.numpy().tobytes()))
        else:
            raise InvalidArgument(f"{leaf!r} is a placeholder; an Executor can feed it, numpy() cannot")
    for node in nodes:
        attributes = [
            (name, number[value] if isinstance(value, Tensor) else attribute_proto(name, value).SerializeToString())
            for name, value in sorted(node.attributes.items())
        ]
        reads = [None if x is None else number[x] for x in node.inputs]
        captures = sorted((name, number[x]) for name, x in node.captures.items())
        key.append(
            (node.op, node.domain, tuple(reads), tuple(attributes), tuple(captures), len(node.outputs), node.frozen)
        )
        for y in node.outputs:
            number[y] = len(number)
    for fetch in fetches:
        if isinstance(fetch, Tensor):
            key.append(number[fetch])
        else:
            key.append(tuple((id(x.variable), number[value]) for x, value in fetch.values.items()))
    return tuple(key), fed


def evaluate(fetches: Sequence[Fetch], training: bool | None = None, *, move_statistics: bool = True) -> list[Any]:
    """Computes tensors whose leaves hold data, and carries updates out.

    Graphs of the same structure over the same variables are compiled once, so that a loop that writes its graph anew in
    each turn does not pay for it.

    Args:
        training: compute as in training; by default within `training_mode()`.
        move_statistics: whether batch normalization then moves its running statistics too.

    Returns:
        An array for each tensor, None for each update, in order.

    Raises:
        InvalidArgument: a tensor depends on a placeholder; or names the node that refuses its inputs.
        NotFinite: the loss of an update is NaN or Inf; no variable has changed.

    Example:
        >>> x = variable([1.0, 2.0])
        >>> evaluate([x * 2.0, x.sum()])
        [array([2., 4.], dtype=float32), array(3., dtype=float32)]
    """
    mode = _training if training is None else training
    key, fed = _signature(fetches, (mode, move_statistics))
    compiled = _cache.get(key)
    if compiled is None:
        compiled = _Compiled(fetches, mode, SessionOptions()._core_options(), move_statistics)
        _cache[key] = compiled
        if len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    else:
        _cache.move_to_end(key)
    return compiled.run([leaf.numpy() for leaf in fed])

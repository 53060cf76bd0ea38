"""A drawn node as models, as questions to the judges, and against what Sardonyx answers."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.differential import notes, types
from tests.differential.draw import Draw, Node, Reject
from tests.ops.harness import compare, session

os.environ.setdefault("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")

DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")
NEWEST_PEER_OPSET = 26

Recipe = Callable[[Draw], Node]
RECIPES: dict[tuple[str, str], Recipe] = {}


def recipe(*operators: str, domain: str = "") -> Callable[[Recipe], Recipe]:
    """Registers how nodes of these operators are drawn."""

    def register(function: Recipe) -> Recipe:
        for name in operators:
            assert (domain, name) not in RECIPES, name
            RECIPES[domain, name] = function
        return function

    return register


@functools.cache
def schemas() -> dict[tuple[str, str], list[onnx.defs.OpSchema]]:
    """Every version of every operator, oldest first, by domain and name."""
    found: dict[tuple[str, str], list[onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain in DOMAINS and not schema.deprecated:
            found.setdefault((schema.domain, schema.name), []).append(schema)
    for versions in found.values():
        versions.sort(key=lambda schema: schema.since_version)
    return found


@functools.cache
def _replaced_at() -> dict[tuple[str, str, int], int]:
    """The version that ends each operator version, deprecation included."""
    every: dict[tuple[str, str], list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        every.setdefault((schema.domain, schema.name), []).append(schema.since_version)
    return {(*key, a): b for key, vs in every.items() for a, b in zip(sorted(vs), sorted(vs)[1:])}


def last_version(schema: onnx.defs.OpSchema) -> int:
    """The last version of the domain in which this version of the operator holds."""
    newest = onnx.defs.onnx_opset_version() if schema.domain == "" else schema.since_version
    return _replaced_at().get((schema.domain, schema.name, schema.since_version), newest + 1) - 1


def constraints(schema: onnx.defs.OpSchema) -> dict[str, list[str]]:
    return {t.type_param_str: sorted(t.allowed_type_strs) for t in schema.type_constraints}


@dataclasses.dataclass
class Question:
    """One node with its inputs in one version and choice of types."""

    schema: onnx.defs.OpSchema
    opset: int
    inputs: list[Any]
    kinds: list[str | None]
    attrs: dict[str, Any]
    outputs: list[str]
    out_kinds: list[str]
    constant: set[int] = dataclasses.field(default_factory=set)
    captured: dict[str, tuple[Any, str]] = dataclasses.field(default_factory=dict)
    before: Sequence[tuple[str, list[str], list[str]]] = ()

    def widened(self, floats: str, *, double: bool = False) -> Question:
        """With other floating-point types; those of 64 bits stay unless `double` says otherwise."""
        kinds = [kind and types.widened(kind, floats, double) for kind in self.kinds]
        return dataclasses.replace(
            self,
            inputs=[x if k is None else types.convert(x, k) for x, k in zip(self.inputs, kinds)],
            kinds=kinds,
            out_kinds=[types.widened(kind, floats, double) for kind in self.out_kinds],
        )

    def model(self, *, symbolic: bool = False, constant: set[int] | None = None) -> onnx.ModelProto:
        constant = self.constant if constant is None else constant
        names, infos, initializers = [], [], []
        for i, (x, kind) in enumerate(zip(self.inputs, self.kinds)):
            names.append("" if kind is None else f"x{i}")
            if kind is None:
                continue
            if i in constant:
                initializers.append(numpy_helper.from_array(x, f"x{i}"))
                continue
            shape = None
            if kind.startswith("tensor"):
                shape = [f"n{i}_{axis}" for axis in range(x.ndim)] if symbolic else list(x.shape)
            infos.append(helper.make_value_info(f"x{i}", types.proto(kind, shape)))
        for name, (value, kind) in self.captured.items():
            shape = list(value.shape) if kind.startswith("tensor") and not symbolic else None
            infos.append(helper.make_value_info(name, types.proto(kind, shape)))
        node = helper.make_node(
            self.schema.name, names, self.outputs, name="node", domain=self.schema.domain, **self.attrs
        )
        wanted = [
            helper.make_value_info(name, types.proto(kind)) for name, kind in zip(self.outputs, self.out_kinds) if name
        ]
        nodes = [helper.make_node(*ahead) for ahead in self.before] + [node]
        graph = helper.make_graph(nodes, "case", infos, wanted, initializers)
        newest = onnx.defs.onnx_opset_version()
        opsets = [helper.make_opsetid("", self.opset if self.schema.domain == "" else min(newest, NEWEST_PEER_OPSET))]
        if self.schema.domain:
            opsets.append(helper.make_opsetid(self.schema.domain, self.opset))
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def feeds(self, constant: set[int] | None = None) -> dict[str, Any]:
        constant = self.constant if constant is None else constant
        given = {
            f"x{i}": x
            for i, (x, kind) in enumerate(zip(self.inputs, self.kinds))
            if kind is not None and i not in constant
        }
        return {**given, **{name: value for name, (value, _) in self.captured.items()}}


def _formal(ports: Sequence[Any], i: int) -> Any:
    return ports[min(i, len(ports) - 1)]


def _kinds_of(ports: Sequence[Any], count: int, kinds: dict[str, str]) -> list[str]:
    given = []
    for i in range(count):
        type_str = _formal(ports, i).type_str
        given.append(kinds.get(type_str, type_str))
    return given


def _question(schema: onnx.defs.OpSchema, opset: int, node: Node, kinds: dict[str, str]) -> Question:
    inputs = list(node.inputs)
    if node.kinds is not None:
        in_kinds = list(node.kinds)
    else:
        in_kinds = [
            None if x is None else kind for x, kind in zip(inputs, _kinds_of(schema.inputs, len(inputs), kinds))
        ]
    if isinstance(node.outputs, int):
        outputs = [f"y{i}" for i in range(node.outputs)]
    else:
        outputs = [name and f"y{i}" for i, name in enumerate(node.outputs)]
    out_kinds = _kinds_of(schema.outputs, len(outputs), kinds)
    for i, kind in node.out_kinds.items():
        out_kinds[i] = kind
    return Question(
        schema,
        opset,
        inputs,
        in_kinds,
        dict(node.attrs),
        outputs,
        out_kinds,
        set(node.constant),
        node.captured,
        node.before,
    )


class Mismatch(AssertionError):
    """Sardonyx and a judge disagree, or Sardonyx cannot run what the schema allows."""


class Case:
    """One drawn node of one operator version.

    `pinned` fixes the kinds of some type variables; the others are drawn. Raises Reject where no node can be drawn.
    """

    def __init__(
        self, schema: onnx.defs.OpSchema, pinned: dict[str, str], seed: tuple[int, ...], *, small: bool = False
    ) -> None:
        self.schema = schema
        self.seed = seed
        self.small = small
        rng = np.random.default_rng((*seed, 1))
        kinds = {
            name: pinned.get(name) or allowed[int(rng.integers(len(allowed)))]
            for name, allowed in constraints(schema).items()
        }
        draw = Draw(schema, kinds, seed, small, frozenset(pinned))
        self.node = RECIPES[schema.domain, schema.name](draw)
        self.kinds = draw.kinds
        opset = int(rng.choice([schema.since_version, last_version(schema)]))
        self.question = _question(schema, opset, self.node, draw.kinds)
        self.rng = rng

    def name(self) -> str:
        return f"{self.schema.name}-{self.schema.since_version}"

    def size(self) -> int:
        return sum(np.asarray(x, object).size for x in self.question.inputs if x is not None)

    def describe(self) -> str:
        """The model as text and its inputs."""
        lines = [onnx.printer.to_text(self.question.model())]
        with np.printoptions(threshold=200, linewidth=120):
            for i, x in enumerate(self.question.inputs):
                if x is not None:
                    lines.append(f"x{i}: {self.question.kinds[i]} = {x!r}")
        return "\n".join(lines)

    def check(self) -> None:
        """Runs and compares; raises Mismatch."""
        expected = [] if self.node.check else list(self.expected())
        if not expected and not self.node.check:
            raise Mismatch(f"{self.name()}: no judge for {self.kinds}: {'; '.join(self.refusals)}")
        for level, constant, symbolic in self.variants():
            what = f"{level}, initializers {sorted(constant)}, {'symbolic' if symbolic else 'fixed'} shapes"
            try:
                model = self.question.model(symbolic=symbolic, constant=constant)
                found = session(model, level).run(None, self.question.feeds(constant))
            except Exception as error:
                raise Mismatch(f"{self.name()} {self.kinds} ({what}): {error}") from error
            agree, differ = [], []
            if self.node.check:
                try:
                    self.node.check(*self.question.inputs, found)
                except AssertionError as error:
                    differ.append(str(error))
            for judge, outputs in expected:
                try:
                    self._compare(found, outputs, judge)
                    agree.append(judge)
                except AssertionError as error:
                    differ.append(str(error))
            if differ:
                friends = f" [agrees with {', '.join(agree)}]" if agree else ""
                raise Mismatch(f"{self.name()} {self.kinds} ({what}){friends}: {differ[0]}")

    def variants(self) -> Iterator[tuple[str, set[int], bool]]:
        """Level, inputs that are initializers, symbolic shapes: the raw graph, and one more by chance."""
        fixed = set(self.node.constant)
        yield "ORT_DISABLE_ALL", fixed, False
        free = [
            i
            for i, kind in enumerate(self.question.kinds)
            if kind and kind.startswith("tensor") and i not in self.node.variable
        ]
        some = fixed | {i for i in free if self.rng.random() < 0.5}
        yield [
            ("ORT_ENABLE_BASIC", some, False),
            ("ORT_ENABLE_ALL", some, True),
            ("ORT_ENABLE_ALL", fixed | set(free), False),
            ("ORT_DISABLE_ALL", fixed, True),
        ][int(self.rng.integers(4))]

    def expected(self) -> Iterator[tuple[str, list[Any]]]:
        """The judges that can answer, with their outputs in the types of the case's."""
        self.refusals: list[str] = []
        node = self.node
        if node.expect is not None:
            with np.errstate(all="ignore"):
                answer = node.expect(*copy.deepcopy(self.question.inputs))
            outputs = list(answer) if isinstance(answer, (list, tuple)) else [answer]
            yield "expect", self._narrowed(outputs, self.question)
            if node.only:
                return
        question = self.question
        if node.like is not None:
            question = self._restated(node.like)
        if node.moves and question.kinds[0] != "tensor(float)":
            question = self._numbered(question)
        found = False
        for judge, outputs in self._judged(question):
            found = True
            yield judge, outputs
        if found or node.expect is not None or not node.stable or node.like is not None:
            return
        newest = schemas()[self.schema.domain, self.schema.name][-1]
        like = dataclasses.replace(
            node, attrs={k: v for k, v in node.attrs.items() if k in newest.attributes}, version=newest.since_version
        )
        yield from self._judged(self._restated(like))

    def _judged(self, question: Question) -> Iterator[tuple[str, list[Any]]]:
        outputs = self._ask("reference", self._reference, question)
        if outputs is not None:
            yield "reference", outputs
        outputs = self._ask("onnxruntime", self._peer, question)
        if outputs is not None:
            yield "onnxruntime", outputs
        elif self.node.widen and any(kind and types.element(kind) == "double" for kind in question.kinds):
            outputs = self._ask("onnxruntime", self._single_peer, question)
            if outputs is not None:
                yield "onnxruntime in f32", outputs

    def _numbered(self, question: Question) -> Question:
        """The question with numbers from 1 on in place of the elements that it moves."""
        x = question.inputs[0]
        numbers = np.arange(1, x.size + 1, dtype=np.float32).reshape(x.shape)
        kinds = ["tensor(float)", *question.kinds[1:]]
        return dataclasses.replace(
            question, inputs=[numbers, *question.inputs[1:]], kinds=kinds, out_kinds=["tensor(float)"]
        )

    def _restated(self, like: Node) -> Question:
        versions = schemas()[self.schema.domain, like.op or self.schema.name]
        schema = next(s for s in reversed(versions) if like.version is None or s.since_version <= like.version)
        kinds = like.kinds
        if kinds is None:
            known = {id(x): k for x, k in zip(self.question.inputs, self.question.kinds)}
            formal = _kinds_of(schema.inputs, len(like.inputs), self.kinds)
            kinds = [None if x is None else known.get(id(x), k) for x, k in zip(like.inputs, formal)]
        like = dataclasses.replace(like, kinds=kinds, outputs=self.node.outputs)
        question = _question(schema, last_version(schema), like, self.kinds)
        question.out_kinds = list(self.question.out_kinds)
        return question

    def _ask(self, judge: str, ask: Callable[[Question], list[Any]], question: Question) -> list[Any] | None:
        reason = notes.distrusted(judge, question.schema.name, question.opset, self)
        if reason:
            self.refusals.append(f"{judge}: {reason}")
            return None
        try:
            with np.errstate(all="ignore"):
                return self._narrowed(ask(question), question)
        except Exception as error:
            self.refusals.append(f"{judge}: {error!r:.300}")
            return None

    def _reference(self, question: Question) -> list[Any]:
        if self.node.widen:
            question = question.widened("double")
        question = dataclasses.replace(question, inputs=copy.deepcopy(question.inputs))
        return list(ReferenceEvaluator(question.model()).run(None, question.feeds()))

    def _peer(self, question: Question) -> list[Any]:
        return self._run_peer(question.widened("float") if self.node.widen else question)

    def _single_peer(self, question: Question) -> list[Any]:
        return self._run_peer(question.widened("float", double=True))

    def _run_peer(self, question: Question) -> list[Any]:
        import onnxruntime as ort

        if question.schema.domain == "" and question.opset > NEWEST_PEER_OPSET >= question.schema.since_version:
            question = dataclasses.replace(question, opset=NEWEST_PEER_OPSET)
        strange = {types.element(k) for k in [*question.kinds, *question.out_kinds] if k} - types.PEER_TYPES
        if strange:
            raise TypeError(f"{sorted(strange)} do not pass through NumPy")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        peer = ort.InferenceSession(question.model().SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(peer.run(None, question.feeds()))

    def _narrowed(self, outputs: list[Any], asked: Question) -> list[Any]:
        wanted = [kind for name, kind in zip(self.question.outputs, self.question.out_kinds) if name]
        assert len(outputs) == len(wanted), "a judge gives another number of outputs"
        if asked.kinds[:1] != self.question.kinds[:1] and self.node.moves:
            x = self.question.inputs[0].reshape(-1)
            zero = np.array("" if x.dtype == object else 0).astype(x.dtype)
            outputs = [np.concatenate([[zero], x]).astype(x.dtype)[outputs[0].astype(np.int64)]]
        return [y if types.split(kind)[0] == "map" else types.convert(y, kind) for y, kind in zip(outputs, wanted)]

    def _compare(self, found: list[Any], expected: list[Any], judge: str) -> None:
        wanted = [kind for name, kind in zip(self.question.outputs, self.question.out_kinds) if name]
        assert len(found) == len(expected), f"{len(found)} outputs, {judge} has {len(expected)}"
        for i, (y, e, kind) in enumerate(zip(found, expected, wanted)):
            scale = self.node.scale
            if isinstance(scale, (list, tuple)):
                scale = scale[i]
            single = judge.endswith("in f32") or (judge, self.schema.name) in notes.SINGLE
            node = dataclasses.replace(self.node, single=True) if single else self.node
            _compare_value(y, e, kind, node, 1.0 if scale is None else float(scale), f"output {i} by {judge}")


def _compare_value(found: Any, expected: Any, kind: str, node: Node, scale: float, what: str) -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict) and sorted(found) == sorted(expected), f"{what}: {found}, expected {expected}"
        for key, e in expected.items():
            value = types.dtype(kind)
            _compare_value(np.asarray(found[key], value), np.asarray(e, value), kind, node, scale, f"{what}[{key!r}]")
        return
    if isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), f"{what}: {found}, expected {expected}"
        for i, (y, e) in enumerate(zip(found, expected)):
            _compare_value(y, e, kind, node, scale, f"{what}[{i}]")
        return
    if expected is not None and node.off and types.is_integer(kind):
        y, e = np.asarray(found), np.asarray(expected)
        assert (y.shape, y.dtype) == (e.shape, e.dtype), what
        off = np.abs(y.astype(np.int64) - e.astype(np.int64)).max(initial=0)
        assert off <= node.off, f"{what}: off by {off}:\n{y}\nexpected\n{e}"
        return
    rtol = atol = None
    if types.is_float(kind) or types.is_complex(kind):
        exact = node.steps == 0 and not node.single
        arithmetic = "double" if types.element(kind) in ("double", "complex128") and not node.single else "float"
        step = max(node.steps, 1) * types.epsilon(arithmetic)
        own = 0.0
        if types.is_float(kind) and types.dtype(kind).itemsize < 4 and not exact:
            own = 1.01 * node.roundings * types.epsilon(kind)
        rtol = step + own
        atol = 0.0 if exact else (step + own * (node.roundings > 1)) * scale + _tiny(kind)
    if types.element(kind) == "string" and expected is not None:
        y, e = np.asarray(found, object), np.asarray(expected, object)
        assert y.shape == e.shape and y.tolist() == e.tolist(), f"{what}: {y!r}, expected {e!r}"
        return
    compare(found, expected, rtol=rtol, atol=atol, what=what)


def _tiny(kind: str) -> float:
    return {"float16": 6e-8}.get(types.element(kind), 1e-37)


def assignments(schema: onnx.defs.OpSchema) -> list[dict[str, str]]:
    """Pins that name every type of every type variable at least once."""
    return [{name: kind} for name, allowed in constraints(schema).items() for kind in allowed] or [{}]


def draw_case(schema: onnx.defs.OpSchema, pinned: dict[str, str], seed: tuple[int, ...], small: bool = False) -> Case:
    """The first case that can be drawn with these pins; raises Reject after many tries."""
    for attempt in range(60):
        try:
            return Case(schema, pinned, (*seed, attempt), small=small)
        except Reject:
            continue
    raise Reject(f"{schema.name}-{schema.since_version}: nothing can be drawn for {pinned}")

"""Export to older opsets: a node of every operator version, taken to every opset in which the operator was another.

`python -m tests.test_export_opsets` prints the table of what is blocked, tests/export_blocked.txt.
"""

from __future__ import annotations

import functools
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import sardonyx as sx
import tests.differential.recipes as recipes
from sardonyx.errors import InvalidArgument, NotImplemented
from tests.differential import notes
from tests.differential.case import Case, _compare_value, constraints, draw_case, last_version, schemas
from tests.differential.draw import Reject
from tests.ops.harness import session

assert recipes
OLDEST = 7
NEWEST = 27
BLOCKED = Path(__file__).with_name("export_blocked.txt")
# onnxruntime takes i32 starts of 2^31 - 1 for something else there.
PEER_IS_WRONG = {("Slice", 10), ("Slice", 11), ("Slice", 12)}
OPERATORS = sorted(name for domain, name in schemas() if domain == "")


@functools.cache
def blocked() -> dict[tuple[str, int, int], str]:
    """What is known to be blocked: operator, its version, the opset asked for."""
    table = {}
    for line in BLOCKED.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, version, opset, reason = line.split(" ", 3)
            table[name, int(version), int(opset)] = reason
    return table


def targets(name: str) -> list[int]:
    """The last opset of each older form of an operator, and the oldest opset of all."""
    every = {s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and s.name == name}
    return sorted({OLDEST, *(v - 1 for v in every if OLDEST < v <= NEWEST + 1)})


def cases(name: str) -> list[tuple[onnx.defs.OpSchema, Case]]:
    """One node of each version of an operator, of floats where it takes them."""
    drawn = []
    for schema in schemas()["", name]:
        if last_version(schema) <= OLDEST or notes.missing(schema):
            continue
        pins = {v: "tensor(float)" for v, allowed in constraints(schema).items() if "tensor(float)" in allowed}
        for pinned in (pins, {}):
            try:
                drawn.append((schema, draw_case(schema, pinned, (zlib.crc32(name.encode()), schema.since_version))))
                break
            except Reject:
                continue
    return drawn


def constants(case: Case) -> set[int]:
    """Inputs that are initializers: all but the first, as exporters write them."""
    kinds = case.question.kinds
    free = {i for i, kind in enumerate(kinds) if i > 0 and kind and kind.startswith("tensor")}
    return set(case.question.constant) | (free - set(case.node.variable))


def passes_checker(model: onnx.ModelProto) -> str:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def peer(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any] | None:
    """What onnxruntime answers; None where it does not run the model."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        answers = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(answers.run(None, feeds))
    except Exception:
        return None


def export_fault(case: Case, opset: int) -> tuple[str, str]:
    """("blocked", why), ("wrong", what) or ("", "")."""
    question = case.question
    model, feeds = question.model(constant=constants(case)), question.feeds(constants(case))
    try:
        report = sx.export(model, opset=opset)
    except NotImplemented as error:
        reason = re.sub(r"\s+", " ", str(error).split("\n")[1]).strip()
        return "blocked", reason.split("'node' ", 1)[-1]
    out = onnx.load_model_from_string(report.model)
    if (found := passes_checker(out)) and not passes_checker(model):
        return "wrong", found
    if {entry.domain: entry.version for entry in out.opset_import}.get("") != opset:
        return "wrong", f"imports {out.opset_import}"
    if case.node.check:
        return "", ""
    wanted = session(model, "ORT_DISABLE_ALL").run(None, feeds)
    answers = [session(out, "ORT_DISABLE_ALL").run(None, feeds)]
    theirs = None if (case.schema.name, opset) in PEER_IS_WRONG else peer(out, feeds)
    if theirs is not None and all(
        getattr(a, "dtype", None) == getattr(b, "dtype", None) for a, b in zip(theirs, wanted, strict=True)
    ):
        answers.append(theirs)
    kinds = [kind for name, kind in zip(question.outputs, question.out_kinds, strict=True) if name]
    for who, answer in zip(("sardonyx", "onnxruntime"), answers, strict=False):
        for y, e, kind in zip(answer, wanted, kinds, strict=True):
            try:
                _compare_value(y, e, kind, case.node, 10.0, who)
            except AssertionError as error:
                return "wrong", f"{who}: {error}\n{onnx.printer.to_text(out)}"
    return "", ""


@pytest.mark.parametrize("name", OPERATORS)
def test_every_form(name: str) -> None:
    faults = []
    for schema, case in cases(name):
        for opset in targets(name):
            if opset >= schema.since_version:
                continue
            kind, what = export_fault(case, opset)
            listed = blocked().get((name, schema.since_version, opset))
            if kind == "wrong":
                faults.append(f"{name}-{schema.since_version} at {opset}: {what:.1500}")
            elif (kind == "blocked") != (listed is not None):
                faults.append(
                    f"{name}-{schema.since_version} at {opset}: {what or 'no longer blocked'}; listed: {listed}"
                )
    assert not faults, "\n".join(faults)


def two_nodes() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Unique", ["x"], ["u"], name="first"),
        helper.make_node("Det", ["x"], ["d"], name="second"),
        helper.make_node("Relu", ["x"], ["r"], name="third"),
    ]
    x = helper.make_tensor_value_info("x", 1, [2, 2])
    outputs = [
        helper.make_tensor_value_info(name, 1, shape) for name, shape in (("u", [None]), ("d", []), ("r", [2, 2]))
    ]
    graph = helper.make_graph(nodes, "g", [x], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_all_blocking_nodes_are_listed() -> None:
    with pytest.raises(NotImplemented) as caught:
        sx.export(two_nodes(), opset=9)
    message = str(caught.value)
    assert "opset 9 cannot hold this model; 2 nodes stand in the way" in message
    assert "Unique 'first'" in message and "Det 'second'" in message and "third" not in message
    assert "from opset 11 on" in message


@pytest.mark.parametrize("opset", [6, 29, -1])
def test_opsets_that_cannot_be_written(opset: int) -> None:
    with pytest.raises(InvalidArgument, match="one from 7 to 28 expected"):
        sx.export(two_nodes(), opset=opset)


@pytest.mark.parametrize(
    ("opset", "ir_version"), [(28, 14), (23, 11), (21, 10), (19, 9), (15, 8), (12, 7), (11, 6), (10, 5), (9, 4), (7, 4)]
)
def test_ir_version_fits_the_opset(opset: int, ir_version: int) -> None:
    model = two_nodes()
    del model.graph.node[:2]
    del model.graph.output[:2]
    report = sx.export(model, opset=opset)
    assert (report.opsets, report.ir_version) == ({"": opset}, ir_version)


def test_names_are_kept_and_unique() -> None:
    graph = helper.make_graph(
        [helper.make_node("Gelu", ["x"], ["y"], name="act")],
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 3])],
        [helper.make_tensor_value_info("y", 1, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    out = onnx.load_model_from_string(sx.export(model, opset=13).model)
    names = [node.name for node in out.graph.node]
    assert "act" in names and len(set(names)) == len(names)
    assert [out.graph.input[0].name, out.graph.output[0].name] == ["x", "y"]
    x = np.linspace(-3, 3, 6, dtype=np.float32).reshape(2, 3)
    assert np.allclose(*(session(m, "ORT_ENABLE_ALL").run(None, {"x": x})[0] for m in (out, model)), atol=1e-6)


def main() -> None:
    print("# Operator, its version, opset asked for, and why it cannot be had; `python -m tests.test_export_opsets`.")
    for name in OPERATORS:
        for schema, case in cases(name):
            for opset in targets(name):
                if opset < schema.since_version:
                    kind, what = export_fault(case, opset)
                    if kind == "blocked":
                        print(name, schema.since_version, opset, what, flush=True)


if __name__ == "__main__":
    main()

"""Every operator behind one that does not say what it returns: the cases of ONNX's suite, their inputs made unknown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import onnx
import pytest
from onnx import helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

import sardonyx as sx

# A function may return None only for an output that is said to be optional.
EXCEPT = {"test_optional_has_element_empty_optional_input"}


@pytest.fixture(scope="module", autouse=True)
def _same() -> Iterator[None]:
    sx.register_operator("tests.unknown", "Same", lambda x: x)
    yield
    sx.unregister_operator("tests.unknown", "Same")


def rename_reads(nodes: list[onnx.NodeProto], names: dict[str, str]) -> None:
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                inner = {name: to for name, to in names.items() if name not in {port.name for port in body.input}}
                rename_reads(list(body.node), inner)


def with_unknown_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with each input handed through a function, and no types declared but those of the inputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    names = {port.name: f"{port.name} unknown" for port in graph.input}
    rename_reads(list(graph.node), names)
    for at, (name, to) in enumerate(names.items()):
        graph.node.insert(at, helper.make_node("Same", [name], [to], domain="tests.unknown"))
    for output in graph.output:
        output.ClearField("type")
    del graph.value_info[:]
    result.opset_import.append(helper.make_opsetid("tests.unknown", 1))
    return result


@pytest.mark.filterwarnings("ignore::RuntimeWarning:onnx")
def test_every_case_of_the_suite() -> None:
    ran, wrong = 0, []
    for case in load_model_tests(kind="node"):
        if case.model is None or not case.data_sets or case.name in EXCEPT:
            continue
        inputs, expected = case.data_sets[0]

        def answers(model: onnx.ModelProto, inputs=inputs, expected=expected, case=case) -> None:  # type: ignore[no-untyped-def]
            results = sx.InferenceSession(model).run(None, list(inputs))
            Runner.assert_similar_outputs(list(expected), results, case.rtol, case.atol)

        with contextlib.suppress(Exception):  # what fails anyhow is for test_backend.py to judge
            answers(case.model)
            try:
                answers(with_unknown_inputs(case.model))
                ran += 1
            except Exception as error:
                wrong.append(f"{case.name}: {error}")
    assert not wrong
    assert ran > 1500

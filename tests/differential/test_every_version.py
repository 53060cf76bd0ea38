"""Every version of every operator, with every type that its schema allows."""

from __future__ import annotations

import zlib

import onnx
import pytest

import tests.differential.recipes as recipes
from tests.differential import notes
from tests.differential.case import RECIPES, Mismatch, assignments, draw_case, schemas
from tests.differential.draw import Reject

assert recipes
VERSIONS = [schema for versions in schemas().values() for schema in versions]


def _name(schema: onnx.defs.OpSchema) -> str:
    return f"{schema.domain + '::' if schema.domain else ''}{schema.name}-{schema.since_version}"


@pytest.mark.parametrize("schema", VERSIONS, ids=_name)
def test_every_type(schema: onnx.defs.OpSchema) -> None:
    if notes.missing(schema):
        pytest.skip(notes.missing(schema))
    assert (schema.domain, schema.name) in RECIPES, "no recipe: add one under tests/differential/recipes"
    covered: set[tuple[str, str]] = set()
    failures = []
    for index, pinned in enumerate(assignments(schema)):
        ((variable, kind),) = pinned.items() or [("", "")]
        if (variable, kind) in covered or notes.impossible(schema, kind):
            continue
        try:
            case = draw_case(schema, pinned, (zlib.crc32(_name(schema).encode()), index))
            covered.update(case.kinds.items())
            case.check()
        except (Mismatch, Reject) as error:
            failures.append(str(error))
    if failures:
        pytest.fail(f"{len(failures)} failures\n" + "\n\n".join(f"{text:.1500}" for text in failures), pytrace=False)

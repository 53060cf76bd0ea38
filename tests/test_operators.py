"""The registry against the schemas of onnx, and the page that lists it."""

import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from sardonyx._core import operators

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = {(row["domain"], row["name"]): row for row in operators()}
# The importer makes them into something else than nodes; ImageDecoder is a Python function.
IMPORTED = {("", "Constant"), ("", "ImageDecoder"), ("ai.onnx.preview.training", "Gradient")}
TYPES = {
    "float": "f32", "double": "f64", "float16": "f16", "bfloat16": "bf16", "string": "str", "bool": "bool",
    "complex64": "c64", "complex128": "c128", "float4e2m1": "f4e2m1", "float6e2m3": "f6e2m3", "float6e3m2": "f6e3m2",
    "float8e4m3fn": "f8e4m3fn", "float8e4m3fnuz": "f8e4m3fnuz", "float8e5m2": "f8e5m2",
    "float8e5m2fnuz": "f8e5m2fnuz", "float8e8m0": "f8e8m0",
    **{f"{kind}int{bits}": f"{'u' if kind else 'i'}{bits}" for kind in ("", "u") for bits in (2, 4, 8, 16, 32, 64)},
}  # fmt: skip

SCHEMAS: dict[tuple[str, str], dict[int, onnx.defs.OpSchema]] = {}
for schema in onnx.defs.get_all_schemas_with_history():
    SCHEMAS.setdefault((schema.domain, schema.name), {})[schema.since_version] = schema
NODES = sorted(key for key in SCHEMAS if key not in IMPORTED)


def name(key: tuple[str, str]) -> str:
    return f"{key[0] or 'ai.onnx'}.{key[1]}"


@pytest.mark.parametrize("key", NODES, ids=name)
def test_versions(key: tuple[str, str]) -> None:
    row = REGISTRY[key]
    assert row["first_version"] == min(SCHEMAS[key])
    assert row["since_version"] in SCHEMAS[key]


@pytest.mark.parametrize("key", NODES, ids=name)
def test_types(key: tuple[str, str]) -> None:
    """Every element type that some version's schema allows at an input is one that the operator takes there."""
    schema = SCHEMAS[key][max(SCHEMAS[key])]
    for port, parameter in zip(REGISTRY[key]["inputs"], schema.inputs):
        if port["any_kind"]:
            continue
        named = {match[1] for kind in parameter.types if (match := re.fullmatch(r"tensor\((\w+)\)", kind))}
        missing = {TYPES[kind] for kind in named} - set(port["types"])
        assert not missing, f"input {parameter.name}"


def test_the_page_of_operators_is_true() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "operator_table.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

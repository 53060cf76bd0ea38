"""Writes docs/reference/operators.md, the table of operators, from the registry; `--check` only compares."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sardonyx._core import operators

if TYPE_CHECKING:
    from sardonyx._core import OperatorRow, PortRow

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "operators.md"

FAMILIES = {
    "floats": {"f16", "bf16", "f32", "f64"},
    "signed": {"i8", "i16", "i32", "i64"},
    "unsigned": {"u8", "u16", "u32", "u64"},
    "float8": {"f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz"},
    "narrow integers": {"i2", "u2", "i4", "u4"},
    "narrow floats": {"f4e2m1", "f6e2m3", "f6e3m2"},
    "complex": {"c64", "c128"},
}
OTHERS = {"bool", "str", "f8e8m0"}

DOMAINS = {
    "": "ai.onnx",
    "ai.onnx.ml": "ai.onnx.ml",
    "ai.onnx.preview": "ai.onnx.preview",
    "ai.onnx.preview.training": "ai.onnx.preview.training",
    "com.microsoft": "com.microsoft",
}

# What the importer turns into something else than a node, and what is a Python function.
IMPORTED: dict[str, list[OperatorRow]] = {
    "": [
        {
            "name": "Constant", "domain": "", "first_version": 1, "since_version": 25,
            "attributes": [], "inputs": [], "gradient": "zero", "gradient_note": None,
            "outputs": [{"name": "output", "variable": "T", "presence": "required", "any_kind": False,
                         "types": sorted(set().union(*FAMILIES.values()) | OTHERS)}],
        },
        {
            "name": "ImageDecoder", "domain": "", "first_version": 20, "since_version": 20,
            "attributes": ["pixel_format"], "gradient": "zero", "gradient_note": None,
            "inputs": [{"name": "encoded_stream", "variable": "T1", "presence": "required", "any_kind": False,
                        "types": ["u8"]}],
            "outputs": [],
        },
    ],
    "ai.onnx.preview.training": [
        {
            "name": "Gradient", "domain": "ai.onnx.preview.training", "first_version": 1, "since_version": 1,
            "attributes": ["xs", "y", "zs"], "gradient": "rule", "gradient_note": None,
            "inputs": [{"name": "inputs", "variable": "T", "presence": "variadic", "any_kind": False,
                        "types": ["f16", "bf16", "f32", "f64"]}],
            "outputs": [],
        }
    ],
}  # fmt: skip

HEAD = """# Operators

Generated from the registry by `tools/operator_table.py`; the tests compare the two.

Every version of an operator from the first to the newest is read; older ones are rewritten to the newest meaning when
a model is loaded. *Types* lists the element types of the first input (of the output where there is no input); further
inputs with types of their own follow, after their names. Families: *floats* f16, bf16, f32, f64; *signed* i8 to i64;
*unsigned* u8 to u64; *float8* e4m3fn, e4m3fnuz, e5m2, e5m2fnuz; *narrow integers* of 2 and 4 bits; *narrow floats* of 4
and 6 bits. *Gradient*: "rule" where the operator can be differentiated, "zero" where its output is no floating-point
number, constant, or moves in steps, "as imported" where a model is read with other operators in its place, whose rules
hold, "-" where there is none; those of ai.onnx say why when they are asked.
"""


def summary(types: list[str]) -> str:
    """The element types in words, families named where they are whole."""
    left = set(types)
    everything = set().union(*FAMILIES.values()) | OTHERS
    if left >= everything:
        return "all"
    if left >= everything - {"str"}:
        return "all but str"
    words = []
    for name, family in FAMILIES.items():
        if left >= family:
            words.append(name)
            left -= family
    words += [name for name in types if name in left]
    return ", ".join(words)


def types_of(row: OperatorRow) -> str:
    ports: list[PortRow] = row["inputs"] or row["outputs"]
    parts = []
    seen = set()
    for i, port in enumerate(ports):
        text = "any value" if port["any_kind"] else summary(port["types"])
        key = port["variable"] or port["name"]
        if key in seen:
            continue
        seen.add(key)
        parts.append(text if i == 0 else f"`{port['name']}`: {text}")
    return "; ".join(parts)


def versions_of(row: OperatorRow) -> str:
    first, newest = row["first_version"], row["since_version"]
    return str(newest) if first == newest else f"{first} - {newest}"


def page() -> str:
    rows = operators()
    lines = [HEAD]
    for domain, title in DOMAINS.items():
        chosen = [row for row in rows if row["domain"] == domain] + IMPORTED.get(domain, [])
        chosen.sort(key=lambda row: row["name"])
        lines.append(f"## {title}: {len(chosen)}\n")
        lines.append("| operator | versions | types | gradient |")
        lines.append("|---|---|---|---|")
        for row in chosen:
            gradient = {"none": "-", "imported": "as imported"}.get(row["gradient"], row["gradient"])
            lines.append(f"| {row['name']} | {versions_of(row)} | {types_of(row)} | {gradient} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 when the page is out of date")
    if parser.parse_args().check:
        if PAGE.exists() and PAGE.read_text() == page():
            return 0
        print(f"{PAGE.name} is out of date: run python tools/operator_table.py", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())

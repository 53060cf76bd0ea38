"""Writes cpp/ops/schema_history.def: ports, types and attributes of every operator version since opset 7."""

from __future__ import annotations

import re
from pathlib import Path

import onnx

OLDEST = {"": 7, "ai.onnx.ml": 1}
TARGET = Path(__file__).resolve().parent.parent / "cpp" / "ops" / "schema_history.def"

# Names that type strings use where TensorProto's are others.
NAMES = {"float": "FLOAT", "double": "DOUBLE"}
KINDS = ("tensor", "seq(tensor", "optional(tensor", "optional(seq(tensor", "map", "seq(map")


def number(name: str) -> int:
    """The number of an element type."""
    return int(onnx.TensorProto.DataType.Value(NAMES.get(name, name.upper())))


def masks(allowed: set[str]) -> tuple[int, ...]:
    """A set of types as a bit mask of element types for each kind; for maps, of the value types."""
    found = dict.fromkeys(KINDS, 0)
    for text in allowed:
        kind, element = re.fullmatch(r"(.*)\(([\w, ()]*?)\)+", text).groups() if "map" not in text else ("", "")
        if "map" in text:
            key, element = re.search(r"map\((\w+), ?(?:tensor\()?(\w+)", text).groups()
            kind = "seq(map" if text.startswith("seq") else "map"
            element = element if key == "int64" else "string"
        found[kind] |= 1 << number(element)
    return tuple(found[kind] for kind in KINDS)


def tied(schema: onnx.defs.OpSchema, variable: str) -> bool:
    """Whether several values of a node have the variable's type."""
    ports = [port for port in (*schema.inputs, *schema.outputs) if port.type_str == variable]
    return len(ports) > 1 or any(port.option.name == "Variadic" and port.is_homogeneous for port in ports)


def ports(schema: onnx.defs.OpSchema, outputs: bool, sets: dict[tuple[int, ...], int]) -> str:
    """One word for each port."""
    allowed = {t.type_param_str: set(t.allowed_type_strs) for t in schema.type_constraints}
    ties = [name for name in allowed if tied(schema, name)]
    words = []
    for port in schema.outputs if outputs else schema.inputs:
        key = masks(allowed.get(port.type_str, {port.type_str}))
        suffix = {"Single": "", "Optional": "?", "Variadic": "*" if port.is_homogeneous else "~"}
        tie = chr(ord("a") + ties.index(port.type_str)) if port.type_str in ties else ""
        words.append(f"{sets.setdefault(key, len(sets))}{tie}{suffix[port.option.name]}")
    return " ".join(words)


def main() -> int:
    sets: dict[tuple[int, ...], int] = {}
    rows: list[str] = []
    versions: dict[tuple[str, str], list[onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain in OLDEST:
            versions.setdefault((schema.domain, schema.name), []).append(schema)
    for (domain, name), schemas in sorted(versions.items()):
        schemas.sort(key=lambda schema: schema.since_version)
        following = [schema.since_version for schema in schemas[1:]] + [1000]
        for schema, until in zip(schemas, following):
            if until <= OLDEST[domain]:
                continue
            attributes = [f"{key}!" if value.required else key for key, value in sorted(schema.attributes.items())]
            inputs = "-" if schema.deprecated else ports(schema, False, sets)
            texts = (inputs, "" if schema.deprecated else ports(schema, True, sets), " ".join(attributes))
            quoted = ", ".join(f'"{text}"' for text in texts)
            rows.append(f'SX_SCHEMA("{domain}", "{name}", {schema.since_version}, {quoted})')
    lines = [
        "// Ports, types and attributes of operator versions; written by tools/schema_history.py.",
        "// SX_TYPES(set number, masks of element types: " + ", ".join(f"{kind}" for kind in KINDS) + ")",
        "// SX_SCHEMA(domain, operator, version, inputs, outputs, attributes): a port is the number of its set, a",
        "// letter where it has the same type as others of that letter, ? where it is optional, * where it is",
        "// variadic and ~ where such a one mixes types. Inputs are - where the version ends the operator; ! marks an",
        "// attribute that must be given.",
    ]
    lines += [f"SX_TYPES({i}, {', '.join(hex(mask) for mask in key)})" for key, i in sets.items()]
    TARGET.write_text("\n".join(lines + rows) + "\n")
    print(f"{len(sets)} sets of types, {len(rows)} operator versions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What a session tells about its model: inputs and outputs, metadata, and which node runs where."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ModelMetadata", "NodeArg", "NodePlacement"]


@dataclass(frozen=True, repr=False)
class NodeArg:
    """An input or output of a model.

    `type` is spelt as in onnxruntime, `tensor(float)`; `shape` lists integers, names of symbolic extents, and None for
    extents that are not known. A shape of [] is that of a scalar, or not known at all.
    """

    name: str
    type: str
    shape: list[int | str | None]

    def __str__(self) -> str:
        return f"NodeArg(name='{self.name}', type='{self.type}', shape={self.shape})"

    __repr__ = __str__


@dataclass(frozen=True)
class ModelMetadata:
    """What the model says of itself.

    Attributes:
        version: `model_version`; 0 where there is none.
        ir_version, opsets: the format's version, and those of operators by domain ("" is ai.onnx); not in onnxruntime.
    """

    custom_metadata_map: dict[str, str] = field(default_factory=dict)
    description: str = ""
    domain: str = ""
    graph_description: str = ""
    graph_name: str = ""
    producer_name: str = ""
    version: int = 0
    producer_version: str = ""
    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NodePlacement:
    """Where one node of the optimised graph runs.

    Attributes:
        name, op: the node and its operator; fused nodes have the domain `sardonyx`.
        provider: "CPUExecutionProvider".
        kernel: the one chosen for the latest shapes; "" before the first run.
        reason: why there.
    """

    name: str
    op: str
    provider: str
    kernel: str
    reason: str

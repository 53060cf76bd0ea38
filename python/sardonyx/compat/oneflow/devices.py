"""Names of devices: the CPU, and a clear answer for all others."""

from __future__ import annotations

from sardonyx.errors import InvalidArgument

__all__ = ["device", "require_cpu"]


def require_cpu(name: object) -> None:
    """Raises InvalidArgument unless `name` stands for the CPU or is None."""
    if name is not None and str(name).split(":")[0] != "cpu":
        raise InvalidArgument(f"device '{name}' is not available: Sardonyx runs on 'cpu'")


class device:
    """The CPU.

    Example:
        >>> device("cpu").type
        'cpu'
    """

    def __init__(self, type: str, index: int = 0) -> None:
        require_cpu(type)
        self.type, self.index = "cpu", index

    def __str__(self) -> str:
        return self.type

    def __repr__(self) -> str:
        return f"device(type='{self.type}', index={self.index})"

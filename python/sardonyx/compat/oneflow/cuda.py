"""What programs ask before they choose a device."""

from __future__ import annotations

__all__ = ["device_count", "is_available"]


def is_available() -> bool:
    """False: graphs run on the CPU."""
    return False


def device_count() -> int:
    """None."""
    return 0

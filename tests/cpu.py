"""What the CPU can do, found without asking the code under test."""

from __future__ import annotations

import os
from pathlib import Path


def has_bf16_products() -> bool:
    """Whether kernels may multiply bfloat16: the CPU has AVX512_BF16 and no lower tier is asked for."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    return "avx512_bf16" in flags and os.environ.get("SARDONYX_ISA", "avx512_bf16") == "avx512_bf16"

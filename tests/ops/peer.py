"""Cases judged by onnxruntime: operators that the ONNX reference lacks, or where models rely on that runtime."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.ops.harness import Case

# The newest version of the standard domain that the peer accepts.
PEER_OPSET = 21


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def mask(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Zeros and ones with a one in every row."""
    found = rng.integers(0, 2, size=shape).astype(np.int32)
    found[..., 0] = 1
    return found


@dataclasses.dataclass
class PeerCase(Case):
    """A case whose outputs are those of onnxruntime unless `expect` gives them.

    `domain` is that of onnxruntime's own operators by default.
    """

    domain: str = "com.microsoft"

    def expected(self) -> list[Any]:
        if self.expect is not None:
            return super().expected()
        ort = pytest.importorskip("onnxruntime")
        model = self.model(initializers=True, symbolic=False)
        for entry in model.opset_import:
            if entry.domain == "":
                entry.version = min(entry.version, PEER_OPSET)
        return ort.InferenceSession(model.SerializeToString()).run(None, self.feeds(initializers=True))

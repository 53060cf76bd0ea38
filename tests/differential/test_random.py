"""Random nodes of all operators, the same in every run; python -m tests.differential.fuzz draws others."""

from __future__ import annotations

import pytest

from tests.differential.fuzz import run

BATCHES, NODES = 16, 200


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_nodes(batch: int) -> None:
    done, reports = run(seed=batch, draws=NODES)
    if reports:
        pytest.fail("\n".join(reports), pytrace=False)
    assert done == NODES

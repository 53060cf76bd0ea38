"""The examples of docstrings do what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import sardonyx.compat.flowvision.models
import sardonyx.compat.oneflow
import sardonyx.compat.singa
import sardonyx.graph
import sardonyx.nn

# Whose examples need no file; and packages, all of whose examples run.
SINGLE = [
    *("backend", "losses", "operators", "optim", "ortvalue", "runtime"),
    *("graph.eager", "graph.executor", "graph.op", "graph.tensor"),
]
MODULES = [f"sardonyx.{name}" for name in SINGLE] + [
    name
    for package in (sardonyx.nn, sardonyx.compat.flowvision.models, sardonyx.compat.oneflow, sardonyx.compat.singa)
    for name in (package.__name__, *(m.name for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")))
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    names = {"np": np, "sx": sardonyx}
    for package in (sardonyx.graph, sardonyx.nn):
        names |= {k: getattr(package, k) for k in package.__all__}
    module = importlib.import_module(name)
    found = doctest.testmod(module, extraglobs={k: v for k, v in names.items() if not hasattr(module, k)})
    assert not found.failed

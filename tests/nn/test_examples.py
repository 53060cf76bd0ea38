"""The examples of docstrings do what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import sardonyx.compat.flowvision.models
import sardonyx.compat.oneflow
import sardonyx.nn

MODULES = [
    name
    for package in (sardonyx.nn, sardonyx.compat.flowvision.models, sardonyx.compat.oneflow)
    for name in (package.__name__, *(m.name for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")))
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    names = {"np": np, **{k: getattr(sardonyx.nn, k) for k in sardonyx.nn.__all__}}
    module = importlib.import_module(name)
    found = doctest.testmod(module, extraglobs={k: v for k, v in names.items() if not hasattr(module, k)})
    assert not found.failed

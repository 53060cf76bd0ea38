"""Every module of the package can be the first that a program imports."""

import pkgutil
import subprocess
import sys

import pytest

import sardonyx

MODULES = [module.name for module in pkgutil.iter_modules(sardonyx.__path__, "sardonyx.") if "__" not in module.name]


@pytest.mark.parametrize("module", MODULES)
def test_it_may_come_first(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

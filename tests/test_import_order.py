"""Every module of the package can be the first that a program imports, and no modules import each other in a circle."""

import ast
import graphlib
import pkgutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

import sardonyx

MODULES = [module.name for module in pkgutil.iter_modules(sardonyx.__path__, "sardonyx.") if "__" not in module.name]


@pytest.mark.parametrize("module", MODULES)
def test_it_may_come_first(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def imports(source: str, known: set[str]) -> set[str]:
    """The modules that a file names in any import, also in one within a function; the package itself does not count."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= parts & known or {node.module}
    return found & known


def test_no_circle_of_imports() -> None:
    walk = pkgutil.walk_packages(sardonyx.__path__, "sardonyx.", onerror=lambda name: None)
    files = {name: find_spec(name).origin for name in (module.name for module in walk) if "__main__" not in name}
    known = {name for name, file in files.items() if file and file.endswith(".py")}
    tied = {}
    for name in known:
        with open(files[name], encoding="utf-8") as source:
            tied[name] = imports(source.read(), known) - {name}
    assert len(tied) > 90
    graphlib.TopologicalSorter(tied).prepare()  # raises CycleError, which names the circle

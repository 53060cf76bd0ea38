"""Prints what [build-system] of pyproject.toml requires, one requirement to a line, for pip install --requirement."""

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["build-system"]["requires"], sep="\n")

"""Checks the layout of the tree: who includes whom, what a file starts with, how long it is, and where it lies."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

MAX_LINES = 700

# What the sources of each folder of cpp/ may include besides their own folder.
BELOW_OPS = ("base", "tensor", "ir")
BELOW_PLAN = (*BELOW_OPS, "ops", "onnx", "passes", "autodiff")
MAY_INCLUDE: dict[str, tuple[str, ...]] = {
    "base": (),
    "kernels": ("base",),
    "tensor": ("base",),
    "ir": ("base", "tensor"),
    "ops": (*BELOW_OPS, "kernels"),
    "onnx": (*BELOW_OPS, "ops", "autodiff"),
    "passes": (*BELOW_OPS, "ops"),
    "autodiff": (*BELOW_OPS, "ops"),
    "backend": BELOW_OPS,
    "cuda": (*BELOW_OPS, "backend"),
    "plan": (*BELOW_PLAN, "backend"),
    "bindings": (*BELOW_PLAN, "backend", "plan"),
}

TOP_LEVEL_FILES = {
    ".clang-format",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CMakeLists.txt",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
}
FOLDERS = (
    ".ci/",
    *(f"cpp/{name}/" for name in MAY_INCLUDE),
    "bench/",
    "examples/",
    "docs/",
    "licenses/",
    "python/sardonyx/",
    "tests/",
    "tools/",
)

CPP_SUFFIXES = {".cpp", ".h", ".hpp", ".cu", ".cuh"}
COMMENT_STARTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CPP_SUFFIXES, ("// ",)),
    ".def": ("// ",),
    ".py": ('"""', 'r"""', "# "),
    ".pyi": ('"""', "# "),
    ".cmake": ("# ",),
    ".md": ("# ",),
    ".sh": ("# ",),
    ".toml": ("# ",),
    ".yml": ("# ",),
}
COMMENT_STARTS_BY_NAME = {"CMakeLists.txt": ("# ",), "Makefile": ("# ",), ".clang-format": ("# ",), "run": ("# ",)}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def check_place(path: str) -> list[str]:
    """Says whether `path`, relative to the root, lies in a folder of the layout."""
    if path in TOP_LEVEL_FILES or path.startswith(FOLDERS):
        return []
    return [f"{path}: lies outside the layout; move it under one of {', '.join(FOLDERS)}"]


def check_first_line(path: str, text: str) -> list[str]:
    """Says whether a source file's first line (after a #! line) is a comment."""
    name = Path(path).name
    starts = COMMENT_STARTS_BY_NAME.get(name) or COMMENT_STARTS.get(Path(path).suffix)
    if starts is None:
        return []
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        del lines[0]
    if lines and lines[0].startswith(starts):
        return []
    return [f"{path}:1: the first line must be a comment that says what the file is; start it with {starts[0].strip()}"]


def check_length(path: str, text: str) -> list[str]:
    """Says whether a source file is short enough to be read in one go."""
    lines = text.count("\n")
    if Path(path).suffix not in {*CPP_SUFFIXES, ".py"} or lines <= MAX_LINES:
        return []
    return [f"{path}: {lines} lines; split it by subject into files of at most {MAX_LINES}"]


def check_includes(path: str, text: str) -> list[str]:
    """Says whether a C++ source under cpp/ includes only what its folder may see."""
    parts = Path(path).parts
    if parts[0] != "cpp" or Path(path).suffix not in {*CPP_SUFFIXES, ".def"} or parts[1] not in MAY_INCLUDE:
        return []
    folder = parts[1]
    problems = []
    for match in INCLUDE.finditer(text):
        included = match.group(1)
        line = text.count("\n", 0, match.start(1)) + 1
        target = included.split("/")[0]
        if target not in MAY_INCLUDE:
            problems.append(f'{path}:{line}: "{included}" does not start at cpp/; write the path relative to cpp/')
        elif target != folder and target not in MAY_INCLUDE[folder]:
            allowed = ", ".join((folder, *MAY_INCLUDE[folder]))
            problems.append(f'{path}:{line}: {folder} may not include "{included}"; it sees {allowed}')
    return problems


def check_file(root: Path, path: str) -> list[str]:
    """Returns all that is wrong with the file at `path`, relative to `root`."""
    problems = check_place(path)
    data = (root / path).read_bytes()
    if b"\0" in data:
        return problems
    text = data.decode(errors="replace")
    return problems + check_first_line(path, text) + check_length(path, text) + check_includes(path, text)


def files_of(root: Path) -> list[str]:
    """Returns the files that git tracks or would take, relative to `root`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    found = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [path for path in sorted(set(found.split("\0"))) if path and (root / path).is_file()]


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    files = files_of(root)
    problems = [problem for path in files for problem in check_file(root, path)]
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"layout: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

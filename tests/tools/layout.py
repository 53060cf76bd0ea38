"""The layout check: each rule on a file that keeps it and on one that breaks it."""

from pathlib import Path

import pytest

from tools import check_layout


@pytest.mark.parametrize(
    ("path", "included"),
    [
        ("cpp/kernels/gemm/gemm.cpp", "base/cpu.h"),
        ("cpp/kernels/gemm/gemm.cpp", "kernels/gemm/gemm.h"),
        ("cpp/ops/conv.cpp", "kernels/conv/conv.h"),
        ("cpp/plan/plan.cpp", "autodiff/gradient.h"),
        ("cpp/bindings/session.cpp", "plan/executable.h"),
    ],
)
def test_includes_downwards_are_fine(path: str, included: str) -> None:
    assert check_layout.check_includes(path, f'// File.\n#include "{included}"\n') == []


@pytest.mark.parametrize(
    ("path", "included", "reason"),
    [
        ("cpp/base/shape.cpp", "tensor/tensor.h", "base may not include"),
        ("cpp/kernels/rows.cpp", "ir/graph.h", "kernels may not include"),
        ("cpp/ir/graph.cpp", "ops/registry.h", "ir may not include"),
        ("cpp/ops/conv.cpp", "plan/plan.h", "ops may not include"),
        ("cpp/passes/fuse.cpp", "onnx/import.h", "passes may not include"),
        ("cpp/backend/cpu/cpu.cpp", "ops/registry.h", "backend may not include"),
        ("cpp/ir/graph.cpp", "graph.h", "relative to cpp/"),
    ],
)
def test_other_includes_are_found(path: str, included: str, reason: str) -> None:
    problems = check_layout.check_includes(path, f'// File.\n#include <vector>\n#include "{included}"\n')
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:3: ")
    assert reason in problems[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cpp/base/shape.h", "// Shapes.\n#pragma once\n"),
        ("python/sardonyx/cli.py", '"""The command line."""\n'),
        (".ci/run", "#!/usr/bin/env bash\n# Checks a clone.\n"),
        ("python/sardonyx/py.typed", ""),
    ],
)
def test_a_first_line_that_says_what_the_file_is(path: str, text: str) -> None:
    assert check_layout.check_first_line(path, text) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cpp/base/shape.h", "#pragma once\n// Shapes.\n"),
        ("python/sardonyx/cli.py", "import sys\n"),
        (".ci/run", "#!/usr/bin/env bash\nset -e\n"),
        ("tests/ops/empty.py", ""),
    ],
)
def test_a_first_line_that_does_not(path: str, text: str) -> None:
    assert len(check_layout.check_first_line(path, text)) == 1


def test_length() -> None:
    limit = check_layout.MAX_LINES
    assert check_layout.check_length("cpp/ops/a.cpp", "\n" * limit) == []
    assert check_layout.check_length("docs/long.md", "\n" * (limit + 1)) == []
    assert "split it" in check_layout.check_length("cpp/ops/a.cpp", "\n" * (limit + 1))[0]


@pytest.mark.parametrize("path", ["cpp/ops/softmax.cpp", "tests/ops/softmax.py", "README.md", "docs/guide.md"])
def test_files_in_the_layout(path: str) -> None:
    assert check_layout.check_place(path) == []


@pytest.mark.parametrize("path", ["notes.txt", "cpp/util/string.h", "src/main.cpp", "python/other/a.py"])
def test_files_outside_the_layout(path: str) -> None:
    assert "outside the layout" in check_layout.check_place(path)[0]


def test_a_file_on_disk_is_checked_by_all_rules(tmp_path: Path) -> None:
    (tmp_path / "cpp/base").mkdir(parents=True)
    (tmp_path / "cpp/base/a.h").write_text('#include "ir/graph.h"\n')
    (tmp_path / "cpp/base/b.h").write_bytes(b"\0\1")
    assert len(check_layout.check_file(tmp_path, "cpp/base/a.h")) == 2
    assert check_layout.check_file(tmp_path, "cpp/base/b.h") == []

"""Files that take the place of others as a whole: what was there stays until all of the new ones are on the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sardonyx.errors import Fail

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a folder for a file named as `path`, and for others that belong to it; they replace those beside `path`.

    Raises:
        Fail: a file cannot be written; those that were there are unchanged.

    Example:
        >>> with replacing(Path("net.onnx")) as draft:
        ...     (draft / "net.onnx").write_bytes(content)
    """
    # Always the same name, so that processes that were killed while they wrote leave one such folder, not many.
    draft = path.with_name(path.name + ".part")
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device"
        raise Fail(f"cannot save '{path}': it is {kind}; the path of a file expected")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        yield draft
        # The file that names the others comes last.
        files = sorted(draft.iterdir(), key=lambda file: file.name == path.name)
        for file in files:
            with open(file, "rb+") as written:
                os.fsync(written.fileno())
        for file in files:
            os.replace(file, path.with_name(file.name))
    except OSError as error:
        raise Fail(f"cannot save '{path}': {error.strerror or error}; what was there before is unchanged") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)

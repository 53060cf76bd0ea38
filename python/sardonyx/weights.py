"""Named arrays in files: safetensors, NumPy's .npz, torch's .pt, and OneFlow's folders. No file can run code.

Example:
    >>> save("weights.npz", model.state_dict())
    >>> model.load_state_dict(load("weights.npz"))
"""

from __future__ import annotations

import io
import math
import os
import pickle
import re
import shutil
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from sardonyx.errors import Fail, InvalidArgument, NoSuchFile
from sardonyx.files import replacing

__all__ = ["load", "save"]

State: TypeAlias = "dict[str, npt.NDArray[Any]]"

_DONE, _META, _DATA = "snapshot_done", "meta", "out"  # the files of OneFlow's folders
_PARAMETER = "parameter/"  # what variables are called in checkpoints of sardonyx

# OneFlow's names of element types.
_FLOW_TYPES: dict[str, npt.DTypeLike] = {
    "kFloat": np.float32, "kDouble": np.float64, "kFloat16": np.float16, "kBFloat16": ml_dtypes.bfloat16,
    "kInt8": np.int8, "kInt16": np.int16, "kInt32": np.int32, "kInt64": np.int64, "kUInt8": np.uint8, "kBool": np.bool_,
}  # fmt: skip

# torch's classes of storage.
_TORCH_TYPES: dict[str, npt.DTypeLike] = {
    "FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16, "CharStorage": np.int8, "ShortStorage": np.int16, "IntStorage": np.int32,
    "LongStorage": np.int64, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip


def load(path: str | os.PathLike[str]) -> State:
    """Reads named arrays.

    Args:
        path: a file of safetensors (a checkpoint of sardonyx too, of which it takes the variables), of NumPy (.npz) or
            of torch (what `torch.save(model.state_dict(), path)` writes); or a folder of OneFlow's, with one for each
            variable.

    Raises:
        NoSuchFile: there is nothing of that name.
        InvalidArgument: it is none of these, or damaged.
    """
    place = Path(path)
    if place.is_dir():
        return _load_folder(place)
    try:
        with place.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise NoSuchFile(f"there is no file or folder '{place}' to read weights from") from None
    try:
        if start[:4] == b"PK\x03\x04":
            return _load_zip(place)
        if start[8:] == b"{":
            return _load_safetensors(place)
    except InvalidArgument:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise InvalidArgument(f"'{place}' cannot be read: {error}") from error
    hint = ""
    if start[:1] == b"\x80":
        hint = "; it looks like a pickle, which could run code and is not read: save it with torch.save or numpy.savez"
    raise InvalidArgument(f"'{place}' holds no weights in a format that is known (safetensors, npz, pt){hint}")


def save(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Writes named arrays: to safetensors or .npz by the path's ending, else to a folder as OneFlow has them.

    Args:
        state: arrays, or what NumPy can read, by name.

    Raises:
        Fail: the file cannot be written; one of that name is unchanged.
    """
    place = Path(path)
    arrays = {name: np.asarray(value) for name, value in state.items()}
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.suffix not in (".safetensors", ".npz"):
        return _save_folder(place, arrays)
    with replacing(place) as draft:
        if place.suffix == ".npz":
            np.savez(draft / place.name, allow_pickle=False, **arrays)
        else:
            content = _safetensors().save({name: np.ascontiguousarray(x) for name, x in arrays.items()})
            (draft / place.name).write_bytes(content)


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("this file needs safetensors: pip install 'sardonyx[train]'") from error
    return safetensors.numpy


def _load_safetensors(path: Path) -> State:
    held: State = _safetensors().load_file(path)
    variables = {name[len(_PARAMETER) :]: x for name, x in held.items() if name.startswith(_PARAMETER)}
    return variables or held


# --- zip files: NumPy's and torch's


def _load_zip(path: Path) -> State:
    with zipfile.ZipFile(path) as file:
        index = next((name for name in file.namelist() if name.split("/")[1:] == ["data.pkl"]), None)
        if index is not None:
            return _flat(_TorchReader(file, index).load(), path)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


class _TorchReader(pickle.Unpickler):
    """Reads the index of a file of torch. Nothing can be called but what builds dicts and arrays."""

    def __init__(self, file: zipfile.ZipFile, index: str) -> None:
        super().__init__(io.BytesIO(file.read(index)))
        self._file = file
        self._folder = index.split("/")[0]

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; refuses all others."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda value, *_: value
        if module == "torch" and name in _TORCH_TYPES:
            return np.dtype(_TORCH_TYPES[name])
        raise InvalidArgument(f"it refers to {module}.{name}, which is not read: save the model's state_dict() alone")

    def persistent_load(self, pid: Any) -> npt.NDArray[Any]:
        """The elements of a storage: ("storage", type, key, device, count)."""
        _, dtype, key, _, count = pid
        elements = np.frombuffer(self._file.read(f"{self._folder}/data/{key}"), dtype)
        return elements[:count]


def _tensor(
    storage: npt.NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> npt.NDArray[Any]:
    last = offset + sum((extent - 1) * step for extent, step in zip(shape, strides, strict=True))
    inside = min((0, offset, *shape, *strides)) == 0 and (0 in shape or last < storage.size)
    if not inside or math.prod(shape) > storage.size:
        raise InvalidArgument("a tensor lies outside the elements that the file holds")
    steps = [step * storage.itemsize for step in strides]
    view: npt.NDArray[Any] = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
    return np.array(view)


def _flat(value: Any, path: Path) -> State:
    """The state in what torch saved: a dict of arrays, or one under "state_dict", "model_state_dict" or "model"."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict) or not all(isinstance(x, np.ndarray) for x in value.values()):
        raise InvalidArgument(f"'{path}' is no state_dict: a dict of tensors expected")
    return dict(value)


# --- OneFlow's folders


def _load_folder(path: Path) -> State:
    if (path / "pickled_data").exists():
        raise InvalidArgument(
            f"'{path}' holds a pickle, which could run code and is not read: save the arrays with numpy.savez, or with "
            "oneflow.save of a version that writes a folder for each variable"
        )
    state = {}
    for place in sorted(path.iterdir()):
        if (place / _DATA).is_file() and (place / _META).is_file():
            meta = (place / _META).read_text()
            shape = tuple(int(n) for n in re.findall(r"\bdim:\s*(\d+)", meta))
            kind = re.search(r"\bdata_type:\s*(\w+)", meta)
            if kind is None or kind[1] not in _FLOW_TYPES:
                raise InvalidArgument(f"'{place / _META}' names no element type that is known")
            elements = np.fromfile(place / _DATA, _FLOW_TYPES[kind[1]])
            if elements.size != math.prod(shape):
                raise InvalidArgument(f"'{place / _DATA}' holds {elements.size} elements; {list(shape)} expected")
            state[place.name] = elements.reshape(shape)
    if not state:
        files = [x for x in path.iterdir() if x.suffix in (".safetensors", ".npz", ".pt", ".pth")]
        if len(files) == 1:
            return load(files[0])
        raise InvalidArgument(f"the folder '{path}' holds no variables and {len(files)} files of weights")
    return state


def _save_folder(path: Path, arrays: State) -> None:
    """Writes a folder beside `path` and puts it in the place of what was there."""
    types = {np.dtype(dtype): name for name, dtype in _FLOW_TYPES.items()}
    for name, x in arrays.items():
        if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
            raise InvalidArgument(f"'{name}' cannot be the name of a folder; give a path that ends in .npz")
        if x.dtype not in types:
            raise InvalidArgument(f"'{name}' is {x.dtype}, which such a folder cannot hold; give a path ending in .npz")
    if path.exists() and not (path / _DONE).exists():
        raise Fail(f"'{path}' exists and holds no weights; it is left as it is")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name) as draft:
        for name, x in arrays.items():
            place = Path(draft, name)
            place.mkdir()
            (place / _DATA).write_bytes(x.tobytes())
            extents = "".join(f"  dim: {n}\n" for n in x.shape)
            (place / _META).write_text(f"shape {{\n{extents}}}\ndata_type: {types[x.dtype]}\n")
        Path(draft, _DONE).touch()
        if path.exists():
            shutil.rmtree(path)
        shutil.copytree(draft, path)

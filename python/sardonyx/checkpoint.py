"""Checkpoints: variables, the optimizer's state, the step and the random state in one safetensors file.

Training that goes on from a checkpoint gives the same bits as training that was never interrupted. A crash or a full
disk while saving leaves the last good file as it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sardonyx import _core
from sardonyx.errors import InvalidArgument, NoSuchFile
from sardonyx.files import replacing
from sardonyx.graph.tensor import Tensor
from sardonyx.optim import Optimizer

__all__ = ["Checkpoint", "load", "save"]

_FORMAT = "sardonyx checkpoint 1"
_PARAMETER, _STATE = "parameter/", "optimizer/"


@dataclass
class Checkpoint:
    """What a file held besides the variables.

    Attributes:
        step: as it was given to `save`.
        extra: as it was given to `save`.
    """

    step: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("checkpoints need safetensors: pip install 'sardonyx[train]'") from error
    return safetensors


def save(
    path: str | os.PathLike[str],
    parameters: Mapping[str, Tensor],
    optimizer: Optimizer | None = None,
    *,
    step: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint. The file appears whole or not at all.

    Args:
        parameters: variables by name, such as `Model.parameters` or `Module.parameters()`.
        optimizer: one whose `minimize` was called, for its state.
        step: where training stands.
        extra: anything that JSON can hold.

    Raises:
        Fail: the file cannot be written; a file of that name is unchanged.
    """
    tensors = {_PARAMETER + name: tensor.numpy() for name, tensor in parameters.items()}
    if optimizer is not None:
        tensors |= {_STATE + name: tensor.numpy() for name, tensor in optimizer.state.items()}
    metadata = {
        "format": _FORMAT,
        "step": str(step),
        "random": json.dumps(_core.random_state()),
        "extra": json.dumps(dict(extra or {})),
    }
    content: bytes = _safetensors().numpy.save(tensors, metadata)
    with replacing(Path(path)) as draft:
        (draft / Path(path).name).write_bytes(content)


def load(
    path: str | os.PathLike[str],
    parameters: Mapping[str, Tensor],
    optimizer: Optimizer | None = None,
    *,
    strict: bool = True,
) -> Checkpoint:
    """Gives variables, the optimizer's state and the random state what a checkpoint holds.

    Args:
        optimizer: one whose `minimize` was called with the same variables.
        strict: raise where the file lacks a variable or holds one that is not among `parameters`.

    Raises:
        NoSuchFile: there is no such file.
        InvalidArgument: the file is no checkpoint, or names or shapes differ; nothing has changed then.
    """
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(os.fspath(path), framework="np") as file:
            metadata = file.metadata() or {}
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise NoSuchFile(f"there is no checkpoint '{os.fspath(path)}'") from None
    except safetensors.SafetensorError as error:
        raise InvalidArgument(f"'{os.fspath(path)}' is no checkpoint: {error}") from None
    if metadata.get("format") != _FORMAT:
        raise InvalidArgument(
            f"'{os.fspath(path)}' is no checkpoint of sardonyx; its format is {metadata.get('format')!r}"
        )
    targets = {_PARAMETER + name: tensor for name, tensor in parameters.items()}
    if optimizer is not None:
        targets |= {_STATE + name: tensor for name, tensor in optimizer.state.items()}
    missing = sorted(targets.keys() - held.keys())
    unknown = sorted(name for name in held.keys() - targets.keys() if optimizer is not None or _PARAMETER in name)
    if strict and (missing or unknown):
        lines = [f"the checkpoint lacks {_listed(missing)}"] if missing else []
        lines += [f"it holds {_listed(unknown)}, which are not asked for"] if unknown else []
        raise InvalidArgument("; ".join(lines) + "; strict=False takes what there is")
    for name, tensor in targets.items():
        if name in held and (held[name].shape != tensor.shape or held[name].dtype != tensor.dtype):
            raise InvalidArgument(
                f"'{name}' is {held[name].dtype}{list(held[name].shape)} in the checkpoint; "
                f"{tensor.dtype}{list(tensor.shape or ())} expected"
            )
    for name, tensor in targets.items():
        if name in held:
            tensor.assign(held[name])
    seed, streams = json.loads(metadata["random"])
    _core.set_random_state(seed, streams)
    return Checkpoint(int(metadata["step"]), json.loads(metadata["extra"]))


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name.split("/", 1)[1]) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")

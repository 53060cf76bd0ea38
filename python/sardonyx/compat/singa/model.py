"""SINGA's Model: layers, a forward pass, and what a batch in training does."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sardonyx.compat.singa import autograd
from sardonyx.compat.singa.eager import Tensor
from sardonyx.compat.singa.layer import Layer
from sardonyx.errors import InvalidArgument, NoSuchFile
from sardonyx.files import replacing

__all__ = ["Model"]

_TENSORS, _ATTRIBUTES = "tensor_dict.npz", "states_attr.json"  # the files within a file of states
_SPARE_BYTES, _MOST_TIMES = 64 << 20, 16  # a file may hold so many bytes, and times those of the model
_OWN, _OTHER = 0, 1  # whose states: the model's, or what was saved beside it


class Model(Layer):
    """What networks share: subclasses assign layers to attributes and write `forward` and `train_one_batch`.

    Called, it trains on a batch in training mode, and computes `forward` in the other.

    Attributes:
        optimizer: what `set_optimizer` was given.

    Example:
        >>> from sardonyx.compat.singa import layer, opt
        >>> class Net(Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.linear, self.loss = layer.Linear(2), layer.SoftMaxCrossEntropy()
        ...     def forward(self, x):
        ...         return self.linear(x)
        ...     def train_one_batch(self, x, y):
        ...         out = self.forward(x)
        ...         loss = self.loss(out, y)
        ...         self.optimizer(loss)
        ...         return out, loss
        >>> net, x, y = Net(), Tensor(data=np.ones((4, 3))), Tensor(data=np.eye(2)[[0, 1, 1, 1]])
        >>> net.set_optimizer(opt.SGD(lr=0.5))
        >>> net.compile([x])
        >>> losses = [float(net(x, y)[1]) for _ in range(20)]
        >>> losses[-1] < losses[0]
        True
        >>> net.eval()
        >>> net(x).shape
        (4, 2)
    """

    optimizer: Any

    def __init__(self) -> None:
        self.training = True

    def compile(
        self, inputs: Sequence[Tensor], is_train: bool = True, use_graph: bool = False, sequential: bool = False
    ) -> None:
        """Makes the parameters, by a forward pass over tensors of the right shapes.

        Args:
            is_train: the mode from now on.
            use_graph, sequential: have no effect: every loop is compiled.
        """
        autograd.training = False
        self.forward(*inputs)
        self.train(is_train)

    def train_one_batch(self, *inputs: Any, **options: Any) -> Any:
        """What training does with a batch; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no train_one_batch(); write one that updates parameters")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`train_one_batch` in training mode, else `forward`."""
        return self.train_one_batch(*inputs, **options) if self.training else self.forward(*inputs, **options)

    def train(self, mode: bool = True) -> None:
        """Training mode, in which `autograd.training` is set; or, with mode=False, the other."""
        self.training = autograd.training = mode

    def eval(self) -> None:
        """Ends training mode."""
        self.train(False)

    def graph(self, mode: bool = True, sequential: bool = False) -> None:
        """Accepted: every loop is compiled."""

    def set_optimizer(self, optimizer: Any) -> None:
        """Assigns the optimizer."""
        self.optimizer = optimizer

    # --- states

    def get_states(self) -> dict[str, Tensor]:
        """Parameters and running statistics by path: "linear1.W"."""
        return _flat(super().get_params())

    def get_params(self) -> dict[str, Any]:
        """Parameters by path."""
        return {name: tensor for name, tensor in self.get_states().items() if tensor.stores_grad}

    def set_states(self, states: Mapping[str, Any]) -> None:
        """Gives parameters and statistics other values: tensors or arrays by path.

        Raises:
            InvalidArgument: there is none of a name (is the model compiled?), or elements differ in number; nothing
                has changed.
        """
        own = self.get_states()
        arrays = {name: np.asarray(value) for name, value in states.items()}
        for name, array in arrays.items():
            if name not in own:
                raise InvalidArgument(f"the model has no state '{name}'; it has {list(own)} (compile() makes them)")
            if array.size != own[name].size():
                raise InvalidArgument(f"state '{name}' is {list(array.shape)}; {list(own[name].shape)} expected")
        for name, array in arrays.items():
            own[name].copy_from(array)

    def set_params(self, **parameters: Any) -> None:
        """As `set_states`."""
        self.set_states(parameters)

    def save_states(self, fpath: str | os.PathLike[str], aux_states: Mapping[str, Tensor] | None = None) -> None:
        """Writes the states, and other tensors beside them, to one file, laid out as SINGA's.

        Raises:
            InvalidArgument: there is a file of that name.
            Fail: the file cannot be written.
        """
        path = Path(fpath)
        if path.exists():
            raise InvalidArgument(f"'{path}' is there already; states go to a new file")
        states = {name: (tensor, _OWN) for name, tensor in self.get_states().items()}
        states |= {name: (tensor, _OTHER) for name, tensor in (aux_states or {}).items()}
        arrays = io.BytesIO()
        values: dict[str, Any] = {name: tensor.numpy() for name, (tensor, _) in states.items()}
        np.savez(arrays, **values)
        attributes = {
            name: {"state_type": kind, "shape": tensor.shape, "dtype": tensor.dtype.name}
            for name, (tensor, kind) in states.items()
        }
        with replacing(path) as draft, zipfile.ZipFile(draft / path.name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_TENSORS, arrays.getvalue())
            archive.writestr(_ATTRIBUTES, json.dumps(attributes))

    def load_states(self, fpath: str | os.PathLike[str]) -> dict[str, Tensor]:
        """Takes the states of a file by their paths; returns the tensors that were saved beside them.

        Raises:
            NoSuchFile: there is none.
            InvalidArgument: it holds no states, or not those of this model.
        """
        most = _SPARE_BYTES + _MOST_TIMES * sum(tensor.numpy().nbytes for tensor in self.get_states().values())
        try:
            with zipfile.ZipFile(fpath) as archive:
                attributes = json.loads(_read(archive, _ATTRIBUTES, most))
                kinds = {name: attribute["state_type"] for name, attribute in attributes.items()}
                tensors = io.BytesIO(_read(archive, _TENSORS, most))
            with zipfile.ZipFile(tensors) as archive:
                _check_size(sum(entry.file_size for entry in archive.infolist()), most)
            with np.load(tensors, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        except FileNotFoundError:
            raise NoSuchFile(f"there is no file '{os.fspath(fpath)}' to read states from") from None
        except Exception as error:  # a damaged file can fail in any way
            raise InvalidArgument(f"'{os.fspath(fpath)}' holds no states: {error}") from error
        kinds = {name: kinds.get(name, _OWN) for name in found}
        self.set_states({name: value for name, value in found.items() if kinds[name] == _OWN})
        return {name: Tensor(data=value) for name, value in found.items() if kinds[name] == _OTHER}


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"{size} bytes once unpacked, where at most {most} are expected of this model")


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of an archive, which may unpack to a thousand times its size."""
    _check_size(archive.getinfo(name).file_size, most)
    return archive.read(name)


def _flat(states: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Tensors of nested dictionaries by path."""
    found: dict[str, Tensor] = {}
    for name, value in states.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found

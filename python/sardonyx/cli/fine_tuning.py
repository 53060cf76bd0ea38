"""The network and the loop of `sardonyx train`: a model, perhaps with a new head, trained on examples with classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx import checkpoint, losses, nn
from sardonyx.cli.classified import Examples
from sardonyx.cli.output import UsageError
from sardonyx.errors import InvalidArgument, NotFinite
from sardonyx.graph import Executor, Model, Tensor, placeholder, variable
from sardonyx.graph.build import sort
from sardonyx.graph.tensor import apply
from sardonyx.optim import Optimizer

__all__ = ["Classifier", "Epoch", "Fitting", "Trainer", "freeze"]

Places = npt.NDArray[Any]


class Classifier:
    """A model that gives a number for each class.

    Attributes:
        inputs: its placeholders.
        logits: [batch, classes], before any softmax.
        output: what an exported model gives, and `output_name` what it is called.
        parameters: its variables by name, those of the new head among them.
        head: the tensor that a new head was put on, or None.
    """

    def __init__(
        self,
        model: Model,
        classes: int | None,
        seed: int,
        *,
        cut: str | None = None,
        cut_layers: int | None = None,
        output: str | None = None,
    ) -> None:
        """Args:
        classes: how many the new head is to have; None: the model's own output is kept.
        cut, cut_layers: where the head goes on, as `Model.cut` takes them; by default in front of the last product.
        output: which of several outputs is meant.
        """
        self.inputs = model.inputs
        self.head: Tensor | None = None
        if classes is None:
            if cut is not None or cut_layers is not None:
                raise UsageError("a model that is cut needs a new head: --classes N")
            self.output, self.output_name = _chosen_output(model, output)
            self.logits = _before_softmax(self.output)
            self.parameters: dict[str, Tensor] = {}
        else:
            if cut is None and cut_layers is None:
                self.head = _where_a_head_goes(model, output)
            else:
                self.head = model.cut(cut_layers, until=cut)[0]
            features = _features(self.head)
            extent = (features.shape or ())[-1]
            assert isinstance(extent, int)
            layer = nn.Linear(extent, classes, rng=np.random.default_rng([seed, 2]))
            self.parameters = {_free(f"head.{name}", model): x for name, x in layer.named_parameters()}
            for name, x in self.parameters.items():
                x.name = name
            self.logits = self.output = layer(features)
            self.output_name = "logits"
        self.parameters |= {x.name: x for x in sort([self.logits])[1] if x.variable is not None}
        shape = self.logits.shape
        if shape is None or len(shape) != 2 or not isinstance(shape[1], int):
            raise UsageError(f"the output '{self.output_name}' has shape {shape}; [batch, classes] expected")
        self.classes = shape[1]

    def size(self, trainable: bool = False) -> int:
        """How many numbers the parameters hold, or those of them that training changes."""
        chosen = [x for x in self.parameters.values() if x.trainable or not trainable]
        return sum(x.numpy().size for x in chosen)


def freeze(model: Model, patterns: Sequence[str]) -> None:
    """Keeps parameters as they are whose names match; a batch normalization among them keeps its statistics too."""
    frozen = set(model.freeze(*patterns))
    for node in model.nodes:
        if node.op == "BatchNormalization" and node.inputs[1] is not None and node.inputs[1].name in frozen:
            node.frozen = True


def _free(name: str, model: Model) -> str:
    while name in model.tensors:
        name = f"new_{name}"
    return name


def _chosen_output(model: Model, name: str | None) -> tuple[Tensor, str]:
    named = dict(zip(model.output_names, model.outputs, strict=True))
    if name is not None:
        if name not in named:
            raise UsageError(f"the model has no output '{name}'; there are {', '.join(map(repr, named))}")
        return named[name], name
    fitting = {key: x for key, x in named.items() if x.dtype.kind in "fV" and len(x.shape or ()) == 2}
    if len(fitting) != 1:
        listed = ", ".join(f"'{key}' {x.dtype}{list(x.shape or ())}" for key, x in named.items())
        raise UsageError(f"which output gives a number for each class? There are {listed}; --output NAME says it")
    return next((x, key) for key, x in fitting.items())


def _before_softmax(x: Tensor) -> Tensor:
    """The input of a softmax over classes that `x` comes from, or `x`."""
    while x.node is not None and x.node.op in ("Identity", "Softmax") and x.node.domain == "":
        inside = x.node.inputs[0]
        assert inside is not None
        if x.node.op == "Softmax":
            return inside if x.node.attributes.get("axis", -1) in (-1, 1) else x
        x = inside
    return x


def _where_a_head_goes(model: Model, name: str | None) -> Tensor:
    """What goes into the last product of a classifier; the output itself where that is features of tokens or places."""
    named = dict(zip(model.output_names, model.outputs, strict=True))
    chosen = named if name is None else {key: x for key, x in named.items() if key == name}
    floats = [x for x in chosen.values() if x.dtype.kind in "fV" and x.shape is not None]
    if len(floats) == 1 and len(floats[0].shape or ()) > 2:
        return floats[0]
    return _before_last_product(_chosen_output(model, name)[0])


def _before_last_product(x: Tensor) -> Tensor:
    """What goes into the last product with weights, where no convolution comes behind it."""
    for node in reversed(sort([x])[0]):
        if node.op in ("Gemm", "MatMul") and node.inputs[0] is not None and node.inputs[1] is not None:
            if not any(leaf.is_placeholder for leaf in [node.inputs[1], *sort([node.inputs[1]])[1]]):
                return node.inputs[0]
        elif node.op in ("Conv", "ConvTranspose"):
            break
    raise UsageError("the model does not end in a product with weights; --cut TENSOR says where the new head goes on")


_CHANNELS_FIRST = {
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GroupNormalization", "InstanceNormalization",
    "MaxPool",
}  # fmt: skip
_CHANNELS_LAST = {"Attention", "Gather", "LayerNormalization", "MatMul", "RMSNormalization"}


def _has_channels_first(x: Tensor, usual: bool) -> bool:
    """Whether the features of [batch, ...] stand on axis 1 and not on the last, by what computed them."""
    while x.node is not None and x.node.op not in _CHANNELS_FIRST | _CHANNELS_LAST:
        inside = next((y for y in x.node.inputs if y is not None and y.node is not None), None)
        if inside is None or x.node.op in ("Transpose", "Reshape"):
            return usual
        x = inside
    return usual if x.node is None else x.node.op in _CHANNELS_FIRST


def _features(x: Tensor) -> Tensor:
    """One vector for each example: the means over the places of a feature map, or over the tokens of a sequence.

    Args:
        x: [batch, features], [batch, tokens, features] or [batch, features, ...places].
    """
    shape = x.shape
    if shape is None or len(shape) < 2:
        raise UsageError(
            f"'{x.name}' has shape {shape}; cut where there is one vector, sequence or feature map for each example"
        )
    rank = len(shape)
    if rank > 2:
        x = x.mean(range(2, rank) if _has_channels_first(x, usual=rank > 3) else range(1, rank - 1))
    if not isinstance((x.shape or ())[-1], int):
        raise UsageError(f"'{x.name}' has shape {x.shape}; the number of features must be known to put a head on it")
    return x


@dataclass
class Epoch:
    """What an epoch came to. Validation figures are None where nothing was held back."""

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass
class Fitting:
    """How to train."""

    optimizer: Callable[[], Optimizer]
    epochs: int
    batch: int
    seed: int
    threads: int
    precision: str
    patience: int | None
    checkpoint: Path | None
    checkpoint_steps: int | None
    settings: dict[str, Any] = field(default_factory=dict)  # what a run that is taken up again must share


@dataclass
class _Standing:
    """Where training stands; what a checkpoint keeps beside the tensors."""

    step: int = 0
    loss: float = 0.0  # sums over the epoch up to now
    right: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int | None = None  # the epoch whose parameters are kept


class Trainer:
    """Trains a classifier; the same seed gives the same bits, interrupted or not.

    Attributes:
        history: the epochs that are done.
        best: the epoch that the parameters come from, where validation chose one.
    """

    def __init__(
        self,
        classifier: Classifier,
        examples: Examples,
        train: Places,
        held: Places,
        other: Examples | None,
        how: Fitting,
    ) -> None:
        """Args:
        train, held: places in `examples` for training and for validation, or, with `other`, in that.
        """
        self._net, self._examples, self._train, self._held = classifier, examples, train, held
        self._other = examples if other is None else other
        self._how = how
        self._labels = placeholder("labels", np.int64, ("batch",))
        logits, labels = classifier.logits, self._labels
        loss = losses.softmax_cross_entropy(logits, labels)
        total = losses.softmax_cross_entropy(logits, labels, "sum")
        right = apply("Equal", logits.argmax(1), labels).astype(np.int64).sum()
        self._optimizer = how.optimizer()
        update = self._optimizer.minimize(loss)
        self._executor = Executor(
            {"train": [loss, right, update], "validate": [total, right]},
            threads=how.threads,
            precision=how.precision,
        )
        # In f32: what the written model gives.
        self._predictor = Executor([classifier.output], threads=how.threads)
        self._at = _Standing()
        self._kept: dict[str, Tensor] = {}
        if len(held):
            self._kept = {
                f"best/{name}": variable(x.numpy(), trainable=False) for name, x in classifier.parameters.items()
            }
        self.steps_per_epoch = -(-len(train) // how.batch)

    @property
    def history(self) -> list[Epoch]:
        return [Epoch(**row) for row in self._at.history]

    @property
    def best(self) -> int | None:
        return self._at.best

    # --- checkpoints

    def save(self) -> None:
        """Writes the checkpoint."""
        assert self._how.checkpoint is not None
        extra = {"standing": vars(self._at), "settings": self._how.settings}
        variables = {**self._net.parameters, **self._kept}
        checkpoint.save(self._how.checkpoint, variables, self._optimizer, step=self._at.step, extra=extra)

    def resume(self) -> None:
        """Goes on from the checkpoint. Raises InvalidArgument where it is one of another run."""
        assert self._how.checkpoint is not None
        variables = {**self._net.parameters, **self._kept}
        state = checkpoint.load(self._how.checkpoint, variables, self._optimizer)
        theirs = state.extra.get("settings", {})
        for name, value in self._how.settings.items():
            if theirs.get(name) != value:
                raise InvalidArgument(
                    f"'{self._how.checkpoint}' comes from a run with {name} {theirs.get(name)!r}; "
                    f"this one has {value!r}"
                )
        self._at = _Standing(**state.extra["standing"])
        self._executor.steps = self._at.step

    # --- the loop

    def epochs(self, progress: Callable[[Sequence[Places], int], Iterator[Places]]) -> Iterator[Epoch]:
        """Trains, and gives each epoch as it ends; ends early where validation has not become better for long.

        `progress(batches, epoch)` goes through the batches that are left of an epoch.

        Raises:
            NotFinite: a loss is NaN or Inf; names the step and the node.
        """
        while len(self._at.history) < self._how.epochs and not self._is_over():
            number = len(self._at.history)
            order = np.random.default_rng([self._how.seed, 3, number]).permutation(self._train)
            batches = np.array_split(order, self.steps_per_epoch)
            for places in progress(batches[self._at.step - number * self.steps_per_epoch :], number + 1):
                self._step(places)
            done = Epoch(number + 1, self._at.loss / len(order), self._at.right / len(order))
            if len(self._held):
                done.validation_loss, done.validation_accuracy = self.evaluate()
                self._keep(done)
            self._at.history.append(vars(done))
            self._at.loss, self._at.right = 0.0, 0
            if self._how.checkpoint is not None:
                self.save()
            yield done

    def _step(self, places: Places) -> None:
        loss, right, _ = self._executor.run(self._feeds(self._examples, places), "train")
        self._at.step += 1
        self._at.loss += float(loss) * len(places)
        self._at.right += int(right)
        every = self._how.checkpoint_steps
        if self._how.checkpoint is not None and every and self._at.step % every == 0:
            self.save()

    def _feeds(self, examples: Examples, places: Places) -> dict[Tensor, Any]:
        inputs, labels = examples.batch(places)
        return {**{x: inputs[x.name] for x in self._net.inputs}, self._labels: labels}

    def _is_over(self) -> bool:
        patience = self._how.patience
        return patience is not None and self.best is not None and len(self._at.history) - self.best >= patience

    def _keep(self, done: Epoch) -> None:
        assert done.validation_loss is not None
        if not math.isfinite(done.validation_loss):
            raise NotFinite(f"the validation loss after epoch {done.epoch} is {done.validation_loss}")
        best = None if self.best is None else self._at.history[self.best - 1]["validation_loss"]
        if best is None or done.validation_loss < best:
            self._at.best = done.epoch
            for name, x in self._net.parameters.items():
                self._kept[f"best/{name}"].assign(x.numpy())

    def take_best(self) -> None:
        """Gives the parameters the values of the best epoch, where there is one."""
        if self.best is not None:
            for name, x in self._net.parameters.items():
                x.assign(self._kept[f"best/{name}"].numpy())

    # --- results

    def evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy on what was held back, or, where nothing was, on the training examples."""
        examples, places = (self._other, self._held) if len(self._held) else (self._examples, self._train)
        loss, right = 0.0, 0
        for part in np.array_split(places, -(-len(places) // self._how.batch)):
            one, count = self._executor.run(self._feeds(examples, part), "validate")
            loss, right = loss + float(one), right + int(count)
        return loss / len(places), right / len(places)

    def sample(self) -> tuple[dict[str, Any], Any]:
        """Feeds by name for a few examples, and the outputs for them."""
        examples, places = (self._other, self._held) if len(self._held) else (self._examples, self._train)
        inputs, _ = examples.batch(places[: self._how.batch])
        (expected,) = self._predictor.run({x: inputs[x.name] for x in self._net.inputs})
        return inputs, expected

"""`sardonyx train`: trains a classifier further, with a new head where one is wanted, and writes the model."""

from __future__ import annotations

import argparse
import csv
import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sardonyx import graph, optim
from sardonyx.cli.classified import Examples, add_data_arguments, read_examples, split
from sardonyx.cli.fine_tuning import Classifier, Epoch, Fitting, Trainer, freeze
from sardonyx.cli.output import Output, UsageError
from sardonyx.cli.precision import add_precision_argument
from sardonyx.errors import Fail
from sardonyx.export import export
from sardonyx.measure import largest_difference
from sardonyx.options import Precision
from sardonyx.runtime import set_seed
from sardonyx.session import InferenceSession

_EXAMPLES = """examples:
  sardonyx train resnet18.onnx flowers/ -o flowers.onnx --classes --freeze '*' --epochs 5
      a folder of pictures for each class; a new head, trained alone
  sardonyx train mlp.onnx digits.npz -o trained.onnx --optimizer adam --lr 1e-3 --batch 64
      arrays: inputs, and one integer for each example
  sardonyx train net.onnx table.csv -o net2.onnx --label-column kind --validation 0.2 --patience 5
  sardonyx train net.onnx x.npy --labels y.npy -o net2.onnx --schedule cosine --warmup 100 --curve curve.png
  sardonyx train net.onnx digits.npz -o net2.onnx --checkpoint run.safetensors --resume
      goes on from run.safetensors where it exists: the same bits as if it had never stopped

The model takes a batch of any size, or is made to. While it trains, batch normalization uses its batch and dropout
drops; the file that is written is for inference. The same seed gives the same bits, on any number of threads."""

_TOLERANCE = 1e-3
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "lamb": optim.LAMB,
}
_WITH_MOMENTUM = {"sgd": 0.9, "rmsprop": 0.0}
SCHEDULES = ("constant", "cosine", "one_cycle")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train", help="train a classifier further", description=__doc__, epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    parser.add_argument("data", type=Path, help="folder with pictures by class, .npz, .npy (with --labels) or .csv")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the model to write")
    network = parser.add_argument_group("network")
    network.add_argument(
        "--classes", nargs="?", type=int, const=0, metavar="N",
        help="put a new linear head of N classes (default: as many as the data have) in the place of the last one",
    )  # fmt: skip
    where = network.add_mutually_exclusive_group()
    where.add_argument("--cut", metavar="TENSOR", help="where the new head goes on (default: before the last product)")
    where.add_argument("--cut-layers", type=int, metavar="K", help="keep the first K nodes, or all but the last -K")
    network.add_argument(
        "--freeze", nargs="+", default=[], metavar="PATTERN",
        help="parameters of the model that stay as they are ('layer1.*'); never those of a new head",
    )  # fmt: skip
    network.add_argument(
        "--output-name", metavar="NAME", help="the output that holds the classes, where it is not clear"
    )
    data = parser.add_argument_group("data")
    add_data_arguments(data)
    data.add_argument(
        "--validation", default="0.2", metavar="SHARE",
        help="share of each class to hold back, or a path of other examples (default 0.2; 0: none)",
    )  # fmt: skip
    how = parser.add_argument_group("training")
    how.add_argument("--optimizer", choices=list(OPTIMIZERS), default="adam", help="(default adam)")
    how.add_argument("--lr", type=float, default=1e-3, help="learning rate (default 0.001)")
    how.add_argument("--momentum", type=float, metavar="X", help="of sgd (default 0.9) and rmsprop (default 0)")
    how.add_argument("--weight-decay", type=float, metavar="X", help="(default: 0.01 for adamw, else 0)")
    how.add_argument("--clip-norm", type=float, metavar="X", help="scale gradients down to this joint norm")
    how.add_argument(
        "--schedule", choices=SCHEDULES, default="constant", help="of the learning rate (default constant)"
    )
    how.add_argument(
        "--warmup", type=int, default=0, metavar="STEPS", help="steps of a rising rate at first (default 0)"
    )
    how.add_argument("--epochs", type=int, default=10, metavar="N", help="(default 10)")
    how.add_argument("--batch", type=int, default=32, metavar="N", help="most examples in a step (default 32)")
    how.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a better validation loss")
    how.add_argument("--seed", type=int, default=0, help="of the split, the order, the head and dropout (default 0)")
    how.add_argument("--threads", type=int, default=0, metavar="N", help="most threads to use (default: all CPUs)")
    add_precision_argument(how, [Precision.F32, Precision.BF16])
    files = parser.add_argument_group("files")
    files.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="save the whole state after each epoch (.safetensors)"
    )
    files.add_argument("--checkpoint-steps", type=int, metavar="N", help="and after every N steps")
    files.add_argument("--resume", action="store_true", help="go on from the checkpoint, where it exists")
    files.add_argument(
        "--curve", nargs="+", type=Path, default=[], metavar="FILE",
        help="write the learning curve: .csv, or a picture (.png, .svg, .pdf; needs matplotlib)",
    )  # fmt: skip
    return parser


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    _check(args)
    set_seed(args.seed)
    model = _load(args.model, output)
    examples = read_examples(args.data, model.inputs, args)
    classes = examples.classes if args.classes == 0 else args.classes
    if args.freeze:
        freeze(model, args.freeze)
    network = Classifier(model, classes, args.seed, cut=args.cut, cut_layers=args.cut_layers, output=args.output_name)
    _check_labels(args.data, examples, network)
    trainer = _trainer(args, network, examples, model)
    before = trainer.evaluate()[1]
    if args.checkpoint is not None and args.checkpoint.exists():
        if not args.resume:
            raise UsageError(f"'{args.checkpoint}' exists: --resume goes on from it")
        trainer.resume()
        output.text(f"going on from '{args.checkpoint}', behind epoch {len(trainer.history)}")
    if network.head is not None:
        output.text(f"new head of {network.classes} classes on '{network.head.name}'")
    output.text(f"{network.size(True)} of {network.size()} parameters change; accuracy before: {before:.4f}")

    def progress(batches: Sequence[Any], epoch: int) -> Iterator[Any]:
        return output.progress(batches, len(batches), f"epoch {epoch}/{args.epochs}")

    for done in trainer.epochs(progress):
        output.text(_line(done, args.epochs))
    if trainer.history and len(trainer.history) < args.epochs:
        output.text(f"stopped: no better validation loss for {args.patience} epochs")
    trainer.take_best()
    result = {"before": before, **_written(args, network, trainer, examples)}
    for path in args.curve:
        _write_curve(path, trainer.history)
    chosen = "" if trainer.best is None else f" (epoch {trainer.best})"
    kind = "training" if trainer.best is None else "validation"
    output.text(f"{kind} accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f}{chosen}; was {before:.4f}")
    output.text(f"{args.output}: checked, outputs within {result['difference']:.1g} of those in training")
    output.result(result)
    return 0


def _check(args: argparse.Namespace) -> None:
    if not Path(args.model).exists():
        raise UsageError(f"there is no model '{args.model}'")
    for name in ("epochs", "batch", "patience", "checkpoint_steps"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; a positive number expected")
    if args.classes is not None and args.classes < 0:
        raise UsageError(f"--classes is {args.classes}; a positive number expected")
    if args.seed < 0:
        raise UsageError(f"--seed is {args.seed}; a number from 0 on expected")
    if args.momentum is not None and args.optimizer not in _WITH_MOMENTUM:
        raise UsageError(f"--optimizer {args.optimizer} has no --momentum; {' and '.join(_WITH_MOMENTUM)} have")
    if args.checkpoint is None and (args.resume or args.checkpoint_steps):
        raise UsageError("--resume and --checkpoint-steps need --checkpoint FILE")
    if not args.output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder '{args.output.parent}' for the model")
    for path in args.curve:
        if path.suffix not in (".csv", ".png", ".svg", ".pdf"):
            raise UsageError(f"--curve takes .csv, .png, .svg or .pdf, got '{path}'")


def _load(path: str, output: Output) -> graph.Model:
    """The model, with a first extent that is open."""
    model = graph.load(path)
    if any(x.shape and isinstance(x.shape[0], int) for x in model.inputs):
        content = export(path, dynamic_batch="batch").model
        assert content is not None
        output.text("the model was made for a batch of fixed size; it takes any now")
        model = graph.load(content)
    return model


def _check_labels(path: Path, examples: Examples, network: Classifier) -> None:
    wrong = np.flatnonzero((examples.labels < 0) | (examples.labels >= network.classes))
    if len(wrong):
        raise UsageError(
            f"'{path}': {len(wrong)} labels are out of range, the first, {examples.labels[wrong[0]]}, at example "
            f"{wrong[0]}; 0 to {network.classes - 1} expected for {network.classes} classes"
        )
    if examples.names and len(examples.names) != network.classes:
        raise UsageError(
            f"'{path}' has {len(examples.names)} classes and the model {network.classes}; "
            "--classes puts a new head on it"
        )


def _trainer(args: argparse.Namespace, network: Classifier, examples: Examples, model: graph.Model) -> Trainer:
    other = None
    try:
        share = float(args.validation)
    except ValueError:
        other = read_examples(Path(args.validation), model.inputs, args)
        if other.names != examples.names:
            raise UsageError(
                f"the classes of '{args.validation}' are {other.names}, those of '{args.data}' {examples.names}"
            ) from None
        _check_labels(Path(args.validation), other, network)
        train, held = np.arange(len(examples)), np.arange(len(other))
    else:
        if not 0 <= share < 1:
            raise UsageError(f"--validation is {share}; a share from 0 up to 1, or a path, expected")
        train, held = split(examples.labels, share, args.seed)
    if args.patience is not None and not len(held):
        raise UsageError("--patience needs examples to validate on: --validation SHARE")
    settings = {
        name: getattr(args, name)
        for name in (
            "seed", "batch", "optimizer", "lr", "momentum", "weight_decay", "clip_norm", "schedule", "warmup",
            "precision",
        )
    }  # fmt: skip
    settings |= {"examples": len(examples), "held back": len(held)}
    if args.schedule != "constant":
        settings["epochs"] = args.epochs
    steps = args.epochs * -(-len(train) // args.batch)
    how = Fitting(
        lambda: _optimizer(args, steps), args.epochs, args.batch, args.seed, args.threads, args.precision,
        args.patience, args.checkpoint, args.checkpoint_steps, settings,
    )  # fmt: skip
    return Trainer(network, examples, train, held, other, how)


def _optimizer(args: argparse.Namespace, steps: int) -> optim.Optimizer:
    left = max(1, steps - args.warmup)
    rate: float | optim.Schedule = args.lr
    if args.schedule == "cosine":
        rate = optim.cosine(args.lr, left)
    elif args.schedule == "one_cycle":
        rate = optim.one_cycle(args.lr, left)
    if args.warmup:
        rate = optim.warmup(args.warmup, rate)
    options: dict[str, Any] = {"clip_norm": args.clip_norm}
    if args.optimizer in _WITH_MOMENTUM:
        options["momentum"] = _WITH_MOMENTUM[args.optimizer] if args.momentum is None else args.momentum
    if args.weight_decay is not None:
        options["weight_decay"] = args.weight_decay
    return OPTIMIZERS[args.optimizer](rate, **options)


def _line(done: Epoch, epochs: int) -> str:
    text = f"epoch {done.epoch}/{epochs}: loss {done.loss:.4f}, accuracy {done.accuracy:.4f}"
    if done.validation_loss is not None:
        text += f"; validation loss {done.validation_loss:.4f}, accuracy {done.validation_accuracy:.4f}"
    return text


def _written(args: argparse.Namespace, network: Classifier, trainer: Trainer, examples: Examples) -> dict[str, Any]:
    """Writes the model, checks the file and reports."""
    names = {"classes": "\n".join(examples.names)} if examples.names else None
    graph.export(
        [network.output], args.output, inputs=network.inputs, output_names=[network.output_name], metadata=names
    )
    onnx.checker.check_model(str(args.output))
    feeds, expected = trainer.sample()
    found = InferenceSession(str(args.output)).run(None, feeds)
    difference = largest_difference([expected], found)
    if not difference <= _TOLERANCE:
        raise Fail(f"'{args.output}' differs by {difference:.1g} from the network that was trained: this is a bug")
    loss, accuracy = trainer.evaluate()
    return {
        "output": str(args.output), "loss": loss, "accuracy": accuracy, "best_epoch": trainer.best,
        "classes": examples.names or network.classes, "trained_parameters": network.size(True),
        "difference": difference, "history": [vars(done) for done in trainer.history],
    }  # fmt: skip


def _write_curve(path: Path, history: Sequence[Epoch]) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(Epoch.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(vars(done) for done in history)
        return
    try:
        figure_module = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise UsageError("a picture of the curve needs matplotlib: pip install matplotlib; .csv does not") from None
    figure = figure_module.Figure(figsize=(10, 4), layout="constrained")
    epochs = [done.epoch for done in history]
    for place, what in enumerate(("loss", "accuracy")):
        axes = figure.add_subplot(1, 2, place + 1)
        for key, label in ((what, "training"), (f"validation_{what}", "validation")):
            values = [getattr(done, key) for done in history]
            if any(value is not None for value in values):
                axes.plot(epochs, values, marker="o", label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.legend()
    figure.savefig(path, dpi=120)

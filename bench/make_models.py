"""Exports eleven well-known networks with random weights as ONNX models, for the other scripts here."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import itertools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sardonyx.cli.output import Output

EXAMPLES = """examples:
  python bench/make_models.py models
  python bench/make_models.py models --only resnet50 vgg16 --torch

Needs torch, torchvision, transformers and onnxscript. The batch is the symbol "N", the length of a sequence "S". With
--torch, NAME.pt2 is saved beside NAME.onnx for a comparison with torch itself."""

TOKENS = 128
FRAMES = 128
FRAME_FEATURES = 80


class BidirectionalLstm(nn.Module):
    """Two layers in two directions over frames of sound, and a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FRAME_FEATURES, 256, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(512, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


def _double_convolution(channels: int, filters: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (channels, filters):
        layers += [nn.Conv2d(width, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Four levels down and up again, with the features of each level carried over."""

    def __init__(self, width: int = 32, levels: int = 4) -> None:
        super().__init__()
        sizes = [width << level for level in range(levels)]
        self.down = nn.ModuleList(_double_convolution(a, b) for a, b in zip([3, *sizes], sizes))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(sizes))
        self.merge = nn.ModuleList(_double_convolution(2 * a, a) for a in sizes[:-1])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        carried: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            carried.append(x)
        carried.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge)):
            x = merge(torch.cat([carried.pop(), up(x)], dim=1))
        return self.head(x)


class LastStates(nn.Module):
    """A transformer of text that gives one tensor: its last hidden states, or its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)[0]


class Patches(nn.Module):
    """A transformer of pictures that gives its last hidden states."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values, return_dict=False)[0]


@dataclass
class Recipe:
    """How a network is made and what goes in; `symbols` names the symbolic axes of each input."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, torch.Tensor]]
    symbols: dict[int, str]


def import_torchvision() -> Any:
    """torchvision; its compiled operators, which none of these networks uses, may have been built for another torch."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision")


def _vision(name: str) -> Recipe:
    def make() -> nn.Module:
        torchvision = import_torchvision()
        network: nn.Module = torchvision.models.get_model(name, weights=None)
        return network

    return Recipe(make, lambda: {"x": torch.randn(2, 3, 224, 224)}, {0: "N"})


def _bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    return LastStates(BertModel(BertConfig(), add_pooling_layer=False))


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return LastStates(GPT2LMHeadModel(GPT2Config(use_cache=False)))


def _vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    return Patches(ViTModel(ViTConfig(), add_pooling_layer=False))


def _tokens() -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.randint(0, 1000, (2, TOKENS)),
        "attention_mask": torch.ones((2, TOKENS), dtype=torch.int64),
    }


RECIPES: dict[str, Recipe] = {
    "bert_base": Recipe(_bert, _tokens, {0: "N", 1: "S"}),
    "bilstm": Recipe(BidirectionalLstm, lambda: {"x": torch.randn(2, FRAMES, FRAME_FEATURES)}, {0: "N"}),
    "convnext_tiny": _vision("convnext_tiny"),
    "densenet121": _vision("densenet121"),
    "efficientnet_b0": _vision("efficientnet_b0"),
    "gpt2": Recipe(_gpt2, _tokens, {0: "N", 1: "S"}),
    "mobilenet_v2": _vision("mobilenet_v2"),
    "resnet50": _vision("resnet50"),
    "unet": Recipe(UNet, lambda: {"x": torch.randn(2, 3, 128, 128)}, {0: "N"}),
    "vgg16": _vision("vgg16"),
    "vit_b_16": Recipe(_vit, lambda: {"pixel_values": torch.randn(2, 3, 224, 224)}, {0: "N"}),
}


def export(name: str, folder: Path, seed: int, with_torch: bool) -> None:
    """Writes NAME.onnx, and NAME.pt2 on request."""
    torch.manual_seed(seed)
    recipe = RECIPES[name]
    network = recipe.make().eval()
    # Running statistics as training leaves them, so that no channel dies on the way.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    inputs = recipe.inputs()
    axes = {axis: torch.export.Dim.DYNAMIC for axis in recipe.symbols}
    shapes = tuple(dict(axes) for _ in inputs)
    with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, tuple(inputs.values()), dynamic_shapes=shapes)
        if with_torch:
            torch.export.save(program, folder / f"{name}.pt2")
        torch.onnx.export(
            program,
            tuple(inputs.values()),
            folder / f"{name}.onnx",
            input_names=list(inputs),
            output_names=["output"],
            dynamic_shapes=tuple(dict(recipe.symbols) for _ in inputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def main(arguments: Iterable[str] | None = None) -> None:
    made = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path, help="where to write the models; made if it is not there")
    made.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES), metavar="NAME")
    made.add_argument("--seed", type=int, default=0, help="of the weights (default 0)")
    made.add_argument("--torch", action="store_true", help="save the program for torch as well")
    args = made.parse_args(None if arguments is None else list(arguments))
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in Output.progress(args.only, len(args.only), "networks"):
        export(name, args.folder, args.seed, args.torch)
        print(args.folder / f"{name}.onnx", flush=True)


if __name__ == "__main__":
    main()

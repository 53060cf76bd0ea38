"""OneFlow's way to ONNX, run by Sardonyx: a ResNet to a file, the check of the file, and inference from it.

    python examples/oneflow_resnet.py [--folder DIR] [--size 224] [--model resnet34]

Weights are random, since nothing is downloaded: the class that comes out means nothing, the numbers do.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np

import sardonyx as rt
import sardonyx.compat.oneflow as flow
from sardonyx.compat.flowvision import models
from sardonyx.compat.oneflow import nn
from sardonyx.compat.oneflow_onnx.oneflow2onnx.util import convert_to_onnx_and_check


class ResNetGraph(nn.Graph):
    """The network as a static graph."""

    def __init__(self, eager_model: nn.Module) -> None:
        super().__init__()
        self.model = eager_model

    def build(self, x: flow.Tensor) -> flow.Tensor:
        """x: [n, 3, height, width]."""
        return self.model(x)


def show(step: str, start: float) -> None:
    """One line of progress."""
    print(f"{time.perf_counter() - start:6.1f} s  {step}", flush=True)


def main() -> None:
    """Runs the walk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where files go; a temporary one by default")
    parser.add_argument("--size", type=int, default=224, help="height and width of images")
    parser.add_argument("--model", default="resnet34", help="a network of sardonyx.compat.flowvision.models")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        walk(args.folder or temporary, args.size, args.model)


def walk(folder: str, size: int, name: str) -> None:
    """Saves weights, loads them, exports, checks and infers."""
    start = time.perf_counter()
    weights = os.path.join(folder, "checkpoints", name)
    flow.save(getattr(models, name)().state_dict(), weights)
    show(f"random weights of {name} written to {weights}", start)

    model = getattr(models, name)()
    model.load_state_dict(flow.load(weights))
    model.eval()
    graph = ResNetGraph(model)
    graph._compile(flow.randn(1, 3, size, size))
    show("loaded and compiled", start)

    report = convert_to_onnx_and_check(
        graph, flow_weight_dir=weights, onnx_model_path=folder, print_outlier=True, dynamic_batch_size=True
    )
    show("exported and checked", start)
    print(report)

    session = rt.InferenceSession(os.path.join(folder, "model.onnx"))
    images = np.random.default_rng(0).random((2, 3, size, size), np.float32)
    results = session.run(None, {session.get_inputs()[0].name: images})
    show(f"input '{session.get_inputs()[0].name}', result {results[0].shape}, classes {results[0].argmax(1)}", start)


if __name__ == "__main__":
    main()

"""The programs of README.md and docs/guide run as they stand, each file's in their order, on models made here."""

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import sardonyx as sx
from sardonyx import graph, nn, optim
from sardonyx.graph import op, placeholder, variable

ROOT = Path(__file__).parents[1]
FILES = [name for name in ["README.md", *(f"docs/guide/{p.name}" for p in sorted((ROOT / "docs/guide").glob("*.md")))]
         if "```python" in (ROOT / name).read_text(encoding="utf-8")]  # fmt: skip
F32 = np.float32


def classifier() -> dict[str, Any]:
    """model.onnx: images to 1000 numbers."""
    x = placeholder("x", shape=("N", 3, 224, 224))
    y = op.Flatten(op.GlobalAveragePool(x)) @ variable(np.ones((3, 1000), F32), "w")
    y.name = "encoder/add_3"
    graph.export([op.Identity(y)], "model.onnx", inputs=[x], output_names=["y"])
    return {"feeds": {"x": np.zeros((1, 3, 224, 224), F32)}, "array": np.zeros((1, 3, 224, 224), F32)}


def images() -> dict[str, Any]:
    """Batches of images, and what the snippets on OneFlow's loops and graphs speak of."""
    import sardonyx.compat.oneflow as flow

    class Net(flow.nn.Graph):
        def __init__(self) -> None:
            super().__init__()
            self.model = flow.nn.Linear(4, 2).eval()

        def build(self, x: Any) -> Any:
            return self.model(x)

    compiled = Net()
    compiled._compile(flow.randn(2, 4))
    return {"batches": [(np.zeros((2, 1, 28, 28), F32), np.array([1, 2]))], "graph": compiled}


def loop(names: dict[str, Any]) -> None:
    """What a loop without a graph is given."""
    import sardonyx.compat.oneflow as flow

    names["model"] = flow.nn.Sequential(flow.nn.Flatten(), flow.nn.Linear(784, 10))
    names["criterion"] = flow.nn.CrossEntropyLoss()
    names["optimizer"] = flow.optim.SGD(names["model"].parameters(), lr=0.1)
    names["batches"] = [(flow.tensor(x), flow.tensor(t)) for x, t in names["batches"]]


def same_states(names: dict[str, Any]) -> None:
    """A network of torch like that of the snippet."""
    torch = pytest.importorskip("torch")
    parts = torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    names["torch_model"] = torch.nn.ModuleDict(
        {"features": torch.nn.Sequential(*parts), "head": torch.nn.Linear(8 * 14 * 14, 10)}
    )
    names["torch"] = torch


def training() -> dict[str, Any]:
    """Batches of features, and resnet18.onnx with the names that torch gives it."""
    x = placeholder("x", shape=("batch", 3, 8, 8))
    y = op.GlobalAveragePool(nn.Conv2d(3, 512, 3)(x))
    y.name = "/avgpool/GlobalAveragePool_output_0"
    graph.export([op.Flatten(y) @ variable(np.ones((512, 4), F32), "fc")], "resnet18.onnx", inputs=[x])
    batches = [(np.ones((2, 4), F32), np.array([0, 2]))]
    return {"batches": batches, "labels": placeholder("labels", np.int64, ("batch",))}


def memory(names: dict[str, Any]) -> None:
    """A loss with the tensors that the snippet names."""
    x = placeholder("x", shape=("batch", 4))
    hidden = op.Relu(x @ variable(np.ones((4, 4), F32), "w"))
    names["hidden"] = op.Relu(hidden @ variable(np.ones((4, 4), F32), "v"))
    hidden.name = "layer1.out"
    names["loss"], names["optimizer"], names["step"] = names["hidden"].mean(), optim.Adam(0.1), 3


def forget_scale() -> None:
    """Other tests leave an operator of that name too."""
    if any(key[:2] == ("com.acme", "Scale") for key in sx.registered_operators()):
        sx.unregister_operator("com.acme", "Scale")


def scaled() -> dict[str, Any]:
    """model.onnx with an operator that nobody has."""
    forget_scale()
    x, y = (helper.make_tensor_value_info(name, 1, ["N"]) for name in "xy")
    node = helper.make_node("Scale", ["x"], ["y"], domain="com.acme", factor=2.0)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.acme", 1)]
    onnx.save(helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets), "model.onnx")
    return {}


def fixed_batch() -> dict[str, Any]:
    """model.onnx that holds on to its batch in a Reshape."""
    x = helper.make_tensor_value_info("x", 1, [2, 3, 4])
    y = helper.make_tensor_value_info("y", 1, [2, 12])
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="flatten")
    shape = onnx.numpy_helper.from_array(np.array([2, 12]), "shape")
    made = helper.make_graph([node], "g", [x], [y], [shape])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)]), "model.onnx")
    return {}


def hetu_and_singa() -> dict[str, Any]:
    """Digits."""
    return {"images": np.zeros((5, 784), F32), "one_hot": np.eye(10, dtype=F32)[:5]}


def singa(names: dict[str, Any]) -> None:
    """A network of SINGA, its result and its loss."""
    from sardonyx.compat.singa import autograd, opt, tensor

    autograd.training = True
    x = names["x"] = tensor.Tensor(data=np.ones((2, 3), F32))
    y = names["y"] = autograd.Linear(3, 4)(x)
    names["loss"] = autograd.softmax_cross_entropy(y, tensor.Tensor(data=np.eye(4, dtype=F32)[:2]))
    names["sgd"] = opt.SGD(lr=0.1)


# What a file's snippets are given at its beginning, and before snippets that hold a text.
BEGINNINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "README.md": classifier,
    "session.md": classifier,
    "nn.md": images,
    "training.md": training,
    "custom-operators.md": scaled,
    "export.md": fixed_batch,
    "coming-from-hetu-and-singa.md": hetu_and_singa,
}
BEFORE: dict[str, Callable[[dict[str, Any]], None]] = {
    "torch_model.load_state_dict": same_states,
    "criterion(pred, y)": loop,
    "recompute=True": memory,
    "autograd.backward(loss)": singa,
}


@pytest.mark.parametrize("name", FILES)
def test_snippets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name.endswith("classical-models.md"):
        pytest.importorskip("skl2onnx")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "snippet", **BEGINNINGS.get(Path(name).name, dict)()}
    for snippet in re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.M | re.S):
        for text, prepare in BEFORE.items():
            if text in snippet:
                prepare(names)
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(snippet, name, "exec"), names)
    if "scale" in names:
        forget_scale()

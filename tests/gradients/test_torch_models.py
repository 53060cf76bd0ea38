"""Gradients by the parameters and inputs of whole models that torch exports, against those of torch itself."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import sardonyx as sx
from tests.gradients.harness import TRAINING

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
nn, functional = torch.nn, torch.nn.functional


class Residual(nn.Module):  # type: ignore[misc, name-defined]
    """A small residual network of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = nn.Conv2d(8, 8, 1, bias=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = functional.max_pool2d(functional.relu(self.norm(self.first(x))), 2)
        x = x + self.last(functional.hardswish(self.depthwise(x)))
        return functional.log_softmax(self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1)), -1)


class Unet(nn.Module):  # type: ignore[misc, name-defined]
    """Down and up again, by a transposed convolution and by interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(2, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.group = nn.GroupNorm(2, 8)
        self.instance = nn.InstanceNorm2d(6, affine=True)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x: Any) -> Any:
        high = functional.elu(self.instance(self.inside(x)))
        low = functional.silu(self.group(self.down(high)))
        wide = functional.interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(torch.cat([high + wide[:, :6], torch.tanh(self.up(low))], 1))


class Encoder(nn.Module):  # type: ignore[misc, name-defined]
    """One block of a transformer over embeddings, causal."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 12)
        self.qkv = nn.Linear(12, 36)
        self.joined = nn.Linear(12, 12)
        self.before, self.after = nn.LayerNorm(12), nn.LayerNorm(12)
        self.wide, self.narrow = nn.Linear(12, 24), nn.Linear(24, 12)

    def forward(self, ids: Any) -> Any:
        x = self.words(ids)
        heads = [part.unflatten(-1, (3, 4)).transpose(1, 2) for part in self.qkv(self.before(x)).chunk(3, -1)]
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.joined(mixed.transpose(1, 2).flatten(2))
        return x + self.narrow(functional.gelu(self.wide(self.after(x))))


class Recurrent(nn.Module):  # type: ignore[misc, name-defined]
    """An LSTM in both directions, a GRU behind it and a plain network."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, bidirectional=True)
        self.gru = nn.GRU(10, 3)
        self.plain = nn.RNN(3, 2)

    def forward(self, x: Any) -> Any:
        y, (h, c) = self.lstm(x)
        z, last = self.gru(y)
        w, _ = self.plain(z)
        return w.sum(0) + h[0, :, :2] * c[1, :, :2] + last[0, :, :2]


def image(*shape: int) -> Any:
    return torch.randn(*shape, dtype=torch.float64)


MODELS = [
    (Residual, lambda: image(2, 3, 13, 11)),
    (Unet, lambda: image(2, 2, 6, 8)),
    (Encoder, lambda: torch.randint(0, 11, (2, 5))),
    (Recurrent, lambda: image(4, 2, 4)),
]


@pytest.mark.parametrize(("kind", "data"), MODELS, ids=[kind.__name__ for kind, _ in MODELS])
def test_like_torch(kind: Any, data: Any) -> None:
    torch.manual_seed(3)
    model = kind().double().eval()
    x = data()
    floating = x.is_floating_point()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), file, input_names=["x"], output_names=["y"], dynamo=True, optimize=False,
                          verbose=False, opset_version=20)  # fmt: skip
    proto = onnx.load_from_string(file.getvalue())
    x.requires_grad_(floating)
    y = model(x)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    expected = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    if floating:
        expected["x"] = x.grad.numpy()
    graph = proto.graph
    known = {tensor.name for tensor in graph.initializer} | {"x"}
    assert set(expected) <= known
    graph.initializer.append(numpy_helper.from_array(weight.numpy(), "loss.weight"))
    graph.node.append(helper.make_node("Mul", ["y", "loss.weight"], ["loss.weighted"]))
    graph.node.append(helper.make_node("ReduceSum", ["loss.weighted"], ["loss"], keepdims=0))
    names = list(expected)
    gradients = [f"d.{name}" for name in names]
    graph.node.append(helper.make_node("Gradient", names, gradients, domain=TRAINING, xs=names, y="loss"))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in gradients)
    proto.opset_import.append(helper.make_opsetid(TRAINING, 1))
    found = sx.InferenceSession(proto).run(gradients, {"x": x.detach().numpy()})
    for name, gradient in zip(names, found, strict=True):
        scale = max(1.0, float(np.max(np.abs(expected[name]))))
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-9, atol=1e-10 * scale, err_msg=name)

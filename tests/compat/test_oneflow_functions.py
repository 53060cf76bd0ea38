"""Functions, methods and layers of compat.oneflow beside torch's of the same names."""

import copy
from typing import Any

import numpy as np
import pytest

import sardonyx.compat.oneflow as flow
from sardonyx import graph
from sardonyx.compat.oneflow import nn
from sardonyx.errors import InvalidArgument

torch = pytest.importorskip("torch")

F32 = np.float32
X = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(F32)
Y = np.random.default_rng(2).normal(size=(2, 3, 4)).astype(F32)
P = np.abs(X) + F32(0.1)
INSIDE = np.tanh(X)
WHOLE = np.array([[3, 0, -2], [5, 3, 0]])
PLACES = np.array([[[0, 2, 1, 0]], [[2, 2, 0, 1]]])
IMAGE = np.random.default_rng(3).normal(size=(2, 4, 6, 5)).astype(F32)

SINGLE = [
    "abs", "asinh", "atan", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor", "isfinite", "isinf", "isnan",
    "neg", "negative", "reciprocal", "relu", "round", "selu", "sigmoid", "sign", "silu", "sin", "sinh", "sqrt",
    "square", "tan", "tanh", "trunc", "logical_not", "amax", "amin", "all", "any", "prod", "std", "var", "mean",
    "sum", "argmax", "argmin", "norm", "flatten", "max", "min",
]  # fmt: skip

# Each is called with flow or torch and with tensors of it; values must be the same.
CASES: list[tuple[str, Any, tuple[Any, ...]]] = [
    *((name, lambda m, x, name=name: getattr(x, name)(), (X,)) for name in SINGLE if hasattr(torch.Tensor, name)),
    *((name, lambda m, x, name=name: getattr(m, name)(x), (X,)) for name in SINGLE if hasattr(torch, name)),
    *((name, lambda m, x, name=name: getattr(m, name)(x), (INSIDE,)) for name in ("acos", "asin", "atanh")),
    *((name, lambda m, x, name=name: getattr(x, name)(), (P,)) for name in ("log", "log1p", "log2", "log10", "rsqrt")),
    ("acosh", lambda m, x: m.acosh(x + 1), (P,)),
    ("log1p", lambda m, x: m.log1p(x), (np.array([1e-8, -0.4, 0.6, 1e6, -1.0], F32),)),
    ("expm1", lambda m, x: m.expm1(x), (np.array([1e-8, -1e-4, 20.0, -30.0], F32),)),
    *(
        (name, lambda m, x, y, name=name: getattr(m, name)(x, y), (X, Y))
        for name in [
            "add",
            "sub",
            "mul",
            "div",
            "maximum",
            "minimum",
            "eq",
            "ne",
            "lt",
            "le",
            "gt",
            "ge",
            "fmod",
            "remainder",
            "max",
            "min",
        ]
    ),
    *(
        (name, lambda m, x, y, name=name: getattr(x, name)(y), (WHOLE, WHOLE[::-1].copy()))
        for name in ["add", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"]
    ),
    ("floor_divide", lambda m, x: m.floor_divide(x, 0.3), (X,)),
    ("pow", lambda m, x: x.pow(2.5), (P,)),
    ("add alpha", lambda m, x, y: m.add(x, y, alpha=2) + m.sub(x, 3.0, alpha=0.5), (X, Y)),
    ("addcmul", lambda m, x, y: m.addcmul(x, x, y, value=0.5) + m.addcdiv(x, y, m.abs(x) + 1, value=2), (X, Y)),
    ("clamp", lambda m, x: m.clamp(x, -0.5, 0.5) + x.clamp(min=0.1) + x.clip(max=0.2), (X,)),
    ("where", lambda m, x, y: m.where(x > 0, x, y) + x.where(y < 0, y), (X, Y)),
    ("masked_fill", lambda m, x: x.masked_fill(x > 0, -7.0), (X,)),
    ("masked_select", lambda m, x: x.masked_select(x[:, :1] > 0), (X,)),
    ("softmax", lambda m, x: x.softmax(1) + m.log_softmax(x, dim=-1), (X,)),
    *(
        (name, lambda m, x, name=name, rest=rest: getattr(m.nn.functional, name)(x, *rest), (X,))
        for name, rest in [
            ("celu", (0.7,)),
            ("elu", (0.7,)),
            ("gelu", ()),
            ("glu", (-1,)),
            ("hardshrink", (0.3,)),
            ("hardsigmoid", ()),
            ("hardswish", ()),
            ("hardtanh", (-0.5, 0.7)),
            ("leaky_relu", (0.2,)),
            ("logsigmoid", ()),
            ("mish", ()),
            ("relu6", ()),
            ("softplus", (2.0,)),
            ("softshrink", (0.3,)),
            ("softsign", ()),
            ("threshold", (0.1, 5.0)),
            ("normalize", (2.0, 1)),
            ("normalize", (1.0, -1)),
            ("layer_norm", ([4],)),
            ("pad", ((1, 2),)),
            ("pad", ((1, 0, 2, 1), "constant", 3.0)),
            ("dropout", (0.5, False)),
            ("avg_pool1d", (2,)),
            ("max_pool1d", (2, 1)),
            ("adaptive_avg_pool1d", (3,)),
        ]
    ),
    ("gelu tanh", lambda m, x: m.nn.functional.gelu(x, approximate="tanh"), (X,)),
    ("prelu", lambda m, x, a: m.nn.functional.prelu(x, a), (IMAGE, np.array([0.1, 0.2, 0.3, 0.4], F32))),
    # sums, orders, products
    ("sum", lambda m, x: x.sum(dim=1, keepdim=True) + m.sum(x, dim=(0, 2)).sum(), (X,)),
    ("sum of truths", lambda m, x: (x.eq(3).sum(), m.sum(x > 0, 0), x.int().prod(1), (x > 0).cumsum(1)), (WHOLE,)),
    ("mean", lambda m, x: x.mean(dim=(0, 2), keepdim=True), (X,)),
    ("prod", lambda m, x: x.prod(dim=1), (X,)),
    ("max", lambda m, x: x.max(dim=1), (X,)),
    ("min", lambda m, x: m.min(x, 2, keepdim=True), (X,)),
    ("amax", lambda m, x: m.amax(x, (0, 2), keepdim=True), (X,)),
    ("argmax", lambda m, x: x.argmax(dim=1, keepdim=True), (X,)),
    ("var", lambda m, x: x.var(dim=1) + x.std(dim=1, unbiased=False) + m.var(x, (0, 2))[:, None].sum(), (X,)),
    *(("norm", lambda m, x, p=p: x.norm(p, dim=1), (X,)) for p in (1, 2, 3.0, float("inf"), -float("inf"))),
    ("norm", lambda m, x: x.norm(dim=(1, 2), keepdim=True), (X,)),
    ("logsumexp", lambda m, x: x.logsumexp(1), (X,)),
    ("any", lambda m, x: (x > 1).any(dim=1), (X,)),
    ("all", lambda m, x: m.all(x > -1, dim=2), (X,)),
    ("cumsum", lambda m, x: x.cumsum(1), (X,)),
    ("topk", lambda m, x: x.topk(2), (X,)),
    ("topk", lambda m, x: m.topk(x, 2, dim=1, largest=False), (X,)),
    ("sort", lambda m, x: x.sort(dim=1), (X,)),
    ("sort", lambda m, x: m.sort(x, descending=True), (X,)),
    ("argsort", lambda m, x: x.argsort(dim=0), (X,)),
    ("matmul", lambda m, x, y: x.matmul(y.transpose(1, 2)) + m.bmm(x, y.transpose(-1, 1)), (X, Y)),
    ("mm", lambda m, x, y: m.mm(x[0], y[0].t()) + x[0] @ y[0].T, (X, Y)),
    ("addmm", lambda m, x, y: m.addmm(x[0, :, :3], x[0], y[0].t(), beta=0.5, alpha=2), (X, Y)),
    ("baddbmm", lambda m, x, y: m.baddbmm(x[:, :, :3], x, y.permute(0, 2, 1), beta=0.5, alpha=2), (X, Y)),
    ("einsum", lambda m, x, y: m.einsum("bij,bkj->bik", x, y), (X, Y)),
    ("cosine_similarity", lambda m, x, y: m.nn.functional.cosine_similarity(x, y, 1), (X, Y)),
    # shapes
    ("view", lambda m, x: x.view(6, -1) + x.view((6, 4)) + x.reshape(-1, 4) + m.reshape(x, (6, 4)), (X,)),
    ("view_as", lambda m, x, y: x.view_as(y.view(4, 6)), (X, Y)),
    ("flatten", lambda m, x: (x.flatten(), x.flatten(1), m.flatten(x, 0, 1)), (X,)),
    ("permute", lambda m, x: x.permute(2, 0, 1) + m.permute(x, (-1, 0, 1)), (X,)),
    ("transpose", lambda m, x: (x.transpose(0, 1), x.transpose(-1, 0), x[0].transpose(0, 1), x.swapaxes(1, 2)), (X,)),
    ("movedim", lambda m, x: (m.movedim(x, 0, -1), m.movedim(x, 2, 0)), (X,)),
    ("squeeze", lambda m, x: (x[:, :1].squeeze(1), x[:1, :1].squeeze(), x.squeeze(1), x.unsqueeze(-1)), (X,)),
    ("expand", lambda m, x, y: (x[:, :1].expand(-1, 3, 4), x.expand(5, 2, 3, 4), x[:, :1].expand_as(y)), (X, Y)),
    ("repeat", lambda m, x: (x.repeat(1, 2, 1), x.repeat(3, 1, 2, 1), x.tile(2), m.tile(x, (2, 1, 1, 1))), (X,)),
    ("chunk", lambda m, x: x.chunk(3, dim=2), (X,)),
    ("split", lambda m, x: (*x.split(2, dim=1), *m.split(x, [1, 3], dim=-1)), (X,)),
    ("unbind", lambda m, x: x.unbind(1), (X,)),
    ("stack", lambda m, x, y: (m.stack([x, y], dim=1), m.stack((x, y), dim=-1), m.cat([x, y], dim=2)), (X, Y)),
    ("hstack", lambda m, x, y: (m.hstack([x, y]), m.vstack([x, y]), m.vstack([x[0, 0], y[0, 0]])), (X, Y)),
    ("narrow", lambda m, x: (x.narrow(1, 1, 2), m.narrow(x, 2, -3, 2), x.select(1, 2), m.select(x, -1, -1)), (X,)),
    ("index_select", lambda m, x, i: x.index_select(2, i), (X, np.array([3, 0, 0]))),
    ("gather", lambda m, x, i: x.gather(1, i), (X, PLACES)),
    ("scatter", lambda m, x, i, y: x.scatter(1, i, y), (X, PLACES, Y[:, :1].copy())),
    ("scatter part", lambda m, x, i, y: x.scatter(1, i, y), (X, PLACES, Y)),
    ("scatter", lambda m, x, i: m.scatter(x, 1, i, 9.0), (X, PLACES)),
    ("scatter_add", lambda m, x, i, y: m.scatter_add(x, 1, i, y), (X, PLACES, Y[:, :1].copy())),
    ("nonzero", lambda m, x: x.nonzero(), (WHOLE,)),
    ("flip", lambda m, x: x.flip([0, 2]), (X,)),
    ("roll", lambda m, x: (x.roll(1, 0), x.roll(-5, 2), m.roll(x, (1, 2), (1, 2)), m.roll(x, 3)), (X,)),
    ("tril", lambda m, x: (x.tril(), m.triu(x, diagonal=1), x.triu(-1)), (X,)),
    ("size", lambda m, x: x.view(x.size(0), -1) * (x.dim() + x.ndim + x.numel() + len(x.size())), (X,)),
    # types and copies
    ("casts", lambda m, x: (x.int(), x.long(), x.double(), x.half().float(), x.bool(), x.to(m.float64)), (X * 3,)),
    (
        "to",
        lambda m, x, y: (x.to(y), x.type_as(y), x.to("cpu", dtype=m.int32), x.cpu().contiguous().clone()),
        (X, WHOLE),
    ),
    ("detach", lambda m, x: (x * 2).detach() + x.data, (X,)),
    ("like", lambda m, x: (m.zeros_like(x), m.ones_like(x, dtype=m.int64), m.full_like(x, 3.0)), (X,)),
    (
        "made",
        lambda m, x: (m.eye(3, 4), m.linspace(0, 1, 5), m.arange(1, 7, 2), m.ones(2, 3) * m.full((3,), 2.0)),
        (X,),
    ),
    # networks
    ("linear", lambda m, x, w, b: m.nn.functional.linear(x, w, b), (X, Y[0], Y[0, :, 0])),
    *(
        (f"conv{n}d", lambda m, x, w, n=n: getattr(m.nn.functional, f"conv{n}d")(x, w, None, 2, 1), (x, w))
        for n, x, w in [(1, X, X[:, :, :3]), (2, IMAGE, IMAGE[:, :, :3, :3]), (3, IMAGE[:, :, None], IMAGE[:, :, None])]
    ),
    (
        "conv2d",
        lambda m, x, w, b: m.nn.functional.conv2d(x, w, b, groups=2),
        (IMAGE, IMAGE[:, :2, :2, :3], IMAGE[0, 0, 0, :2]),
    ),
    (
        "pools",
        lambda m, x: (m.nn.functional.max_pool2d(x, 2), m.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)),
        (IMAGE,),
    ),
    ("adaptive", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, (3, 1)), (IMAGE,)),
    ("group_norm", lambda m, x: m.nn.functional.group_norm(x, 2), (IMAGE,)),
    ("pad reflect", lambda m, x: m.nn.functional.pad(x, (1, 2, 2, 1), mode="reflect"), (IMAGE,)),
    ("pixel_shuffle", lambda m, x: m.nn.functional.pixel_shuffle(x, 2), (IMAGE,)),
    *(
        ("interpolate", lambda m, x, options=options: m.nn.functional.interpolate(x, **options), (IMAGE,))
        for options in [
            {"scale_factor": 2},
            {"size": (9, 3), "mode": "nearest"},
            {"size": (9, 3), "mode": "bilinear"},
            {"scale_factor": (2, 3), "mode": "bilinear", "align_corners": True},
            {"size": 8, "mode": "bicubic"},
        ]
    ),
    (
        "grid_sample",
        lambda m, x, g: m.nn.functional.grid_sample(x, g, align_corners=True),
        (IMAGE, np.tanh(IMAGE[:, 0, :, :2])[:, :, None]),
    ),
    ("embedding", lambda m, i, w: m.nn.functional.embedding(i, w), (np.abs(WHOLE) % 3, Y[0])),
    ("one_hot", lambda m, x: (m.nn.functional.one_hot(x, 7), m.nn.functional.one_hot(x)), (np.abs(WHOLE),)),
    (
        "losses",
        lambda m, x, y: (m.nn.functional.mse_loss(x, y), m.nn.functional.l1_loss(x, y, reduction="sum")),
        (X, Y),
    ),
    ("smooth_l1", lambda m, x, y: m.nn.functional.smooth_l1_loss(x, y, beta=0.5, reduction="none"), (X, Y)),
    (
        "cross_entropy",
        lambda m, x, y: m.nn.functional.cross_entropy(x, y, reduction="sum"),
        (X, np.array([[0, 1, 2, 1], [1, -100, 0, 2]])),
    ),
    ("nll_loss", lambda m, x, y: m.nn.functional.nll_loss(x, y), (X[0], np.array([3, 0, 1]))),
    ("bce", lambda m, x, y: m.nn.functional.binary_cross_entropy_with_logits(x, y.sigmoid()), (X, Y)),
]


def flat(value: Any) -> list[Any]:
    return [x for part in value for x in flat(part)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_as_torch(case):
    _, function, arrays = case
    found = flat(function(flow, *(flow.from_numpy(x) for x in arrays)))
    expected = flat(function(torch, *(torch.from_numpy(x) for x in arrays)))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, flow.Tensor)
        theirs = theirs.numpy()
        assert ours.numpy().shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=2e-5, atol=2e-6)


GRADIENTS = [case for case in CASES if case[0] in {
    "log1p", "expm1", "norm", "var", "topk", "sort", "gather", "scatter", "scatter_add", "roll", "flip", "glu", "prelu",
    "cumsum", "einsum", "chunk", "masked_fill", "normalize", "interpolate", "pad", "cosine_similarity", "softshrink",
}]  # fmt: skip


@pytest.mark.parametrize("case", GRADIENTS, ids=lambda case: case[0])
def test_gradients_as_torch(case):
    _, function, arrays = case
    ours = [flow.tensor(x, requires_grad=x.dtype == F32) for x in arrays]
    theirs = [torch.tensor(x, requires_grad=x.dtype == F32) for x in arrays]
    for module, tensors in ((flow, ours), (torch, theirs)):
        results = flat(function(module, *tensors))
        sum((y * y).sum() for y in results if y.dtype == module.float32).backward()
    for x, y in zip(ours, theirs, strict=True):
        if y.grad is not None:
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-4, atol=1e-5)


LAYERS = [
    ("GLU", (1,), {}, IMAGE),
    ("Hardshrink", (0.3,), {}, X),
    ("Softshrink", (0.3,), {}, X),
    ("Threshold", (0.1, 5.0), {}, X),
    ("InstanceNorm1d", (3,), {}, X),
    ("InstanceNorm2d", (4,), {"affine": True, "eps": 1e-2}, IMAGE),
    ("RMSNorm", (4,), {"eps": 1e-5}, X),
    ("ConstantPad1d", ((1, 2), 3.0), {}, X),
    ("ConstantPad2d", (2, 3.0), {}, IMAGE),
    ("ConstantPad3d", (1, 3.0), {}, IMAGE[:, :, None]),
    ("ZeroPad2d", ((1, 2, 0, 1),), {}, IMAGE),
    ("ZeroPad2d", (-1,), {}, IMAGE),
    ("ReflectionPad1d", (2,), {}, X),
    ("ReflectionPad2d", ((1, 2, 3, 0),), {}, IMAGE),
    ("ReplicationPad1d", (2,), {}, X),
    ("ReplicationPad2d", ((1, 2, 3, 0),), {}, IMAGE),
    ("ReplicationPad3d", (1,), {}, IMAGE[:, :, None]),
    ("PixelShuffle", (2,), {}, IMAGE),
    ("Upsample", (), {"scale_factor": 2}, IMAGE),
    ("Upsample", (), {"size": 7, "mode": "linear"}, X),
    ("UpsamplingNearest2d", (), {"scale_factor": 3}, IMAGE),
    ("UpsamplingBilinear2d", (), {"size": (4, 9)}, IMAGE),
]


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case[0])
def test_layers_as_torch(case):
    name, args, options, x = case
    layer, other = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert isinstance(layer, nn.Module)
    assert repr(layer)
    expected = other(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5, atol=1e-5)
    model = graph.export([layer(graph.placeholder("x", shape=x.shape))])
    assert model.graph.node


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_as_torch(reduction):
    p, t = (1 / (1 + np.exp(-X))).astype(F32), (Y > 0).astype(F32)
    p[0, 0, :2] = 0, 1
    ours, theirs = (nn.BCELoss(reduction=reduction), torch.nn.BCELoss(reduction=reduction))
    found = ours(flow.tensor(p), flow.tensor(t)).numpy()
    np.testing.assert_allclose(found, theirs(torch.tensor(p), torch.tensor(t)).numpy(), rtol=1e-5)
    rows = np.abs(Y) * t
    for log_target in (False, True):
        given = Y if log_target else rows
        ours, theirs = (m.nn.KLDivLoss(reduction=reduction, log_target=log_target) for m in (flow, torch))
        found = ours(flow.tensor(X), flow.tensor(given)).numpy()
        np.testing.assert_allclose(found, theirs(torch.tensor(X), torch.tensor(given)).numpy(), rtol=1e-4, atol=1e-6)
    signs = np.sign(Y)
    ours, theirs = (m.nn.MarginRankingLoss(0.3, reduction=reduction) for m in (flow, torch))
    found = ours(flow.tensor(X), flow.tensor(P), flow.tensor(signs)).numpy()
    expected = theirs(torch.tensor(X), torch.tensor(P), torch.tensor(signs)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_losses_are_numbers():
    p = flow.tensor([0.0, 1.0, 0.5], requires_grad=True)
    nn.BCELoss()(p, flow.tensor([0.0, 1.0, 1.0])).backward()
    np.testing.assert_allclose(p.grad.numpy(), [1 / 3, -1 / 3, -2 / 3], rtol=1e-5)


def test_modules_own_tensors_of_oneflow():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Sequential(nn.Linear(3, 4), nn.ReLU())})
            self.scale = nn.Parameter(flow.ones(4))
            self.more = nn.ParameterList([nn.Parameter(flow.zeros(2)) for _ in range(2)])
            self.register_buffer("shift", flow.full((4,), 2.0))
            self.register_parameter("none", None)

        def forward(self, x):
            return sum(layer(x).view(-1) for layer in self.layers.values()) + (self.scale * self.shift).repeat(2)

    net = Net()
    assert sum(p.numel() for p in net.parameters()) == 2 * 16 + 4 + 4
    assert len(net.more) == 2 and [name for name, _ in net.named_buffers()] == ["shift"]
    for tensor in (*net.parameters(), *copy.deepcopy(net).parameters(), *net.buffers(), net(X[0, :2, :3])):
        assert isinstance(tensor, flow.Tensor)
    for parameter in net.layers["a"].parameters():
        parameter.requires_grad = False
    assert not net.layers["a"].weight.requires_grad and net.scale.requires_grad
    net(flow.tensor(X[0, :2, :3])).sum().backward()
    assert net.layers["a"].weight.grad is None and net.layers["b"][0].weight.grad.norm().item() > 0
    net.scale.fill_(3.0)
    assert net.scale.tolist() == [3.0] * 4
    nn.init.constant_(net.scale, 0.5)
    assert net.scale.numpy().tolist() == [0.5] * 4
    with pytest.raises(InvalidArgument, match="a parameter expected"):
        net.more.append(flow.ones(1))


def test_initial_values():
    flow.manual_seed(0)
    weight = nn.Linear(200, 100).weight
    for name, options, std in (
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, np.sqrt(2 / 100)),
        ("kaiming_uniform_", {"a": 5**0.5}, np.sqrt(1 / 200 / 3)),
        ("xavier_normal_", {}, np.sqrt(2 / 300)),
        ("xavier_uniform_", {"gain": 2.0}, 2 * np.sqrt(2 / 300)),
        ("normal_", {"mean": 1.0, "std": 0.1}, 0.1),
        ("uniform_", {"a": -1.0, "b": 2.0}, 3 / np.sqrt(12)),
        ("trunc_normal_", {"std": 0.02}, 0.02),
    ):
        assert getattr(nn.init, name)(weight, **options) is weight
        np.testing.assert_allclose(weight.numpy().std(), std, rtol=0.05)
    assert nn.init.zeros_(weight).numpy().max() == 0
    assert nn.init.calculate_gain("relu") == pytest.approx(2**0.5)


def test_gradients_that_are_asked_for():
    x = flow.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x * x).sum()
    (first,) = flow.autograd.grad(y, x)
    (second,) = flow.autograd.grad(first.sum(), [x])
    np.testing.assert_array_equal(first.numpy(), [3, 12])
    np.testing.assert_array_equal(second.numpy(), [6, 12])
    assert y.requires_grad and not flow.ones(2).requires_grad and not y.detach().requires_grad
    with pytest.raises(InvalidArgument, match="requires_grad can be set"):
        y.requires_grad = True
    with pytest.raises(InvalidArgument, match="requires_grad can be set"):
        flow.tensor([1, 2], requires_grad=True)


@pytest.mark.parametrize(("bound", "kind"), [(0.5, 2.0), (0.5, float("inf")), (1e3, 2.0), (2.0, 1.0)])
def test_gradients_are_bounded_like_torch(bound, kind):
    ours = [flow.tensor(x, requires_grad=True) for x in (X, Y)]
    theirs = [torch.tensor(x, requires_grad=True) for x in (X, Y)]
    norms = []
    for module, tensors in ((flow, ours), (torch, theirs)):
        (tensors[0] * tensors[0] * tensors[1]).sum().backward()
        norms.append(module.nn.utils.clip_grad_norm_(tensors, bound, kind).item())
        module.nn.utils.clip_grad_value_(tensors[:1], 0.04)
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_tensors_show_their_elements():
    assert str(flow.tensor([[1.0, 2.0]]) * 2) == "tensor([[2., 4.]], dtype=float32)"
    x = graph.placeholder("x", shape=(2,))
    assert "Relu" in str(flow.relu(flow.tensor([0.0, 0.0]) + x))
    assert flow.tensor([1, 2]).device.type == "cpu"
    with pytest.raises(InvalidArgument, match="device 'cuda' is not available"):
        flow.ones(2).to("cuda")


def test_mistakes():
    x = flow.from_numpy(X)
    for call, message in (
        (lambda: x.chunk(0), "0 parts; 1 or more"),
        (lambda: x.split(0), "parts of extent 0"),
        (lambda: x.t(), "3 axes; 2 at most"),
        (lambda: x.repeat(2), "1 numbers for 3 axes"),
        (lambda: flow.nn.functional.glu(x, 1), "the extent of axis 1 is 3; an even number"),
        (lambda: flow.nn.functional.pad(x, (1, 1), "mirror"), "one of constant, reflect, replicate, circular"),
        (lambda: flow.nn.functional.interpolate(x, 3, mode="bilinear"), "mode is 'bilinear' for 1 spatial axes"),
        (lambda: flow.nn.functional.interpolate(x), "either size or scale_factor"),
        (lambda: x.norm("nuc"), "a number or 'fro' expected"),
        (lambda: flow.nn.functional.group_norm(x, 2), "3 channels cannot be cut into 2 groups"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            call()

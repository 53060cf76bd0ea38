"""The networks of compat.flowvision: sizes, names and outputs are those of torchvision's."""

import numpy as np
import pytest

from sardonyx import nn
from sardonyx.compat.flowvision import models
from sardonyx.errors import InvalidArgument
from sardonyx.graph import Executor, data
from sardonyx.losses import softmax_cross_entropy
from sardonyx.optim import SGD

# Parameters as published with torchvision.
SIZES = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg16": 138_357_544,
    "mobilenet_v2": 3_504_872,
    "densenet121": 7_978_856,
}


def size(model):
    return sum(p.numpy().size for p in model.parameters())


@pytest.fixture
def _no_draws(monkeypatch):
    """Initial values are zeros, which is quick."""
    for name in ("uniform", "normal", "he_normal"):
        monkeypatch.setattr(nn.init, name, lambda shape, *args, **options: np.zeros(shape, np.float32))


@pytest.mark.usefixtures("_no_draws")
@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    assert size(getattr(models, name)()) == SIZES[name]


def values(name, shape):
    """Numbers for a parameter that keep the size of signals about the same."""
    pattern = np.random.default_rng(len(name)).normal(size=10007).astype(np.float32)
    if "running_var" in name or (len(shape) == 1 and name.endswith("weight")):
        pattern = np.abs(pattern) + 0.5
    elif len(shape) > 1:
        pattern *= nn.init.fans(shape)[0] ** -0.5
    return np.resize(pattern, shape)


@pytest.mark.usefixtures("_no_draws")
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "densenet121", "vgg16_bn"])
def test_same_as_torchvision(name):
    torch = pytest.importorskip("torch")
    # A torchvision that was built for another torch lacks its kernels; to be imported it needs these two by name.
    for kernel in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, kernel):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{kernel}", signature)
    torchvision = pytest.importorskip("torchvision", exc_type=ImportError)
    options = {"num_classes": 10}
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(**options)
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    ours = getattr(models, name)(**options).eval()
    own = ours.state_dict()
    assert list(own) == list(state)
    assert {k: v.shape for k, v in own.items()} == {k: tuple(v.shape) for k, v in state.items()}
    own = {k: values(k, v.shape) for k, v in own.items()}
    ours.load_state_dict(own)
    theirs = theirs.to_empty(device="cpu")
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in own.items()}, strict=False)
    x = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        wanted = theirs.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(x).numpy(), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.usefixtures("_no_draws")
@pytest.mark.parametrize("name", SIZES)
def test_forward(name):
    model = getattr(models, name)(num_classes=7).eval()
    assert model(np.ones((2, 3, 32, 32), np.float32)).numpy().shape == (2, 7)


@pytest.mark.usefixtures("_no_draws")
def test_vgg_without_normalization():
    model = models.vgg16(num_classes=3)
    assert size(model) == 138_357_544 - 997 * 4097
    assert model(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 3)


def test_trains():
    nn.init.seed(0)
    model = models.resnet18(num_classes=2)
    x = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    loss = softmax_cross_entropy(model(data(x)), data(np.array([0, 1, 0, 1])))
    executor = Executor([loss, SGD(0.01).minimize(loss)])
    losses = [float(executor.run()[0]) for _ in range(5)]
    assert losses[-1] < losses[0] / 2
    assert not np.array_equal(model.bn1.running_mean.numpy(), np.zeros(64))


def test_nothing_is_downloaded():
    with pytest.raises(InvalidArgument, match="nothing is downloaded"):
        models.resnet18(pretrained=True)

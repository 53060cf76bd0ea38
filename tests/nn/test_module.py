"""Modules: names of parameters, states, modes and containers."""

import copy
import io

import numpy as np
import pytest

from sardonyx import nn
from sardonyx.errors import InvalidArgument
from sardonyx.graph import Executor, data, placeholder, variable
from sardonyx.graph.build import build
from sardonyx.losses import mse
from sardonyx.optim import SGD


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.5))
        self.scale = variable([2.0])

    def forward(self, x):
        return self.inner(self.norm(x)) * self.scale


def names(module):
    return [name for name, _ in module.named_parameters()]


def test_names_and_order():
    net = nn.Sequential(Block(3), nn.Linear(3, 2, bias=False))
    assert names(net) == ["0.scale", "0.norm.weight", "0.norm.bias", "0.inner.0.weight", "0.inner.0.bias", "1.weight"]
    assert [name for name, _ in net.named_buffers()] == ["0.norm.running_mean", "0.norm.running_var"]
    assert list(net.state_dict()) == [
        *("0.scale", "0.norm.weight", "0.norm.bias", "0.norm.running_mean", "0.norm.running_var"),
        *("0.inner.0.weight", "0.inner.0.bias", "1.weight"),
    ]
    assert [name for name, _ in net.named_modules()][:4] == ["", "0", "0.norm", "0.inner"]


def test_a_model_has_the_names():
    net = nn.Sequential({"block": Block(3), "head": nn.Linear(3, 2)})
    x = placeholder("x", shape=("n", 3))
    first = net[0](x)  # parameters are named from "block" on when the whole network is called
    model = build([net(x)]).model
    assert {w.name for w in model.graph.initializer} >= {"block.inner.0.weight", "head.bias", "block.norm.running_var"}
    build([first])
    assert net[0].scale.name == "block.scale"


def test_shared_parameters_count_once():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert names(net) == ["0.weight", "0.bias", "1.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    twin = copy.deepcopy(net)
    assert twin[1].weight is twin[0].weight
    assert twin[0].weight is not net[0].weight


def test_parameters_before_super_init():
    class Early(nn.Module):
        def __init__(self):
            self.w = variable([1.0])
            super().__init__()

    assert names(Early()) == ["w"]


def test_load_state_dict():
    net = Block(3)
    state = net.state_dict()
    other = Block(3)
    assert other.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(other.inner[0].weight.numpy(), state["inner.0.weight"])
    assert other.load_state_dict({**state, "norm.num_batches_tracked": np.array(3)}) == ([], [])
    lacking = {k: v for k, v in state.items() if k != "inner.0.weight"}
    with pytest.raises(InvalidArgument, match=r"1 missing: 'inner.0.weight'; 1 unknown: 'inner.weight' \(is .* meant"):
        other.load_state_dict({**lacking, "inner.weight": state["inner.0.weight"]})
    assert other.load_state_dict({**lacking, "z": 1}, strict=False) == (["inner.0.weight"], ["z"])
    before = other.state_dict()
    wrong = {**state, "norm.bias": np.ones(3), "inner.0.weight": np.ones((2, 3)), "scale": np.array([1j])}
    with pytest.raises(InvalidArgument, match=r"'scale' has type complex128.*'inner.0.weight' has shape \[2, 3\]; \[3"):
        other.load_state_dict(wrong, strict=False)
    assert all((before[k] == v).all() for k, v in other.state_dict().items())


def test_states_are_arrays_that_numpy_saves():
    net = Block(3)
    file = io.BytesIO()
    np.savez(file, **net.state_dict())
    file.seek(0)
    Block(3).load_state_dict(np.load(file))


def test_freeze():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    net.freeze("0.*")
    loss = mse(net(data(np.ones((2, 3), np.float32))), data(np.zeros((2, 1), np.float32)))
    before = net.state_dict()
    Executor([SGD(0.1).minimize(loss)]).run()
    after = net.state_dict()
    assert [k for k in before if not np.array_equal(before[k], after[k])] == ["1.weight", "1.bias"]
    assert names(net) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    net.unfreeze()
    assert all(p.trainable for p in net.parameters())
    with pytest.raises(InvalidArgument, match=r"no parameter matches 'first.\*'; there are '0.weight'"):
        net.freeze("first.*")


def test_modes():
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4))
    x = placeholder("x", shape=(64, 4))
    value = np.random.default_rng(0).normal(3, 1, (64, 4)).astype(np.float32)
    inferred = Executor([net(x)]).run({x: value})[0]
    np.testing.assert_allclose(inferred, value / np.sqrt(1 + 1e-5), rtol=1e-5)
    trained = Executor([net(x)], training=True).run({x: value})[0]
    assert abs(trained.mean()) < 1e-4
    net.eval()
    assert not net[0].training
    net[1].load_state_dict({**net[1].state_dict(), "running_mean": np.zeros(4), "running_var": np.ones(4)})
    np.testing.assert_allclose(Executor([net(x)], training=True).run({x: value})[0], inferred)
    assert net.train()[1].training


def test_apply_and_repr():
    seen = []
    net = nn.Sequential(nn.Linear(3, 2), nn.ModuleList([nn.ReLU(), nn.BatchNorm1d(2)]))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert sorted(seen) == ["BatchNorm1d", "Linear", "ModuleList", "ReLU", "Sequential"]
    assert seen[-1] == "Sequential"
    assert repr(net) == (
        "Sequential(\n  (0): Linear(3, 2, bias=True)\n  (1): ModuleList(\n    (0): ReLU()\n"
        "    (1): BatchNorm1d(2, eps=1e-05, momentum=0.1, affine=True)\n  )\n)"
    )


def test_containers():
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).append(nn.Tanh())
    assert len(net) == 3
    assert [type(m).__name__ for m in net[1:]] == ["ReLU", "Tanh"]
    net[-1] = nn.Sigmoid()
    assert type(net[2]).__name__ == "Sigmoid"
    layers = nn.ModuleList([nn.Linear(3, 3)])
    layers.extend([nn.Linear(3, 3)])
    layers[0] = nn.Identity()
    assert names(layers) == ["1.weight", "1.bias"]
    assert len(layers[:1]) == 1
    with pytest.raises(InvalidArgument, match="a module expected, not str"):
        nn.Sequential("relu")


def test_mistakes():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(np.ones(2, np.float32))
    for make, message in (
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "cannot be cut into 2 groups"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "kernel_size is"),
        (lambda: nn.Conv2d(3, 4, 3, 2, "same"), "stride of 1"),
        (lambda: nn.Dropout(1.0), "probability"),
        (lambda: nn.MultiheadAttention(5, 2), "heads"),
        (lambda: nn.GroupNorm(2, 3), "groups"),
        (lambda: nn.AdaptiveAvgPool2d(3)(placeholder("x", shape=("n", 3, "h", "w"))), "must know the 2 spatial"),
        (lambda: nn.AdaptiveMaxPool2d(3)(placeholder("x", shape=("n", 3, 5, 6))), "no multiples"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            make()


def test_init():
    for draw in (nn.init.he_normal, nn.init.xavier_uniform, nn.init.lecun_normal, nn.init.truncated_normal):
        nn.init.seed(4)
        first = draw((6, 5))
        nn.init.seed(4)
        assert (draw((6, 5)) == first).all()
        assert (draw((6, 5), rng=4) == draw((6, 5), rng=np.random.default_rng(4))).all()
        assert first.dtype == np.float32
    shape = (256, 64, 3, 3)
    assert nn.init.fans(shape) == (576, 2304)
    assert nn.init.he_normal(shape).std() == pytest.approx((2 / 576) ** 0.5, rel=0.01)
    assert nn.init.he_uniform(shape, mode="fan_out").std() == pytest.approx((2 / 2304) ** 0.5, rel=0.01)
    assert nn.init.xavier_normal(shape).std() == pytest.approx((2 / 2880) ** 0.5, rel=0.01)
    assert nn.init.lecun_uniform(shape).std() == pytest.approx((1 / 576) ** 0.5, rel=0.01)
    drawn = nn.init.truncated_normal((10000,), 1.0, 0.5, -1.0, 2.0, rng=0)
    assert drawn.min() >= 0.5
    assert drawn.max() <= 2.0
    q = nn.init.orthogonal((4, 6), rng=0)
    np.testing.assert_allclose(q @ q.T, np.eye(4), atol=1e-6)
    assert nn.init.uniform((3,), dtype=np.float64).dtype == np.float64
    assert nn.init.gain("relu") == pytest.approx(2**0.5)
    with pytest.raises(InvalidArgument, match="no fans"):
        nn.init.he_normal((3,))

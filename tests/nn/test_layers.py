"""Every layer gives what torch's layer of that name gives with the same parameters, where torch is installed."""

import copy

import numpy as np
import pytest

from sardonyx import nn
from sardonyx.graph import Executor, data, evaluate, gradients, placeholder

torch = pytest.importorskip("torch")

IMAGE = (2, 6, 9, 8)
LINE = (2, 6, 9)
VOLUME = (1, 6, 5, 6, 7)
SEQUENCE = (5, 2, 6)

CASES = [
    ("Linear", (6, 4), {}, (3, 6)),
    ("Linear", (6, 4), {"bias": False}, (2, 3, 6)),
    ("Conv1d", (6, 4, 3), {"stride": 2, "padding": 1}, LINE),
    ("Conv2d", (6, 4, 3), {}, IMAGE),
    ("Conv2d", (6, 4, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "dilation": 2, "groups": 2}, IMAGE),
    ("Conv2d", (6, 6, 4), {"padding": "same", "groups": 6, "bias": False}, IMAGE),
    ("Conv2d", (6, 4, 3), {"padding": "valid"}, IMAGE),
    *(("Conv2d", (6, 4, 3), {"padding": 2, "padding_mode": m}, IMAGE) for m in ("reflect", "replicate", "circular")),
    ("Conv3d", (6, 4, 3), {"padding": 1}, VOLUME),
    ("ConvTranspose1d", (6, 4, 3), {"stride": 2}, LINE),
    ("ConvTranspose2d", (6, 4, 3), {}, IMAGE),
    ("ConvTranspose2d", (6, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, IMAGE),
    ("ConvTranspose3d", (6, 4, 2), {"stride": 2, "bias": False}, VOLUME),
    ("BatchNorm1d", (6,), {}, (4, 6)),
    ("BatchNorm1d", (6,), {"eps": 1e-2}, LINE),
    ("BatchNorm2d", (6,), {"affine": False}, IMAGE),
    ("BatchNorm3d", (6,), {}, VOLUME),
    ("LayerNorm", (8,), {}, IMAGE),
    ("LayerNorm", ((9, 8),), {"eps": 1e-3, "bias": False}, IMAGE),
    ("LayerNorm", (8,), {"elementwise_affine": False}, IMAGE),
    ("GroupNorm", (3, 6), {}, IMAGE),
    ("GroupNorm", (2, 6), {"affine": False, "eps": 1e-2}, LINE),
    ("MaxPool1d", (2,), {}, LINE),
    ("MaxPool2d", (3, 2, 1), {"dilation": 2}, IMAGE),
    ("MaxPool2d", (3, 2), {"ceil_mode": True}, IMAGE),
    ("MaxPool3d", (2,), {}, VOLUME),
    ("AvgPool1d", (2,), {}, LINE),
    ("AvgPool2d", (3, 2, 1), {}, IMAGE),
    ("AvgPool2d", ((3, 2), 2, 1), {"ceil_mode": True, "count_include_pad": False}, IMAGE),
    ("AvgPool3d", (2,), {}, VOLUME),
    ("AdaptiveAvgPool1d", (4,), {}, LINE),
    *(("AdaptiveAvgPool2d", (size,), {}, IMAGE) for size in (1, (3, 4), (9, 8), (7, 5), (12, 3))),
    ("AdaptiveAvgPool3d", ((3, 4, 5),), {}, VOLUME),
    ("AdaptiveMaxPool1d", (3,), {}, LINE),
    *(("AdaptiveMaxPool2d", (size,), {}, IMAGE) for size in (1, (3, 4))),
    ("AdaptiveMaxPool3d", (1,), {}, VOLUME),
    ("Flatten", (), {}, IMAGE),
    *(("Flatten", dims, {}, IMAGE) for dims in ((0,), (2, 3), (1, 2), (0, 1), (2, 2))),
    ("Dropout", (), {}, LINE),
    ("Identity", (), {}, LINE),
    *(
        (name, (), {}, LINE)
        for name in (
            *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Sigmoid", "Tanh"),
            *("LogSigmoid", "Softplus", "Softsign", "Hardswish", "Hardsigmoid", "Hardtanh"),
        )
    ),
    ("LeakyReLU", (0.2,), {"inplace": True}, LINE),
    ("PReLU", (6,), {}, IMAGE),
    ("PReLU", (6,), {}, (3, 6)),
    ("ELU", (0.5,), {}, LINE),
    ("CELU", (0.5,), {}, LINE),
    ("GELU", (), {"approximate": "tanh"}, LINE),
    ("Softplus", (2.0,), {}, LINE),
    ("Hardtanh", (-0.5, 0.25), {}, LINE),
    *((name, (), {"dim": dim}, LINE) for name in ("Softmax", "LogSoftmax") for dim in (1, -1)),
    *(
        (name, (6, 5, layers), {"bidirectional": both, "batch_first": first, "bias": bias}, SEQUENCE)
        for name in ("RNN", "LSTM", "GRU")
        for layers, both, first, bias in ((1, False, False, True), (2, True, True, True), (2, False, False, False))
    ),
    ("RNN", (6, 5), {"nonlinearity": "relu"}, SEQUENCE),
    ("TransformerEncoderLayer", (6, 3, 10), {}, SEQUENCE),
    ("TransformerEncoderLayer", (6, 3, 10), {"batch_first": True, "norm_first": True, "activation": "gelu"}, SEQUENCE),
]


def twins(name, args, options):
    """Our layer and torch's, with the same parameters, drawn at random."""
    ours, theirs = getattr(nn, name)(*args, **options).eval(), getattr(torch.nn, name)(*args, **options).eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {k: tuple(v.shape) for k, v in state.items()} == {k: v.shape for k, v in ours.state_dict().items()}
    rng = np.random.default_rng(3)
    for key, value in state.items():
        state[key] = torch.from_numpy(rng.uniform(0.1 if "var" in key else -0.8, 0.8, value.shape).astype(np.float32))
    theirs.load_state_dict(state, strict=False)
    ours.load_state_dict(theirs.state_dict())  # as torch gives it
    return ours, theirs


def flat(value):
    return [y for x in value for y in flat(x)] if isinstance(value, (tuple, list)) else [value]


@pytest.mark.parametrize(("name", "args", "options", "shape"), CASES)
def test_same_as_torch(name, args, options, shape):
    ours, theirs = twins(name, args, options)
    x = np.random.default_rng(1).normal(0, 2, shape).astype(np.float32)
    with torch.no_grad():
        wanted = flat(theirs(torch.from_numpy(x.copy())))
    got = flat(ours(x))
    assert len(got) == len(wanted)
    for y, z in zip(got, wanted):
        assert y.numpy().shape == tuple(z.shape)
        np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-4, atol=1e-5)
    repr(ours)


@pytest.mark.parametrize(
    ("name", "args", "options", "shape"),
    [
        ("Linear", (6, 4), {}, (2, 3, 6)),
        ("Conv2d", (6, 4, 3), {"stride": 2, "padding": 1, "groups": 2}, IMAGE),
        ("ConvTranspose2d", (6, 4, 3), {"stride": 2}, IMAGE),
        ("BatchNorm2d", (6,), {}, IMAGE),
        ("LayerNorm", (8,), {}, IMAGE),
        ("GroupNorm", (3, 6), {}, IMAGE),
        ("PReLU", (6,), {}, IMAGE),
        ("RNN", (6, 5, 2), {"bidirectional": True}, SEQUENCE),
        ("LSTM", (6, 5, 2), {"bidirectional": True}, SEQUENCE),
        ("GRU", (6, 5, 2), {"bidirectional": True}, SEQUENCE),
        ("TransformerEncoderLayer", (6, 3, 10), {"norm_first": True}, SEQUENCE),
    ],
)
def test_gradients_are_torchs(name, args, options, shape):
    ours, theirs = twins(name, args, options)
    x = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    y = flat(theirs(torch.from_numpy(x)))[0]
    r = np.random.default_rng(2).normal(size=tuple(y.shape)).astype(np.float32)
    (y * torch.from_numpy(r)).sum().backward()
    wanted = {k: p.grad.numpy() for k, p in theirs.named_parameters()}
    parameters = dict(ours.named_parameters())
    got = evaluate(gradients((flat(ours(x))[0] * data(r)).sum(), list(parameters.values())))
    for key, gradient in zip(parameters, got, strict=True):
        np.testing.assert_allclose(gradient, wanted[key], rtol=2e-3, atol=2e-3, err_msg=key)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_recurrent_states(name):
    ours, theirs = twins(name, (6, 5, 2), {"bidirectional": True})
    rng = np.random.default_rng(2)
    x, h, c = (rng.normal(size=s).astype(np.float32) for s in (SEQUENCE, (4, 2, 5), (4, 2, 5)))
    states = (h, c) if name == "LSTM" else h
    given = tuple(map(torch.from_numpy, states)) if name == "LSTM" else torch.from_numpy(h)
    with torch.no_grad():
        wanted = flat(theirs(torch.from_numpy(x), given))
    states = tuple(map(data, states)) if name == "LSTM" else data(h)
    for y, z in zip(flat(ours(x, states)), wanted, strict=True):
        np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention(average, batch_first):
    ours, theirs = twins("MultiheadAttention", (6, 3), {"batch_first": batch_first})
    rng = np.random.default_rng(2)
    q, k, v = (rng.normal(size=(n, 2, 6)).astype(np.float32) for n in (4, 5, 5))
    if batch_first:
        q, k, v = (np.ascontiguousarray(a.transpose(1, 0, 2)) for a in (q, k, v))
    blocked = np.triu(np.ones((4, 5), bool), 2)
    padded = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool)
    with torch.no_grad():
        wanted = theirs(
            *map(torch.from_numpy, (q, k, v)),
            attn_mask=torch.from_numpy(blocked),
            key_padding_mask=torch.from_numpy(padded),
            average_attn_weights=average,
        )
    got = ours(q, k, v, attn_mask=data(blocked), key_padding_mask=data(padded), average_attn_weights=average)
    for y, z in zip(got, wanted, strict=True):
        np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-4, atol=1e-5)
    added = np.where(blocked, -1e9, 0).astype(np.float32)
    again = ours(q, k, v, attn_mask=data(added), need_weights=False)
    assert again[1] is None


def test_embedding():
    ours, theirs = twins("Embedding", (7, 3), {})
    rows = np.array([[0, 6], [2, 2]])
    np.testing.assert_array_equal(ours(rows).numpy(), theirs(torch.from_numpy(rows)).detach().numpy())
    padded = nn.Embedding(7, 3, padding_idx=-5)
    assert (padded.weight.numpy()[2] == 0).all()
    padded.weight.assign(np.ones((7, 3)))
    np.testing.assert_array_equal(padded(rows).numpy().any(-1), [[True, True], [False, False]])


@pytest.mark.parametrize(
    ("name", "args", "options"),
    [
        ("Linear", (400, 300), {}),
        ("Conv2d", (64, 96, 3), {"groups": 2}),
        ("ConvTranspose2d", (64, 96, 3), {"groups": 2}),
        ("Embedding", (300, 100), {}),
        ("LSTM", (80, 100), {}),
        ("MultiheadAttention", (96, 4), {}),
        ("BatchNorm2d", (6,), {}),
        ("PReLU", (6,), {}),
    ],
)
def test_initial_values_are_distributed_as_torchs(name, args, options):
    nn.init.seed(5)
    torch.manual_seed(5)
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        wanted = state[key].numpy()
        tolerance = wanted.std() * max(0.1, 5 / np.sqrt(value.size))
        quantiles = [0.02, 0.25, 0.5, 0.75, 0.98]
        np.testing.assert_allclose(np.quantile(value, quantiles), np.quantile(wanted, quantiles), atol=tolerance)


def test_batch_norm_training_moves_statistics():
    ours, theirs = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    x = np.random.default_rng(0).normal(1, 2, (4, 3, 5, 5)).astype(np.float32)
    fed = placeholder("x", shape=("n", 3, None, None))
    y = Executor([ours(fed)], training=True).run({fed: x})[0]
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.running_mean.numpy(), theirs.running_mean.numpy(), rtol=1e-5)
    unbiased = theirs.running_var.numpy()
    biased = 0.9 + (unbiased - 0.9) * 99 / 100  # torch divides by n - 1, ONNX by n
    np.testing.assert_allclose(ours.running_var.numpy(), biased, rtol=1e-5)
    frozen = copy.deepcopy(ours).eval()
    before = frozen.state_dict()
    y = Executor([frozen(fed)], training=True).run({fed: x})[0]
    np.testing.assert_allclose(y, ours.eval()(x).numpy(), rtol=1e-5)
    assert all((before[k] == v).all() for k, v in frozen.state_dict().items())

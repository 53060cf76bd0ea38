"""compat.oneflow and compat.oneflow_onnx: graphs, states in files, exports and their checks."""

import contextlib
import io
import zipfile

import numpy as np
import onnx
import pytest

import sardonyx as rt
import sardonyx.compat.oneflow as flow
from sardonyx import comparison, weights
from sardonyx.compat.oneflow import nn
from sardonyx.compat.oneflow_onnx.oneflow2onnx import util
from sardonyx.errors import Fail, InvalidArgument, NoSuchFile, NotImplemented


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 8 * 8, 5)

    def forward(self, x):
        return self.fc(flow.flatten(flow.relu(self.bn(self.conv(x))), 1))


class NetGraph(nn.Graph):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def build(self, x):
        return self.model(x)


class Pair(nn.Graph):
    def build(self, x, rows):
        return {"sum": x + x, "parts": (flow.reshape(x, (2, -1)), [rows * 2])}


@pytest.fixture
def graph():
    flow.manual_seed(0)
    graph = NetGraph(Net().eval())
    graph._compile(flow.randn(2, 3, 8, 8))
    return graph


def test_graphs_compute_what_modules_do(graph):
    x = flow.randn(2, 3, 8, 8)
    np.testing.assert_allclose(graph(x).numpy(), graph.model(x).numpy(), rtol=1e-5, atol=1e-6)
    assert graph(flow.randn(5, 3, 8, 8)).shape == (5, 5)  # another shape is compiled when it comes
    assert next(iter(graph.state_dict())) == "model.conv.weight"


def test_graphs_are_numbered():
    first, second = Pair(), Pair()
    number = int(first.name.split("_")[1])
    assert second.name == f"Pair_{number + 1}"
    y = first(flow.ones(2, 2), flow.tensor([1, 2]))
    assert y["parts"][1][0].numpy().tolist() == [2, 4]
    assert y["sum"].numpy().tolist() == [[2, 2], [2, 2]]
    assert first.first_trace.inputs[1].name == f"_{first.name}-input_1/out"


def test_mistakes_in_graphs():
    with pytest.raises(NotImplementedError, match="has no build"):
        nn.Graph()(flow.ones(1))
    with pytest.raises(InvalidArgument, match="input 0 is a list; a tensor expected"):
        Pair()([1])

    class Nothing(nn.Graph):
        def build(self, x):
            return None

    with pytest.raises(InvalidArgument, match=r"build\(\) returned a NoneType"):
        Nothing()(flow.ones(1))


def test_tensors():
    flow.manual_seed(3)
    a = flow.randn(2, 3).numpy()
    flow.manual_seed(3)
    assert (flow.randn((2, 3)).numpy() == a).all()
    assert flow.zeros(2).dtype == flow.float32
    assert flow.ones(2, dtype=flow.int64).numpy().tolist() == [1, 1]
    assert flow.tensor([1.5]).dtype == flow.float
    assert flow.tensor([1, 2]).dtype == flow.int64
    assert flow.arange(3).numpy().tolist() == [0, 1, 2]
    assert flow.full((2,), 7).numpy().tolist() == [7, 7]
    assert flow.from_numpy(a).shape == (2, 3)
    assert flow.rand(4).numpy().max() < 1
    assert set(flow.randint(0, 2, (50,)).numpy()) == {0, 1}
    with flow.no_grad():
        assert flow.no_grad()(lambda: 3)() == 3
    for name in ("cuda", "cuda:0", "gpu"):
        with pytest.raises(InvalidArgument, match=f"device '{name}' is not available: Sardonyx runs on 'cpu'"):
            flow.ones(1, device=name)
        with pytest.raises(InvalidArgument, match="is not available"):
            Net().to(name)
    assert Net().to("cpu").training
    assert str(flow.device("cpu")) == "cpu"


def test_functions():
    x = np.array([[-1.5, 0.5, 2.0]], np.float32)
    t = flow.from_numpy(x)
    for got, wanted in (
        (flow.relu(t), np.maximum(x, 0)),
        (flow.sigmoid(t), 1 / (1 + np.exp(-x))),
        (flow.silu(t), x / (1 + np.exp(-x))),
        (flow.clamp(t, -1, 1), x.clip(-1, 1)),
        (flow.relu6(t * 4), (x * 4).clip(0, 6)),
        (flow.softmax(t), np.exp(x) / np.exp(x).sum()),
        (flow.cat([t, t], dim=1), np.concatenate([x, x], 1)),
        (flow.stack([t, t]), np.stack([x, x])),
        (flow.transpose(t, 0, 1), x.T),
        (flow.permute(t, (1, 0)), x.T),
        (flow.rsqrt(flow.square(t)), 1 / abs(x)),
        (flow.where(t < 0, 0.0, t), np.maximum(x, 0)),
        (flow.masked_fill(t, t < 0, 9.0), np.where(x < 0, 9, x)),
        (flow.mean(t, 1, keepdim=True), x.mean(1, keepdims=True)),
        (flow.max(t), x.max()),
        (flow.matmul(t, flow.transpose(t, 0, 1)), x @ x.T),
        (flow.cast(t, flow.int32), x.astype(np.int32)),
        (flow.flatten(t), x.ravel()),
        (flow.unsqueeze(t, 0), x[None]),
        (flow.squeeze(t, 0), x[0]),
    ):
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-6)


# --- files of weights


@pytest.mark.parametrize("name", ["state", "state.npz", "state.safetensors"])
def test_states_come_back(tmp_path, name):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    model = Net()
    flow.save(model.state_dict(), tmp_path / name)
    flow.save(model.state_dict(), tmp_path / name)  # again, over the first
    other = Net()
    other.load_state_dict(flow.load(tmp_path / name))
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[key])


def test_folders_are_those_of_oneflow(tmp_path):
    flow.save({"w": np.ones((2, 3), np.float32), "n": np.array(4)}, tmp_path / "w")
    assert (tmp_path / "w/w/meta").read_text() == "shape {\n  dim: 2\n  dim: 3\n}\ndata_type: kFloat\n"
    assert (tmp_path / "w/snapshot_done").exists()
    assert flow.load(tmp_path / "w")["n"].numpy() == 4
    with pytest.raises(Fail, match="holds no weights; it is left"):
        flow.save({"w": np.ones(1)}, tmp_path)
    for bad in ("../w", "a/b", ".", ""):
        with pytest.raises(InvalidArgument, match="cannot be the name of a folder"):
            flow.save({bad: np.ones(1)}, tmp_path / "x")
    (tmp_path / "w/w/out").write_bytes(b"1234")
    with pytest.raises(InvalidArgument, match=r"holds 1 elements; \[2, 3\] expected"):
        flow.load(tmp_path / "w")


def test_files_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    state = {
        "plain": base,
        "view": base.permute(2, 0, 1)[1:],
        "half": base.half(),
        "bf16": base.bfloat16(),
        "count": torch.tensor(3),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base + 1),
    }
    for i, saved in enumerate((state, {"state_dict": state, "epoch": 3}, torch.nn.Linear(3, 2).state_dict())):
        torch.save(saved, tmp_path / f"{i}.pt")
        read = weights.load(tmp_path / f"{i}.pt")
        for name, value in saved.get("state_dict", saved).items():
            np.testing.assert_array_equal(read[name].astype(np.float32), value.detach().float().numpy())
            assert read[name].shape == tuple(value.shape)
    torch.save(torch.nn.Linear(3, 2), tmp_path / "module.pt")
    with pytest.raises(InvalidArgument, match=r"refers to torch.nn.* save the model's state_dict\(\) alone"):
        weights.load(tmp_path / "module.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InvalidArgument, match="no state_dict"):
        weights.load(tmp_path / "list.pt")


def test_no_file_runs_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    import pickle

    file = tmp_path / "evil.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Evil()}))
    with pytest.raises(InvalidArgument, match=r"refers to builtins\.print"):
        weights.load(file)
    file.write_bytes(pickle.dumps({"w": Evil()}))
    with pytest.raises(InvalidArgument, match="looks like a pickle, which could run code"):
        weights.load(file)
    (tmp_path / "pickled_data").write_bytes(b"")
    with pytest.raises(InvalidArgument, match="holds a pickle"):
        weights.load(tmp_path)


def test_tensors_beyond_their_storage(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(4)}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name in list(files):
        if "/data/" in name:
            files[name] = files[name][:8]
    with zipfile.ZipFile(tmp_path / "short.pt", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(InvalidArgument, match="outside the elements"):
        weights.load(tmp_path / "short.pt")


def test_no_weights(tmp_path):
    with pytest.raises(NoSuchFile, match="no file or folder"):
        flow.load(tmp_path / "none")
    with pytest.raises(InvalidArgument, match="holds no variables and 0 files"):
        flow.load(tmp_path)
    (tmp_path / "a.txt").write_text("some text")
    with pytest.raises(InvalidArgument, match="format that is known"):
        flow.load(tmp_path / "a.txt")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(InvalidArgument, match="cannot be read"):
        flow.load(tmp_path / "a.npz")


# --- exports


def test_export(graph, tmp_path):
    path = util.export_onnx_model(graph, onnx_model_path=tmp_path)
    assert path == str(tmp_path / "model.onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 10
    assert [x.name for x in model.graph.input] == [f"_{graph.name}-input_0/out"]
    assert "model.conv.weight" in {w.name for w in model.graph.initializer}
    other = util.export_onnx_model(graph, opset=17, onnx_model_path=tmp_path / "a/net.onnx", external_data=True)
    assert onnx.load(other).opset_import[0].version == 17
    assert (tmp_path / "a/net.onnx.data").exists()


@pytest.mark.parametrize("opset", [7, 10, 13, 21])
def test_check(graph, tmp_path, opset):
    report = util.convert_to_onnx_and_check(graph, opset=opset, onnx_model_path=tmp_path, dynamic_batch_size=True)
    assert report
    assert len(report.outputs) == 6  # three batch sizes, with and without optimizations
    assert report.outputs[-1].run.endswith("not optimized, batch 6")
    assert "the outputs are equal" in str(report)
    shape = onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape
    assert shape.dim[0].dim_param == "batch"


def test_check_of_a_program_with_its_batch_in_numbers(tmp_path):
    graph = Pair()
    graph._compile(flow.randn(2, 4), flow.randn(2, 3))
    report = util.convert_to_onnx_and_check(graph, onnx_model_path=tmp_path, dynamic_batch_size=True)
    assert {x.run.split(", ")[-1] for x in report.outputs} == {"batch 2", "batch 3", "batch 6"}
    ports = onnx.load(tmp_path / "model.onnx").graph
    assert {x.type.tensor_type.shape.dim[0].dim_param for x in (*ports.input, *ports.output)} == {"batch"}


def test_check_without_onnxruntime(graph, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    report = util.convert_to_onnx_and_check(graph, onnx_model_path=tmp_path, ort_optimize=False)
    assert [x.run for x in report.outputs] == ["onnx.reference"]


def test_check_finds_what_differs(graph, tmp_path, monkeypatch):
    export = util.export

    def wrong(*args, **options):
        model = export(*args, **options)
        weight = next(w for w in model.graph.initializer if w.name == "model.fc.bias")
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + 5, weight.name))
        onnx.save(model, args[1])

    monkeypatch.setattr(util, "export", wrong)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(comparison.Mismatch, match="10 of 10 elements") as caught:
        util.convert_to_onnx_and_check(graph, onnx_model_path=tmp_path)
    assert shown.getvalue().startswith("a[0]=")
    assert isinstance(caught.value, AssertionError)
    assert not caught.value.report
    assert caught.value.report.first_divergence.startswith("no node: the file gives the same in both")


def test_check_names_the_node(graph, tmp_path, monkeypatch):
    def runners(path, optimize):
        model = onnx.load(path)
        session = rt.InferenceSession(path)
        late = {name for node in model.graph.node if node.op_type in ("Relu", "Gemm") for name in node.output}
        yield "wrong", lambda names, feeds: [y + (n in late) for n, y in zip(names, session.run(names, feeds))]

    monkeypatch.setattr(util, "_runners", runners)
    with pytest.raises(comparison.Mismatch) as caught:
        util.convert_to_onnx_and_check(graph, onnx_model_path=tmp_path, print_outlier=False)
    assert caught.value.report.first_divergence.startswith("Relu")


def test_weights_from_a_folder(graph, tmp_path):
    held = Net().state_dict()
    flow.save(held, tmp_path / "w")
    before = graph.state_dict()
    util.convert_to_onnx_and_check(graph, flow_weight_dir=tmp_path / "w", onnx_model_path=tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    saved = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    np.testing.assert_array_equal(saved["model.fc.weight"], held["fc.weight"])
    assert all((value == before[key]).all() for key, value in graph.state_dict().items())
    flow.save({**held, "fc.bias": np.ones(3, np.float32)}, tmp_path / "w")
    with pytest.raises(InvalidArgument, match=r"'fc.bias' has shape \[3\]; \[5\] expected"):
        util.export_onnx_model(graph, flow_weight_dir=tmp_path / "w", onnx_model_path=tmp_path)


def test_inputs_of_checks(tmp_path):
    graph = Pair()
    graph._compile(flow.randn(2, 2), flow.tensor([0, 3]))
    first, second = (x.name for x in graph.first_trace.inputs)
    trace = graph.first_trace
    drawn = util._draw(trace, {first: [2, 3], second: np.array([7, 8])}, None)
    assert drawn[first].min() >= 2
    assert drawn[second].tolist() == [7, 8]
    assert util._draw(trace, None, None)[second].max() <= 3
    for wrong, message in (({"z": (0, 1)}, r"names \['z'\]; the inputs are"), ((3, 1), "least, largest")):
        with pytest.raises(InvalidArgument, match=message):
            util.convert_to_onnx_and_check(graph, onnx_model_path=tmp_path, input_tensor_range=wrong)
    assert util.convert_to_onnx_and_check(graph, onnx_model_path=tmp_path, input_tensor_range=[0, 5])


def test_refusals(graph, tmp_path):
    with pytest.raises(Fail, match="cannot make the folder"):
        util.export_onnx_model(graph, onnx_model_path="/proc/none/model.onnx")
    with pytest.raises(InvalidArgument, match=r"is not compiled: call it, or graph\._compile"):
        util.export_onnx_model(NetGraph(Net().eval()))
    with pytest.raises(InvalidArgument, match=r"a compiled nn\.Graph expected, not Net"):
        util.export_onnx_model(Net())
    with pytest.raises(InvalidArgument, match="device 'gpu' is not available"):
        util.convert_to_onnx_and_check(graph, device="gpu", onnx_model_path=tmp_path)
    training = NetGraph(Net())
    training._compile(flow.randn(2, 3, 8, 8))
    with pytest.warns(UserWarning, match=r"training mode; the file is written for inference: call model.eval\(\)"):
        util.convert_to_onnx_and_check(training, onnx_model_path=tmp_path)
    for opset in (6, 99):
        with pytest.raises((InvalidArgument, NotImplemented)):
            util.export_onnx_model(graph, opset=opset, onnx_model_path=tmp_path)


# --- comparisons


def test_compare():
    wanted = np.array([[1.0, np.nan, np.inf], [2.0, 0.0, -1.0]], np.float32)
    same = comparison.compare("y", wanted, wanted.copy(), 1e-3, 1e-5)
    assert same.equal
    assert same.nans == (1, 1)
    given = wanted.copy()
    given[1, 0], given[0, 1], given[1, 2] = 2.5, 1, np.nan
    far = comparison.compare("y", wanted, given, 1e-3, 1e-5, "run 1")
    assert (far.equal, far.outliers, far.max_abs, far.nans) == (False, 3, 0.5, (1, 1))
    assert far.worst in {(0, 1), (1, 2)}
    assert str(far).startswith("'y' (run 1): max abs 0.5, max rel 0.25, 3 of 6 elements too far off")
    shape = comparison.compare("y", wanted, wanted[:1].astype(np.float64), 1e-3, 1e-5)
    assert shape.problem == "float64[1, 3] where float32[2, 3] was expected"
    whole = comparison.compare("y", np.array([1, 2]), np.array([1, 3]), 1, 1)
    assert (whole.outliers, whole.worst) == (1, (1,))
    assert comparison.compare("y", np.zeros((0, 2)), np.zeros((0, 2)), 0, 0).equal
    with pytest.raises(AssertionError):
        util.compare_result(np.ones(2), np.array([1, 1.1]))
    assert util.compare_result(np.ones(2), np.array([1, 1.001]), print_outlier=True).equal


# --- training

TRAINING = """
import sardonyx.compat.oneflow as flow
import sardonyx.compat.oneflow.nn as nn

DEVICE = "cuda" if flow.cuda.is_available() else "cpu"
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).to(DEVICE)
loss_fn = nn.CrossEntropyLoss().to(DEVICE)
optimizer = flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

class GraphNet(nn.Graph):
    def __init__(self):
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn
        self.add_optimizer(optimizer)

    def build(self, x, y):
        y_pred = self.model(x)
        loss = self.loss_fn(y_pred, y)
        loss.backward()
        return loss

graph_model = GraphNet()
graph_model.model.train()
for epoch in range(3):
    for batch in range(0, len(images), 50):
        x = flow.tensor(images[batch:batch + 50]).to(DEVICE)
        y = flow.tensor(labels[batch:batch + 50]).to(DEVICE)
        loss = graph_model(x, y)
        losses.append(loss.item())
"""


def torch_losses(model, make, images, labels, steps, schedule=None):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    theirs.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in model.state_dict().items()})
    optimizer = make(torch.optim, theirs)
    scheduler = schedule(torch.optim, optimizer) if schedule is not None else None
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        found.append(loss.item())
    return found


class Trained(nn.Graph):
    def __init__(self, model, *optimizers, lr_sch=None):
        super().__init__()
        self.model = model
        self.loss = nn.CrossEntropyLoss()
        for optimizer in optimizers:
            self.add_optimizer(optimizer, lr_sch=lr_sch)

    def build(self, x, y):
        logits = self.model(x)
        loss = self.loss(logits, y)
        loss.backward()
        return loss, logits


def small():
    flow.manual_seed(3)
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    return model, rng.normal(size=(12, 6)).astype(np.float32), rng.integers(0, 3, 12)


def test_usual_training_program():
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    images, labels = (digits.images[:500] / 16).astype(np.float32), digits.target[:500]
    flow.manual_seed(0)
    losses = []
    exec(TRAINING, {"images": images, "labels": labels, "losses": losses})
    assert len(losses) == 30 and losses[0] > 2 and losses[-1] < 1


OPTIMIZERS = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.02}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.05}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_graphs_train_as_torch_does(name, options):
    model, images, labels = small()
    expected = torch_losses(
        model, lambda library, net: getattr(library, name)(net.parameters(), **options), images, labels, 6
    )
    graph = Trained(model, getattr(flow.optim, name)(model.parameters(), **options))
    results = [graph(flow.tensor(images), flow.tensor(labels)) for _ in range(6)]
    np.testing.assert_allclose([loss.item() for loss, _ in results], expected, rtol=2e-5)
    assert results[0][1].shape == (12, 3)
    graph(flow.tensor(images[:5]), flow.tensor(labels[:5]))  # another shape goes on with the same state
    assert len(graph.model.state_dict()) == 4


SCHEDULES = [
    ("StepLR", {"step_size": 2, "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.7}),
    ("MultiStepLR", {"milestones": [1, 4], "gamma": 0.3}),
    ("CosineAnnealingLR", {"T_max": 3, "eta_min": 0.01}),
]


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_schedules_of_the_learning_rate(name, options):
    model, images, labels = small()
    expected = torch_losses(
        model, lambda library, net: library.SGD(net.parameters(), lr=0.5), images, labels, 7,
        lambda library, optimizer: getattr(library.lr_scheduler, name)(optimizer, **options),
    )  # fmt: skip
    optimizer = flow.optim.SGD(model.parameters(), lr=0.5)
    graph = Trained(model, optimizer, lr_sch=getattr(flow.optim.lr_scheduler, name)(optimizer, **options))
    found = [graph(flow.tensor(images), flow.tensor(labels))[0].item() for _ in range(7)]
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_cosine_decay_stays_at_the_end():
    model, images, labels = small()
    optimizer = flow.optim.SGD(model.parameters(), lr=0.5)
    graph = Trained(model, optimizer, lr_sch=flow.optim.lr_scheduler.CosineDecayLR(optimizer, 2, alpha=0.0))
    states = []
    for _ in range(4):
        graph(flow.tensor(images), flow.tensor(labels))
        states.append(model[0].weight.numpy())
    assert (states[0] != states[1]).any() and (states[2] == states[3]).all()


def test_groups_frozen_parameters_and_several_optimizers():
    model, images, labels = small()
    model.freeze("0.bias")
    first = flow.optim.SGD([{"params": [model[0].weight, model[0].bias], "lr": 0.0, "clip_grad_max_norm": 1.0}], lr=1.0)
    second = flow.optim.Adam(model[2].parameters(), lr=0.01)
    before = model.state_dict()
    Trained(model, first, second)(flow.tensor(images), flow.tensor(labels))
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert changed == {"2.weight", "2.bias"}


def test_losses():
    rng = np.random.default_rng(2)
    torch = pytest.importorskip("torch")
    x, y = rng.normal(size=(4, 3)).astype(np.float32), rng.random((4, 3), np.float32)
    classes = np.array([0, -100, 2, 1])
    for name, target in (
        ("CrossEntropyLoss", classes), ("CrossEntropyLoss", y), ("MSELoss", y), ("L1Loss", y), ("SmoothL1Loss", y),
        ("BCEWithLogitsLoss", y), ("NLLLoss", np.maximum(classes, 0)),
    ):  # fmt: skip
        for reduction in ("mean", "sum"):
            expected = getattr(torch.nn, name)(reduction=reduction)(torch.from_numpy(x), torch.from_numpy(target))
            found = getattr(nn, name)(reduction=reduction)(flow.tensor(x), flow.tensor(target))
            np.testing.assert_allclose(found.item(), expected.item(), rtol=1e-5, err_msg=name)
    beta = torch.nn.SmoothL1Loss(beta=0.3)(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(nn.SmoothL1Loss(beta=0.3)(flow.tensor(x), flow.tensor(y)).item(), beta.item(), rtol=1e-5)


def test_mistakes_in_training():
    model, images, labels = small()
    x, y = flow.tensor(images), flow.tensor(labels)
    with pytest.raises(InvalidArgument, match=r"add_optimizer\(\) was not called"):
        Trained(model)(x, y)
    with pytest.raises(InvalidArgument, match="got no parameters"):
        flow.optim.SGD([], lr=0.1)
    with pytest.raises(InvalidArgument, match="cannot be mixed"):
        flow.optim.SGD([{"params": model[0].parameters()}, model[2].weight], lr=0.1)
    with pytest.raises(InvalidArgument, match="none of the optimizer's parameters"):
        Trained(model, flow.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1))(x, y)
    with pytest.raises(InvalidArgument, match="device 'cuda' is not available"):
        x.to("cuda")
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1)
    other = flow.optim.lr_scheduler.StepLR(flow.optim.SGD(model.parameters()), 2)
    with pytest.raises(InvalidArgument, match="schedule of another optimizer"):
        Trained(model, optimizer, lr_sch=other)
    graph = Trained(model, optimizer)
    graph(x, y)
    with pytest.raises(InvalidArgument, match="compiled already"):
        graph.add_optimizer(optimizer)

    class Silent(Trained):
        def build(self, x, y):
            return self.loss(self.model(x), y)

    with pytest.raises(InvalidArgument, match=r"calls backward\(\) 0 times"):
        Silent(model, optimizer)(x, y)


# --- training without a graph


def eager_losses(optimizer_of, steps=4):
    """Losses, and logits that are read behind the step, of a loop as OneFlow's documentation writes it."""
    flow.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = optimizer_of(model.parameters())
    criterion = nn.CrossEntropyLoss()
    random = np.random.default_rng(0)
    seen, logits = [], []
    for _ in range(steps):
        x = flow.tensor(random.standard_normal((5, 6)).astype(np.float32))
        y = flow.tensor(random.integers(0, 3, 5))
        pred = model(x)
        loss = criterion(pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
        logits.append(pred.numpy())
    return seen, logits, model.state_dict()


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_eager_training_like_torch(name):
    torch = pytest.importorskip("torch")
    options = {"SGD": {"lr": 0.2, "momentum": 0.9}, "AdamW": {"lr": 0.05, "weight_decay": 0.1}}[name]
    start = eager_losses(lambda params: flow.optim.SGD(params, lr=0.0), 1)[2]
    losses, logits, _ = eager_losses(lambda params: getattr(flow.optim, name)(params, **options))
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    model.load_state_dict({key: torch.tensor(np.asarray(value)) for key, value in start.items()})
    optimizer = getattr(torch.optim, name)(model.parameters(), **options)
    random = np.random.default_rng(0)
    for ours, pred in zip(losses, logits, strict=True):
        x, y = torch.tensor(random.standard_normal((5, 6)).astype(np.float32)), torch.tensor(random.integers(0, 3, 5))
        expected = model(x)
        loss = torch.nn.functional.cross_entropy(expected, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert abs(ours - loss.item()) < 1e-5
        np.testing.assert_allclose(pred, expected.detach().numpy(), atol=1e-5)


def test_gradients_add_up_until_they_are_forgotten():
    w = flow.nn.Linear(3, 1, bias=False).weight
    x = np.ones((1, 3), np.float32)
    assert w.grad is None
    for count in (1, 2):
        (flow.tensor(x) * w).sum().backward()
        np.testing.assert_array_equal(w.grad.numpy(), count * x)
    flow.optim.SGD([w], lr=1.0).zero_grad()
    assert w.grad is None


def test_eager_mode_follows_modules():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    x = flow.tensor(np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32) + 3)
    before = model[0].running_mean.numpy()
    model(x).sum().backward()
    moved = model[0].running_mean.numpy()
    np.testing.assert_allclose(moved - before, 0.1 * x.numpy().mean(0), atol=1e-5)
    model.eval()
    model(x).sum().backward()
    np.testing.assert_array_equal(model[0].running_mean.numpy(), moved)


def test_eager_schedule():
    w = flow.nn.Linear(2, 2).weight
    optimizer = flow.optim.SGD([w], lr=0.4)
    schedule = flow.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    rates = []
    for _ in range(4):
        before = w.numpy().copy()
        w.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        rates.append(float((before - w.numpy()).mean()))
    np.testing.assert_allclose(rates, [0.4, 0.4, 0.2, 0.2], rtol=1e-5)
    np.testing.assert_allclose(schedule.get_last_lr(), [0.1], rtol=1e-6)


def test_eager_mistakes():
    model = nn.Linear(3, 2)
    x = flow.tensor(np.ones((4, 3), np.float32))
    hidden = flow.relu(model(x))
    y = nn.Linear(2, 1)(hidden).sum()
    y.backward()
    with pytest.raises(InvalidArgument, match="used up by backward"):
        hidden.numpy()  # variables come behind it
    with pytest.raises(InvalidArgument, match="depends on no trainable variable"):
        y.backward()
    with pytest.raises(InvalidArgument, match="a scalar expected"):
        model(x).backward()
    with pytest.raises(InvalidArgument, match="no parameter of the optimizer has a gradient"):
        flow.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1).step()

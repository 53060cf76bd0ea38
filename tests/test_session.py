"""InferenceSession as a drop-in for onnxruntime: feeds, fetches, errors, options, threads, processes."""

from __future__ import annotations

import collections
import copy
import json
import multiprocessing
import os
import pathlib
import pickle
import threading
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import sardonyx as rt
from sardonyx import errors


def linear_model() -> onnx.ModelProto:
    """y = x w + b, t = y reshaped to one row; x is f32[N, 3]."""
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17], producer_name: "tests", model_version: 7, doc_string: "a line">
        g (float[N, 3] x) => (float[N, 2] y, float[1, M] t)
        <float[3, 2] w = {1, 2, 3, 4, 5, 6}, float[2] b = {10, 20}, int64[2] row = {1, -1}>
        {
          xw = MatMul(x, w)
          y = Add(xw, b)
          t = Reshape(y, row)
        }""")
    model.metadata_props.add(key="author", value="nobody")
    return model


X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = X @ np.array([[1, 2], [3, 4], [5, 6]], np.float32) + np.array([10, 20], np.float32)


@pytest.fixture(scope="module")
def session() -> rt.InferenceSession:
    return rt.InferenceSession(linear_model())


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    onnx.save(linear_model(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_models_come_as_path_bytes_proto_and_pathlike(path: pathlib.Path) -> None:
    data = path.read_bytes()
    for model in (str(path), path, data, bytearray(data), memoryview(data), onnx.load(path)):
        np.testing.assert_array_equal(rt.InferenceSession(model).run(None, {"x": X})[0], Y)


def test_missing_and_broken_models_raise_their_own_errors(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.NoSuchFile, match=r"nosuch\.onnx"):
        rt.InferenceSession(str(tmp_path / "nosuch.onnx"))
    with pytest.raises(FileNotFoundError):
        rt.InferenceSession(tmp_path / "nosuch.onnx")
    with pytest.raises((errors.InvalidProtobuf, errors.InvalidGraph, errors.NoModel)):
        rt.InferenceSession(b"this is not a model")
    with pytest.raises(errors.Error):
        rt.InferenceSession(b"")
    with pytest.raises(TypeError, match=r"path, bytes or an onnx\.ModelProto"):
        rt.InferenceSession(None)


def test_ports_and_metadata_read_as_in_onnxruntime(session: rt.InferenceSession) -> None:
    other = onnxruntime.InferenceSession(linear_model().SerializeToString())
    assert [str(port) for port in session.get_inputs()] == [str(port) for port in other.get_inputs()]
    assert [(p.name, p.type) for p in session.get_outputs()] == [(p.name, p.type) for p in other.get_outputs()]
    assert session.get_outputs()[0].shape == ["N", 2]
    meta = session.get_modelmeta()
    assert (meta.producer_name, meta.version, meta.description, meta.graph_name) == ("tests", 7, "a line", "g")
    assert meta.custom_metadata_map == {"author": "nobody"}
    assert meta.opsets[""] == 17


@pytest.mark.parametrize(
    "feeds",
    [{"x": X}, collections.OrderedDict(x=X), [X], (X,), X, {"x": X.tolist()}, {"x": np.asfortranarray(X)},
     {"x": np.repeat(X, 2, axis=0)[::2]}, {"x": X.astype(">f4")}, {"x": rt.OrtValue.ortvalue_from_numpy(X)}],
    ids=["dict", "mapping", "list", "tuple", "array", "nested list", "fortran", "strided", "big endian", "ortvalue"],
)  # fmt: skip
def test_feeds_of_every_kind(session: rt.InferenceSession, feeds: Any) -> None:
    np.testing.assert_array_equal(session.run(["y"], feeds)[0], Y)


def test_unaligned_feeds_are_copied(session: rt.InferenceSession) -> None:
    raw = np.zeros(X.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(X.shape)
    unaligned[:] = X
    np.testing.assert_array_equal(session.run(["y"], [unaligned])[0], Y)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"x": X.astype(np.float64)}, ["'x'", "tensor(double)", "tensor(float)", "astype"]),
        ({"x": X[0]}, ["'x'", "1 dimension", "2", "[N,3]"]),
        ({"x": X[:, :2]}, ["'x'", "axis 1", "[2,2]", "[N,3]"]),
        ({}, ["'x'", "missing"]),
        ({"x": X, "xx": X}, ["'xx'", "did you mean 'x'"]),
        ({"x": "text"}, ["'x'", "tensor(float)"]),
        ({"x": [[1.0, 2.0], [3.0]]}, ["'x'", "array"]),
        ({"x": None}, ["'x'", "NoneType"]),
        ({3: X}, ["input name", "int"]),
        ([X, X], ["2 values", "1 input"]),
        (None, ["'x'"]),
        ({"x": np.zeros((2, 3), "M8[s]")}, ["datetime64"]),
    ],
)  # fmt: skip
def test_wrong_feeds_name_the_input_and_both_sides(session: rt.InferenceSession, feeds: Any, words: list[str]) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        session.run(None, feeds)
    for word in words:
        assert word in str(caught.value)


def test_lists_do_not_lose_digits() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["":17]> g (int8[N] x) => (int8[N] y) { y = Identity(x) }'
    )
    session = rt.InferenceSession(model)
    assert session.run(None, {"x": [1, -2]})[0].tolist() == [1, -2]
    with pytest.raises(errors.InvalidArgument, match="without loss"):
        session.run(None, {"x": [1.5]})
    with pytest.raises(errors.InvalidArgument, match="300"):
        session.run(None, {"x": [300]})


def test_any_tensor_can_be_fetched(session: rt.InferenceSession) -> None:
    xw, y, w = session.run(["xw", "y", "w"], {"x": X})
    np.testing.assert_array_equal(xw, Y - np.array([10, 20], np.float32))
    np.testing.assert_array_equal(y, Y)
    assert w.shape == (3, 2)
    assert len(session.run([], {"x": X})) == 2
    assert [a.shape for a in session.run(["t", "y"], {"x": X})] == [(1, 4), (2, 2)]
    with pytest.raises(errors.InvalidArgument, match=r"'z'.*'y'"):
        session.run(["z"], {"x": X})
    with pytest.raises(errors.InvalidArgument, match=r"\['y'\]"):
        session.run("y", {"x": X})


def test_results_are_the_callers_own(session: rt.InferenceSession) -> None:
    first, weights = session.run(["y", "w"], {"x": X})
    kept = first.copy()
    session.run(["y"], {"x": X * 2})
    np.testing.assert_array_equal(first, kept)
    weights[:] = 0
    first[:] = 0
    np.testing.assert_array_equal(session.run(["y"], {"x": X})[0], Y)
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["":17]> g (float[N] x) => (float[N] y, float[N] z) '
        "{ y = Identity(x)\n z = Identity(x) }"
    )
    x = np.ones(4, np.float32)
    y, z = rt.InferenceSession(model).run(None, {"x": x})
    y[:] = 5
    assert x.tolist() == z.tolist() == [1] * 4


def test_empty_and_scalar_tensors(session: rt.InferenceSession) -> None:
    assert session.run(["y"], {"x": np.zeros((0, 3), np.float32)})[0].shape == (0, 2)
    model = parser.parse_model('<ir_version: 8, opset_import: ["":17]> g (float x) => (float y) { y = Identity(x) }')
    scalar = rt.InferenceSession(model)
    for value in (np.float32(3), np.array(3, np.float32), 3.0, 3):
        (y,) = scalar.run(None, {"x": value})
        assert isinstance(y, np.ndarray)
        assert (y.shape, float(y)) == ((), 3.0)


def test_overridable_initializers() -> None:
    model = linear_model()
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [2]))
    session = rt.InferenceSession(model)
    assert [port.name for port in session.get_inputs()] == ["x"]
    assert [port.name for port in session.get_overridable_initializers()] == ["b"]
    np.testing.assert_array_equal(session.run(["y"], {"x": X})[0], Y)
    y = session.run(["y"], {"x": X, "b": np.zeros(2, np.float32)})[0]
    np.testing.assert_array_equal(y, Y - np.array([10, 20], np.float32))


def test_names_are_data() -> None:
    for x, y in (("input.1", "20"), ("0", "a:0"), ("a/b", "class"), ("_z", "x-y"), ("ключ", "données")):
        graph = helper.make_graph(
            [helper.make_node("Identity", [x], [y])],
            "g",
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, [2])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, [2])],
        )
        session = rt.InferenceSession(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
        assert (session.get_inputs()[0].name, session.get_outputs()[0].name) == (x, y)
        assert session.run([y], {x: np.ones(2, np.float32)})[0].tolist() == [1, 1]


def test_providers_warn_once_raise_when_strict_and_suggest(path: pathlib.Path) -> None:
    with pytest.warns(UserWarning) as caught:
        session = rt.InferenceSession(
            path, providers=["TensorrtExecutionProvider", ("CUDAExecutionProvider", {"device_id": 0})]
        )
    assert [str(w.message).split("'")[1] for w in caught] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert session.get_providers() == ["CPUExecutionProvider"] == rt.get_available_providers()
    assert session.get_provider_options() == {"CPUExecutionProvider": {}}
    with pytest.raises(errors.EPFail, match="CUDA"):
        rt.InferenceSession(path, providers=["CUDAExecutionProvider"], strict_providers=True)
    for wrong in ("CUDA", "CUDAExecutionProvidr", "cuda"):
        with pytest.raises(errors.InvalidArgument, match="did you mean 'CUDAExecutionProvider'"):
            rt.InferenceSession(path, providers=[wrong])
    with pytest.raises(errors.InvalidArgument, match="list"):
        rt.InferenceSession(path, providers="CPUExecutionProvider")
    with pytest.raises(ValueError, match="1 provider_options for 0"):
        rt.InferenceSession(path, providers=[], provider_options=[{}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rt.InferenceSession(path, None, ["CPUExecutionProvider"], [{"arena": 1}])
    assert set(onnxruntime.get_all_providers()) <= set(rt.get_all_providers())


def test_provider_report_covers_every_node(session: rt.InferenceSession) -> None:
    session.run(None, {"x": X})
    report = session.get_provider_report()
    assert report
    assert all(row.provider == "CPUExecutionProvider" and row.reason and row.op for row in report)


def test_session_options_have_onnxruntimes_fields_and_defaults() -> None:
    ours, theirs = rt.SessionOptions(), onnxruntime.SessionOptions()
    for name in (n for n in dir(theirs) if not n.startswith("_") and not callable(getattr(theirs, n))):
        value = getattr(theirs, name)
        assert getattr(ours, name) == (int(value) if hasattr(value, "__members__") else value), name
    for name in ("foo", "intra_op_num_thread"):
        with pytest.raises(AttributeError):
            setattr(ours, name, 1)
    with pytest.raises(AttributeError, match="did you mean 'intra_op_num_threads'"):
        ours.intra_op_num_thread = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        ours.intra_op_num_threads = "2"  # type: ignore[assignment]
    ours.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert ours.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    with pytest.raises(RuntimeError, match="no configuration entry"):
        ours.get_session_config_entry("nothing")
    with pytest.raises(FileNotFoundError):
        ours.register_custom_ops_library("ops.so")


@pytest.mark.parametrize("level", list(rt.GraphOptimizationLevel))
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_options_do_not_change_results(level: rt.GraphOptimizationLevel, threads: int) -> None:
    options = rt.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = threads
    options.execution_mode = rt.ExecutionMode.ORT_PARALLEL
    np.testing.assert_array_equal(rt.InferenceSession(linear_model(), options).run(["y"], {"x": X})[0], Y)


def test_free_dimensions_and_initializers_from_options() -> None:
    options = rt.SessionOptions()
    options.add_free_dimension_override_by_name("N", 2)
    options.add_initializer("b", rt.OrtValue.ortvalue_from_numpy(np.zeros(2, np.float32)))
    session = rt.InferenceSession(linear_model(), options)
    assert session.get_inputs()[0].shape == [2, 3]
    np.testing.assert_array_equal(session.run(["y"], {"x": X})[0], Y - np.array([10, 20], np.float32))
    with pytest.raises(errors.InvalidArgument, match="axis 0"):
        session.run(None, {"x": X[:1]})


def slow_model() -> onnx.ModelProto:
    """Multiplies a matrix by itself many times."""
    return parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[K, K] x, int64 n) => (float[K, K] y) <bool yes = {1}> {
          y = Loop (n, yes, x) <body = b (int64 i, bool c, float[K, K] v) => (bool d, float[K, K] w) {
            d = Identity(c)
            w = MatMul(v, x)
          }>
        }""")


def slow_feeds() -> dict[str, Any]:
    return {"x": np.eye(256, dtype=np.float32), "n": 100000}


def test_a_deadline_stops_a_run() -> None:
    session = rt.InferenceSession(slow_model())
    options = rt.RunOptions()
    options.deadline = 0.05
    with pytest.raises(errors.DeadlineExceeded):
        session.run(None, slow_feeds(), options)
    with pytest.raises(TimeoutError):
        session.run(None, slow_feeds(), options)
    options.deadline = 0
    session.run(None, slow_feeds() | {"n": 3}, options)


def test_terminate_stops_runs_from_another_thread() -> None:
    session = rt.InferenceSession(slow_model())
    options = rt.RunOptions()
    timer = threading.Timer(0.05, lambda: setattr(options, "terminate", True))
    timer.start()
    with pytest.raises(errors.Terminated):
        session.run(None, slow_feeds(), options)
    assert options.terminate
    options.terminate = False
    session.run(None, slow_feeds() | {"n": 3}, options)


def test_the_gil_is_free_while_a_model_runs() -> None:
    session = rt.InferenceSession(slow_model())
    done = threading.Event()
    worker = threading.Thread(target=lambda: (session.run(None, slow_feeds() | {"n": 1000}), done.set()))
    worker.start()
    turns = 0
    while not done.wait(0.001):
        turns += 1
    worker.join()
    assert turns > 3


def test_many_threads_share_a_session(session: rt.InferenceSession) -> None:
    failures = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(50):
            x = random.standard_normal((int(random.integers(1, 9)), 3), np.float32)
            xw, y = session.run(["xw", "y"], {"x": x})
            if not np.array_equal(xw + np.array([10, 20], np.float32), y):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_run_async(session: rt.InferenceSession) -> None:
    answers: list[tuple[Any, Any, str]] = []
    done = threading.Semaphore(0)

    def callback(results: Any, user_data: Any, error: str) -> None:
        answers.append((results, user_data, error))
        done.release()

    session.run_async(["y"], {"x": X}, callback, "first")
    assert done.acquire(timeout=30)
    session.run_async(["y"], {"x": X[0]}, callback, "second")
    assert done.acquire(timeout=30)
    np.testing.assert_array_equal(answers[0][0][0], Y)
    assert answers[0][1:] == ("first", "")
    assert answers[1][0] == []
    assert "'x'" in answers[1][2]


def test_sessions_pickle_and_copy(path: pathlib.Path) -> None:
    options = rt.SessionOptions()
    options.intra_op_num_threads = 1
    for model in (path, path.read_bytes()):
        session = rt.InferenceSession(model, options)
        for clone in (pickle.loads(pickle.dumps(session)), copy.copy(session), copy.deepcopy(session)):
            assert clone.get_session_options().intra_op_num_threads == 1
            np.testing.assert_array_equal(clone.run(["y"], {"x": X})[0], Y)
    run_options = rt.RunOptions()
    run_options.deadline = 2
    assert pickle.loads(pickle.dumps(run_options)).deadline == 2
    value = pickle.loads(pickle.dumps(rt.OrtValue.ortvalue_from_numpy(X)))
    np.testing.assert_array_equal(value.numpy(), X)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_runs_the_parents_session() -> None:
    session = rt.InferenceSession(slow_model())
    feeds = {"x": np.eye(512, dtype=np.float32), "n": 3}
    expected = session.run(None, feeds)[0]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: queue.put(session.run(None, feeds)[0]))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), expected)
    child.join(60)
    assert child.exitcode == 0


def test_io_binding(session: rt.InferenceSession) -> None:
    binding = session.io_binding()
    with pytest.raises(errors.InvalidArgument, match="bind_output"):
        session.run_with_iobinding(binding)
    binding.bind_cpu_input("x", X)
    target = rt.OrtValue.ortvalue_from_shape_and_type([2, 2], np.float32)
    row = np.zeros((1, 4), np.float32)
    binding.bind_ortvalue_output("y", target)
    binding.bind_output("t", "cpu", 0, np.float32, [1, 4], row.ctypes.data)
    binding.bind_output("xw")
    session.run_with_iobinding(binding)
    np.testing.assert_array_equal(target.numpy(), Y)
    np.testing.assert_array_equal(row, Y.reshape(1, 4))
    assert binding.get_outputs()[0].data_ptr() == target.data_ptr()
    assert [a.shape for a in binding.copy_outputs_to_cpu()] == [(2, 2), (1, 4), (2, 2)]
    binding.bind_input("x", "cpu", 0, np.float32, X.shape, X.ctypes.data)
    session.run_with_iobinding(binding)
    np.testing.assert_array_equal(target.numpy(), Y)
    binding.clear_binding_outputs()
    binding.bind_ortvalue_output("y", rt.OrtValue.ortvalue_from_shape_and_type([3, 2], np.float32))
    with pytest.raises(errors.InvalidArgument, match=r"\[2,2\].*\[3,2\]"):
        session.run_with_iobinding(binding)
    with pytest.raises(errors.InvalidArgument, match="cuda"):
        binding.bind_output("y", "cuda")


def test_io_binding_of_everything(session: rt.InferenceSession) -> None:
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    target = rt.OrtValue.ortvalue_from_shape_and_type([2, 2], np.float32)
    binding.bind_ortvalue_output("y", target)
    binding.bind_output("t")
    session.run_with_iobinding(binding)
    first = binding.copy_outputs_to_cpu()[1]
    np.testing.assert_array_equal(target.numpy(), Y)
    binding.bind_cpu_input("x", 2 * X)
    session.run_with_iobinding(binding, rt.RunOptions())
    np.testing.assert_array_equal(target.numpy()[0], 2 * Y[0] - [10, 20])
    np.testing.assert_array_equal(first, Y.reshape(1, 4))
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    assert binding.get_outputs()[0].data_ptr() != target.data_ptr()
    binding.bind_cpu_input("x", X.astype(np.float64))
    with pytest.raises(errors.InvalidArgument, match="double"):
        session.run_with_iobinding(binding)
    binding.clear_binding_inputs()
    with pytest.raises(errors.InvalidArgument, match="'x'"):
        session.run_with_iobinding(binding)
    binding.bind_cpu_input("other", X)
    with pytest.raises(errors.InvalidArgument, match="other"):
        session.run_with_iobinding(binding)


def test_names_of_outputs(session: rt.InferenceSession) -> None:
    feeds = {"x": X}
    for names, count in ((None, 2), ([], 2), (["y", "t"], 2), (("t", "y"), 2), (iter(["y"]), 1), (["y", "y", "t"], 3)):
        assert len(session.run(names, feeds)) == count
    assert session.run(["t", "y"], feeds)[0].shape == (1, 4)
    with pytest.raises(errors.InvalidArgument, match=r"\['y'\]"):
        session.run("y", feeds)
    with pytest.raises(TypeError, match="int"):
        session.run([1], feeds)


def test_small_and_large_results_are_the_callers() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    session = rt.InferenceSession(parser.parse_model(text))
    for n in (0, 1, 256, 257, 5000):
        x = np.ones(n, np.float32)
        (first,) = session.run(None, {"x": x})
        first += 1
        (second,) = session.run(None, [x])
        assert first.flags.writeable and first.flags.c_contiguous
        np.testing.assert_array_equal(first, 2 * x)
        np.testing.assert_array_equal(second, x)


def test_run_with_ort_values(session: rt.InferenceSession) -> None:
    (value,) = session.run_with_ort_values(["y"], {"x": rt.OrtValue.ortvalue_from_numpy(X)})
    assert isinstance(value, rt.OrtValue)
    np.testing.assert_array_equal(value.numpy(), Y)


def test_profiles_are_chrome_traces(tmp_path: pathlib.Path) -> None:
    options = rt.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "trace_")
    session = rt.InferenceSession(linear_model(), options)
    session.run(None, {"x": X})
    assert session.get_profiling_start_time_ns() > 0
    events = json.loads(pathlib.Path(session.end_profiling()).read_text())
    assert events
    assert all(event["ph"] == "X" and event["dur"] >= 0 and event["cat"] == "Node" for event in events)
    assert rt.InferenceSession(linear_model()).end_profiling() == ""


def test_the_optimized_model_is_saved(tmp_path: pathlib.Path) -> None:
    options = rt.SessionOptions()
    options.graph_optimization_level = rt.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = tmp_path / "saved.onnx"  # type: ignore[assignment]
    rt.InferenceSession(linear_model(), options)
    onnx.checker.check_model(tmp_path / "saved.onnx", full_check=True)
    np.testing.assert_allclose(rt.InferenceSession(tmp_path / "saved.onnx").run(["y"], [X])[0], Y)


def test_external_data_of_files_and_of_bytes(tmp_path: pathlib.Path) -> None:
    model = linear_model()
    weights = np.arange(6, dtype=np.float32).reshape(3, 2) ** 2
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w.bin")
    expected = X @ weights + np.array([10, 20], np.float32)
    np.testing.assert_array_equal(rt.InferenceSession(tmp_path / "m.onnx").run(["y"], [X])[0], expected)
    options = rt.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(tmp_path))
    data = (tmp_path / "m.onnx").read_bytes()
    np.testing.assert_array_equal(rt.InferenceSession(data, options).run(["y"], [X])[0], expected)
    with pytest.raises(errors.Error):
        rt.InferenceSession(data)


def test_exceptions_live_where_onnxruntime_has_them() -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as theirs

    from sardonyx.capi import onnxruntime_pybind11_state as ours

    for name in dir(theirs):
        if isinstance(getattr(theirs, name), type) and issubclass(getattr(theirs, name), Exception):
            assert getattr(ours, name) is getattr(errors, name)


def test_set_seed_repeats_random_values() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["":17]> g () => (float[8] y) { y = RandomNormal <shape = [8]> () }'
    )
    session = rt.InferenceSession(model)
    draws = []
    for seed in (1, 2, 1):
        rt.set_seed(seed)
        draws.append(session.run(None, {})[0].tolist())
    assert draws[0] == draws[2] != draws[1]


def test_module_functions() -> None:
    assert rt.get_device() == "CPU"
    assert rt.get_version_string() == rt.__version__
    rt.set_default_logger_severity(3)
    with pytest.raises(errors.InvalidArgument):
        rt.set_default_logger_severity(9)
    assert "Sardonyx" in rt.get_build_info()

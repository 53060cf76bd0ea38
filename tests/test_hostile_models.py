"""Models that are wrong or hostile: external data out of bounds, files that are no models, absurd sizes, damage."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import sardonyx as sx
from sardonyx import errors
from tests.test_import import (
    FLOAT,
    X,
    branch,
    call,
    conditional,
    function,
    info,
    model_of,
    reference,
    run,
    session,
    with_functions,
)

# --- external data


def external(tensor: onnx.TensorProto, **entries: Any) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def write(
        data: bytes | None = None, shape: tuple[int, ...] = (2, 3), dtype: Any = np.float32, **entries: Any
    ) -> str:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        if data is not None:
            (folder / "w.bin").write_bytes(data)
        weight = external(numpy_helper.from_array(np.zeros(shape, dtype), "w"), **{"location": "w.bin", **entries})
        model = model_of([], [], [info("w", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))], [weight])
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        return str(folder / "model.onnx")

    return write


@pytest.mark.parametrize("entries", [{}, {"offset": 0, "length": 24}, {"offset": 4, "checksum": "?"}, {"offset": 3}])
def test_external_data(save: Callable[..., str], entries: dict[str, Any]) -> None:
    path = save(b"#" * entries.get("offset", 0) + X.tobytes() + b"rest", **entries)
    np.testing.assert_array_equal(session(path).run(None, {})[0], X)


def test_external_bools_and_narrow_integers(save: Callable[..., str]) -> None:
    assert session(save(b"\x00\x07", (2,), np.bool_)).run(None, {})[0].tolist() == [False, True]
    path = save(b"\x8f\x01", (3,), ml_dtypes.int4)
    assert session(path).run(None, {})[0].tolist() == [-1, -8, 1]


@pytest.mark.parametrize(
    ("entries", "error", "message"),
    [
        ({"location": "../secret"}, errors.InvalidGraph, "has '..' in its path"),
        ({"location": "a/../../secret"}, errors.InvalidGraph, "has '..' in its path"),
        ({"location": "/etc/passwd"}, errors.InvalidGraph, "absolute path"),
        ({"location": ""}, errors.InvalidGraph, "without a valid location"),
        ({"location": "."}, errors.InvalidGraph, "is not a file"),
        (
            {"location": "nothing.bin"},
            errors.NoSuchFile,
            "initializer 'w': cannot open the external data 'nothing.bin'",
        ),
        ({"location": "folder"}, errors.InvalidGraph, "is not a regular file"),
        ({"location": "link"}, errors.InvalidGraph, "symbolic link"),
        ({"location": "linked/secret"}, errors.InvalidGraph, "symbolic link"),
        ({"location": "hard"}, errors.InvalidGraph, "hard links"),
        ({"location": "pipe"}, errors.InvalidGraph, "is not a regular file"),
        ({"offset": 8}, errors.InvalidGraph, "needs bytes 8 to 32 of the external data 'w.bin', which has only 24"),
        ({"offset": 2**62}, errors.InvalidGraph, "the offset '4611686018427387904'"),
        ({"offset": -1}, errors.InvalidGraph, "the offset '-1'"),
        ({"length": 20}, errors.InvalidGraph, r"has 20 bytes of external data; f32\[2,3\] needs 24"),
        ({"length": "x"}, errors.InvalidGraph, "the length 'x'"),
    ],
)
def test_external_data_that_is_wrong(
    save: Callable[..., str], tmp_path: Path, entries: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = save(X.tobytes(), **entries)
    (tmp_path / "secret").write_bytes(X.tobytes())
    folder = tmp_path / "model"
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("w.bin")
    (folder / "linked").symlink_to(tmp_path)
    os.link(tmp_path / "secret", folder / "hard")
    os.mkfifo(folder / "pipe")
    with pytest.raises(error, match=message):
        session(path)


def test_external_data_in_a_download_cache(save: Callable[..., str], tmp_path: Path) -> None:
    """Model and weights are links into one folder of blobs; a link elsewhere is still refused."""
    real = Path(save(X.tobytes()))
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (real.parent / "blob1").write_bytes(real.read_bytes())
    (real.parent / "blob2").write_bytes(X.tobytes())
    (snapshot / "model.onnx").symlink_to(real.parent / "blob1")
    (snapshot / "w.bin").symlink_to(real.parent / "blob2")
    np.testing.assert_array_equal(session(str(snapshot / "model.onnx")).run(None, {})[0], X)
    (snapshot / "w.bin").unlink()
    (tmp_path / "secret").write_bytes(X.tobytes())
    (snapshot / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(errors.InvalidGraph, match="symbolic link"):
        session(str(snapshot / "model.onnx"))


def test_external_data_of_bytes(save: Callable[..., str]) -> None:
    path = Path(save(X.tobytes()))
    with pytest.raises(errors.InvalidArgument, match="was given as bytes"):
        session(path.read_bytes())
    options = sx.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    np.testing.assert_array_equal(session(path.read_bytes(), sess_options=options).run(None, {})[0], X)


def test_model_file_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    weight = numpy_helper.from_array(np.arange(100000, dtype=np.float32), "w")
    path.write_bytes(model_of([], [], [info("w")], [weight]).SerializeToString())
    made = session(str(path))
    path.write_bytes(b"")
    np.testing.assert_array_equal(made.run(None, {})[0], np.arange(100000))


# --- files that are no models


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"hello world, this is text", "damaged"),
        (b"PK\x03\x04rest", "ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", "PNG picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x12\x05hello", "neither a graph nor an IR version"),
        (bytes(range(256)) * 100, "damaged"),
        (b"\xff" * 1000, "damaged"),
    ],
)
def test_not_a_model(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(errors.InvalidProtobuf, match=message) as caught:
        session(str(path))
    assert str(path) in str(caught.value)
    with pytest.raises(errors.InvalidProtobuf, match=message):
        session(content)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(errors.NoSuchFile, match="No such file"):
        session(str(tmp_path / "none.onnx"))
    with pytest.raises(errors.InvalidArgument, match="is a directory"):
        session(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.InvalidArgument, match="not a regular file"):
        session(str(tmp_path / "pipe"))


def wrapped(field: int, content: bytes) -> bytes:
    """A message as a field of another."""
    size, length = len(content), b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + content


def test_too_deep() -> None:
    """Written by hand, because protobuf refuses to."""
    graph = b""
    for _ in range(5000):
        graph = wrapped(1, wrapped(4, b"If") + wrapped(5, wrapped(1, b"then_branch") + wrapped(6, graph)))
    with pytest.raises(errors.InvalidGraph, match="nested more than 64 deep"):
        session(b"\x08\x0a" + wrapped(7, graph))


# --- hostile tensors


def tensor(dims: list[int], dtype: int = FLOAT, **fields: Any) -> onnx.TensorProto:
    return onnx.TensorProto(name="w", dims=dims, data_type=dtype, **fields)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (tensor([1 << 60], raw_data=b"1234"), "too large"),
        (tensor([1 << 31, 1 << 31, 4], raw_data=b""), "too large"),
        (tensor([1 << 40], raw_data=b"1234"), "has 4 bytes of data"),
        (tensor([1 << 40], float_data=[1]), "fewer elements"),
        (tensor([1 << 40], TensorProto.STRING, string_data=[b""]), "has 1 strings"),
        (tensor([1 << 40], TensorProto.INT4, raw_data=b""), "has 0 bytes of data"),
        (tensor([-1], raw_data=b""), "negative extent"),
        (tensor([0, -5], raw_data=b""), "negative extent"),
        (tensor([1 << 62, 0, 1 << 62], raw_data=b""), "too large"),
        (tensor([1] * 17, raw_data=b"1234"), "has 17 dimensions; at most 16"),
        (tensor([1] * 100000, raw_data=b"1234"), "has 100000 dimensions"),
        (tensor([2], raw_data=b"123"), r"has 3 bytes of data; f32\[2\] needs 8"),
        (tensor([2], float_data=[1, 2, 3]), "has 3 numbers in its data"),
        (tensor([2], int32_data=[1, 2]), "has 0 numbers in its data"),
        (tensor([2], 99, raw_data=b""), "99"),
        (tensor([2], 0, raw_data=b""), "has no element type"),
        (tensor([2]), "has 0 numbers"),
    ],
)
def test_hostile_tensors(weight: onnx.TensorProto, message: str) -> None:
    with pytest.raises(errors.InvalidGraph, match=message) as caught:
        session(model_of([], [], [info("w")], [weight]))
    assert "initializer 'w'" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "indices", "dims", "message"),
    [
        ([1], [7], [2, 3], "index 7 outside"),
        ([1], [-1], [2, 3], "index -1 outside"),
        ([1], [[0, 3]], [2, 3], "index 3 outside axis 1"),
        ([1, 2], [0], [2, 3], "has indices of shape"),
        ([], [], [1 << 40], "larger than 4 GiB"),
    ],
)
def test_hostile_sparse_tensors(values: list[float], indices: list[Any], dims: list[int], message: str) -> None:
    model = model_of([], [], [info("w")])
    model.graph.sparse_initializer.add(
        values=numpy_helper.from_array(np.array(values, np.float32), "w"),
        indices=numpy_helper.from_array(np.array(indices, np.int64), "i"),
        dims=dims,
    )
    with pytest.raises(errors.InvalidGraph, match=message):
        session(model)


# --- damage


def sample() -> bytes:
    """A small model with a body, a function, a constant and types of several kinds."""
    body = branch(helper.make_node("Transpose", ["x"], ["o"], perm=[1, 0]), "o")
    nodes = [
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.array([3, 2]))),
        helper.make_node("Reshape", ["x", "k"], ["r"]),
        conditional(body, branch(helper.make_node("Identity", ["r"], ["p"]), "p"), "q"),
        call("F", ["q"], ["y"]),
    ]
    inner = reference(helper.make_node("Transpose", ["a"], ["b"]), "perm", "perm", onnx.AttributeProto.INTS)
    turn = function("F", ["a"], ["b"], [inner], attribute_protos=[helper.make_attribute("perm", [1, 0])])
    model = with_functions(nodes, [turn])
    model.graph.input.append(info("c", TensorProto.BOOL, []))
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1, 2, 3]), "w"))
    return model.SerializeToString()


def attempt(data: bytes) -> None:
    """Loads or is refused with one of our errors; anything else fails the test."""
    with contextlib.suppress(errors.Error):
        session(data)


def test_truncated() -> None:
    data = sample()
    run(data, {"x": X, "c": np.array(True)})
    for size in range(len(data)):
        attempt(data[:size])


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes(seed: int) -> None:
    data = sample()
    source = random.Random(seed)
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(source.randint(1, 4)):
            changed[source.randrange(len(changed))] = source.randrange(256)
        attempt(bytes(changed))


@pytest.mark.parametrize(
    ("operator", "fed", "precision"),
    [(name, False, "f32") for name in ("Conv", "ConvTranspose", "QLinearConv", "MaxPool", "AveragePool", "LpPool")]
    + [
        ("Conv", True, "f32"),
        ("ConvTranspose", True, "f32"),
        ("Conv", False, "bf16"),
        ("ConvTranspose", False, "bf16"),
    ],
)
def test_windows_of_any_size(operator: str, fed: bool, precision: str) -> None:
    """Strides, dilations and pads up to what an attribute may hold: a result or an error. `fed`: weights are inputs."""
    options = sx.SessionOptions()
    options.precision = precision
    extents = [1, 2, 3, 2**30 - 1, 2**30]
    source = random.Random(7)
    for _ in range(500):
        channels, kernel = source.choice([1, 3, 16, 20]), source.choice([1, 2, 3])
        group = source.choice([1, channels])
        attributes = {name: source.choices(extents, k=2) for name in ("strides", "dilations")}
        attributes["pads"] = source.choices([0, 1, 2], k=4)
        if min(attributes["strides"]) > 3 and source.random() < 0.5:
            attributes["pads"] = [2**30] * 4
        elif source.random() < 0.2:
            attributes |= {"strides": [1, 2**30 - 1], "pads": [0, 2**30, 0, 0]}
        weights = np.ones([channels, channels // group, kernel, kernel], np.int8)
        feed = np.ones([1, channels, 9, 9], np.uint8 if operator == "QLinearConv" else np.float32)
        constants = {"w": weights if operator == "QLinearConv" else weights.astype(np.float32)}
        if operator == "QLinearConv":
            constants |= {"s": np.float32(0.5), "z": np.uint8(3), "wz": np.int8(0)}
            node = helper.make_node(
                operator, ["x", "s", "z", "w", "s", "wz", "s", "z"], ["y"], group=group, **attributes
            )
        elif operator.startswith("Conv"):
            node = helper.make_node(operator, ["x", "w"], ["y"], group=group, **attributes)
        else:
            node = helper.make_node(operator, ["x"], ["y"], kernel_shape=[kernel, kernel], **attributes)
        nodes = [node]
        if operator == "Conv":  # with a neighbour, so that both run in blocks of channels
            nodes.append(helper.make_node("Conv", ["y", "u"], ["z"]))
            constants["u"] = np.ones([16, channels, 1, 1], np.float32)
        initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        kind = helper.np_dtype_to_tensor_dtype(feed.dtype)
        feeds = {"x": feed}
        if fed:  # as in training
            initializers.clear()
            feeds |= constants
        inputs = [info(name, kind, value.shape) for name, value in feeds.items()]
        graph = helper.make_graph(nodes, "g", inputs, [info(nodes[-1].output[0], kind, None)], initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        with contextlib.suppress(errors.Error):
            sx.InferenceSession(model.SerializeToString(), options).run(None, feeds)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("convolution", ["none", "constant", "fed", "quantized"])
def test_pools_of_far_more_taps_than_data(operator: str, convolution: str) -> None:
    """Windows that end at each element in turn: a cumulative maximum, mean or norm. 1x1 convolutions that change
    nothing put the pool on plain, blocked, stacked and 8-bit data."""
    if convolution == "quantized" and operator != "MaxPool":
        pytest.skip("only maxima run on bytes")
    extent, channels = 2**30, 16
    x = np.random.default_rng(3).integers(0, 200, (2, channels, 5, 7))
    feeds = {"x": x.astype(np.uint8 if convolution == "quantized" else np.float32)}
    weights = np.eye(channels, dtype=np.int8 if convolution == "quantized" else np.float32)[..., None, None]
    constants: dict[str, Any] = {"w": weights}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"])]
    if convolution == "none":
        nodes = [helper.make_node("Identity", ["x"], ["c"])]
    elif convolution == "fed":
        feeds["w"] = constants.pop("w")
    elif convolution == "quantized":
        constants |= {"s": np.float32(1), "z": np.uint8(0), "wz": np.int8(0)}
        nodes = [helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "wz", "s", "z"], ["c"])]
    window = {"kernel_shape": [extent, extent], "pads": [extent - 1, extent - 1, 0, 0]}
    nodes.append(helper.make_node(operator, ["c"], ["y"], **window))
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    kind = helper.np_dtype_to_tensor_dtype(feeds["x"].dtype)
    inputs = [info(name, kind, value.shape) for name, value in feeds.items()]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", kind, None)], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    actual = session(model.SerializeToString()).run(None, feeds)[0]
    if operator == "MaxPool":
        expected = np.maximum.accumulate(np.maximum.accumulate(x, axis=2), axis=3)
    else:
        power = 1 if operator == "AveragePool" else 2
        expected = np.cumsum(np.cumsum(x.astype(np.float64) ** power, axis=2), axis=3)
        counts = np.arange(1, 6)[:, None] * np.arange(1, 8)
        expected = expected / counts if operator == "AveragePool" else np.sqrt(expected)
    np.testing.assert_allclose(actual, expected, rtol=35 * 6e-8)


def test_indices_of_pools_of_far_more_taps_than_data() -> None:
    x = np.random.default_rng(3).permutation(2 * 3 * 35).astype(np.float32).reshape(2, 3, 5, 7)
    window = {"kernel_shape": [2**30, 2**30], "pads": [2**30 - 1, 2**30 - 1, 0, 0]}
    node = helper.make_node("MaxPool", ["x"], ["y", "at"], **window)
    outputs = [info("y", FLOAT, None), info("at", TensorProto.INT64, None)]
    graph = helper.make_graph([node], "g", [info("x", FLOAT, x.shape)], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    maxima, indices = session(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(maxima, np.maximum.accumulate(np.maximum.accumulate(x, axis=2), axis=3))
    np.testing.assert_array_equal(x.ravel()[indices], maxima)


def test_gradients_through_windows_of_any_size() -> None:
    """As above, trained: a result or an error, and results that are empty."""
    extents = [1, 2, 3, 2**30 - 1, 2**30]
    source = random.Random(11)
    for _ in range(2000):
        channels, filters, kernel = source.choice([1, 3, 8, 20]), source.choice([1, 8, 20]), source.choice([1, 2, 3])
        window = {name: source.choices(extents, k=2) for name in ("strides", "dilations")}
        window["pads"] = source.choices([0, 1, 2], k=4)
        if source.random() < 0.5:
            window |= {"pads": [2**30] * 4, "strides": source.choices(extents[3:], k=2)}
        nodes = [helper.make_node("Conv", ["x", "w"], ["c"], **window)]
        if source.random() < 0.5:
            taps = source.choice([1, 2, 2**30])
            pool = {
                "kernel_shape": [taps] * 2,
                "pads": [taps - 1, taps - 1, 0, 0],
                "strides": source.choices(extents, k=2),
            }
            if source.random() < 0.3:
                pool["dilations"] = source.choices(extents, k=2)
            nodes.append(helper.make_node(source.choice(["MaxPool", "AveragePool", "LpPool"]), ["c"], ["p"], **pool))
        last = nodes[-1].output[0]
        nodes += [
            helper.make_node("Mul", [last, last], ["d"]),
            helper.make_node("ReduceSum", ["d"], ["loss"], keepdims=0),
            helper.make_node(
                "Gradient", ["x", "w"], ["dx", "dw"], xs=["x", "w"], y="loss", domain="ai.onnx.preview.training"
            ),
        ]
        feeds = {
            "x": np.ones([2, channels, 9, 9], np.float32),
            "w": np.ones([filters, channels, kernel, kernel], np.float32),
        }
        inputs = [info(name, FLOAT, value.shape) for name, value in feeds.items()]
        outputs = [info("loss", FLOAT, []), info("dx", FLOAT, None), info("dw", FLOAT, None)]
        graph = helper.make_graph(nodes, "g", inputs, outputs)
        imports = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.preview.training", 1)]
        with contextlib.suppress(errors.Error):
            session(helper.make_model(graph, opset_imports=imports).SerializeToString()).run(None, feeds)


# --- memory

IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
import onnx.parser
import sardonyx as sx

text = "<ir_version: 8, opset_import: ['' : 17]> g (string[1] x, int64[1] n) => (string[N] y) { y = Expand(x, n) }"
options = sx.SessionOptions()
options.intra_op_num_threads = 1  # threads that begin later take memory of their own
session = sx.InferenceSession(onnx.parser.parse_model(text.replace("'", chr(34))).SerializeToString(), options)
feeds = {"x": np.array(["fifteen letters"], object), "n": np.array([2_000_000])}
session.run(None, {**feeds, "n": np.array([2])})
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[1]), held + int(sys.argv[1])))
try:
    session.run(None, feeds)
except sx.errors.RuntimeException as error:
    print(error)
"""


def test_memory_that_ends_in_any_phase_of_a_run_is_our_error() -> None:
    """The strings take 64 MB in the core, then more than 140 as objects of Python."""
    told = []
    for megabytes in (30, 90, 130, 170):
        command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(megabytes << 20)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert "Expand" in told[0]
    assert any("output 'y' needs more memory" in text for text in told), told

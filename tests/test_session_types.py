"""Values of every type through a session, OrtValue, NumPy and DLPack."""

from __future__ import annotations

import gc
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, parser

import sardonyx as rt
from sardonyx import errors

DTYPES = {
    TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.FLOAT16: np.float16,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16, TensorProto.INT8: np.int8, TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32, TensorProto.INT64: np.int64, TensorProto.UINT8: np.uint8,
    TensorProto.UINT16: np.uint16, TensorProto.UINT32: np.uint32, TensorProto.UINT64: np.uint64,
    TensorProto.BOOL: np.bool_, TensorProto.COMPLEX64: np.complex64, TensorProto.COMPLEX128: np.complex128,
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn, TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2, TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
    TensorProto.UINT4: ml_dtypes.uint4, TensorProto.INT4: ml_dtypes.int4,
    TensorProto.FLOAT4E2M1: ml_dtypes.float4_e2m1fn, TensorProto.FLOAT8E8M0: ml_dtypes.float8_e8m0fnu,
    TensorProto.UINT2: ml_dtypes.uint2, TensorProto.INT2: ml_dtypes.int2,
    TensorProto.FLOAT6E2M3: ml_dtypes.float6_e2m3fn, TensorProto.FLOAT6E3M2: ml_dtypes.float6_e3m2fn,
}  # fmt: skip


def identity(value_type: onnx.TypeProto) -> rt.InferenceSession:
    """y = x for any type, newest opset."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_value_info("x", value_type)],
        [helper.make_value_info("y", value_type)],
    )
    return rt.InferenceSession(helper.make_model(graph))


@pytest.mark.parametrize("onnx_type", DTYPES, ids=TensorProto.DataType.Name)
def test_tensors_of_every_type_pass_through(onnx_type: int) -> None:
    session = identity(helper.make_tensor_type_proto(onnx_type, ["N", 2]))
    x = np.array([[0, 1], [1, 0], [1, 1]]).astype(DTYPES[onnx_type])
    (y,) = session.run(None, {"x": x})
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y.view(np.uint8), x.view(np.uint8))
    (z,) = session.run(None, {"x": [[0, 1]]})
    assert z.dtype == x.dtype
    np.testing.assert_array_equal(z.view(np.uint8), x[:1].view(np.uint8))
    value = rt.OrtValue.ortvalue_from_numpy(x)
    assert value.element_type() == onnx_type
    assert value.data_type() == session.get_inputs()[0].type
    np.testing.assert_array_equal(session.run(None, {"x": value})[0].view(np.uint8), x.view(np.uint8))


@pytest.mark.parametrize("onnx_type", [TensorProto.INT4, TensorProto.INT2, TensorProto.UINT4, TensorProto.UINT2])
def test_narrow_integers_mean_the_same_with_any_high_bits(onnx_type: int) -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)],
        "g",
        [helper.make_tensor_value_info("x", onnx_type, [None])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [None])],
    )
    session = rt.InferenceSession(helper.make_model(graph))
    x = np.arange(256, dtype=np.uint8).view(DTYPES[onnx_type])
    assert session.run(None, {"x": x})[0].tolist() == x.astype(np.int32).tolist()


def test_strings() -> None:
    session = identity(helper.make_tensor_type_proto(TensorProto.STRING, [None]))
    words = ["", "plain", "größe", "日本語", "a\0b"]
    for x in (np.array(words, object), np.array(words), words, np.array([w.encode() for w in words], object)):
        (y,) = session.run(None, {"x": x})
        assert y.dtype == object
        assert y.tolist()[:4] == words[:4]
    with pytest.raises(errors.InvalidArgument, match="str or bytes"):
        session.run(None, {"x": np.array([1, 2], object)})
    value = rt.OrtValue.ortvalue_from_numpy(np.array(words, object))
    assert value.data_type() == "tensor(string)"
    assert value.numpy().tolist() == words
    with pytest.raises(errors.InvalidArgument):
        value.data_ptr()


def test_sequences() -> None:
    session = identity(helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None)))
    assert session.get_inputs()[0].type == "seq(tensor(float))"
    arrays = [np.ones(2, np.float32), np.zeros((1, 3), np.float32)]
    (y,) = session.run(None, {"x": arrays})
    assert isinstance(y, list)
    assert [item.tolist() for item in y] == [item.tolist() for item in arrays]
    y[0][:] = 7
    assert arrays[0].tolist() == [1, 1]
    assert session.run(None, {"x": []})[0] == []
    with pytest.raises(errors.InvalidArgument, match=r"x\[1\].*tensor\(double\)"):
        session.run(None, {"x": [arrays[0], np.zeros(2)]})
    with pytest.raises(errors.InvalidArgument, match="as a list"):
        session.run(None, {"x": arrays[0]})


def test_optionals() -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    session = identity(helper.make_optional_type_proto(tensor))
    assert session.get_inputs()[0].type == "optional(tensor(float))"
    assert session.run(None, {"x": None}) == [None]
    assert session.run(None, {}) == [None]
    assert session.run(None, {"x": np.ones(2, np.float32)})[0].tolist() == [1, 1]


def test_zipmap_gives_a_list_of_dicts() -> None:
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["a", "b"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [onnx.ValueInfoProto(name="y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)])
    session = rt.InferenceSession(model)
    assert session.get_outputs()[0].type == "seq(map(string,tensor(float)))"
    (y,) = session.run(None, {"x": np.array([[0.5, 0.25], [1, 2]], np.float32)})
    assert y == [{"a": 0.5, "b": 0.25}, {"a": 1.0, "b": 2.0}]


def test_maps_as_inputs() -> None:
    node = helper.make_node("DictVectorizer", ["x"], ["y"], domain="ai.onnx.ml", string_vocabulary=["a", "b", "c"])
    key_value = onnx.TypeProto(
        map_type=onnx.TypeProto.Map(
            key_type=TensorProto.STRING, value_type=helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_value_info("x", key_value)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)])
    session = rt.InferenceSession(model)
    assert session.run(None, {"x": {"a": 1.0, "c": 3}})[0].ravel().tolist() == [1, 0, 3]
    with pytest.raises(errors.InvalidArgument, match="as a dict"):
        session.run(None, {"x": [1.0]})


def test_ortvalues_share_memory_with_numpy() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = rt.OrtValue.ortvalue_from_numpy(array)
    assert value.data_ptr() == array.ctypes.data
    assert np.shares_memory(value.numpy(), array)
    value.update_inplace(np.full((2, 3), 7, np.float32))
    assert array.tolist() == [[7] * 3] * 2
    with pytest.raises(errors.InvalidArgument, match=r"\[3,2\]"):
        value.update_inplace(np.zeros((3, 2), np.float32))
    with pytest.raises(errors.InvalidArgument, match="double"):
        value.update_inplace(np.zeros((2, 3)))
    assert (value.shape(), value.data_type(), value.tensor_size_in_bytes()) == ([2, 3], "tensor(float)", 24)
    assert value.has_value() and value.is_tensor() and not value.is_tensor_sequence() and not value.is_sparse_tensor()
    assert value.device_name() == "cpu"
    np.testing.assert_array_equal(np.asarray(value), array)
    view = value.numpy()
    del value, array
    gc.collect()
    assert view.sum() == 42


def test_ortvalues_of_given_shape_and_type() -> None:
    zeros = rt.OrtValue.ortvalue_from_shape_and_type([2, 2], np.int64)
    assert zeros.numpy().tolist() == [[0, 0], [0, 0]]
    assert rt.OrtValue.ortvalue_from_shape_and_type([3], TensorProto.BFLOAT16).numpy().dtype == ml_dtypes.bfloat16
    halves = np.array([0x3F80, 0x4000], np.uint16)
    value = rt.OrtValue.ortvalue_from_numpy_with_onnx_type(halves, TensorProto.BFLOAT16)
    assert value.numpy().astype(np.float32).tolist() == [1, 2]
    assert value.data_ptr() == halves.ctypes.data
    with pytest.raises(errors.InvalidArgument, match="width"):
        rt.OrtValue.ortvalue_from_numpy_with_onnx_type(halves, TensorProto.FLOAT)
    with pytest.raises(errors.InvalidArgument):
        rt.OrtValue.ortvalue_from_shape_and_type([1 << 62, 1 << 62], np.float32)
    with pytest.raises(errors.InvalidArgument, match="cuda"):
        rt.OrtValue.ortvalue_from_numpy(np.zeros(1), "cuda")
    target = rt.OrtValue.ortvalue_from_shape_and_type([2], TensorProto.BFLOAT16)
    rt.copy_tensors([value], [target])
    assert target.numpy().astype(np.float32).tolist() == [1, 2]


def test_dlpack_both_ways() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = rt.OrtValue.from_dlpack(array)
    assert value.data_ptr() == array.ctypes.data
    back = np.from_dlpack(value)
    assert np.shares_memory(back, array)
    assert value.__dlpack_device__() == (1, 0)
    strided = rt.OrtValue.from_dlpack(array[:, ::2])
    assert strided.numpy().tolist() == [[0, 2], [3, 5]]
    transposed = rt.OrtValue.from_dlpack(array.T)
    assert transposed.numpy().tolist() == array.T.tolist()
    capsule = array.__dlpack__()
    assert rt.OrtValue.from_dlpack(capsule).shape() == [2, 3]
    with pytest.raises(errors.InvalidArgument, match="taken"):
        rt.OrtValue.from_dlpack(capsule)
    with pytest.raises(errors.InvalidArgument, match="string"):
        rt.OrtValue.ortvalue_from_numpy(np.array(["a"], object)).__dlpack__()
    unused = value.__dlpack__()
    del unused, value
    gc.collect()
    assert back.sum() == 15


def test_torch_tensors_are_fed_and_made_without_copies() -> None:
    torch = pytest.importorskip("torch")
    session = identity(helper.make_tensor_type_proto(TensorProto.BFLOAT16, [None]))
    tensor = torch.arange(4, dtype=torch.bfloat16)
    (y,) = session.run(None, {"x": tensor})
    assert y.astype(np.float32).tolist() == [0, 1, 2, 3]
    value = rt.OrtValue.from_dlpack(tensor)
    assert value.data_ptr() == tensor.data_ptr()
    assert torch.from_dlpack(value).data_ptr() == tensor.data_ptr()


def test_values_of_other_kinds() -> None:
    for data, kind in (([np.zeros(2)], "seq(tensor(double))"), ({"a": 1.5}, "map(string,tensor(double))")):
        value = rt.OrtValue.ortvalue_from_objects(data)
        assert value.data_type() == kind
        assert not value.is_tensor()
        with pytest.raises(errors.InvalidArgument, match="needs a tensor"):
            value.numpy()
    assert rt.OrtValue.ortvalue_from_objects({"a": 1.5}).to_python() == {"a": 1.5}
    assert not rt.OrtValue.ortvalue_from_objects(None).has_value()


def test_memory_is_freed() -> None:
    class Counted(np.ndarray[Any, Any]):
        alive = 0

        def __del__(self) -> None:
            Counted.alive -= 1

    session = identity(helper.make_tensor_type_proto(TensorProto.FLOAT, [None]))
    for _ in range(10):
        Counted.alive += 1
        x = np.ones(1000, np.float32).view(Counted)
        session.run(None, {"x": x})
        del x
    gc.collect()
    assert Counted.alive == 0


def test_symbolic_and_unknown_extents() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]> g (float[N, ?, 4] x) => (float[N, ?, 4] y) { y = Identity(x) }""")
    assert rt.InferenceSession(model).get_inputs()[0].shape == ["N", None, 4]

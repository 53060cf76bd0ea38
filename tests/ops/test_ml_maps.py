"""ZipMap, CastMap and DictVectorizer: tensors to maps and back."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.ops.harness import session

DOMAIN = "ai.onnx.ml"


def model(op, given, **attributes):
    node = helper.make_node(op, ["x"], ["y"], domain=DOMAIN, **attributes)
    graph = helper.make_graph([node], "g", [given], [helper.onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def map_input(key, value):
    return helper.make_value_info("x", helper.make_map_type_proto(key, helper.make_tensor_type_proto(value, [])))


@pytest.mark.parametrize("labels", [{"classlabels_strings": ["a", "b"]}, {"classlabels_int64s": [7, 9]}])
def test_zip_map(labels):
    (names,) = labels.values()
    m = model("ZipMap", helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2]), **labels)
    run = session(m, "ORT_ENABLE_ALL").run
    x = np.float32([[0.5, 0.25], [1, 2], [3, 4]])
    assert run(None, {"x": x})[0] == [dict(zip(names, row)) for row in x.tolist()]
    assert run(None, {"x": x[:0]})[0] == []


def test_zip_map_of_another_width():
    m = model("ZipMap", helper.make_tensor_value_info("x", TensorProto.FLOAT, None), classlabels_int64s=[1, 2, 3])
    with pytest.raises(Exception, match="3 columns"):
        session(m, "ORT_ENABLE_ALL").run(None, {"x": np.ones((2, 2), np.float32)})


@pytest.mark.parametrize(
    ("attributes", "want"),
    [
        ({"cast_to": "TO_FLOAT"}, np.float32([[0.5, 2.0, -3.0]])),
        ({"cast_to": "TO_INT64"}, np.array([[0, 2, -3]])),
        ({"cast_to": "TO_FLOAT", "map_form": "SPARSE", "max_map": 4}, np.float32([[0, 0.5, 2.0, 0]])),
    ],
)
def test_cast_map(attributes, want):
    m = model("CastMap", map_input(TensorProto.INT64, TensorProto.FLOAT), **attributes)
    (y,) = session(m, "ORT_ENABLE_ALL").run(None, {"x": {2: 2.0, 1: 0.5, 8: -3.0}})
    assert y.dtype == want.dtype
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize(
    ("attributes", "given", "want"),
    [
        ({"cast_to": "TO_STRING"}, {2: "b", 1: "a"}, ["a", "b"]),
        ({"cast_to": "TO_STRING", "map_form": "SPARSE", "max_map": 3}, {2: "b", 0: "a", 7: "c"}, ["a", "0.f", "b"]),
        ({"cast_to": "TO_FLOAT"}, {2: "0.5", 1: "-1e3"}, np.float32([-1000, 0.5])),
        ({"cast_to": "TO_INT64"}, {2: "5", 1: "-7"}, np.array([-7, 5])),
    ],
)
def test_cast_map_of_strings(attributes, given, want):
    m = model("CastMap", map_input(TensorProto.INT64, TensorProto.STRING), **attributes)
    (y,) = session(m, "ORT_ENABLE_ALL").run(None, {"x": given})
    assert y.shape == (1, len(want))
    assert y[0].tolist() == list(want)


def test_cast_map_of_numbers_to_strings():
    m = model("CastMap", map_input(TensorProto.INT64, TensorProto.FLOAT), cast_to="TO_STRING")
    (y,) = session(m, "ORT_ENABLE_ALL").run(None, {"x": {2: 2.0, 1: 0.5}})
    assert [float(text) for text in y[0]] == [0.5, 2.0]


@pytest.mark.parametrize(
    ("attributes", "given", "match"),
    [
        ({"cast_to": "TO_FLOAT"}, {1: "one"}, "'one' is not a number"),
        ({"cast_to": "TO_INT64"}, {1: "1e30"}, "does not fit an int64"),
        ({"cast_to": "TO_INT64"}, {1: "nan"}, "does not fit an int64"),
        ({"cast_to": "TO_DOUBLE"}, {1: "1"}, "cast_to is 'TO_DOUBLE'"),
        ({"cast_to": "TO_FLOAT", "map_form": "SPARSE", "max_map": 0}, {1: "1"}, "max_map is 0"),
        ({"cast_to": "TO_FLOAT", "map_form": "SPARSE", "max_map": 2}, {-1: "1"}, "negative key -1"),
    ],
)
def test_cast_map_refused(attributes, given, match):
    m = model("CastMap", map_input(TensorProto.INT64, TensorProto.STRING), **attributes)
    with pytest.raises(Exception, match=match):
        session(m, "ORT_ENABLE_ALL").run(None, {"x": given})


def test_dict_vectorizer():
    m = model("DictVectorizer", map_input(TensorProto.STRING, TensorProto.FLOAT), string_vocabulary=["a", "b", "c"])
    (y,) = session(m, "ORT_ENABLE_ALL").run(None, {"x": {"c": 2.0, "a": 0.5, "z": 1.0}})
    np.testing.assert_array_equal(y, np.float32([[0.5, 0, 2]]))

"""Attention that exporters spell out runs as one node, with the same results."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import sardonyx as sx


def spelled_out(
    heads: int, size: int, mask: tuple[int, ...] | None, divides: bool, dtype: type[np.floating] = np.float32
) -> onnx.ModelProto:
    """softmax(Q K' * scale + mask) V with the heads split off and joined, as torch exports it. Half floats come from
    products, as in a network; these change nothing."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    scale = dtype(np.sqrt(size) if divides else 1 / np.sqrt(size))
    constants = {"split": np.array([0, 0, heads, size]), "joined": np.array([0, 0, heads * size]), "scale": scale}
    nodes = []
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        source = name
        if dtype != np.float32:
            constants["identity"] = np.eye(heads * size, dtype=dtype)
            source = f"{name}p"
            nodes.append(helper.make_node("MatMul", [name, "identity"], [source]))
        nodes.append(helper.make_node("Reshape", [source, "split"], [f"{name}4"]))
        nodes.append(helper.make_node("Transpose", [f"{name}4"], [f"{name}t"], perm=perm))
    nodes.append(helper.make_node("MatMul", ["qt", "kt"], ["products"]))
    nodes.append(helper.make_node("Div" if divides else "Mul", ["products", "scale"], ["scores"]))
    infos = [
        helper.make_tensor_value_info("q", kind, ["n", "s", heads * size]),
        helper.make_tensor_value_info("k", kind, ["n", "t", heads * size]),
        helper.make_tensor_value_info("v", kind, ["n", "t", heads * size]),
    ]
    if mask is not None:
        nodes.append(helper.make_node("Add", ["mask", "scores"], ["masked"]))
        names = ["n", heads, "s", "t"][4 - len(mask) :]
        dims = [name if extent != 1 else 1 for name, extent in zip(names, mask)]
        infos.append(helper.make_tensor_value_info("mask", kind, dims))
    nodes += [
        helper.make_node("Softmax", ["masked" if mask is not None else "scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "vt"], ["y4"]),
        helper.make_node("Transpose", ["y4"], ["yt"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["yt", "joined"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        infos,
        [helper.make_tensor_value_info("y", kind, ["n", "s", heads * size])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("divides", [False, True])
@pytest.mark.parametrize(
    ("n", "s", "t", "heads", "size", "mask"),
    [
        (1, 7, 7, 2, 5, None),
        (2, 13, 13, 3, 16, (2, 1, 13, 13)),
        (2, 1, 40, 4, 8, (1, 1, 1, 40)),
        (1, 33, 20, 2, 24, (33, 20)),
        (3, 5, 6, 2, 4, (3, 2, 5, 6)),
        (1, 150, 150, 2, 64, (1, 1, 150, 150)),
    ],
)
def test_one_node_gives_what_the_many_do(
    n: int, s: int, t: int, heads: int, size: int, mask: tuple[int, ...] | None, divides: bool
) -> None:
    rng = np.random.default_rng(s)
    shapes = {"q": (n, s, heads * size), "k": (n, t, heads * size), "v": (n, t, heads * size)}
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    if mask is not None:
        # The usual spelling of "not this key": the least float, which a sum must not turn into infinity.
        feeds["mask"] = np.where(rng.random(mask) < 0.3, np.finfo(np.float32).min, 0).astype(np.float32)
    model = spelled_out(heads, size, mask, divides).SerializeToString()
    session = sx.InferenceSession(model)
    (y,) = session.run(None, feeds)
    assert "Attention" in [row.op for row in session.get_provider_report()]
    (expected,) = onnxruntime.InferenceSession(model).run(None, feeds)
    # Products of `size` and `t` terms and an exponential, each within a few roundings of numbers of the size of v.
    np.testing.assert_allclose(y, expected, rtol=0, atol=(size + t + 16) * 2.0**-24 * np.abs(feeds["v"]).max() * 4)


@pytest.mark.parametrize(("s", "t", "heads", "size"), [(7, 7, 2, 5), (1, 40, 4, 8), (33, 20, 2, 24), (150, 150, 2, 64)])
@pytest.mark.parametrize("masked", [False, True])
def test_half_floats_are_rounded_once(s: int, t: int, heads: int, size: int, masked: bool) -> None:
    rng = np.random.default_rng(t)
    q, k, v = (rng.standard_normal((2, length, heads * size)).astype(np.float16) for length in (s, t, t))
    feeds = {"q": q, "k": k, "v": v}
    if masked:
        hidden = rng.random((s, t)) < 0.3
        hidden[:, 0] = False
        feeds["mask"] = np.where(hidden, np.finfo(np.float16).min, 0).astype(np.float16)
    session = sx.InferenceSession(spelled_out(heads, size, (s, t) if masked else None, False, np.float16))
    assert "Attention" in [row.op for row in session.get_provider_report()]
    (y,) = session.run(None, feeds)
    assert y.dtype == np.float16

    def split(x: np.ndarray) -> np.ndarray:
        return x.astype(np.float64).reshape(2, -1, heads, size).transpose(0, 2, 1, 3)

    scores = split(q) @ split(k).swapaxes(2, 3) * np.float64(np.float16(1 / np.sqrt(size)))
    if masked:
        scores = np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    expected = weights / weights.sum(axis=-1, keepdims=True) @ split(v)
    expected = expected.transpose(0, 2, 1, 3).reshape(2, s, heads * size)
    # One rounding to f16, and f32's over sums of `size` and `t` terms.
    bound = np.abs(expected) * 2.0**-11 + 2.0**-24 + (size + t + 16) * 2.0**-24 * np.abs(v).max() * 4
    assert (np.abs(y - expected) <= bound).all()

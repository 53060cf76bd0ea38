"""bf16 products whose rows come rounded and laid out: layers of transformers give the bits of plain values."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.cpu import has_bf16_products
from tests.test_precision import session

WIDTH, HEADS, INNER = 48, 4, 130


def layer(norm: str, joint: bool, after: bool, causal: bool) -> ModelProto:
    """A layer of a transformer: attention and two products, with its norms in front of them or `after` them."""
    rng = np.random.default_rng(3)
    weights: dict[str, np.ndarray] = {}
    nodes = []

    def weight(name: str, *shape: int) -> str:
        weights[name] = (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        return name

    def add(op: str, inputs: list[str], y: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [y], **attributes))
        return y

    def product(x: str, name: str, k: int, n: int) -> str:
        product = add("MatMul", [x, weight(f"{name}.w", k, n)], f"{name}.p")
        return add("Add", [product, weight(f"{name}.b", n)], name)

    def normalized(x: str, name: str) -> str:
        parameters = [weight(f"{name}.scale", WIDTH)]
        if norm == "LayerNormalization":
            parameters.append(weight(f"{name}.bias", WIDTH))
        return add(norm, [x, *parameters], name)

    x = "x"
    a = x if after else normalized(x, "norm1")
    if joint:
        qkv = product(a, "qkv", WIDTH, 3 * WIDTH)
        weights["lengths"] = np.full(3, WIDTH)
        nodes.append(helper.make_node("Split", [qkv, "lengths"], ["q", "k", "v"], axis=-1))
    else:
        for name in ("q", "k", "v"):
            product(a, name, WIDTH, WIDTH)
    heads = {"q_num_heads": HEADS, "kv_num_heads": HEADS, "is_causal": int(causal)}
    attended = add("Attention", ["q", "k", "v"], "attended", **heads)
    x = add("Add", [product(attended, "joined", WIDTH, WIDTH), x], "sum1")
    if after:
        x = normalized(x, "norm1")
    a = x if after else normalized(x, "norm2")
    hidden = add("Gelu", [product(a, "hidden", WIDTH, INNER)], "gelu")
    x = add("Add", [product(hidden, "out", INNER, WIDTH), x], "sum2")
    y = normalized(x, "norm2") if after else x
    graph = helper.make_graph(
        [*nodes, helper.make_node("Identity", [y], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "S", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


LAYERS = [
    ("LayerNormalization", False, True, False),
    ("LayerNormalization", True, False, True),
    ("RMSNormalization", True, False, False),
    ("RMSNormalization", False, True, True),
]


@pytest.mark.parametrize("arguments", LAYERS)
def test_bits_do_not_depend_on_the_form(arguments: tuple) -> None:
    made = session(layer(*arguments))
    alone = session(layer(*arguments), threads=1)
    plain = ["y", "norm1", "norm2", "gelu", "attended", "q"]
    rng = np.random.default_rng(1)
    for batch, rows in [(1, 1), (1, 5), (1, 29), (3, 1), (2, 12), (3, 17), (1, 0)]:
        x = rng.standard_normal((batch, rows, WIDTH)).astype(np.float32)
        (y,) = made.run(None, {"x": x})
        assert np.array_equal(y, made.run(plain, {"x": x})[0])
        assert np.array_equal(y, alone.run(None, {"x": x})[0])
        if rows > 4:  # few queries are f32
            parts = [made.run(None, {"x": x[i : i + 1]})[0] for i in range(batch)]
            assert np.array_equal(y, np.concatenate(parts))


@pytest.mark.parametrize("arguments", LAYERS)
def test_layers_are_as_exact_as_their_products(arguments: tuple) -> None:
    x = np.random.default_rng(2).standard_normal((2, 40, WIDTH)).astype(np.float32)
    short, full = (session(layer(*arguments), precision).run(None, {"x": x})[0] for precision in ("bf16", "f32"))
    assert np.abs(short - full).mean() < 2.0**-7
    assert np.abs(short - full).max() < 2.0**-4


@pytest.mark.skipif(not has_bf16_products(), reason="rows are laid out ahead for bf16 products only")
@pytest.mark.parametrize("arguments", LAYERS)
def test_every_product_reads_panels(arguments: tuple) -> None:
    graph = layer(*arguments)
    made = session(graph)
    made.run(None, {"x": np.zeros((1, 8, WIDTH), np.float32)})
    operators = [row.op for row in made.get_provider_report()]
    products = sum(node.op_type == "MatMul" for node in graph.graph.node)
    assert operators.count("sardonyx::PanelMatMul") == products
    assert "Split" not in operators

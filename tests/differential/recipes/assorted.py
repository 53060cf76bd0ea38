"""Strings, signals, ranges, random numbers, boxes, images, training steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.movement import exact

TRAINING = "ai.onnx.preview.training"


@recipe("StringConcat")
def string_concat(d: Draw) -> Node:
    a, b = d.broadcast(2)
    return exact([d.array("string", a), d.array("string", b)], expect=lambda x, y: np.asarray(x + y, object))


@recipe("StringSplit")
def string_split(d: Draw) -> Node:
    x = d.array("string", d.shape(0, 3, empty=0))
    attrs = d.attributes(delimiter=lambda: d.choice([" ", "a", "b", ""]), maxsplit=lambda: d.integer(1, 3))
    attrs = {k: v for k, v in attrs.items() if k != "maxsplit" or d.chance()}
    delimiter, most = attrs.get("delimiter") or None, attrs.get("maxsplit", -1)

    def expect(x: Any) -> Any:
        parts = [text.split(delimiter, most) for text in x.reshape(-1)]
        width = max(map(len, parts), default=0)
        rows = [row + [""] * (width - len(row)) for row in parts]
        counts = np.array([len(row) for row in parts], np.int64).reshape(x.shape)
        return [np.array(rows, object).reshape(*x.shape, width), counts]

    return exact([x], attrs, outputs=2, expect=expect, only=True)


@recipe("RegexFullMatch")
def regex(d: Draw) -> Node:
    pattern = d.choice(["a+b?", "[a-z ]+", ".*", r"\d+", r"-?\d+(\.\d+)?", "(a|b)*", "[^a]*", ""])
    return exact([d.array("string", d.shape())], {"pattern": pattern})


@recipe("StringNormalizer")
def string_normalizer(d: Draw) -> Node:
    x = d.array("string", d.choice([(d.extent(1, 6),), (1, d.extent(1, 6))]))
    attrs = d.attributes(
        case_change_action=lambda: d.choice(["NONE", "LOWER", "UPPER"]),
        is_case_sensitive=lambda: d.integer(0, 1),
        stopwords=lambda: d.some(["a", "ab", "Ba", "AB", "zz zz"], 1),
    )
    stop, action = attrs.get("stopwords", []), attrs.get("case_change_action", "NONE")
    folded = not attrs.get("is_case_sensitive", 0)

    def change(text: str, how: str) -> str:
        """Character by character, those that become several excepted."""
        turned = [getattr(c, how.lower())() for c in text]
        return "".join(b if len(b) == 1 else a for a, b in zip(text, turned))

    def expect(x: Any) -> Any:
        banned = {change(word, "LOWER") if folded else word for word in stop}
        kept = [word for word in x.reshape(-1) if (change(word, "LOWER") if folded else word) not in banned]
        kept = [word if action == "NONE" else change(word, action) for word in kept] or [""]
        return np.array(kept, object).reshape((1, -1) if x.ndim == 2 else -1)

    return exact([x], attrs, expect=expect, only=True)


@recipe("TfIdfVectorizer")
def tfidf(d: Draw) -> Node:
    text = d.kind() == "tensor(string)"
    vocabulary: list[Any] = ["a", "b", "ab", "Ba"] if text else [1, 2, 3, 4]
    ones = [d.choice(vocabulary) for _ in range(d.integer(1, 3))]
    ones = list(dict.fromkeys(ones))
    twos = list(dict.fromkeys((d.choice(vocabulary), d.choice(vocabulary)) for _ in range(d.integer(1, 4))))
    grams = len(ones) + len(twos)
    low = d.integer(1, 2)
    attrs: dict[str, Any] = {
        "mode": d.choice(["TF", "IDF", "TFIDF"]),
        "min_gram_length": low,
        "max_gram_length": d.integer(low, 2),
        "max_skip_count": d.integer(0, 3),
        "ngram_counts": [0, len(ones)],
        "ngram_indexes": [int(i) for i in d.rng.permutation(grams)],
        "pool_strings" if text else "pool_int64s": ones + [v for pair in twos for v in pair],
    }
    if d.chance():
        attrs["weights"] = [d.real(0.5, 2) for _ in range(grams)]
    shape = d.choice([(d.extent(2, 9),), (d.extent(1, 3), d.extent(2, 9))])
    words = np.array(vocabulary + (["zz"] if text else [9]), object)
    x = d.rng.choice(words, shape).astype(types.dtype(d.kind()))
    return Node([x], attrs, scale=20)


@recipe("Range")
def range_(d: Draw) -> Node:
    kind = d.kind()
    dtype = types.dtype(kind)
    start, delta = d.integer(-9, 9), d.choice([1, 2, -1, -3])
    limit = start + delta * d.integer(-1, 9) + (d.integer(0, 1) if abs(delta) > 1 else 0)
    quarter = 0.25 if types.is_float(kind) else 1
    inputs = [np.array(v * quarter).astype(dtype) for v in (start, limit, delta)]
    count = max(-(-(limit - start) // delta), 0)
    expected = (np.arange(count) * delta * quarter + start * quarter).astype(dtype)
    return exact(inputs, expect=lambda *_: expected)


@recipe("BlackmanWindow", "HammingWindow", "HannWindow")
def window(d: Draw) -> Node:
    size = np.array(d.integer(2, 12)).astype(types.dtype(d.kind("T1")))
    attrs = d.attributes(periodic=lambda: d.integer(0, 1))
    target = d.kind("T2")
    if types.element(target) != "float" or d.chance():
        attrs["output_datatype"] = types.number(target)
    return Node([size], attrs, steps=16, off=1, roundings=4)


@recipe("MelWeightMatrix")
def mel(d: Draw) -> Node:
    it, ft = types.dtype(d.kind("T1")), types.dtype(d.kind("T2"))
    target = d.kind("T3")
    rate = d.choice([8192, 4096])
    ints = [np.array(v).astype(it) for v in (d.integer(2, 5), d.choice([16, 32]), rate)]
    floats = [np.array(v).astype(ft) for v in (d.choice([0, 128]), rate // d.choice([2, 4]))]
    attrs = {"output_datatype": types.number(target)} if types.element(target) != "float" or d.chance() else {}
    return Node([*ints, *floats], attrs, steps=64, off=1)


@recipe("DFT")
def dft(d: Draw) -> Node:
    complex_ = d.chance()
    shape = [*(d.extent(1, 5) for _ in range(d.integer(2, 3))), 2 if complex_ else 1]
    x = d.array(d.kind("T1"), shape, -2, 2)
    attrs = d.attributes(inverse=lambda: d.integer(0, 1))
    if not complex_:
        attrs.pop("inverse", None)
        attrs.update(d.attributes(onesided=lambda: d.integer(0, 1)))
    rank = len(shape)
    axis = d.choice([i for i in range(rank - 1)] + [i - rank for i in range(rank - 1)])
    length = np.array(d.extent(1, 7)).astype(types.dtype(d.kind("T2"))) if d.chance() else None
    inputs: list[Any] = [x, length]
    if d.version < 20:
        attrs.update({"axis": axis % rank} if d.chance(0.8) else {})
    else:
        inputs.append(np.array(axis, np.int64) if d.chance(0.8) else None)
    while inputs[-1] is None:
        inputs.pop()
    return Node(inputs, attrs, steps=256, scale=16)


@recipe("STFT")
def stft(d: Draw) -> Node:
    complex_ = d.chance(0.3)
    frame = d.integer(2, 8)
    length = frame + d.integer(0, 12)
    signal = d.array(d.kind("T1"), (d.extent(1, 2), length, 2 if complex_ else 1), -2, 2)
    it = types.dtype(d.kind("T2"))
    attrs = {"onesided": 0} if complex_ else d.attributes(onesided=lambda: d.integer(0, 1))
    given = d.choice(["window", "length", "both"])
    inputs: list[Any] = [
        signal,
        np.array(d.integer(1, 4)).astype(it),
        d.array(d.kind("T1"), (frame,), 0, 1) if given != "length" else None,
        np.array(frame).astype(it) if given != "window" else None,
    ]
    while inputs[-1] is None:
        inputs.pop()
    return Node(inputs, attrs, steps=512, scale=16)


def _moments(y: np.ndarray, mean: float, spread: float, low: float = -np.inf, high: float = np.inf) -> None:
    y = y.astype(np.float64)
    assert np.all((y >= low) & (y <= high))
    if y.size > 400:
        assert abs(y.mean() - mean) < 6 * spread / np.sqrt(y.size) + 0.01 * abs(mean) + 0.01
        assert abs(y.std() - spread) < 0.3 * spread + 1e-6


@recipe("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike")
def random(d: Draw) -> Node:
    normal, like = "Normal" in d.op, d.op.endswith("Like")
    target = d.kind("T2" if like else "T")
    attrs = d.attributes(seed=lambda: d.real(0, 99))
    if normal:
        attrs.update(d.attributes(mean=lambda: d.real(-2, 2), scale=lambda: d.real(0.5, 2)))
        mean, spread, low, high = attrs.get("mean", 0.0), attrs.get("scale", 1.0), -np.inf, np.inf
    else:
        attrs.update(d.attributes(low=lambda: d.real(-2, 0), high=lambda: d.real(1, 2)))
        low, high = attrs.get("low", 0.0), attrs.get("high", 1.0)
        mean, spread = (low + high) / 2, (high - low) / np.sqrt(12)
        low, high = low - 0.02, high + 0.02
    shape = d.choice([d.shape(), (23, 31)])
    source = d.kind("T1") if like else target
    if source != target or types.element(target) != "float" or d.chance():
        attrs["dtype"] = types.number(target)
    elif like:
        d.need(source == target)
    if not like:
        d.need(bool(shape))
        attrs["shape"] = list(shape)

    def check(*given: Any) -> None:
        (y,) = given[-1]
        assert y.shape == tuple(shape) and y.dtype == types.dtype(target)
        _moments(y, mean, spread, low, high)

    return Node([d.array(source, shape)] if like else [], attrs, check=check)


@recipe("Bernoulli")
def bernoulli(d: Draw) -> Node:
    target = d.kind("T2")
    x = np.full((25, 40), 0.3).astype(types.dtype(d.kind("T1")))
    attrs = d.attributes(seed=lambda: d.real(0, 99))
    if target != d.kind("T1") or d.chance():
        attrs["dtype"] = types.number(target)

    def check(x: Any, found: Any) -> None:
        (y,) = found
        assert y.shape == x.shape and y.dtype == types.dtype(target)
        assert set(np.unique(y.astype(np.float64))) == {0.0, 1.0}
        assert 0.2 < y.astype(np.float64).mean() < 0.4

    return Node([x], attrs, check=check)


@recipe("Multinomial")
def multinomial(d: Draw) -> Node:
    rows, classes = d.extent(1, 3), d.extent(2, 4)
    p = d.rng.dirichlet(np.ones(classes), rows)
    p[:, 0] = 0
    x = np.log(p / p.sum(1, keepdims=True) + 1e-30).astype(types.dtype(d.kind("T1")))
    attrs = d.attributes(seed=lambda: d.real(0, 99))
    attrs["sample_size"] = 300
    target = d.kind("T2")
    if types.element(target) != "int32" or d.chance():
        attrs["dtype"] = types.number(target)

    def check(x: Any, found: Any) -> None:
        (y,) = found
        assert y.shape == (rows, 300) and y.dtype == types.dtype(target)
        weights = np.exp(x.astype(np.float64))
        weights /= weights.sum(1, keepdims=True)
        for row, w in zip(y, weights):
            share = np.bincount(row, minlength=classes) / 300
            assert share.size == classes and np.abs(share - w).max() < 0.2

    return Node([x], attrs, check=check)


@recipe("Dropout")
def dropout(d: Draw) -> Node:
    x = d.array(d.kind(), d.choice([d.shape(), (20, 30)]), 1, 4)
    outputs = d.integer(1, 2)
    attrs: dict[str, Any] = {}
    inputs: list[Any] = [x]
    ratio, training = 0.5, False
    if d.version < 12:
        attrs = d.attributes(ratio=lambda: d.real(0.1, 0.9))
        if d.has("is_test"):
            attrs["is_test"] = 1
        if d.has("consumed_inputs") and d.chance():
            attrs["consumed_inputs"] = [0]
    else:
        attrs = d.attributes(seed=lambda: d.integer(0, 99))
        training = d.chance()
        given = d.chance(0.7)
        ratio = d.choice([0.25, 0.5, 0.0]) if given else 0.5
        inputs.append(np.array(ratio).astype(types.dtype(d.kind("T1"))) if given else None)
        inputs.append(np.array(training) if training or d.chance() else None)
        while inputs[-1] is None:
            inputs.pop()
    mask_dtype = np.bool_ if d.version >= 10 else types.dtype(d.kind())

    def check(x: Any, *rest: Any) -> None:
        y, *mask = rest[-1]
        assert y.shape == x.shape and y.dtype == x.dtype
        wide, seen = x.astype(np.float64), y.astype(np.float64)
        kept = np.ones(x.shape, bool)
        if training:
            kept = seen != 0
            wide = wide / (1 - ratio)
            if x.size >= 600:
                assert abs(kept.mean() - (1 - ratio)) < 0.15
        step = types.epsilon(d.kind()) if training and ratio else 0
        assert np.all(np.abs(np.where(kept, wide, 0) - seen) <= step * np.abs(wide))
        if mask:
            assert mask[0].dtype == mask_dtype and mask[0].shape == x.shape
            assert np.array_equal(mask[0].astype(bool), kept)

    return Node(inputs, attrs, outputs=outputs, check=check)


@recipe("NonMaxSuppression")
def non_max_suppression(d: Draw) -> Node:
    batch, classes, boxes = d.extent(1, 2), d.extent(1, 3), d.extent(1, 8)
    corners = np.sort(d.rng.uniform(0, 1, (batch, boxes, 2, 2)), 2)
    centre = d.chance(0.3)
    given = np.concatenate([corners.mean(2), corners[:, :, 1] - corners[:, :, 0]], -1) if centre else corners
    inputs: list[Any] = [
        given.reshape(batch, boxes, 4).astype(np.float32),
        d.array("float", (batch, classes, boxes), 0, 1),
        np.array([d.integer(0, 5)], np.int64),
        np.array([d.choice([0.3, 0.5])], np.float32) if d.chance(0.7) else None,
        np.array([d.choice([0.2, 0.4])], np.float32) if d.chance(0.7) else None,
    ]
    while inputs[-1] is None:
        inputs.pop()
    return exact(inputs, {"center_point_box": int(centre)} if centre or d.chance() else {})


@recipe("ImageDecoder")
def image_decoder(d: Draw) -> Node:
    import io

    from PIL import Image

    image = Image.fromarray(d.array("uint8", (d.extent(1, 9), d.extent(1, 9), 3), whole=True))
    stream = io.BytesIO()
    image.save(stream, d.choice(["PNG", "BMP"]))
    attrs = d.attributes(pixel_format=lambda: d.choice(["RGB", "BGR"]))

    def expect(_: Any) -> Any:
        pixels = np.asarray(image)
        return pixels[..., ::-1] if attrs.get("pixel_format") == "BGR" else pixels

    return exact([np.frombuffer(stream.getvalue(), np.uint8)], attrs, expect=expect, only=True)


@recipe("Adagrad", "Adam", "Momentum", domain=TRAINING)
def optimizer(d: Draw) -> Node:
    tensors, groups = d.integer(1, 3), {"Adagrad": 3, "Adam": 4, "Momentum": 3}[d.op]
    shapes = [d.shape(0, 3) for _ in range(tensors)]
    rate, step = np.array(d.real(0.01, 0.2)).astype(types.dtype(d.kind("T1"))), np.array(d.integer(0, 5))
    values = [d.array(d.kind("T3"), shape, 0.1, 1) for _ in range(groups) for shape in shapes]
    attrs = d.attributes(
        decay_factor=lambda: d.real(0, 0.1),
        epsilon=lambda: d.real(1e-4, 1e-2),
        norm_coefficient_post=lambda: d.real(0, 0.1),
        alpha=lambda: d.real(0.5, 0.9),
        beta=lambda: d.real(0.5, 0.9),
        norm_coefficient=lambda: d.real(0, 0.1),
    )
    if d.op == "Momentum":
        attrs = {"alpha": 0.5, "beta": 0.75, "norm_coefficient": 0.125, "mode": d.choice(["standard", "nesterov"])}
    return Node([rate, step, *values], attrs, outputs=tensors * (groups - 1), steps=64)


@recipe("Gradient", domain=TRAINING)
def gradient(d: Draw) -> Node:
    """Of y = x * x, which a node before this one computes."""
    kind, other = d.kind("T2"), d.kind("T1")
    inputs = [d.array(kind, d.shape(1, 3, empty=0))]
    attrs: dict[str, Any] = {"xs": ["x0"], "y": "y_of_x"}
    if other != kind or d.chance():
        inputs.append(d.array(other, d.shape()))
        attrs["zs"] = ["x1"]
    before = [("Mul", ["x0", "x0"], ["y_of_x"])]
    kinds = [kind, other][: len(inputs)]
    return Node(inputs, attrs, kinds=kinds, before=before, expect=lambda x, *_: 2 * x, only=True)

"""ScatterElements, ScatterND, TensorScatter: reductions, repeated and bad indices, types."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
FOLD = {
    "none": lambda a, b: b,
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "max": np.maximum,
    "min": np.minimum,
}
NUMBERS = [
    np.int8,
    np.uint8,
    np.int16,
    np.int32,
    np.int64,
    np.uint64,
    np.float16,
    ml_dtypes.bfloat16,
    np.float32,
    np.float64,
]


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(1, 5, shape)).astype(dtype)


def scatter_elements(axis, reduction):
    def expected(x, indices, updates):
        y = x.copy()
        with np.errstate(over="ignore"):
            for at in np.ndindex(*indices.shape):
                to = list(at)
                to[axis] = int(indices[at])
                y[tuple(to)] = FOLD[reduction](y[tuple(to)], updates[at])
        return y

    return expected


def elements(x, shape, axis, reduction="none", index=np.int64, **options):
    high = x.shape[axis]
    if reduction == "none":
        indices = np.argsort(rng.random((*shape[: axis % x.ndim], high, *shape[axis % x.ndim + 1 :])), axis)
        indices = np.take(indices, range(shape[axis]), axis).astype(index)
    else:
        indices = rng.integers(-high, high, shape).astype(index)
    attrs = {"axis": axis} | ({} if reduction == "none" else {"reduction": reduction})
    return Case(
        "ScatterElements",
        [x, indices, data(shape, x.dtype)],
        attrs,
        expect=scatter_elements(axis, reduction),
        id=options.pop("id", None),
        **options,
    )


test_scatter_elements = check(
    [
        elements(data((4, 5, 6)), shape, axis, reduction, id=f"{shape}-{axis}-{reduction}")
        for reduction in FOLD
        for shape, axis in [
            ((4, 5, 6), 0),
            ((2, 5, 6), 0),
            ((4, 3, 6), 1),
            ((4, 3, 2), 1),
            ((4, 5, 3), -1),
            ((0, 5, 6), 0),
        ]
    ]
    + [
        elements(data((40, 50), t), (30, 50), 0, r, np.int32, id=f"{np.dtype(t).name}-{r}")
        for t in NUMBERS
        for r in FOLD
    ]
    + [
        elements(data((3, 2000)), (2, 2000), 0, "add", id="wide"),
        elements(data((5,)), (3,), 0, opset=11, id="v11"),
        elements(data((5,)), (3,), 0, "add", opset=16, id="v16"),
        Case("Scatter", [data((5,)), np.array([1, 3]), data((2,))], opset=9, expect=scatter_elements(0, "none")),
        Case(
            "Scatter",
            [data((2, 5)), np.array([[1, -1]]), data((1, 2))],
            {"axis": 1},
            opset=10,
            expect=scatter_elements(1, "none"),
        ),
        Case(
            "ScatterElements",
            [np.array(["a", "b"], object), np.array([1]), np.array(["z"], object)],
            expect=np.array(["a", "z"], object),
        ),
        Case(
            "ScatterElements",
            [np.array([True, False]), np.array([0, 1]), np.array([False, True])],
            {"reduction": "mul"},
            expect=np.array([False, False]),
        ),
        raises(Case("ScatterElements", [data((4,)), np.array([4]), data((1,))]), "index 4 is out of range"),
        raises(Case("ScatterElements", [data((4,)), np.array([0]), data((2,))]), "updates has shape"),
        raises(
            Case("ScatterElements", [data((4,)), np.array([0]), data((1,))], {"reduction": "sub"}), "reduction is 'sub'"
        ),
    ]
)


def scatter_nd(reduction):
    def expected(x, indices, updates):
        y = x.copy()
        for at in np.ndindex(*indices.shape[:-1]):
            to = tuple(int(i) for i in indices[at])
            y[to] = FOLD[reduction](y[to], updates[at])
        return y

    return expected


def nd(x, indices, reduction="none", **options):
    indices = np.asarray(indices)
    updates = data((*indices.shape[:-1], *x.shape[indices.shape[-1] :]), x.dtype)
    attrs = {} if reduction == "none" else {"reduction": reduction}
    return Case("ScatterND", [x, indices, updates], attrs, expect=scatter_nd(reduction), **options)


test_scatter_nd = check(
    [
        case
        for r in FOLD
        for case in [
            nd(data((4, 5, 6)), [[1], [-1]], r, id=f"rows-{r}"),
            nd(data((4, 5, 6)), [[1, 2], [3, -1]], r, id=f"lines-{r}"),
            nd(data((4, 5, 6)), [[[1, 2, 0], [0, 1, 2]]], r, id=f"points-{r}"),
            nd(data((4,)), [[1], [1], [1]], r, id=f"again-{r}"),
            nd(data((4, 3000)), [[1], [0], [1]], r, id=f"wide-{r}"),
            nd(data((4, 5)), np.zeros((0, 1), np.int64), r, id=f"nothing-{r}"),
        ]
    ]
    + [
        nd(data((4, 3), t), [[2], [0]], r, id=f"{np.dtype(t).name}-{r}")
        for t in NUMBERS
        for r in ("none", "add", "max")
    ]
    + [
        nd(data((4, 3)), [[2], [0]], opset=11, id="v11"),
        nd(data((4, 3)), [[2], [0]], "add", opset=16, id="v16"),
        nd(data((3, 2)), np.zeros((2, 0), np.int64), "add", id="whole"),
        raises(Case("ScatterND", [data((4,)), np.array([[4]]), data((1,))]), "index 4 is out of range"),
        raises(Case("ScatterND", [data((4,)), np.array([[0]]), data((2,))]), "updates has shape"),
        raises(Case("ScatterND", [data((4,)), np.array([[0, 0]]), data((1,))]), "address"),
    ]
)

cache = data((2, 3, 7, 4))
test_tensor_scatter = check(
    [
        Case("TensorScatter", [cache, data((2, 3, 2, 4))]),
        Case("TensorScatter", [cache, data((2, 3, 2, 4)), np.array([1, 5])]),
        Case("TensorScatter", [cache, data((2, 3, 3, 4)), np.array([6, 12])], {"mode": "circular"}),
        Case("TensorScatter", [data((2, 7, 4)), data((2, 3, 4)), const([4, 0])], {"axis": 1}),
        raises(Case("TensorScatter", [cache, data((2, 3, 2, 4)), np.array([1, 6])]), "does not fit"),
        raises(Case("TensorScatter", [cache, data((2, 3, 8, 4))]), "does not fit"),
        raises(Case("TensorScatter", [cache, data((2, 3, 2, 4))], {"axis": 0}), "batch axis"),
    ]
)


def scattered(axis):
    def expect(x, indices, updates):
        y = x.copy()
        for i, j in np.ndindex(indices.shape):
            y[(i, indices[i, j]) if axis else (indices[i, j], j)] = updates[i, j]
        return y

    return expect


DEPRECATED = [np.zeros((3, 3), np.float32), const([[0, 2]], np.int64), np.ones((1, 2), np.float32)]
test_scatter_deprecated = check(
    [
        Case("Scatter", DEPRECATED, {"axis": 1}, opset=9, expect=scattered(1)),
        Case("Scatter", DEPRECATED, opset=10, expect=scattered(0)),
        raises(
            Case("Scatter", DEPRECATED, opset=11, expect=[]), "Scatter 'node'.* ended with opset 11; ScatterElements"
        ),
        raises(Case("Scatter", DEPRECATED, expect=[]), "Scatter 'node'.* ended with opset 11; ScatterElements"),
    ]
)

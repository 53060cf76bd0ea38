"""Ensembles of every shape and size of batch, to the last bit: a sum over trees in f64, in their order."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import sardonyx as sx

COMPARE = {
    "BRANCH_LEQ": np.less_equal,
    "BRANCH_LT": np.less,
    "BRANCH_GTE": np.greater_equal,
    "BRANCH_GT": np.greater,
    "BRANCH_EQ": np.equal,
    "BRANCH_NEQ": np.not_equal,
}
BATCHES = (1, 2, 7, 8, 17, 64, 65, 129, 300, 1100)


class Ensemble:
    """Random trees of given numbers of leaves, as the operator's attributes and as arrays."""

    def __init__(self, rng, leaves, features, modes=("BRANCH_LEQ",), grid=1, missing=False, targets=1, votes="tree"):
        self.targets = targets
        self.trees = [self.tree(rng, count, features, modes, grid, missing) for count in leaves]
        self.votes = []
        for number, tree in enumerate(self.trees):
            weights = np.zeros((len(tree), targets), np.float32)
            for at, row in enumerate(tree):
                if row[3] != "LEAF":
                    continue
                chosen = {"tree": [number % targets], "leaf": [rng.integers(targets)], "all": range(targets)}[votes]
                for target in chosen:
                    weights[at, target] = rng.normal()
                    self.votes.append((number, at, int(target), float(weights[at, target])))
            tree.append(weights)

    @staticmethod
    def tree(rng, leaves, features, modes, grid, missing):
        """Rows of (feature, split, missing goes to yes, mode, yes, no), the first one the root."""
        rows = [(0, 0.0, 0, "LEAF", 0, 0)]
        open_leaves = [0]
        for _ in range(leaves - 1):
            at = open_leaves.pop(int(rng.integers(len(open_leaves))))
            split = float(np.float32(np.round(rng.normal(), grid)))
            mode = str(rng.choice(modes))
            rows[at] = (
                int(rng.integers(features)),
                split,
                int(missing and rng.integers(2)),
                mode,
                len(rows),
                len(rows) + 1,
            )
            open_leaves += [len(rows), len(rows) + 1]
            rows += [(0, 0.0, 0, "LEAF", 0, 0)] * 2
        return rows

    def model(self, dtype, shuffle=None):
        nodes = [(t, i, *row) for t, tree in enumerate(self.trees) for i, row in enumerate(tree[:-1])]
        if shuffle:
            roots, others = [n for n in nodes if n[1] == 0], [n for n in nodes if n[1] != 0]
            nodes = roots + [others[i] for i in shuffle.permutation(len(others))]
        names = ["treeids", "nodeids", "featureids", "values", "missing_value_tracks_true", "modes"]
        attrs = {f"nodes_{n}": list(c) for n, c in zip([*names, "truenodeids", "falsenodeids"], zip(*nodes))}
        attrs |= {f"target_{n}": list(c) for n, c in zip(["treeids", "nodeids", "ids", "weights"], zip(*self.votes))}
        node = helper.make_node(
            "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=self.targets, **attrs
        )
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        graph = helper.make_graph(
            [node],
            "trees",
            [helper.make_tensor_value_info("x", kind, ["n", None])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", self.targets])],
        )
        opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()

    def expected(self, x):
        sums = np.zeros((len(x), self.targets))
        every = np.arange(len(x))
        for *rows, weights in self.trees:
            feature, split, missing, _, yes, no = (np.array(c) for c in zip(*rows))
            mode = np.array([row[3] for row in rows])
            at = np.zeros(len(x), int)
            while (mode[at] != "LEAF").any():
                value = x[every, feature[at]]
                taken = np.isnan(value) & (missing[at] == 1)
                for name, holds in COMPARE.items():
                    taken |= (mode[at] == name) & holds(value, split[at].astype(x.dtype))
                at = np.where(mode[at] == "LEAF", at, np.where(taken, yes[at], no[at]))
            sums += weights[at]
        return sums.astype(np.float32)


SHAPES = {
    "stumps": dict(leaves=[2] * 50, features=4),
    "leaves only": dict(leaves=[1, 1, 5, 1], features=3),
    "31 leaves": dict(leaves=[31] * 70, features=20, grid=3),
    "65 and 64": dict(leaves=[64, 65, 33, 32] * 5, features=20),
    "256 leaves": dict(leaves=[255, 256, 257, 40] * 3, features=30, grid=4),
    "many splits of a feature": dict(leaves=[200] * 9, features=2, grid=6),
    "many columns": dict(leaves=[20] * 40, features=700),
    "large trees": dict(leaves=[1000, 3, 700], features=9, grid=4),
    "missing": dict(leaves=[31] * 20 + [300], features=9, missing=True),
    "strict": dict(leaves=[31] * 20 + [300], features=9, modes=["BRANCH_LT", "BRANCH_GTE"], missing=True),
    "equal": dict(leaves=[9] * 20 + [70], features=5, modes=["BRANCH_EQ", "BRANCH_NEQ"], missing=True),
    "all modes": dict(leaves=[31, 9, 300, 2] * 4, features=7, modes=list(COMPARE), missing=True),
    "targets by tree": dict(leaves=[31, 300, 5] * 5, features=7, targets=4),
    "targets by leaf": dict(leaves=[31, 300, 5] * 5, features=7, targets=4, votes="leaf"),
    "all targets": dict(leaves=[31, 300, 5] * 5, features=7, targets=3, votes="all"),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_bits(name: str, dtype: type) -> None:
    rng = np.random.default_rng(len(name))
    shape = SHAPES[name]
    ensemble = Ensemble(rng, **shape)
    x = np.round(rng.normal(size=(max(BATCHES), shape["features"])), shape.get("grid", 1)).astype(dtype)
    x[rng.random(x.shape) < 0.02] = np.nan
    x[rng.random(x.shape) < 0.02] = -0.0
    x[rng.random(x.shape) < 0.02] = np.inf
    x[rng.random(x.shape) < 0.02] = -np.inf
    expected = ensemble.expected(x)
    model = ensemble.model(dtype)
    for threads in (1, 2):
        options = sx.SessionOptions()
        options.intra_op_num_threads = threads
        session = sx.InferenceSession(model, options)
        for batch in BATCHES:
            found = session.run(None, {"x": x[-batch:]})[0]
            np.testing.assert_array_equal(found, expected[-batch:], f"{batch} rows, {threads} threads")


def test_shared_children() -> None:
    """Set membership as converters write it: a chain of equalities whose true branches are one node."""
    ensemble = Ensemble(np.random.default_rng(0), [1], 1)
    leaves = [(0, 0.0, 0, "LEAF", 0, 0)] * 2
    ensemble.trees = [[*((0, v, 0, "BRANCH_EQ", 3, yes) for v, yes in ((3.0, 1), (5.0, 2), (7.0, 4))), *leaves, None]]
    ensemble.votes = [(0, 3, 0, 1.0), (0, 4, 0, -1.0)]
    session = sx.InferenceSession(ensemble.model(np.float32))
    x = np.arange(20, dtype=np.float32)[:, None] / 2
    expected = np.where(np.isin(x, [3, 5, 7]), 1, -1).astype(np.float32)
    for batch in (1, 20):
        np.testing.assert_array_equal(session.run(None, {"x": x[-batch:]})[0], expected[-batch:])


def test_order_of_lists() -> None:
    """Ids need not ascend and trees may be listed in turns; the node of a tree that is listed first is its root."""
    rng = np.random.default_rng(1)
    ensemble = Ensemble(rng, [20, 30, 7], 5)
    x = rng.normal(size=(40, 5)).astype(np.float32)
    found = sx.InferenceSession(ensemble.model(np.float32, rng)).run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, ensemble.expected(x))

"""Tree ensembles against onnxruntime: modes, missing values, aggregates, transforms; hostile trees."""

import numpy as np
from onnx import numpy_helper

from tests.ops.harness import Case, check, raises, session
from tests.ops.peer import PeerCase

DOMAIN = "ai.onnx.ml"
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
rng = np.random.default_rng(11)


def forest(kind, trees, features, depth, targets, modes=("BRANCH_LEQ",), only=None, signed=True):
    nodes = {
        name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    votes = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}

    def put(table, *row):
        for column, value in zip(table.values(), row):
            column.append(value)

    def build(tree, rows, level):
        at = len(rows)
        rows.append(None)
        if level == 0 or rng.random() < 0.1:
            rows[at] = (tree, at, 0, 0.0, "LEAF", 0, 0)
            target = int(rng.integers(targets)) if only is None else only
            put(votes, tree, at, target, float(np.float32(rng.normal() if signed else rng.random())))
        else:
            yes, no = build(tree, rows, level - 1), build(tree, rows, level - 1)
            split = float(np.float32(round(rng.normal(), 1)))
            rows[at] = (tree, at, int(rng.integers(features)), split, str(rng.choice(modes)), yes, no)
        return at

    for tree in range(trees):
        rows = []
        build(tree, rows, depth)
        for row in rows:
            put(nodes, *row)
    return {f"nodes_{k}": v for k, v in nodes.items()} | {f"{kind}_{k}": v for k, v in votes.items()}


def inputs(rows, features, dtype=np.float32, missing=False):
    x = np.round(rng.normal(size=(rows, features)), 1)
    if missing:
        x[rng.random(x.shape) < 0.3] = np.nan
    return x.astype(dtype)


def classifiers():
    for post in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"):
        for classes, only in ((2, 1), (2, 0), (2, None), (3, None)):
            for base in (None, classes):
                for signed in (False, True):
                    attrs = forest("class", 12, 4, 4, classes, only=only, signed=signed)
                    attrs |= {"post_transform": post, "classlabels_int64s": list(range(classes))}
                    if base:
                        attrs["base_values"] = [float(np.float32(v)) for v in rng.normal(size=base)]
                    name = f"{post}-{classes}-{only}-{base}-{signed}"
                    x = inputs(23, 4)
                    yield PeerCase(
                        "TreeEnsembleClassifier", [x], attrs, domain=DOMAIN, outputs=2, id=name, rtol=1e-4, atol=1e-5
                    )


def regressors():
    for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
        for targets in (1, 3):
            for modes in (MODES[:1], MODES[1:2], MODES[2:3], MODES[3:4], MODES[:4], MODES):
                for dtype in (np.float32, np.float64):
                    for missing in (False, True):
                        attrs = forest("target", 9, 5, 5, targets, modes)
                        attrs |= {"n_targets": targets, "aggregate_function": aggregate}
                        if missing:
                            tracks = rng.integers(2, size=len(attrs["nodes_modes"]))
                            attrs["nodes_missing_value_tracks_true"] = tracks.tolist()
                            attrs["base_values"] = [float(np.float32(v)) for v in rng.normal(size=targets)]
                        name = f"{aggregate}-{targets}-{modes[0]}-{len(modes)}-{np.dtype(dtype)}-{missing}"
                        x = inputs(37, 5, dtype, missing)
                        yield PeerCase(
                            "TreeEnsembleRegressor", [x], attrs, domain=DOMAIN, id=name, rtol=1e-4, atol=1e-5
                        )


STUMP = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [1, 0, 0],
    "nodes_values": [0.5, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
    "target_treeids": [0, 0],
    "target_nodeids": [1, 2],
    "target_ids": [0, 0],
    "target_weights": [1.0, 2.0],
    "n_targets": 1,
}
X = np.array([[0, 0], [0, 1]], np.float32)


def stump(**changes):
    return Case("TreeEnsembleRegressor", [X], STUMP | changes, domain=DOMAIN, opset=3, expect=np.float32([[1], [2]]))


test_classifier = check(list(classifiers()))
test_regressor = check(list(regressors()))

test_integers = check(
    [
        PeerCase(
            "TreeEnsembleClassifier",
            [(inputs(9, 4) * 3).astype(dtype)],
            forest("class", 5, 4, 3, 3) | {"classlabels_strings": ["a", "b", "c"]},
            domain=DOMAIN,
            outputs=2,
            rtol=1e-4,
            atol=1e-5,
        )
        for dtype in (np.int32, np.int64)
    ]
)

COMPARE = dict(zip(MODES, (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)))
TINY = 1e-45
EXTREMES = [-np.inf, -3.4028235e38, -1.0, -TINY, -0.0, 0.0, TINY, 1.0, 1.0000001, 3.4028235e38, np.inf, np.nan]


def extremes(dtype):
    """Stumps of every mode at the ends of the number range, next to zero and at NaN."""
    x = np.array([[0, value] for value in EXTREMES], dtype)
    for mode, holds in COMPARE.items():
        for split in EXTREMES:
            for missing in (0, 1):
                taken = holds(x[:, 1:], dtype(np.float32(split))) | (np.isnan(x[:, 1:]) & bool(missing))
                attrs = STUMP | {"nodes_values": [split, 0.0, 0.0], "nodes_modes": [mode, "LEAF", "LEAF"]}
                yield Case(
                    "TreeEnsembleRegressor",
                    [x],
                    attrs | {"nodes_missing_value_tracks_true": [missing, 0, 0]},
                    domain=DOMAIN,
                    opset=3,
                    expect=np.where(taken, 1, 2).astype(np.float32),
                    id=f"{mode}-{split}-{missing}-{np.dtype(dtype)}",
                )


def test_extremes() -> None:
    for dtype in (np.float32, np.float64):
        for case in extremes(dtype):
            case.run()


test_stump = check(
    [
        stump(),
        raises(stump(nodes_truenodeids=[0, 0, 0]), "cycle"),
        raises(stump(nodes_truenodeids=[7, 0, 0]), "does not exist"),
        raises(stump(nodes_featureids=[-1, 0, 0]), "feature -1"),
        raises(stump(nodes_featureids=[2, 0, 0]), "feature 2"),
        raises(stump(target_ids=[0, 3]), "target 3"),
        raises(stump(nodes_modes=["BRANCH_LEQ", "LEAF", "TWIG"]), "TWIG"),
        raises(stump(nodes_values=[0.5]), "nodes_values"),
        raises(stump(aggregate_function="MEDIAN"), "MEDIAN"),
    ]
)


def indexed(**changes):
    attrs = {
        "tree_roots": [0],
        "n_targets": 2,
        "nodes_featureids": [0, 1],
        "nodes_splits": np.array([0.5, 0.0], np.float32),
        "nodes_modes": np.array([0, 6], np.uint8),
        "nodes_truenodeids": [0, 1],
        "nodes_trueleafs": [1, 1],
        "nodes_falsenodeids": [1, 2],
        "nodes_falseleafs": [0, 1],
        "membership_values": np.array([3.0, 1.0, np.nan], np.float32),
        "leaf_targetids": [0, 1, 0],
        "leaf_weights": np.array([1.5, 2.5, 4.0], np.float32),
    } | changes
    return {k: numpy_helper.from_array(v, k) if isinstance(v, np.ndarray) else v for k, v in attrs.items()}


XS = np.array([[0, 0], [1, 1], [1, 2], [1, 3], [np.nan, 3]], np.float32)
YS = np.array([[1.5, 0], [0, 2.5], [4, 0], [0, 2.5], [0, 2.5]], np.float32)
test_indexed = check(
    [
        Case("TreeEnsemble", [XS], indexed(), domain=DOMAIN, opset=5, expect=YS),
        Case(
            "TreeEnsemble",
            [XS.astype(np.float16)],
            indexed(),
            domain=DOMAIN,
            opset=5,
            expect=YS.astype(np.float16),
            id="f16",
        ),
        Case(
            "TreeEnsemble",
            [XS.astype(np.float64)],
            indexed(),
            domain=DOMAIN,
            opset=5,
            expect=YS.astype(np.float64),
            id="f64",
        ),
        raises(Case("TreeEnsemble", [XS], indexed(tree_roots=[9]), domain=DOMAIN, opset=5), "root"),
        raises(Case("TreeEnsemble", [XS], indexed(nodes_falsenodeids=[0, 2]), domain=DOMAIN, opset=5), "cycle"),
        raises(Case("TreeEnsemble", [XS], indexed(leaf_targetids=[0, 2, 0]), domain=DOMAIN, opset=5), "target 2"),
    ]
)


def test_batches_agree():
    """A row has the same bits alone and in any batch."""
    case = PeerCase(
        "TreeEnsembleRegressor", [inputs(67, 4)], forest("target", 50, 4, 6, 1) | {"n_targets": 1}, domain=DOMAIN
    )
    run = session(
        case.model(initializers=False, symbolic=True, expected=[np.zeros((1, 1), np.float32)]), "ORT_ENABLE_ALL"
    ).run
    whole = run(None, {"x0": case.inputs[0]})[0]
    for i in (0, 16, 66):
        np.testing.assert_array_equal(run(None, {"x0": case.inputs[0][i : i + 1]})[0], whole[i : i + 1])

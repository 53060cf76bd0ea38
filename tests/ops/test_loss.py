"""NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(8)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-14, np.float16: 4e-3, ml_dtypes.bfloat16: 4e-2}


def likelihood(x, target, weight=None, reduction="mean", ignore=None):
    picked = np.where(target == ignore, 0, target) if ignore is not None else target
    weights = np.ones(x.shape[1]) if weight is None else weight.astype(np.float64)
    w = weights[picked]
    if ignore is not None:
        w = np.where(target == ignore, 0, w)
    loss = -np.squeeze(np.take_along_axis(x.astype(np.float64), np.expand_dims(picked, 1), 1), 1) * w
    with np.errstate(invalid="ignore"):
        return {"none": loss, "sum": loss.sum(), "mean": loss.sum() / w.sum()}[reduction]


def log_softmax(x):
    shifted = x.astype(np.float64) - x.astype(np.float64).max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def expected(softmax, outputs=1, **options):
    def function(x, target, weight=None):
        logs = log_softmax(x) if softmax else x
        loss = np.asarray(likelihood(logs, target, weight, **options)).astype(x.dtype)
        return [loss, logs.astype(x.dtype)] if outputs == 2 else loss

    return function


def data(shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def cases(name, softmax):
    for shape in [(3, 5), (3, 5, 2), (2, 5, 3, 4), (2, 3, 2, 1, 3)]:
        for reduction in ("none", "mean", "sum"):
            target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
            weight = rng.uniform(0.5, 2, shape[1]).astype(np.float32)
            for t in (np.int64, np.int32):
                yield Case(
                    name,
                    [data(shape), target.astype(t)],
                    {"reduction": reduction},
                    expect=expected(softmax, reduction=reduction),
                    atol=2e-6,
                )
            yield Case(
                name,
                [data(shape), target, const(weight)],
                {"reduction": reduction},
                expect=expected(softmax, reduction=reduction),
                atol=2e-6,
            )
            yield Case(
                name,
                [data(shape), target, weight],
                {"reduction": reduction, "ignore_index": 1},
                expect=expected(softmax, reduction=reduction, ignore=1),
                atol=2e-6,
            )
    outside = np.array([0, -100, 2])
    for t in FLOATS:
        yield Case(name, [data((3, 5), t), np.array([0, 4, 2])], expect=expected(softmax), atol=TOLERANCE[t])
        yield Case(
            name,
            [data((3, 5), t), outside],
            {"ignore_index": -100},
            expect=expected(softmax, ignore=-100),
            atol=TOLERANCE[t],
        )
    yield Case(name, [data((3, 5)), np.full(3, 2)], {"ignore_index": 2}, expect=np.float32(np.nan), id="all-ignored")
    yield Case(name, [data((3, 5)), np.array([0, 4, 2])], opset=12, expect=expected(softmax), atol=2e-6)
    yield raises(Case(name, [data((3, 5)), np.array([0, 5, 2])]), f"{name} 'node'.*target 5.*5 classes")
    yield raises(Case(name, [data((3, 5)), np.array([0, -1, 2])]), f"{name} 'node'.*target -1")
    yield raises(Case(name, [data((3, 5)), np.array([0, 1])]), f"{name} 'node'.*targets")
    yield raises(Case(name, [data((3, 5)), np.array([0, 1, 2])], {"reduction": "max"}), f"{name} 'node'.*reduction")


test_likelihood = check(list(cases("NegativeLogLikelihoodLoss", False)))
test_cross_entropy = check(list(cases("SoftmaxCrossEntropyLoss", True)))
test_log_probabilities = check(
    [
        Case(
            "SoftmaxCrossEntropyLoss",
            [data(shape, t), rng.integers(0, 5, (shape[0], *shape[2:]))],
            outputs=2,
            expect=expected(True, 2),
            atol=TOLERANCE[t],
        )
        for shape in [(3, 5), (2, 5, 3, 4)]
        for t in FLOATS
    ]
)

"""LinearRegressor, LinearClassifier, SVMRegressor and SVMClassifier against onnxruntime."""

import numpy as np

from tests.ops.harness import check, raises
from tests.ops.peer import PeerCase

DOMAIN = "ai.onnx.ml"
rng = np.random.default_rng(3)
X = rng.normal(size=(7, 5))
TYPES = [np.float32, np.float64, np.int32, np.int64]


def numbers(count):
    return [float(np.float32(v)) for v in rng.normal(size=count)]


def case(op, x, attrs, outputs=1, **more):
    return PeerCase(op, [x], attrs, domain=DOMAIN, outputs=outputs, rtol=1e-4, atol=1e-5, **more)


test_linear_regressor = check(
    [
        case(
            "LinearRegressor",
            X.astype(np.float32),
            {"coefficients": numbers(5 * n), "intercepts": numbers(n), "targets": n, "post_transform": p},
        )
        for n in (1, 3)
        for p in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    ]
    + [raises(case("LinearRegressor", X.astype(np.float32), {"coefficients": numbers(6)}), "6 features expected")]
)

test_linear_classifier = check(
    [
        case(
            "LinearClassifier",
            (X * 3).astype(t),
            {"coefficients": numbers(5 * n), "intercepts": numbers(n), "post_transform": p, **labels},
            2,
            id=f"{n}-{p}-{'-'.join(labels)}-{np.dtype(t)}",
        )
        for n, labels in (
            (1, {"classlabels_ints": [0, 1]}),
            (1, {"classlabels_strings": ["no", "yes"]}),
            (2, {"classlabels_ints": [5, 6]}),
            (3, {"classlabels_strings": ["a", "b", "c"]}),
        )
        for p in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
        for t in TYPES
    ]
)

KERNELS = [
    ("LINEAR", [0.0, 0.0, 0.0]),
    ("RBF", [0.3, 0.0, 0.0]),
    ("POLY", [0.2, 1.0, 2.0]),
    ("SIGMOID", [0.1, 0.2, 0.0]),
]
test_svm_regressor = check(
    [
        case(
            "SVMRegressor",
            X.astype(np.float32),
            {
                "kernel_type": kernel,
                "kernel_params": parameters,
                "support_vectors": numbers(20),
                "coefficients": numbers(4),
                "n_supports": 4,
                "rho": numbers(1),
                "one_class": one,
            },
            id=f"{kernel}-{one}",
        )
        for kernel, parameters in KERNELS
        for one in (0, 1)
    ]
    + [
        case(
            "SVMRegressor",
            X.astype(np.float32),
            {"coefficients": numbers(5), "rho": numbers(1), "kernel_params": [0.0] * 3},
            id="plain",
        )
    ]
)


def classifier(kernel, parameters, classes, probabilities, post="NONE"):
    pairs = classes * (classes - 1) // 2
    attrs = {
        "kernel_type": kernel,
        "kernel_params": parameters,
        "support_vectors": numbers(5 * 3 * classes),
        "vectors_per_class": [3] * classes,
        "coefficients": numbers(3 * classes * (classes - 1)),
        "rho": numbers(pairs),
        "classlabels_ints": list(range(classes)),
        "post_transform": post,
    }
    if probabilities:
        attrs |= {"prob_a": numbers(pairs), "prob_b": numbers(pairs)}
    return case("SVMClassifier", X.astype(np.float32), attrs, 2, id=f"{kernel}-{classes}-{probabilities}-{post}")


test_svm_classifier = check(
    [
        *(classifier(k, p, n, prob) for k, p in KERNELS for n in (2, 3, 4) for prob in (False, True)),
        *(
            case(
                "SVMClassifier",
                X.astype(np.float32),
                {
                    "coefficients": numbers(5 * n),
                    "rho": numbers(1),
                    "kernel_params": [0.0] * 3,
                    "classlabels_ints": list(range(n)),
                },
                2,
                id=f"linear-{n}",
            )
            for n in (2, 3)
        ),
        *(classifier("RBF", [0.3, 0.0, 0.0], n, True, post) for n in (2, 3) for post in ("SOFTMAX", "LOGISTIC")),
    ]
)

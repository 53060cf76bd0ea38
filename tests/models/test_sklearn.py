"""Converted scikit-learn models give scikit-learn's labels on every row, thresholds included, and its scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

skl2onnx = pytest.importorskip("skl2onnx")

from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType  # noqa: E402
from sklearn import (  # noqa: E402
    calibration,
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    linear_model,
    mixture,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

import sardonyx as sx  # noqa: E402
from tests.models.classic import OPSETS, Fit, convert, dataset, near, peer, rows_of, same  # noqa: E402

RAW = {"raw_scores": True}
CLASSES = ("digits", "iris", "words", "binary", "breast_cancer")
TIES = "equally many trees vote for two classes and the peer's sums depend on the order of the trees"

ROUNDED = "the converter rounds f64 thresholds to the nearest f32"
UNTRACKED = "the converter drops the side that missing values take"
COINCIDENT = "the converter weighs a training row that is met exactly otherwise"
# libsvm couples pairs of classes by an iteration that stops at differences of this order.
COUPLED = 1e-3
# Differences of large logarithms in f32.
LIKELIHOOD = 1e-3


def forests() -> list[Any]:
    return [
        tree.DecisionTreeClassifier(max_depth=6, random_state=0),
        tree.ExtraTreeClassifier(random_state=0),
        ensemble.RandomForestClassifier(20, random_state=0),
        ensemble.RandomForestClassifier(7, random_state=0),
        ensemble.ExtraTreesClassifier(20, random_state=0),
    ]


def trees() -> list[Fit]:
    fits = []
    for data in CLASSES:
        fits += [Fit(model, data, tied=TIES) for model in forests()]
        for model in (
            ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
            ensemble.AdaBoostClassifier(n_estimators=10, random_state=0),
            ensemble.BaggingClassifier(n_estimators=9, random_state=0),
        ):
            fits.append(Fit(model, data))
        model = ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0)
        fits.append(Fit(model, data, rounded=ROUNDED))
    fits.append(Fit(ensemble.BaggingClassifier(n_estimators=9, max_features=0.5, random_state=0), "digits"))
    for model in (
        ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0),
        ensemble.HistGradientBoostingRegressor(max_iter=10, random_state=0),
    ):
        fits.append(Fit(model, "missing", rounded=ROUNDED))
    for model in (
        tree.DecisionTreeRegressor(max_depth=6, random_state=0),
        ensemble.RandomForestRegressor(20, random_state=0),
        ensemble.ExtraTreesRegressor(20, random_state=0),
    ):
        fits += [Fit(model, data) for data in ("diabetes", "multitarget")]
    for model in (
        ensemble.GradientBoostingRegressor(n_estimators=10, random_state=0),
        ensemble.AdaBoostRegressor(n_estimators=10, random_state=0),
        ensemble.BaggingRegressor(n_estimators=8, random_state=0),
    ):
        fits.append(Fit(model, "diabetes"))
    model = ensemble.HistGradientBoostingRegressor(max_iter=10, random_state=0)
    fits.append(Fit(model, "diabetes", rounded=ROUNDED))
    boosted = ensemble.GradientBoostingRegressor(n_estimators=5, random_state=0)
    fits.append(Fit(multioutput.MultiOutputRegressor(boosted), "multitarget"))
    fits.append(Fit(ensemble.IsolationForest(n_estimators=20, random_state=0), "wine"))
    return fits


def linear() -> list[Fit]:
    fits = []
    for data in CLASSES:
        fits += [
            Fit(linear_model.LogisticRegression(max_iter=300), data),
            Fit(linear_model.LogisticRegression(max_iter=300), data, double=True),
            Fit(linear_model.SGDClassifier(random_state=0), data, options=RAW),
            Fit(linear_model.SGDClassifier(loss="log_loss", random_state=0), data, options=RAW),
            Fit(linear_model.Perceptron(), data, options=RAW),
            Fit(linear_model.RidgeClassifier(), data, options=RAW),
            Fit(svm.LinearSVC(random_state=0), data, options=RAW),
            Fit(calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=3), data),
        ]
    for data in ("iris", "words", "binary"):
        fits += [
            Fit(discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1), data),
            Fit(multiclass.OneVsRestClassifier(linear_model.LogisticRegression()), data),
        ]
    for data in ("iris", "wine"):
        fits.append(Fit(discriminant_analysis.LinearDiscriminantAnalysis(), data))
    for model in (
        linear_model.LinearRegression(),
        linear_model.Ridge(),
        linear_model.Lasso(),
        linear_model.ElasticNet(),
    ):
        fits += [Fit(model, data, double=double) for data in ("diabetes", "multitarget") for double in (False, True)]
    for model in (
        linear_model.SGDRegressor(random_state=0),
        linear_model.HuberRegressor(),
        linear_model.BayesianRidge(),
        linear_model.ARDRegression(),
        linear_model.TheilSenRegressor(random_state=0),
        linear_model.RANSACRegressor(random_state=0),
        linear_model.PoissonRegressor(),
        linear_model.TweedieRegressor(),
        linear_model.GammaRegressor(),
        linear_model.QuantileRegressor(),
        linear_model.Lars(),
        svm.LinearSVR(random_state=0),
    ):
        fits.append(Fit(model, "diabetes"))
    fits.append(Fit(multioutput.MultiOutputRegressor(linear_model.LinearRegression()), "multitarget"))
    return fits


def kernels() -> list[Fit]:
    fits = []
    for data in CLASSES:
        fits += [Fit(svm.SVC(), data, options=RAW), Fit(svm.NuSVC(nu=0.1), data, options=RAW)]
        for kernel in ("rbf", "poly", "sigmoid", "linear"):
            fits.append(Fit(svm.SVC(kernel=kernel, probability=True, random_state=0), data, rtol=COUPLED))
            fits.append(Fit(svm.SVC(kernel=kernel, decision_function_shape="ovo"), data, options=RAW, rtol=1e-4))
        fits += [
            Fit(svm.NuSVC(nu=0.1, probability=True, random_state=0), data, rtol=COUPLED),
            Fit(neighbors.KNeighborsClassifier(4, weights="distance"), data, other=COINCIDENT),
        ]
    for data in ("binary", "wine", "breast_cancer", "digits"):
        fits.append(Fit(neighbors.KNeighborsClassifier(3), data))
    for model in (svm.SVR(), svm.SVR(kernel="linear"), svm.SVR(kernel="poly"), svm.NuSVR()):
        fits += [Fit(model, "diabetes")]
    for data in ("diabetes", "multitarget"):
        fits += [
            Fit(neighbors.KNeighborsRegressor(3), data),
            Fit(neighbors.KNeighborsRegressor(3, weights="distance"), data, other=COINCIDENT),
            Fit(gaussian_process.GaussianProcessRegressor(random_state=0, alpha=0.1), data, double=True),
        ]
    fits += [
        Fit(neighbors.RadiusNeighborsRegressor(1000.0), "diabetes"),
        Fit(neighbors.RadiusNeighborsClassifier(20.0), "iris"),
        Fit(svm.OneClassSVM(), "wine"),
        Fit(linear_model.SGDOneClassSVM(random_state=0), "wine"),
        Fit(neighbors.LocalOutlierFactor(novelty=True), "wine"),
        Fit(neighbors.KNeighborsTransformer(n_neighbors=2), "wine"),
        Fit(decomposition.KernelPCA(3, kernel="rbf"), "wine"),
    ]
    return fits


def bayes_and_networks() -> list[Fit]:
    fits = []
    for data in CLASSES:
        fits += [
            Fit(naive_bayes.GaussianNB(), data, rtol=LIKELIHOOD),
            Fit(naive_bayes.BernoulliNB(), data, rtol=LIKELIHOOD),
            Fit(neural_network.MLPClassifier((16, 8), max_iter=60, random_state=0), data),
        ]
    for model in (
        naive_bayes.MultinomialNB(),
        naive_bayes.ComplementNB(),
        naive_bayes.CategoricalNB(min_categories=17),
        naive_bayes.BernoulliNB(binarize=8.0),
    ):
        fits.append(Fit(model, "digits", rtol=LIKELIHOOD))
    fits.append(Fit(neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=50, random_state=0), "diabetes"))
    fits.append(Fit(neural_network.MLPClassifier((8,), max_iter=60, random_state=0), "multilabel"))
    return fits


def combined() -> list[Fit]:
    fits = []
    parts = [
        ("line", linear_model.LogisticRegression(max_iter=300)),
        ("tree", tree.DecisionTreeClassifier(max_depth=3, random_state=0)),
        ("bayes", naive_bayes.GaussianNB()),
    ]
    for data in CLASSES:
        fits += [
            Fit(ensemble.VotingClassifier(parts, voting="soft", flatten_transform=False), data),
            Fit(ensemble.VotingClassifier(parts, flatten_transform=False), data),
            Fit(ensemble.StackingClassifier(parts, cv=3), data),
            Fit(pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), data),
            Fit(pipeline.make_pipeline(decomposition.PCA(2), svm.SVC(probability=True, random_state=0)), data),
        ]
    lines = [
        ("line", linear_model.LinearRegression()),
        ("tree", tree.DecisionTreeRegressor(max_depth=3, random_state=0)),
    ]
    fits += [
        Fit(ensemble.VotingRegressor(lines), "diabetes"),
        Fit(ensemble.StackingRegressor(lines, cv=3), "diabetes"),
        Fit(pipeline.make_pipeline(impute.SimpleImputer(), linear_model.LogisticRegression()), "missing"),
        Fit(pipeline.make_pipeline(impute.KNNImputer(), linear_model.LogisticRegression()), "missing"),
        Fit(tree.DecisionTreeClassifier(max_depth=6, random_state=0), "missing", other=UNTRACKED),
        Fit(cluster.KMeans(4, random_state=0), "wine"),
        Fit(cluster.MiniBatchKMeans(4, random_state=0), "wine"),
        Fit(mixture.GaussianMixture(3, random_state=0), "wine"),
        Fit(mixture.BayesianGaussianMixture(n_components=3, random_state=0), "wine"),
    ]
    return fits


def transformers() -> list[Fit]:
    fits = [Fit(impute.SimpleImputer(strategy=how), "missing") for how in ("mean", "median", "most_frequent")]
    for model in (
        preprocessing.StandardScaler(),
        preprocessing.StandardScaler(with_mean=False),
        preprocessing.MinMaxScaler(),
        preprocessing.MinMaxScaler(clip=True),
        preprocessing.MaxAbsScaler(),
        preprocessing.RobustScaler(),
        preprocessing.Normalizer(),
        preprocessing.Normalizer(norm="l1"),
        preprocessing.Binarizer(threshold=0.3),
        preprocessing.KBinsDiscretizer(4, encode="ordinal"),
        preprocessing.KBinsDiscretizer(4, encode="onehot-dense"),
        preprocessing.PolynomialFeatures(2),
        preprocessing.PolynomialFeatures(3, interaction_only=True),
        preprocessing.PowerTransformer(),
        preprocessing.FunctionTransformer(),
        decomposition.PCA(3),
        decomposition.PCA(3, whiten=True),
        decomposition.TruncatedSVD(3),
        decomposition.IncrementalPCA(3),
        feature_selection.SelectKBest(k=3),
        feature_selection.VarianceThreshold(),
        feature_selection.SelectPercentile(),
        neighbors.NeighborhoodComponentsAnalysis(2, random_state=0),
    ):
        fits.append(Fit(model, "wine"))
    fits.append(Fit(feature_extraction.text.TfidfTransformer(), "digits"))
    fits.append(Fit(preprocessing.QuantileTransformer(n_quantiles=20), "wine", empty=False))
    fits.append(
        Fit(preprocessing.Normalizer(norm="max"), "wine", other="the converter takes the largest value, signed")
    )
    return fits


@pytest.mark.parametrize("fit", trees(), ids=Fit.name)
def test_trees(fit: Fit) -> None:
    fit.run()


@pytest.mark.parametrize("fit", linear(), ids=Fit.name)
def test_linear_models(fit: Fit) -> None:
    fit.run()


@pytest.mark.parametrize("fit", kernels(), ids=Fit.name)
def test_support_vectors_and_neighbours(fit: Fit) -> None:
    fit.run()


@pytest.mark.parametrize("fit", bayes_and_networks(), ids=Fit.name)
def test_bayes_and_networks(fit: Fit) -> None:
    fit.run()


@pytest.mark.parametrize("fit", combined(), ids=Fit.name)
def test_combined_models(fit: Fit) -> None:
    fit.run()


@pytest.mark.parametrize("fit", transformers(), ids=Fit.name)
def test_transformers(fit: Fit) -> None:
    fit.run()


WORDS = ["red", "green", "blue", "İstanbul", "straße", "ΣΊΣΥΦΟΣ", ""]
SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "The the THE",
    "",
    "a b c dd ee ff",
    "Strasse und Gasse, eine Strasse",
    "dog dog fox",
    "well-known words, well known",
]


@pytest.mark.parametrize("labels", ["iris", "words"])
@pytest.mark.parametrize("zipmap", [True, "columns"])
def test_probabilities_by_class_have_the_kinds_of_the_peer(labels: str, zipmap: Any) -> None:
    x, y = dataset(labels)
    model = linear_model.LogisticRegression(max_iter=300).fit(x, y)
    graph = convert(model, x[:1], {"zipmap": zipmap})
    session = sx.InferenceSession(graph.SerializeToString())
    for rows in (rows_of(x), x[:1], x[:0]):
        found = session.run(None, {"X": rows})
        same(found, peer(graph, {"X": rows}), "outputs", 1e-5)
        if zipmap is True:
            assert [type(row) for row in found[1]] == [dict] * len(rows)
            near([list(row.values()) for row in found[1]], model.predict_proba(rows) if len(rows) else [], "", 1e-5)
        if len(rows):
            near(found[0], model.predict(rows), "labels", 0)


@pytest.mark.parametrize("model", [naive_bayes.GaussianNB(), tree.DecisionTreeClassifier(max_depth=3, random_state=0)])
def test_several_targets_give_sequences(model: Any) -> None:
    x, y = dataset("multilabel")
    fitted = multioutput.MultiOutputClassifier(model).fit(x, y)
    graph = convert(fitted, x[:1], {"zipmap": False})
    rows = rows_of(x)
    found = sx.InferenceSession(graph.SerializeToString()).run(None, {"X": rows})
    same(found, peer(graph, {"X": rows}), "outputs", 1e-5)
    near(found[0], fitted.predict(rows), "labels", 0)
    assert isinstance(found[1], list)
    for probabilities, expected in zip(found[1], fitted.predict_proba(rows)):
        near(probabilities, expected, "probabilities", 1e-3)


@pytest.mark.parametrize(
    "model",
    [
        preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        preprocessing.OrdinalEncoder(),
        preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-5),
        preprocessing.TargetEncoder(random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("kind", [str, np.int64, np.float32])
def test_encoders(model: Any, kind: Any) -> None:
    rng = np.random.default_rng(7)
    codes = rng.integers(len(WORDS), size=(200, 3))
    x = np.array(WORDS)[codes] if kind is str else codes.astype(kind)
    y = rng.normal(size=200)
    model.fit(x, y)
    rows = x[:50].copy()
    if getattr(model, "handle_unknown", "error") != "error" and not isinstance(model, preprocessing.TargetEncoder):
        rows[3, 1] = "nobody" if kind is str else 1000
    graph = convert(model, x[:1])
    feeds = {"X": rows.astype(object) if kind is str else rows}
    found = sx.InferenceSession(graph.SerializeToString()).run(None, feeds)
    same(found, peer(graph, feeds), "outputs", 1e-6)
    near(found[0], model.transform(rows), "transformed", 1e-5)


def test_label_encoders() -> None:
    for classes in (np.array(WORDS), np.array([5, -3, 1000]), np.array([0.5, -0.25], np.float32)):
        model = preprocessing.LabelEncoder().fit(classes)
        graph = convert(model, classes[:1])
        feeds = {"X": classes.astype(object) if classes.dtype.kind == "U" else classes}
        found = sx.InferenceSession(graph.SerializeToString()).run(None, feeds)
        same(found, peer(graph, feeds), "outputs", 0)
        near(found[0], model.transform(classes), "codes", 0)


@pytest.mark.parametrize(
    "model",
    [
        feature_extraction.text.CountVectorizer(),
        feature_extraction.text.CountVectorizer(lowercase=False, binary=True),
        feature_extraction.text.CountVectorizer(ngram_range=(1, 3), token_pattern=r"[a-zA-Z]+"),
        feature_extraction.text.CountVectorizer(stop_words=["the", "dog"], token_pattern="[a-z]+"),
        feature_extraction.text.TfidfVectorizer(token_pattern="[a-z]+"),
        feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2), lowercase=False, token_pattern="[a-zA-Z]+"),
        feature_extraction.text.TfidfVectorizer(norm="l1", smooth_idf=False, token_pattern="[a-z]+"),
        feature_extraction.text.TfidfVectorizer(use_idf=False, norm=None, analyzer="char", ngram_range=(2, 3)),
    ],
    ids=lambda model: f"{type(model).__name__}",
)
def test_text(model: Any) -> None:
    model.fit(SENTENCES)
    graph = skl2onnx.to_onnx(model, initial_types=[("X", StringTensorType([None, 1]))], target_opset=OPSETS)
    feeds = {"X": np.array(SENTENCES + ["unseen words of the dog"], object)[:, None]}
    found = sx.InferenceSession(graph.SerializeToString()).run(None, feeds)
    if not model.lowercase:  # else onnxruntime wants an installed locale
        same(found, peer(graph, feeds), "outputs", 1e-6)
    near(found[0], model.transform(feeds["X"][:, 0]).toarray(), "weights", 1e-5)


def test_columns_of_words_and_numbers() -> None:
    rng = np.random.default_rng(8)
    count = 300
    frame = {
        "number": rng.normal(size=(count, 1)).astype(np.float32),
        "whole": rng.integers(5, size=(count, 1)),
        "word": rng.choice(np.array(WORDS, object), (count, 1)),
    }
    frame["number"][::7] = np.nan
    table = np.concatenate([column.astype(object) for column in frame.values()], axis=1)
    y = np.where((frame["word"][:, 0] == "red") | (frame["whole"][:, 0] > 3), "yes", "no")
    numbers = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    columns = compose.ColumnTransformer(
        [
            ("numbers", numbers, [0]),
            ("kinds", preprocessing.OneHotEncoder(handle_unknown="ignore"), [1, 2]),
        ]
    )
    for last in (linear_model.LogisticRegression(), ensemble.RandomForestClassifier(10, random_state=0)):
        model = pipeline.make_pipeline(columns, last).fit(table, y)
        types = [
            ("number", FloatTensorType([None, 1])),
            ("whole", Int64TensorType([None, 1])),
            ("word", StringTensorType([None, 1])),
        ]
        graph = skl2onnx.to_onnx(
            model, initial_types=types, options={id(model): {"zipmap": False}}, target_opset=OPSETS
        )
        found = sx.InferenceSession(graph.SerializeToString()).run(None, frame)
        near(found[0], model.predict(table), "labels", 0)
        near(found[1], model.predict_proba(table), "probabilities", 1e-5)
        same(found[1:], peer(graph, frame)[1:], "probabilities", 1e-5)

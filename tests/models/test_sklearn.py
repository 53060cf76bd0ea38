"""Converted scikit-learn models give scikit-learn's labels on every row, thresholds included, and its scores."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx")

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
    kernel_approximation,
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
from tests.models.classic import Fit, convert, dataset, near, peer, rows_of, same  # noqa: E402

RAW = {"raw_scores": True}
CLASSES = ("digits", "iris", "words", "binary", "breast_cancer")
TIES = "equally many trees vote for two classes and the peer's sums depend on the order of the trees"

ROUNDED = "the converter rounds f64 thresholds to the nearest f32"
UNTRACKED = "the converter drops the side that missing values take"


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
    fits += [Fit(model, "breast_cancer", double=True, tied=TIES) for model in forests()]
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
        fits += [Fit(model, data, atol=1e-4) for data in ("diabetes", "multitarget")]
    for model in (
        ensemble.GradientBoostingRegressor(n_estimators=10, random_state=0),
        ensemble.AdaBoostRegressor(n_estimators=10, random_state=0),
        ensemble.BaggingRegressor(n_estimators=8, random_state=0),
    ):
        fits.append(Fit(model, "diabetes"))
    model = ensemble.HistGradientBoostingRegressor(max_iter=10, random_state=0)
    fits.append(Fit(model, "diabetes", rounded=ROUNDED))
    fits.append(Fit(multioutput.MultiOutputRegressor(ensemble.GradientBoostingRegressor(n_estimators=5, random_state=0)), "multitarget"))
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
            Fit(discriminant_analysis.LinearDiscriminantAnalysis(), data),
            Fit(discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1), data),
            Fit(calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=3), data),
            Fit(multiclass.OneVsRestClassifier(linear_model.LogisticRegression()), data),
        ]
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
            fits.append(Fit(svm.SVC(kernel=kernel, probability=True, random_state=0), data))
            fits.append(Fit(svm.SVC(kernel=kernel, decision_function_shape="ovo"), data, options=RAW))
        fits += [
            Fit(svm.NuSVC(nu=0.1, probability=True, random_state=0), data),
            Fit(neighbors.KNeighborsClassifier(3), data),
            Fit(neighbors.KNeighborsClassifier(4, weights="distance"), data),
        ]
    for model in (svm.SVR(), svm.SVR(kernel="linear"), svm.SVR(kernel="poly"), svm.NuSVR()):
        fits += [Fit(model, "diabetes")]
    for data in ("diabetes", "multitarget"):
        fits += [
            Fit(neighbors.KNeighborsRegressor(3), data),
            Fit(neighbors.KNeighborsRegressor(3, weights="distance"), data),
            Fit(gaussian_process.GaussianProcessRegressor(random_state=0, alpha=0.1), data, double=True),
        ]
    fits += [
        Fit(neighbors.RadiusNeighborsRegressor(1000.0), "diabetes"),
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
            Fit(naive_bayes.GaussianNB(), data),
            Fit(naive_bayes.BernoulliNB(), data),
            Fit(neural_network.MLPClassifier((16, 8), max_iter=60, random_state=0), data),
        ]
    for model in (
        naive_bayes.MultinomialNB(),
        naive_bayes.ComplementNB(),
        naive_bayes.CategoricalNB(min_categories=17),
        naive_bayes.BernoulliNB(binarize=8.0),
    ):
        fits.append(Fit(model, "digits"))
    for data in ("diabetes", "multitarget"):
        fits.append(Fit(neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=50, random_state=0), data))
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
    lines = [("line", linear_model.LinearRegression()), ("tree", tree.DecisionTreeRegressor(max_depth=3, random_state=0))]
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
        preprocessing.QuantileTransformer(n_quantiles=20),
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
    fits.append(Fit(preprocessing.Normalizer(norm="max"), "wine", other="the converter takes the largest value, signed"))
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

"""Estimators of scikit-learn, encrypted."""

from __future__ import annotations

import warnings

import fhec
import numpy as np
import pytest

pytest.importorskip("skl2onnx")
pytest.importorskip("sklearn")

import fhec.sklearn  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

X = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
BINARY = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
SEVERAL = 10 * ((X[:, 0] > 0).astype(int) + (X[:, 1] > 0))
NUMBERS = X @ np.arange(5, dtype=np.float32)
NETWORK = {"hidden_layer_sizes": (8,), "max_iter": 60, "random_state": 0}

ESTIMATORS = [
    (LogisticRegression(), BINARY),
    (make_pipeline(StandardScaler(), LogisticRegression()), SEVERAL),
    (LinearRegression(), NUMBERS),
    (Ridge(), np.stack([NUMBERS, -NUMBERS], axis=1)),
    (MLPClassifier(**NETWORK), BINARY),
    (MLPClassifier(**NETWORK, activation="tanh"), SEVERAL),
    (make_pipeline(StandardScaler(), MLPRegressor(**NETWORK)), NUMBERS),
]


@pytest.mark.parametrize(("estimator", "y"), ESTIMATORS, ids=[type(e).__name__ + str(i) for i, (e, _) in enumerate(ESTIMATORS)])
def test_predictions_of_simulated_results_are_the_estimators(estimator, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = fhec.sklearn.wrap(estimator.fit(X, y))
    classifier = wrapped.classes is not None
    plan = wrapped.compile(X, y if classifier else None, quiet=True)
    predicted, wanted = wrapped.predict(plan.simulate(X).outputs), estimator.predict(X)
    if classifier:
        assert np.mean(predicted == wanted) > 0.97
        # On 64 inputs that are held back, of which some lie close to the boundary.
        assert plan.accuracy["agreement"] > 0.95
    else:
        assert np.abs(predicted - wanted).max() < 0.05 * np.abs(wanted).max()


def test_one_is_evaluated_encrypted():
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, SEVERAL)
    wrapped = fhec.sklearn.wrap(estimator)
    plan = wrapped.compile(X, quiet=True)
    client = fhec.Client(plan)
    server = fhec.Server(plan, client.evaluation_keys())
    scores = client.decrypt(server.eval(client.encrypt(X[:4])))
    assert np.abs(scores - estimator.decision_function(X[:4])).max() < 1e-2
    assert list(wrapped.predict(scores)) == list(estimator.predict(X[:4]))


def test_what_is_not_fitted_or_no_smooth_function_is_refused():
    with pytest.raises(fhec.UsageError, match="not fitted"):
        fhec.sklearn.wrap(LogisticRegression())
    tree = fhec.sklearn.wrap(DecisionTreeClassifier(max_depth=2).fit(X, BINARY))
    with pytest.raises(fhec.ModelError) as caught:
        tree.compile(X)
    assert caught.value.issues[0].op == "TreeEnsembleClassifier"

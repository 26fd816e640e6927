"""Estimators of scikit-learn: linear models, neural networks, and pipelines of them with scalers.

    wrapped = fhec.sklearn.wrap(estimator)        # an estimator that is fitted
    plan = wrapped.compile(X_train)
    ...                                           # a client, a server
    classes = wrapped.predict(client.decrypt(answer))
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _arrays
from ._arrays import Array
from .compiler import compile as compiled
from .errors import ModelError, UsageError, missing
from .plan import Plan

# Versions of the operators that are asked of skl2onnx.
_OPSETS = {"": 18, "ai.onnx.ml": 3}


def wrap(estimator: Any) -> Wrapped:
    """What compiles a fitted estimator, and reads its results."""
    return Wrapped(estimator)


def _prune(graph: Any) -> None:
    """Removes what no output depends on: constants of the label may be texts, which are not read."""
    needed = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for constant in list(graph.initializer):
        if constant.name not in needed:
            graph.initializer.remove(constant)


class Wrapped:
    """A fitted estimator: :func:`wrap` makes it.

    Encrypted results of a classifier are its scores, one for every class: a linear model's decision function, a network's
    probabilities (or what its softmax is of). :meth:`predict` makes predictions of decrypted results.
    """

    def __init__(self, estimator: Any) -> None:
        try:
            from sklearn.exceptions import NotFittedError
            from sklearn.utils.validation import check_is_fitted
        except ImportError as e:
            raise missing("scikit-learn", "sklearn", "an estimator") from e
        try:
            check_is_fitted(estimator)
        except (NotFittedError, TypeError) as e:
            raise UsageError(str(e), help="fit the estimator first: fhec compiles what it has learnt") from e
        self.estimator = estimator

    @property
    def classes(self) -> NDArray[Any] | None:
        """The classes of a classifier, in the order of its scores."""
        return getattr(self.estimator, "classes_", None)

    def onnx(self, X: Any) -> bytes:
        """The estimator as ONNX, of which the first row of ``X`` tells the features; of a classifier the scores alone."""
        try:
            from skl2onnx import to_onnx
            from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
        except ImportError as e:
            raise missing("skl2onnx", "sklearn", "the export of an estimator") from e
        last = self.estimator[-1] if hasattr(self.estimator, "steps") else self.estimator
        options = {}
        if self.classes is not None:
            # Probabilities of a linear model are a function of its scores, which costs levels and no knowledge.
            linear = {"raw_scores": True} if hasattr(last, "coef_") else {}
            options = {id(last): {"zipmap": False} | linear}
        example = _arrays.single(X, "X")[:1]
        try:
            model = to_onnx(self.estimator, example, options=options or None, target_opset=_OPSETS)
        except (MissingConverter, MissingShapeCalculator, NameError, RuntimeError) as e:
            raise ModelError(
                f"{type(last).__name__} cannot be exported", causes=[str(e)], help="fhec takes linear models and neural networks"
            ) from e
        if self.classes is not None:
            del model.graph.output[0]  # The label, which cannot be told from encrypted scores.
            _prune(model.graph)
        return model.SerializeToString()

    def compile(self, X: Any, y: Any = None, **options: Any) -> Plan:
        """A plan of the estimator. ``X`` are calibration inputs, ``y`` the labels of a classifier, with which accuracy is measured;
        the options are those of :func:`fhec.compile`."""
        labels = None
        if y is not None:
            if self.classes is None:
                raise UsageError("labels for an estimator without classes", help="leave y out")
            labels = np.searchsorted(self.classes, np.asarray(y))
        options.setdefault("name", type(self.estimator).__name__)
        return compiled(self.onnx(X), X, labels, **options)

    def predict(self, results: Array | dict[str, Array]) -> NDArray[Any]:
        """Predictions of decrypted results: classes of a classifier, numbers of a regressor."""
        scores = next(iter(results.values())) if isinstance(results, dict) else results
        if self.classes is None:
            return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores
        return self.classes[scores.argmax(axis=1)]

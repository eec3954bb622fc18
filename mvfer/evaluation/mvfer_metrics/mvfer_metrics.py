"""The package's scores as one metric of the `evaluate` library, which loads this folder offline by its path.

    metric = evaluate.load("mvfer/evaluation/mvfer_metrics")            # predictions are classes
    metric = evaluate.load("mvfer/evaluation/mvfer_metrics", "scores")  # predictions are one score per class

In: predictions and references. Out: a dict of numbers, computed by the functions that `mvfer evaluate` uses.
"""

import datasets
import evaluate
import numpy as np

from mvfer.evaluation.mvfer_metrics.scores import METRICS, auroc, top_k_hits

DESCRIPTION = (
    "Accuracy, balanced accuracy (UAR), macro F1; with scores also top-2 accuracy and AUROC (one against the rest)."
)
INPUTS = "predictions: classes, or with the configuration `scores` one score per class. references: the true classes, 0 to K - 1."
CITATION = "Behzad 2025, SMILE-VLM, arXiv:2506.01203"


class MVFERMetrics(evaluate.Metric):
    """`compute(predictions=..., references=...)` gives `dict` of name to `float`; NaN AUROC if only one class occurs."""

    def _info(self):
        if self.config_name not in ("default", "scores"):
            raise ValueError(f"expected the configuration 'default' or 'scores', got {self.config_name!r}")
        given = datasets.Value("int64")
        if self.config_name == "scores":
            given = datasets.List(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": given, "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions, references):
        predictions, labels = np.asarray(predictions), np.asarray(references)
        with_scores = predictions.ndim == 2
        predicted = predictions.argmax(1) if with_scores else predictions
        size = predictions.shape[1] if with_scores else int(max(predicted.max(), labels.max())) + 1
        if min(predicted.min(), labels.min()) < 0 or labels.max() >= size:
            raise ValueError(f"expected classes 0 to {size - 1}, got references {labels.min()} to {labels.max()}")
        confusion = np.zeros((size, size), dtype=np.int64)
        np.add.at(confusion, (labels, predicted), 1)
        found = {name: float(metric(confusion)) for name, metric in METRICS.items()}
        if with_scores:
            found["top_2"] = float(top_k_hits(predictions, labels).mean())
            found["auroc"] = float(auroc(predictions, labels))
        return found

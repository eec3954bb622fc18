"""A scan to probabilities, and whether to leave it to a person: `python examples/predict.py scan.ply [model]`.

The model is a run's folder or a repository on the Hub; without one, the small model that comes with the package.
"""

import sys

from modeling_mvfer import Classifier
from mvfer import load_run, model

folder = sys.argv[2] if len(sys.argv) > 2 else model("small")
network, processor = load_run(folder)
expressions = ["neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"]
classify = Classifier.from_prompts(network, processor, expressions)
found = classify(processor(meshes=[sys.argv[1]], return_tensors="pt"))
for label, probability in zip(classify.labels, found.probabilities[0].tolist(), strict=True):
    print(f"{label:<10} {probability:.3f}")
if found.abstain[0]:  # None where the model is not calibrated for these labels
    print("not sure enough: leave this scan to a person")

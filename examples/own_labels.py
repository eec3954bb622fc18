"""Any labels, each described in your own words: `python examples/own_labels.py scan.ply [scan.ply ...]`.

A label is what you call a class; its descriptions are what a scan is compared with. Say what the face does: that is what
models learn here. Labels without descriptions are described by the processor, or are taken as they are.
"""

import sys

from modeling_mvfer import Classifier
from mvfer import load_run, model

DESCRIPTIONS = {
    "mouth open": ["mouth wide open", "jaw pulled far down", "jaw dropped, lips parted"],
    "smile": ["lip corners pulled up", "cheeks raised, lip corners pulled up"],
    "at rest": ["a relaxed face"],
}

network, processor = load_run(model("small"))
classify = Classifier.from_prompts(network, processor, list(DESCRIPTIONS), prompts=DESCRIPTIONS)
for path in sys.argv[1:]:
    scores = classify(processor(meshes=[path], return_tensors="pt")).probabilities[0].tolist()
    print(path, " ".join(f"{label}: {score:.3f}" for label, score in zip(DESCRIPTIONS, scores, strict=True)))

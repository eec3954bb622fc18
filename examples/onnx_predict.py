"""Views to probabilities without torch: `python examples/onnx_predict.py GRAPHS 0_right_30.png 1_front.png 2_left_30.png`.

GRAPHS is what `mvfer export` wrote; the views are those of `mvfer render --each`, in their order, or photos for a model that
learnt from photos. Needs numpy, onnxruntime, pillow and tokenizers.
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image
from tokenizers import Tokenizer

folder, paths = Path(sys.argv[1]), sys.argv[2:]
files = ("export.json", "processor_config.json", "tokenizer_config.json")
facts, processor, words = (json.loads((folder / name).read_text(encoding="utf-8")) for name in files)
settings = processor["image_processor"]

pixels = (
    np.stack([np.asarray(Image.open(path, formats=["PNG"]).convert("RGB")) for path in paths]) / 255
)  # (V, H, W, C)
pixels = (pixels - settings["image_mean"]) / settings["image_std"]
views = {
    "pixel_values": np.float32(pixels.transpose(0, 3, 1, 2)[None]),  # (1, V, C, H, W)
    "view_mask": np.ones((1, len(paths)), dtype=bool),
    "view_angles_deg": np.float32(settings["view_angles_deg"])[None],
}
graph, texts = InferenceSession(folder / "views.onnx"), InferenceSession(folder / "texts.onnx")
(image_embeds,) = graph.run(None, {one.name: views[one.name] for one in graph.get_inputs()})  # (1, D)

tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.enable_padding(pad_id=tokenizer.token_to_id(words["pad_token"]), pad_token=words["pad_token"])
likelihoods = []
for prompts in facts["prompts"].values():
    tokens = tokenizer.encode_batch(prompts)
    ids, mask = np.array([one.ids for one in tokens]), np.array([one.attention_mask for one in tokens])
    (text_embeds,) = texts.run(None, {"input_ids": ids, "attention_mask": mask})  # (P, D)
    likelihoods.append(np.exp(facts["scale"] * np.float64(image_embeds @ text_embeds.T)).mean())
scores = np.array(likelihoods) ** (1 / facts["temperature"])
for label, score in zip(facts["prompts"], scores / scores.sum(), strict=True):
    print(f"{label:<10} {score:.3f}")

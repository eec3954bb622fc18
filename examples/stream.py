"""Frames to probabilities, as they come: `python examples/stream.py 0.ply 1.ply 2.ply`.

A scanner or cameras would push their frames in the same way, with their own clock; a frame may also be a list of photos.
"""

import sys

from modeling_mvfer import MVFERStream
from mvfer import load_run, model

FPS = 25.0

network, processor = load_run(model("small"))
stream = MVFERStream(network, processor, ["neutral", "happiness", "surprise"], window_s=2.0)
for number, frame in enumerate(sys.argv[1:]):
    step = stream.push(frame, time_s=number / FPS)
    best = max(step.probabilities, key=step.probabilities.get)
    print(f"{step.time_s:.2f} s  {best:<10} {step.probabilities[best]:.3f}")

"""Recipes of SMILE-VLM's relatives, as settings of `train.py --preset`: what each asks of views and texts.

A preset is a starting point: whatever else is given on the command line wins, and `train_config.json` holds what came of it.
Each has the terms that its paper names and no other, so the phrase term, which is ours, is off. The papers of M. Behzad
could not be read in full: which terms belong to them is known from their abstracts and public summaries, the weights are
ours.
"""

# The terms of the vision-language part that all of them share; each preset says what it changes.
_TEXT = {"contrastive_weight": 1.0, "view_contrastive_weight": 1.0, "phrase_weight": 0.0, "cross_view_weight": 0.0}

# A student that sees fewer views than its teacher, which sees them whole; there are no captions, so no phrases either.
PSEUDO = {"view_dropout": 0.5, "occlusion": 0.0, "phrase_weight": 0.0}

PRESETS: dict[str, dict] = {
    # Cross-view decorrelation, vision-language contrast, cross-modal redundancy. arXiv:2506.01203
    "smile": _TEXT | {"fusion": "attention", "cross_view_weight": 0.5, "cross_modal_weight": 0.05},
    # Views of one expression together, of others apart: margin contrast and triplets, one learnt margin. arXiv:2504.19739
    "affectvlm": _TEXT | {"fusion": "mean", "margin_contrast_weight": 0.5, "triplet_weight": 0.5},
    # No captions: prompts that a teacher assigns, and views of scans with the same prompt together. arXiv:2505.09336
    "multiviewvlm": _TEXT | PSEUDO | {"supervision": "pseudo", "fusion": "mean", "margin_contrast_weight": 0.5},
    # Fusion that looks at prompts, views that agree. arXiv:2507.01673
    "facetvlm": _TEXT | {"fusion": "text", "consistency_weight": 0.5},
    # View pooling by the maximum, one loss on what comes of it. arXiv:1505.00880 (there with labels, here with captions)
    "mvcnn": _TEXT | {"fusion": "max", "view_contrastive_weight": 0.0},
    # Every view is an image of its own; several are averaged only in use. arXiv:2103.00020
    "clip": _TEXT | {"fusion": "mean", "contrastive_weight": 0.0},
}

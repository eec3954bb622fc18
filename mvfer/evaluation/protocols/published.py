"""Published figures, as data: what a result is set beside, where it was read, and why the two are not the same thing.

Every figure was read in the abstract that `source` names; the full texts were not at hand, so what an abstract leaves open is
said in `differs`. A figure that no abstract states is left out. None of them is a result of this package.
"""

from dataclasses import dataclass

from mvfer.data.protocols import PROTOCOLS


@dataclass(frozen=True)
class Published:
    """One figure.

    Args:
        protocols: of `PROTOCOLS`, whose results it is shown beside.
        method: its name; value: between 0 and 1.
        metric: as the results name it, accuracy or uf1.
        supervision: what the method learnt from.
        source: where the figure stands.
        differs: what keeps it from being compared with ours.
    """

    protocols: tuple[str, ...]
    method: str
    value: float
    metric: str
    supervision: str
    source: str
    differs: str

    def __post_init__(self):
        if unknown := set(self.protocols) - set(PROTOCOLS):
            raise ValueError(f"{self.method}: no such protocols: {sorted(unknown)}")
        if not 0 < self.value <= 1 or not self.source or not self.differs:
            raise ValueError(f"{self.method}: expected a value in (0, 1], a source and what differs")


SETTINGS_OPEN = "the abstract does not state subjects, folds, or how the weights were chosen"

PUBLISHED = (
    Published(
        protocols=("bu4dfe-10fold",),
        method="sparsity-aware deep network",
        value=0.9969,
        metric="accuracy",
        supervision="labels; texture, depth and the set's 3D landmarks",
        source="Behzad, Vo, Li & Zhao, Towards Reading Beyond Faces for Sparsity-Aware 4D Affect Recognition, arXiv 2002.03157",
        differs=SETTINGS_OPEN + "; it reads the set's landmarks, which this model does not",
    ),
    Published(
        protocols=("bu4dfe-10fold",),
        method="FACET-VLM",
        value=0.9941,
        metric="accuracy",
        supervision="text prompts; the abstract does not say whether labels too",
        source="Behzad, FACET-VLM, Neurocomputing 657, 131621, 2025 (arXiv 2507.01673)",
        differs='"up to", so the best of several settings; ' + SETTINGS_OPEN,
    ),
    Published(
        protocols=("bu4dfe-10fold",),
        method="landmarks-assisted collaborative framework",
        value=0.967,
        metric="accuracy",
        supervision="labels; geometrical images and the set's 3D landmarks",
        source="Behzad, Vo, Li & Zhao, FG 2020 (arXiv 1910.05445)",
        differs='"under globally used settings" is all the abstract says; it reads landmarks, which this model does not',
    ),
    Published(
        protocols=("bu4dfe-10fold",),
        method="CCDN",
        value=0.965,
        metric="accuracy",
        supervision="labels",
        source="Behzad, Vo, Li & Zhao, BMVC 2019 (arXiv 1905.02319)",
        differs='"under widely adopted settings" is all the abstract says',
    ),
    Published(
        protocols=("bu4dfe-10fold",),
        method="geometric magnification",
        value=0.9418,
        metric="accuracy",
        supervision="labels",
        source="Zhen, Huang, Drira, Ben Amor, Wang & Daoudi, IEEE TAC 10(4), 2019 (arXiv 2105.02319)",
        differs='"average performance"; ' + SETTINGS_OPEN,
    ),
    Published(
        protocols=("bu3dfe-subset1", "bu3dfe-subset2"),
        method="MFEViT",
        value=0.9083,
        metric="accuracy",
        supervision="labels; texture and depth, from a transformer pretrained on photos",
        source="Li et al., MFEViT, arXiv 2109.13086",
        differs="the abstract does not say which subset, so it stands beside both; it reads texture",
    ),
    Published(
        protocols=("bosphorus-10fold",),
        method="MFEViT",
        value=0.9028,
        metric="accuracy",
        supervision="labels; texture and depth, from a transformer pretrained on photos",
        source="Li et al., MFEViT, arXiv 2109.13086",
        differs=SETTINGS_OPEN + "; it reads texture",
    ),
    Published(
        protocols=("fourdme-loso",),
        method="dual-view optical flow, first of the 4DMR challenge 2025",
        value=0.536,
        metric="uf1",
        supervision="labels",
        source="Dual-View Optical Flow for 4D Micro-Expression Recognition, arXiv 2603.26849",
        differs="whether each of the 24 subjects was left out in turn, the abstract does not say; all of it was trained for this "
        "task, of ours the probe alone",
    ),
)


def published_for(protocol: str) -> list[Published]:
    """The figures to show beside the results of this protocol, the largest first."""
    return sorted((one for one in PUBLISHED if protocol in one.protocols), key=lambda one: -one.value)

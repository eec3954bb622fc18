"""Where a face is in a scan: a `FaceFrame` takes any vertices of the scan to framed coordinates."""

from dataclasses import dataclass

import numpy as np
import torch

FACE_LIKE = 0.8  # face-likeness from which a frame counts as one of a face, see `docs/results.md`
MIDDLE = np.array([0.0, 0.28, 0.17])  # between eyes and mouth, framed
PLACES = np.array([[-0.3, 0.45, 0.3], [0.3, 0.45, 0.3], [-0.22, -0.22, 0.35], [0.22, -0.22, 0.35]])  # about these
Rows = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class FaceFrame:
    """Where a face is, how large, and how it is turned: framed = turn @ ((vertices - center) * scale).

    Attributes:
        center, scale: in the scan's own units.
        turn: rows of a rotation, if the scan's axes are not those of the face.
        face_likeness: 0 to 1, how much like a face what is framed looks; below `FACE_LIKE` it should not be taken for one. `None`
            if nobody has looked.
        is_inside_out: whether the triangles of the face look into the head, as those of mirrored (left-handed) coordinates do:
            left and right may be exchanged.
        inferred: what of the frame the scan does not show, so that it was inferred from the rest of the face: "nose" (a hole at
            its tip), "size" (the rim is hidden by hair, or cut away), "place" (little is seen: one in six of such frames is off
            by a twentieth of a face).
    """

    center: tuple[float, float, float]
    scale: float
    turn: Rows | None = None
    face_likeness: float | None = None
    is_inside_out: bool = False
    inferred: tuple[str, ...] = ()

    @property
    def is_face(self) -> bool:
        """Whether a face is there, as far as anybody has looked."""
        return self.face_likeness is None or self.face_likeness >= FACE_LIKE

    @property
    def unseen(self) -> str:
        """What is inferred, in words: "the tip of the nose and the rim of the face"; empty if nothing is."""
        words = {"nose": "the tip of the nose", "size": "the rim of the face", "place": "enough of the face"}
        return " and ".join(words[part] for part in self.inferred)

    @property
    def orientation(self) -> str:
        """The scan's axes that point up and where the face looks, to the nearest axis, and "/mirrored"; "y/z" is ours."""
        rows = np.eye(3) if self.turn is None else np.array(self.turn)
        axis = [int(np.abs(row).argmax()) for row in rows]
        sign = ["-" if row[i] < 0 else "" for row, i in zip(rows, axis, strict=True)]
        is_mirrored = np.linalg.det(rows) < 0
        return f"{sign[1]}{'xyz'[axis[1]]}/{sign[2]}{'xyz'[axis[2]]}" + ("/mirrored" if is_mirrored else "")

    def apply(self, vertices):
        """Take `(..., 3)` vertices (numpy or torch) to framed coordinates, float32."""
        if isinstance(vertices, torch.Tensor):
            center = torch.tensor(self.center, dtype=torch.float32, device=vertices.device)
            framed = (vertices.to(torch.float32) - center) * self.scale
            if self.turn is None:
                return framed
            x, y, z = framed.unbind(-1)  # written out: the bits of a matrix product vary with the number of vertices
            return torch.stack([a * x + b * y + c * z for a, b, c in self.turn], -1)
        framed = (np.asarray(vertices) - np.asarray(self.center)) * self.scale
        return (framed if self.turn is None else framed @ np.array(self.turn).T).astype(np.float32)

    def then(self, other: "FaceFrame") -> "FaceFrame":
        """One frame for this one and then another, of framed coordinates."""
        first = np.eye(3) if self.turn is None else np.array(self.turn)
        second = np.eye(3) if other.turn is None else np.array(other.turn)
        center = np.array(self.center) + first.T @ np.array(other.center) / self.scale
        turn = as_rows(second @ first)
        return FaceFrame(_numbers(center), self.scale * other.scale, turn, other.face_likeness, inferred=other.inferred)

    def inverse(self) -> "FaceFrame":
        """The frame that takes framed coordinates back."""
        turn = np.eye(3) if self.turn is None else np.array(self.turn)
        return FaceFrame(_numbers(-self.scale * turn @ np.array(self.center)), 1 / self.scale, as_rows(turn.T))


FRAMED = FaceFrame((0.0, 0.0, 0.0), 1.0)  # of vertices that are framed already


def as_rows(matrix: np.ndarray) -> Rows:
    a, b, c = map(_numbers, matrix)
    return a, b, c


def _numbers(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = map(float, vector)
    return x, y, z

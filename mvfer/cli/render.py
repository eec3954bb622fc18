"""The command `mvfer render`. In: a mesh file. Out: one picture with all its views, as the model sees them; if asked, also one of
each view alone, to feed a model elsewhere.
"""

import argparse
from pathlib import Path

from mvfer.cli.predict import add_mesh_argument
from mvfer.cli.printed import no_face, partly_inferred, perhaps_mirrored, tell
from mvfer.data.orientation_flags import OrientationParser, add_orientation_flags


def main(argv: list[str] | None = None) -> int:
    """`mvfer render`: one picture with all views of a scan."""
    args = parser().parse_args(argv)
    from mvfer.reports.pictures import views_picture
    from processing.cameras_mvfer import view_name
    from processing.channels_mvfer import COLOR_CHANNELS
    from processing.meshes_mvfer import load_mesh
    from processing.names_mvfer import shown
    from processing.orientation_mvfer import AUTO, MIRRORED
    from processing.rendering_mvfer import RenderSettings, frame_mesh, render_mesh

    angles = tuple((yaw_deg, args.pitch_deg) for yaw_deg in args.views)
    channels = args.channels * 3 if len(args.channels) == 1 else args.channels
    look = {"view_angles_deg": angles, "channels": channels, "aim_y": args.aim_y}
    settings = RenderSettings(size_px=args.size_px, supersampling=2, **look)
    needs_color = bool(set(settings.channels) & set(COLOR_CHANNELS))
    is_known = args.orientation != AUTO
    mesh = load_mesh(args.mesh, up_axis=args.orientation if is_known else "y", geometry_only=not needs_color)
    frame = frame_mesh(mesh, orientation="y" if is_known else AUTO)
    if not frame.is_face:
        tell(no_face(args.mesh, frame))
    elif frame.inferred:
        tell(partly_inferred(args.mesh, frame))
    if frame.is_inside_out and not args.orientation.endswith(MIRRORED):
        tell(perhaps_mirrored(args.mesh, frame))
    views = render_mesh(mesh, settings, frame=frame)[0]
    names = [view_name(angle) for angle in settings.view_angles_deg]
    views_picture(views, names, args.out, title=Path(args.mesh).name)
    if args.each:
        _write_each(views, names, Path(args.each))
    size = f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces"
    lies = f"orientation {args.orientation if is_known else frame.orientation}, face-likeness {frame.face_likeness:.2f}"
    print(shown(f"{args.out}: {', '.join(names)}; {size}; {lies}"))
    return 0


def _write_each(views, names: list[str], folder: Path) -> None:
    """One PNG per view, numbered in their order."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, (view, name) in enumerate(zip(views, names, strict=True)):
        Image.fromarray(view).save(folder / f"{number}_{name}.png")


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer render`."""
    flags = OrientationParser(prog="mvfer render", description="Draw all views of a scan as the model sees it.")
    add = flags.add_argument
    add_mesh_argument(flags, "mesh", "with what lies beside it")
    add("--out", default="views.png", metavar="PNG", help="picture to write (default: views.png)")
    add("--each", metavar="DIR", help="also write every view alone there, without a title")
    add("--views", nargs="+", type=float, default=[-30.0, 0.0, 30.0], metavar="YAW", help="one view per yaw angle in degrees; "
        "positive sees the subject's left side (default: -30 0 30)")  # fmt: skip
    add("--pitch_deg", type=float, default=0.0, help="of all views; positive looks from above (default: 0)")
    add("--aim_y", type=float, default=0.2, help="how far above the tip of the nose the cameras look, 1 is half of the image; 0 "
        "for models of older data sets (default: 0.2)")  # fmt: skip
    add("--size_px", type=int, default=224, help="size of a view (default: 224)")
    add("--channels", nargs="+", default=["clay"], metavar="NAME", help="one or three of clay, curvature, clay_curvature, depth, "
        "normal_x, ..., red, green, blue (default: clay)")  # fmt: skip
    add_orientation_flags(flags, "auto", "auto")
    return flags

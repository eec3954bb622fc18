"""The command `mvfer explain`. In: a mesh and a model. Out: the mesh, coloured by what speaks for a label, and a picture."""

import argparse
from pathlib import Path

import numpy as np
import torch
import trimesh

import mvfer
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.cli.predict import add_mesh_argument, labels_of, open_model
from mvfer.cli.printed import no_face, tell
from mvfer.data.orientation_flags import OrientationParser, add_orientation_flags
from mvfer.progress import add_quiet_flag, be_quiet
from mvfer.reports.pictures import displayable
from mvfer.studies.explain import attribute_views, colors_of, explanation_picture, heat_of, heat_on_vertices, log_odds
from processing.cameras_mvfer import view_name
from processing.names_mvfer import shown
from processing.rendering_mvfer import framed_vertices, render_mesh


def main(argv: list[str] | None = None) -> int:
    """`mvfer explain`: a coloured mesh and a picture of one scan."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    if Path(args.out).suffix.lower() not in (".ply", ".glb"):
        raise ValueError(f"{args.out}: colours are written as .ply or .glb")
    model, processor = open_model(args.model, orientation=args.orientation, needs_texts=True)
    labels = labels_of(args.model, args.labels)
    classifier = Classifier.from_prompts(model, processor, labels)
    image_processor = processor.image_processor
    settings = image_processor.render_settings
    mesh = image_processor.load_frame(args.mesh)
    inputs = processor(meshes=[mesh], return_tensors="pt")
    (frame,) = inputs.face_frames
    if not frame.is_face:
        tell(no_face(args.mesh, frame))
    views = render_mesh(mesh, settings, frame=frame)[0]
    inputs = inputs.to(model.device)
    with torch.no_grad():
        odds = {label: float(log_odds(classifier, inputs, label)) for label in labels}
        weights = model.get_image_features(**inputs).view_weights[0, 0].tolist()
    label = args.label or max(odds, key=odds.__getitem__)
    heat = heat_of(attribute_views(classifier, inputs, label, progress=True))
    framed = framed_vertices(mesh, frame)
    warmth = heat_on_vertices(heat, framed, mesh.faces, settings.view_angles_deg, settings.aim_y)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    colored = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors_of(warmth), process=False)
    colored.export(args.out)
    picture = args.picture or str(Path(args.out).with_suffix(".png"))
    title = f"{Path(args.mesh).name}: {label} {1 / (1 + np.exp(-odds[label])):.0%}"
    angles = settings.view_angles_deg
    names = [f"{view_name(angle)}, weight {weight:.2f}" for angle, weight in zip(angles, weights, strict=True)]
    explanation_picture(displayable(views, settings.channels), heat, names, title, picture)
    print(f"{shown(title)}\n{shown(f'wrote {args.out} and {picture}: red speaks for {label}, blue against')}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer explain`."""
    flags = OrientationParser(
        prog="mvfer explain",
        description="Colour a face by what speaks for a label: red for it, blue against. It shows what the model looked at, "
        "not why a face looks so.",
        epilog="example:\n  mvfer explain face.obj --model runs/first --out explained.glb",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_mesh_argument(flags, "mesh", "with what lies beside it")
    flags.add_argument(
        "--model",
        default=mvfer.bundled(),
        metavar="DIR",
        help="folder of a run, or a repository on the Hub (default: the small model that comes with the package)",
    )
    flags.add_argument("--label", help="what to explain (default: what the model predicts)")
    flags.add_argument("--labels", nargs="+", help="what it could have been (default: as in mvfer predict)")
    add_orientation_flags(flags, None, "the model's setting, which is auto")
    flags.add_argument("--out", default="explained.glb", metavar="MESH", help=".ply or .glb (default: explained.glb)")
    flags.add_argument("--picture", metavar="PNG", help="default: beside --out")
    add_quiet_flag(flags)
    return flags

"""The command `mvfer watch`. In: the frames of a sequence, in order. Out: after each, probabilities for the last seconds.

It goes on after a frame that it cannot read; the exit status is then 1.
"""

import argparse

from mvfer.cli.predict import add_model_flags, face_row, failed_row, labels_of, open_model, print_row, scored_row
from mvfer.data.orientation_flags import OrientationParser


def main(argv: list[str] | None = None) -> int:
    """`mvfer watch`: frame by frame, what the last seconds show and where their apex is."""
    args = parser().parse_args(argv)
    if not args.fps > 0:
        raise ValueError(f"--fps should be positive, got {args.fps}")
    from modeling_mvfer import MVFERStream

    model, processor = open_model(args.model, orientation=args.orientation, needs_texts=True)
    options = {"window_s": args.window_s, "prompt_kinds": args.prompts, "language": args.language}
    stream, failures = MVFERStream(model, processor, labels_of(args.model, args.labels), **options), 0
    for number, frame in enumerate(args.frames):
        try:
            step = stream.push(frame, number / args.fps)
        except ValueError as error:  # a lost frame
            failures += 1
            row = failed_row(frame, error)
        else:
            when = {"time_s": step.time_s, "apex_time_s": step.apex_time_s}
            row = (
                scored_row(frame, step.probabilities)
                | {"abstain": step.abstain}
                | when
                | face_row(frame, stream.face_frames)
            )
        print_row(row, as_json=args.json)
    return 1 if failures else 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer watch`."""
    flags = OrientationParser(
        prog="mvfer watch",
        description="The frames of one sequence in order; after each, a probability per label for the last seconds.",
        epilog="example:\n  mvfer watch sequence/*.obj --model runs/first --fps 25",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument(
        "frames", nargs="+", metavar="frame", help="mesh or photo files in order; one row of output each"
    )
    add_model_flags(flags)
    flags.add_argument("--fps", type=float, default=25.0, help="frames per second (default: 25)")
    flags.add_argument("--window_s", type=float, default=2.0, help="how far back it looks, in seconds (default: 2)")
    return flags

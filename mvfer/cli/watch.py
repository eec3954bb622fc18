"""The command `mvfer watch`. In: the frames of a sequence. Out: after each, probabilities for the last seconds.

Frames are taken in the order of the numbers in their names, not as a shell lists them (f1, f10, f2); stderr says so. It goes on
after a frame that it cannot read; the exit status is then 1.
"""

import argparse
import sys

from mvfer.cli.audit import recorder
from mvfer.cli.predict import add_mesh_argument, add_model_flags, labels_of, open_model
from mvfer.cli.printed import face_row, failed_row, print_row, remark, scored_row, tell
from mvfer.data.orientation_flags import OrientationParser
from mvfer.progress import add_quiet_flag, be_quiet, progress_bar


def main(argv: list[str] | None = None) -> int:
    """`mvfer watch`: frame by frame, what the last seconds show and where their apex is."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    from modeling_mvfer import MVFERStream
    from mvfer.data.frame_times import frame_times
    from processing.sequences_mvfer import frames_per_second

    try:
        fps = frames_per_second(args.fps)
    except ValueError as error:
        raise ValueError(f"--fps should be positive: {error}") from error
    if args.baseline_s is not None and (args.running_baseline or not args.baseline_s > 0):
        raise ValueError("--baseline_s: expected a time above 0, and no --running_baseline")
    model, processor = open_model(args.model, orientation=args.orientation, needs_texts=True)
    options = {"window_s": args.window_s, "prompt_kinds": args.prompts, "language": args.language}
    options["baseline"] = "running" if args.running_baseline else None
    stream, failures = MVFERStream(model, processor, labels_of(args.model, args.labels), **options), 0
    settings = {"labels": stream.classifier.labels, **options, "fps": str(args.fps), "baseline_s": args.baseline_s}
    settings["orientation"] = args.orientation
    record = recorder(args, "watch", model, settings)
    calibration_s = args.baseline_s
    frames = frame_times(args.frames, fps, as_given=args.order == "given")
    if len(args.frames) > 1:
        remark(f"{len(args.frames)} frames {frames.said}")
    moments = list(zip(frames.paths, frames.times_s, strict=True))
    for frame, time_s in progress_bar(moments, what="watch", unit="frame", hidden=sys.stdout.isatty()):
        try:
            step = stream.push(frame, time_s)
        except Exception as error:  # a lost frame, whatever is wrong with it
            failures += 1
            row = failed_row(frame, error)
        else:
            when = {"time_s": step.time_s, "apex_time_s": step.apex_time_s}
            row = (
                scored_row(frame, step.probabilities)
                | {"abstain": step.abstain, "reason": step.reason}
                | when
                | face_row(frame, stream.face_frames)
            )
            if calibration_s is not None and time_s - frames.times_s[0] >= calibration_s:
                stream.calibrate()
                calibration_s = None
        record(frame, row)
        print_row(row, as_json=args.json)
    if calibration_s is not None:
        tell(f"the frames end before --baseline_s {calibration_s:g}; no baseline was used")
    return 1 if failures else 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer watch`."""
    flags = OrientationParser(
        prog="mvfer watch",
        description="The frames of one sequence; after each, a probability per label for the last seconds.",
        epilog="example:\n  mvfer watch sequence/*.obj --model runs/first --fps 25",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_mesh_argument(flags, "frames", "or photos; of one sequence, one row of output each", nargs="+", metavar="frame")
    add_model_flags(flags)
    flags.add_argument("--fps", default="25", help="frames per second, such as 29.97 or 30000/1001 (default: 25)")
    flags.add_argument(
        "--order",
        default="names",
        choices=["names", "given"],
        help="names: by the numbers or times in the files' names, where they have such (default); given: as they come",
    )
    flags.add_argument(
        "--baseline_s",
        type=float,
        metavar="SECONDS",
        help="the face is at rest for so long at the beginning (its last --window_s are read); what comes after is relative "
        "to that",
    )
    flags.add_argument(
        "--running_baseline",
        action="store_true",
        help="tell everything relative to what the face shows most of the time, found while it is watched",
    )
    flags.add_argument("--window_s", type=float, default=2.0, help="how far back it looks, in seconds (default: 2)")
    add_quiet_flag(flags)
    return flags

"""The command `mvfer federate`: sites learn a classifier together, and their scans stay where they are.

In: a model, and at every site a data set. Out: the model's folder, at the server. `simulate` runs all sites in this process,
`serve` is the server, `join` is one site.
"""

import argparse
import sys
from pathlib import Path

from mvfer.data.without_folders import command_line
from mvfer.progress import add_quiet_flag, be_quiet

LEAVES = """What leaves a site: the trained weights of the head (and adapters), the number of its training and validation scans,
and its validation accuracy, every round. No scan, name or path does. Weights still tell something of those they learnt from."""


def main(argv: list[str] | None = None) -> int:
    """`mvfer federate`: take part in a federation, or run one."""
    args = parser().parse_args(argv)
    from mvfer.training import flower

    if args.action == "join":
        print(LEAVES)
        flower.join(args.model, args.dataset, args.address, args.root_certificate, insecure=args.insecure)
        print("all rounds are done; the model is at the server")
        return 0
    return run(args, command_line("mvfer federate", sys.argv[2:] if argv is None else argv))


def run(args: argparse.Namespace, command: str) -> int:
    """The server's side: all rounds, then tests and the model folder."""
    be_quiet(args.quiet)
    from mvfer.data.folder_lock import folder_lock
    from mvfer.training import flower
    from mvfer.training.federated import Federation, labels_of, plan_for
    from processing.names_mvfer import shown

    simulated = args.action == "simulate"
    labels = args.labels or (labels_of(args.dataset) if simulated else None)
    if not labels:
        raise ValueError("serve: name the classes with --labels happiness sadness ...")
    folder = Path(args.output_dir)
    sites = len(args.dataset) if simulated else args.sites
    if sites < 2:
        raise ValueError(f"a federation has at least two sites, got {sites}")
    settings = ("method", "rounds", "local_steps", "batch_size", "learning_rate", "lora_rank", "seed")
    with folder_lock(folder, "a federation"):
        if not args.resume and any((folder / name).exists() for name in ("checkpoints", "model.safetensors")):
            raise ValueError(f"{folder}: holds a run; go on with it by --resume, or choose another --output_dir")
        plan = plan_for(args.model, labels, **{name: getattr(args, name) for name in settings})
        federation = Federation(args.model, plan, folder, sites)
        if args.resume:
            federation.resume()
        if simulated:
            flower.simulate(federation, args.dataset)
        else:
            flower.serve(federation, args.address, args.certificates, insecure=args.insecure)
        tests = args.test or (args.dataset if simulated else [])
        federation.export(tests, command=command)
    print(f"\nmodel folder: {shown(str(folder))}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer federate`."""
    flags = argparse.ArgumentParser(
        prog="mvfer federate",
        description="Fine-tune a model at several sites, without moving their scans. Every site has a data set folder and "
        "a copy of the model's folder.",
        epilog="examples:\n"
        "  mvfer federate simulate --model runs/first --dataset data/a data/b data/c --output_dir runs/together\n"
        "  mvfer federate serve --model runs/first --sites 3 --labels happiness sadness --output_dir runs/together\n"
        "  mvfer federate join --model runs/first --dataset data/a",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = flags.add_subparsers(dest="action", required=True, metavar="ACTION")
    simulated = actions.add_parser("simulate", help="all sites in this process, to see whether it pays")
    simulated.add_argument("--dataset", nargs="+", required=True, metavar="DIR", help="a data set folder per site")
    server = actions.add_parser("serve", help="the server, which has no scans")
    server.add_argument("--sites", type=int, required=True, help="how many sites take part in every round")
    _add_network(server, "to listen at")
    server.add_argument(
        "--certificates",
        nargs=3,
        metavar=("CA", "CERT", "KEY"),
        help="PEM files for TLS: the authority, the server, its key",
    )
    site = actions.add_parser("join", help="one site")
    site.add_argument("--dataset", required=True, metavar="DIR", help="this site's data set folder")
    _add_network(site, "of the server")
    site.add_argument(
        "--root_certificate", metavar="FILE", help="PEM file of the authority that the server's certificate is of"
    )
    for one in (simulated, server, site):
        one.add_argument("--model", required=True, metavar="DIR", help="folder of the model that all start from")
    for one in (simulated, server):
        one.add_argument("--output_dir", required=True, metavar="DIR", help="the run's folder")
        one.add_argument("--labels", nargs="+", help="the classes (simulate: by default those that the sites show)")
        one.add_argument(
            "--test", nargs="+", default=[], metavar="DIR", help="data sets to test the result on (simulate: all)"
        )
        one.add_argument(
            "--method", choices=["probe", "lora"], default="probe", help="train the head, or adapters as well"
        )
        one.add_argument("--rounds", type=int, default=10, help="how often weights are averaged (10)")
        one.add_argument("--local_steps", type=int, default=20, help="steps of a site in a round (20)")
        one.add_argument("--batch_size", type=int, default=64, help="scans per step (64)")
        one.add_argument("--learning_rate", type=float, default=1e-3, help="at the start of every round (1e-3)")
        one.add_argument("--lora_rank", type=int, default=8, help="rank of the adapters (8)")
        one.add_argument("--seed", type=int, default=0, help="of order and augmentation (0)")
        one.add_argument("--resume", action="store_true", help="go on after the last whole round")
        add_quiet_flag(one)
    return flags


def _add_network(flags: argparse.ArgumentParser, what: str) -> None:
    flags.add_argument(
        "--address", default="127.0.0.1:9092", help=f"host:port {what} (127.0.0.1:9092: this computer alone)"
    )
    flags.add_argument("--insecure", action="store_true", help="talk to other computers without encryption")

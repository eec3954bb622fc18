"""How long work shows that it goes on. In: what is counted. Out: one line on stderr with rate and time left, no colours.

Where stderr is no terminal, as in a log, only hours of work show it (`in_logs`); after `--quiet` nothing does.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from typing import Any

_is_quiet = False
_OTHERS = {  # libraries with bars of their own, and what switches these off
    "datasets.utils": "disable_progress_bars",
    "huggingface_hub.utils": "disable_progress_bars",
    "transformers.utils.logging": "disable_progress_bar",
}


def add_quiet_flag(flags: argparse.ArgumentParser) -> None:
    """`--quiet`, for a command that takes long; it calls `be_quiet(args.quiet)`."""
    flags.add_argument(
        "--quiet", action="store_true", help="no progress bars and no remarks on stderr, only what went wrong"
    )


def be_quiet(quiet: bool) -> None:
    """From here on show progress, or do not; then the libraries show none either."""
    global _is_quiet
    _is_quiet = quiet
    if quiet:
        os.environ |= {
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        }  # of imports to come
        for name in _OTHERS.keys() & sys.modules.keys():
            getattr(sys.modules[name], _OTHERS[name])()


def is_quiet() -> bool:
    """Whether remarks are unwanted."""
    return _is_quiet


def progress_bar(
    items: Iterable | None = None,
    *,
    what: str | None,
    unit: str,
    hidden: bool = False,
    in_logs: bool = False,
    **options: Any,
):
    """The bar of all commands; `options` are those of `tqdm`.

    Args:
        items (*optional*): passed on, one by one; without them the caller says `update`.
        what: is done; unit: what is counted ("scan").
        hidden (`bool`): show nothing, as on all ranks but the first. in_logs (`bool`): also where stderr is no terminal.
    """
    from tqdm import tqdm

    disable = True if hidden or _is_quiet else False if in_logs else None  # None: shown on terminals
    return tqdm(items, desc=what, unit=unit, dynamic_ncols=True, disable=disable, **options)

"""Snippets of a Markdown page, run as a reader would. In: pages and a folder. Out: what was printed, compared with the page.

A `bash` block is run line by line, in this process; a `text` block right after it says what it prints. A `python` block is run
statement by statement; comments after a statement that prints or has a value say what. `...` stands for anything, and numbers
may differ by a few units of their last digit.
"""

import argparse
import ast
import contextlib
import functools
import glob
import io
import re
import runpy
import shlex
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from mvfer.cli.main import main as mvfer
from mvfer.training.parse_config import parse_config

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
UNITS = 5  # of the last printed digit


@dataclass
class Snippet:
    """A fenced block, and the `text` block that follows it at once."""

    language: str
    code: str
    output: str = ""


@dataclass
class Parsed(Exception):
    """A command line was understood: what was set, and what the parser leaves to another one."""

    flags: argparse.Namespace
    rest: list[str]


def snippets(page: str) -> list[Snippet]:
    """The blocks of a page, in order."""
    found, end = [], 0
    for block in FENCE.finditer(page):
        follows = found and not page[end : block.start()].strip()
        if block[1] == "text" and follows and found[-1].language in ("bash", "python"):
            found[-1].output = block[2]
        else:
            found.append(Snippet(block[1], block[2]))
        end = block.end()
    return found


def commands(code: str) -> list[list[str]]:
    """The commands of a shell block as words: lines joined, comments and variables taken off, `a && b` apart."""
    found = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            command, words = words[:end], words[end + 1 :]
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                command = command[1:]
            found.append(command)
    return [command for command in found if command]


def run_command(words: list[str]) -> tuple[int, str]:
    """Run `mvfer ...`, `python -m ...` or `python file`; the exit status and what went to stdout, if not into a file."""
    words, into = (words[:-2], words[-1]) if ">" in words else (words, None)
    words = [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = _status_of(words)
    if into:
        Path(into).write_text(printed.getvalue(), encoding="utf-8")
    return status, "" if into else printed.getvalue()


def parse_command(words: list[str]) -> None:
    """Let the command's own parser read the line, and go no further; a flag that is unknown raises SystemExit."""
    if "train.py" in words:
        parse_config(words[words.index("train.py") + 1 :])
        return
    reads = argparse.ArgumentParser.parse_known_args

    def parse_known(parser, args=None, namespace=None):
        raise Parsed(*reads(parser, args, namespace))

    def parse(parser, args=None, namespace=None):
        flags, rest = reads(parser, args, namespace)
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        raise Parsed(flags, [])

    with mock.patch.multiple(argparse.ArgumentParser, parse_args=parse, parse_known_args=parse_known):
        try:
            status = _status_of(words)
        except Parsed as parsed:
            rest = parsed.rest
        else:
            raise AssertionError(f"{shlex.join(words)}: ended with {status} and read no flags")
    if rest:  # benchmarks pass these on to train.py
        parse_config(["--dataset", "data", *rest])


def _status_of(words: list[str]) -> int:
    if words[0] == "mvfer":
        return mvfer(words[1:])
    if words[0] == "mkdir":
        return Path(words[-1]).mkdir(parents=True, exist_ok=True) or 0
    if words[0] != "python":
        raise AssertionError(f"{shlex.join(words)}: a command that the test does not know")
    module = words[1] == "-m"
    call = functools.partial(runpy.run_module, words[2], alter_sys=True) if module else None
    call = call or functools.partial(runpy.run_path, words[1])
    with mock.patch.object(sys, "argv", words[1 + module :]), mock.patch.object(sys, "path", ["", *sys.path]):
        try:
            call(run_name="__main__")
        except SystemExit as stopped:
            if not isinstance(stopped.code, int | None):
                raise AssertionError(f"{shlex.join(words)}: {stopped.code}") from stopped
            return stopped.code or 0
    return 0


def run_python(code: str, names: dict) -> None:
    """Run a block in the page's names; what a statement prints, or its value, must be what the comments after it say."""
    lines, comments = code.splitlines(), _comments(code)
    for node in ast.parse(code).body:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if isinstance(node, ast.Expr):
                value = eval(compile(ast.Expression(node.value), "page", "eval"), names)
                print("" if value is None else repr(value))
            else:
                exec(compile(ast.Module([node], []), "page", "exec"), names)
        said, number = [comments.get(node.end_lineno, "")], node.end_lineno + 1
        while number <= len(lines) and lines[number - 1].startswith("#"):
            said.append(comments[number])
            number += 1
        if printed.getvalue().strip() and any(said):
            compare(" ".join(said), printed.getvalue(), where=ast.unparse(node))


def _comments(code: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def compare(said: str, printed: str, *, where: str) -> None:
    """Refuse a page that says something else than what was printed; blanks do not count."""
    said, printed = " ".join(said.split()), " ".join(printed.split())
    parts = [".*?".join(map(re.escape, part.split("..."))) for part in NUMBER.split(said)]
    found = re.fullmatch(f"({NUMBER.pattern})".join(parts), printed, re.DOTALL)
    assert found, f"{where}\nthe page says: {said}\nit prints:     {printed}"
    for ours, theirs in zip(NUMBER.findall(said), found.groups(), strict=True):
        decimals = len(ours.partition(".")[2])
        within = UNITS * 10**-decimals if decimals else 0
        assert abs(float(ours) - float(theirs)) <= within + 1e-12, f"{where}\nthe page says {ours}, it prints {theirs}"

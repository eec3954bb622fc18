"""The command `mvfer app`: its flags, and what it says where gradio is not installed."""

import os
import subprocess
import sys

import pytest

from mvfer.cli.app import _is_this_machine, parser
from mvfer.cli.audit import open_log
from tests.test_startup import ROOT, clean_process


def test_without_gradio_it_names_the_extra_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "temporary").mkdir()
    program = "import sys; from mvfer.cli.main import main; sys.exit(main(['app']))"
    program = f"import tempfile; tempfile.tempdir = {str(tmp_path / 'temporary')!r}; {program}"
    done = clean_process("-c", program, missing={"gradio"}, folder=tmp_path)
    said = 'mvfer: mvfer app needs gradio; install it with: pip install "mvfer[app]"'
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (2, said)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_log_needs_the_name_of_who_asks():
    with pytest.raises(ValueError, match="--audit_user"):
        open_log(parser().parse_args(["--audit_log", "audit.jsonl"]))
    assert open_log(parser().parse_args([])) is None


def test_it_listens_on_this_machine_alone_unless_told_otherwise():
    args = parser().parse_args([])
    assert (args.host, args.port) == ("127.0.0.1", 7860) and _is_this_machine(args.host)
    assert _is_this_machine("localhost") and _is_this_machine("::1")
    assert not _is_this_machine("0.0.0.0") and not _is_this_machine("192.168.0.7")


@pytest.mark.slow
def test_a_space_starts_it_by_its_file():
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "app.py"), "--help"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "--host" in done.stdout

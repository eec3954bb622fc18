"""What must not happen while a hostile file is read: a program that starts, an address that is asked, a file of the system's.

In: nothing. Out: `watched`, a list of what happened meanwhile in this process; a fake Ghostscript that writes down that it was
started, and a web server on this computer that counts who asks.
"""

import contextlib
import http.server
import io
import os
import sys
import threading
from pathlib import Path

from PIL import Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(a stranger) print quit\n%%EOF\n"
STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "os.spawn",
    "pty.spawn",
)
ASKS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request")
SYSTEM = ("/etc/hostname", "/etc/passwd", "/dev/zero", "/dev/stdin")
_seen: list[str] = []
_state = {"hooked": False, "on": False}


def _hook(event: str, arguments: tuple) -> None:
    if not _state["on"]:
        return
    if event in STARTS or event in ASKS or event == "pickle.find_class":
        _seen.append(f"{event} {str(arguments)[:100]}")
    elif event == "open" and str(arguments[0]) in SYSTEM:
        _seen.append(f"open {arguments[0]}")


@contextlib.contextmanager
def watched():
    """A list that fills with the programs started, addresses asked, classes unpickled and files of the system opened."""
    if not _state["hooked"]:  # an audit hook stays for good
        sys.addaudithook(_hook)
        _state["hooked"] = True
    _seen.clear()
    _state["on"] = True
    try:
        yield _seen
    finally:
        _state["on"] = False


class FakeGhostscript:
    """A program `gs` that only writes down that it was started."""

    def __init__(self, folder: Path):
        self.folder, self.diary = folder, folder / "gs_was_run"
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "gs"
        program.write_text(f'#!/bin/sh\necho "gs $*" >> "{self.diary}"\ncat > /dev/null\n')
        program.chmod(0o755)

    @property
    def path(self) -> str:
        """PATH with it in front."""
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    @property
    def was_run(self) -> bool:
        return self.diary.exists()


@contextlib.contextmanager
def web_server():
    """`(address, asked)`: a server on this computer that gives a picture to everybody, and a list of what it was asked for."""
    asked: list[str] = []
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "PNG")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(buffer.getvalue())))
            self.end_headers()
            self.wfile.write(buffer.getvalue())

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()

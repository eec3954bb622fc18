"""A stand-in for the Hub on the loopback: one repository in memory, and the few calls that push and pull make."""

import base64
import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

COMMIT = "0" * 39 + "1"
LFS = (".safetensors", ".parquet")
LARGE, JSON = "application/octet-stream", "application/json"


class LoopbackHub:
    """`with LoopbackHub() as hub:` serves at `hub.url`; `files` is path -> bytes, `private` what was asked for.

    yaml_errors: what the Hub says of a card's metadata. token: any other is answered with 401. refuse: (part of a path, status)
    that is answered with that status. cut_uploads, cut_downloads: so many large files are cut off in the middle. `ranges` are
    the Range headers that came.
    """

    def __init__(self, *, token=None, refuse=None, cut_uploads: int = 0, cut_downloads: int = 0, yaml_errors=()):
        self.token, self.refuse, self.yaml_errors = token, refuse, yaml_errors
        self.validated: list[str] = []  # cards
        self.cut_uploads, self.cut_downloads = cut_uploads, cut_downloads
        self.ranges: list[str] = []
        self.files: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}  # large files by their SHA-256, before the commit names them
        self.private: bool | None = None
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        path, body = self._path(), self._body()
        if self._refuses(path):
            return
        if path == "/api/repos/create":
            request = json.loads(body)
            if not self.hub.files:  # one that is there stays as it is
                self.hub.private = request.get("private", request.get("visibility") == "private")
            name = f"{request.get('organization') or 'someone'}/{request['name']}"
            self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self.hub.validated.append(json.loads(body)["content"])
            errors = [{"message": text} for text in self.hub.yaml_errors]
            self._send(json.dumps({"errors": errors, "warnings": []}).encode(), JSON, status=400 if errors else 200)
        elif "/preupload/" in path:
            wanted = json.loads(body)["files"]
            modes = [(f["path"], "lfs" if f["path"].endswith(LFS) else "regular") for f in wanted]
            files = [{"path": p, "uploadMode": mode, "shouldIgnore": False, "oid": None} for p, mode in modes]
            self._json({"commitOid": COMMIT, "files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for item in objects:
                item["actions"] = {"upload": {"href": f"{self.hub.url}/upload/{item['oid']}"}}
            self._json({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    self.hub.files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    self.hub.files[value["path"]] = self.hub.uploads[value["oid"]]
            self._json({"commitOid": COMMIT, "commitUrl": f"{self.hub.url}/someone/model/commit/{COMMIT}"})
        else:
            self._missing()

    def do_PUT(self):
        if self.hub.cut_uploads:
            self.hub.cut_uploads -= 1
            self.rfile.read(1000)
            return self._hang_up()
        body = self._body()
        self.hub.uploads[hashlib.sha256(body).hexdigest()] = body
        self._json({})

    def do_GET(self):
        path = self._path()
        if self._refuses(path):
            return None
        if "/resolve/" in path:
            name = path.split("/resolve/")[1].partition("/")[2]
            if name not in self.hub.files:
                return self._missing()
            return self._send(self.hub.files[name], LARGE)
        if "/tree/" in path:
            entries = [{"type": "file", "path": n, "size": len(c), "oid": _sha(c)} for n, c in self.hub.files.items()]
            return self._json(entries)
        if path.startswith(("/api/models/", "/api/datasets/")):
            siblings = [{"rfilename": name} for name in self.hub.files]
            return self._json(
                {"id": "someone/model", "sha": COMMIT, "siblings": siblings, "private": self.hub.private, "tags": []}
            )
        return self._missing()

    do_HEAD = do_GET

    def _path(self) -> str:
        return unquote(urlparse(self.path).path)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, content) -> None:
        self._send(json.dumps(content).encode(), JSON)

    def _refuses(self, path: str) -> bool:
        """Whether the request is refused; then it has been answered."""
        part, status = self.hub.refuse or ("", 0)
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            part, status = "", 401
        if not status or part not in path:
            return False
        self._send(json.dumps({"error": f"refused with {status}"}).encode(), JSON, status=status)
        return True

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _missing(self) -> None:
        self._send(b"{}", JSON, status=404)

    def _send(self, content: bytes, kind: str, status: int = 200) -> None:
        whole, wanted = content, self.headers.get("Range")
        if wanted and status == 200:
            self.hub.ranges.append(wanted)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            content, status = whole[int(first) : int(last) + 1 if last else None], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{len(whole)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{_sha(whole)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command != "HEAD":
            is_cut = self.hub.cut_downloads and kind == LARGE and len(content) > 50_000
            self.wfile.write(content[: len(content) // 2] if is_cut else content)
            if is_cut:
                self.hub.cut_downloads -= 1
                self.wfile.flush()
                self._hang_up()


def _sha(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()

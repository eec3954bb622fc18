"""A stand-in for the Hub on the loopback: one repository in memory, and the few calls that push and pull make."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

COMMIT = "0" * 39 + "1"
LFS = (".safetensors",)


class LoopbackHub:
    """`with LoopbackHub() as hub:` serves at `hub.url`; `files` is path -> bytes, `private` what was asked for."""

    def __init__(self):
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
        if path == "/api/repos/create":
            request = json.loads(body)
            self.hub.private = request.get("private", request.get("visibility") == "private")
            name = f"{request.get('organization') or 'someone'}/{request['name']}"
            self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
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
        body = self._body()
        self.hub.uploads[hashlib.sha256(body).hexdigest()] = body
        self._json({})

    def do_GET(self):
        path = self._path()
        if "/resolve/" in path:
            name = path.split("/resolve/")[1].partition("/")[2]
            if name not in self.hub.files:
                return self._missing()
            return self._send(self.hub.files[name], "application/octet-stream")
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
        self._send(json.dumps(content).encode(), "application/json")

    def _missing(self) -> None:
        self._send(b"{}", "application/json", status=404)

    def _send(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{_sha(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _sha(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()

"""A hub of data sets and buckets on this machine, as its client library asks it: the tree API,
/resolve/ with ranges by way of another host's address, gated sets.
"""

import logging
import re
import threading
from collections import Counter
from hashlib import sha1, sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from flask import Flask, Response, request, send_file
from werkzeug.serving import make_server

COMMIT = "c" * 40
BUCKETS = "buckets/"
ADDRESS = re.compile(r"(?:api/)?(?:datasets/)?((?:buckets/)?[^/]+/[^/]+)(?:/([\w-]+)/?(.*))?")


class Serving:
    """An application on a port of this machine, until the end of a `with`."""

    def __init__(self, app: Flask) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.place = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Hub(Serving):
    """Data sets of files in memory; a bucket is one whose name begins with "buckets/".

    Attributes:
        files: data set -> path -> content.
        sizes: data set -> path -> size in the tree, of files that are listed only.
        gated: data sets that need a token.
        damaged: whether the other host gives other content of the same size.
        asked: "resolve" and "cdn" -> how many requests there were.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.sizes: dict[str, dict[str, int]] = {}
        self.gated: set[str] = set()
        self.damaged = False
        self.asked = Counter[str]()
        super().__init__(_app(self))
        self.endpoint = f"http://{self.place}"
        # What a program needs; without xet's own servers.
        self.environment = {"HF_ENDPOINT": self.endpoint, "HF_HUB_DISABLE_XET": "1"}
        self.environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def put(self, data_set: str, path: str, content: bytes) -> None:
        self.files.setdefault(data_set, {})[path] = content

    def put_folder(self, data_set: str, folder: Path, prefix: str = "") -> None:
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(data_set, f"{prefix}{file.relative_to(folder)}", file.read_bytes())

    def entries(self, data_set: str) -> dict[str, dict[str, Any]]:
        """Path -> what the tree API says of a file or folder."""
        content = self.files.get(data_set, {})
        sizes = {path: len(body) for path, body in content.items()} | self.sizes.get(data_set, {})
        entries: dict[str, dict[str, Any]] = {}
        for path, size in sorted(sizes.items()):
            for folder in [*Path(path).parents][:-1]:
                entries[str(folder)] = {"type": "directory", "oid": "d" * 40, "size": 0}
            digest = sha256(content.get(path, path.encode()))
            lfs = {"oid": digest.hexdigest(), "size": size, "pointerSize": 134}
            oid = sha1(digest.digest()).hexdigest()
            entries[path] = {"type": "file", "oid": oid, "size": size, "lfs": lfs}
            if data_set.startswith(BUCKETS):
                entries[path] = {"type": "file", "size": size, "xetHash": digest.hexdigest()}
        return {path: entry | {"path": path} for path, entry in entries.items()}


def _app(hub: Hub) -> Flask:
    app = Flask(__name__)

    @app.get("/cdn")
    def other_host() -> Response:
        hub.asked["cdn"] += 1
        content = hub.files[request.args["data_set"]][request.args["path"]]
        body = BytesIO(content[::-1] if hub.damaged else content)
        return send_file(body, "application/x-tar", etag=False, conditional=True)

    @app.route("/<path:address>", methods=["GET", "POST"])
    def answer(address: str) -> Any:
        match = ADDRESS.fullmatch(address)
        data_set, verb, rest = match.groups("") if match else ("", "", "")
        if not data_set.startswith(BUCKETS):  # there is a revision before the path
            rest = rest.partition("/")[2]
        entries = hub.entries(data_set)
        if not entries:
            return "", 401, {"X-Error-Code": "RepoNotFound"}
        if data_set in hub.gated and "Authorization" not in request.headers:
            return "", 403, {"X-Error-Code": "GatedRepo"}
        if verb == "paths-info":
            return [entries[path] for path in request.form.getlist("paths") if path in entries]
        if verb in ("resolve", "tree") and rest and rest not in entries:
            hub.asked[verb] += 1
            return "", 404, {"X-Error-Code": "EntryNotFound"}
        if verb == "resolve":
            hub.asked[verb] += 1
            return resolved(data_set, rest, entries[rest])
        if verb == "tree":
            is_deep = request.args.get("recursive") == "true"
            return [
                entry
                for name, entry in entries.items()
                if str(Path(name).parent).removeprefix(".") == rest
                or (is_deep and name.startswith(rest))
            ]
        if data_set.startswith(BUCKETS):
            name, created = data_set.removeprefix(BUCKETS), "2026-01-01T00:00:00.000Z"
            about = {"id": name, "private": False, "createdAt": created}
            return about | {"size": 0, "totalFiles": 0}
        card = {"license": "cc-by-4.0"}
        return {"id": data_set, "sha": COMMIT, "cardData": card, "siblings": []}

    def resolved(data_set: str, path: str, entry: dict[str, Any]) -> Any:
        tag = entry.get("xetHash") or entry["lfs"]["oid"]
        about = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(entry["size"])}
        about |= {"X-Linked-ETag": f'"{tag}"', "ETag": f'"{tag}"'}
        there = urlencode({"data_set": data_set, "path": path})
        return "", 302, {"Location": f"{hub.endpoint}/cdn?{there}", **about}

    return app

"""A hub of data sets and buckets on this machine, as its client library asks it: the tree API in
pages, /resolve/ with ranges by way of another host's address, a limit of requests, gated sets.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 1000  # entries of a tree
COMMIT = "c" * 40
BUCKETS = "buckets/"
ADDRESS = re.compile(r"(?:/api)?/(?:datasets/)?((?:buckets/)?[^/]+/[^/]+)(?:/([\w-]+)/?(.*))?")


class Hub:
    """Data sets of files in memory; a bucket is one whose name begins with "buckets/".

    Attributes:
        files: data set -> path -> content.
        sizes: data set -> path -> size in the tree, of files that are listed only.
        gated: data sets that need a token.
        limit: how many further requests are answered before one 429 (None: no limit).
        damaged: whether the other host gives other content of the same size.
        asked: "resolve" and "cdn" -> how many requests there were.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.sizes: dict[str, dict[str, int]] = {}
        self.gated: set[str] = set()
        self.limit: int | None = None
        self.damaged = False
        self.asked = Counter[str]()
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        # What a program needs; without xet's own servers.
        self.environment = {"HF_ENDPOINT": self.endpoint, "HF_HUB_DISABLE_XET": "1"}
        self.environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def put(self, data_set: str, path: str, content: bytes) -> None:
        self.files.setdefault(data_set, {})[path] = content

    def put_folder(self, data_set: str, folder: Path, prefix: str = "") -> None:
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(data_set, f"{prefix}{file.relative_to(folder)}", file.read_bytes())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def entries(self, data_set: str) -> dict[str, dict[str, object]]:
        """Path -> what the tree API says of a file or folder."""
        content = self.files.get(data_set, {})
        sizes = {path: len(body) for path, body in content.items()} | self.sizes.get(data_set, {})
        entries: dict[str, dict[str, object]] = {}
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


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self.body: dict[str, list[str]] = {}
            self.reply()

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self.body = parse_qs(self.rfile.read(length).decode())
            self.reply()

        def reply(self) -> None:
            with suppress(ConnectionError):
                url = urlsplit(self.path)
                path = unquote(url.path)
                query = parse_qs(url.query)
                if path.startswith("/cdn/"):
                    hub.asked["cdn"] += 1
                    data_set, name = path.removeprefix("/cdn/").split("//")
                    content = hub.files[data_set][name]
                    self.content(content[::-1] if hub.damaged else content)
                    return
                with hub.lock:
                    if hub.limit is not None:
                        hub.limit -= 1
                        if hub.limit < 0:
                            hub.limit = None
                            self.send(429, b"", {"Retry-After": "1"})
                            return
                match = ADDRESS.fullmatch(path)
                data_set, verb, rest = match.groups() if match else ("", "", "")
                if not data_set.startswith(BUCKETS):  # there is a revision before the path
                    rest = (rest or "").partition("/")[2]
                if data_set not in {*hub.files, *hub.sizes}:
                    self.send(401, b"", {"X-Error-Code": "RepoNotFound"})
                elif data_set in hub.gated and not self.headers["Authorization"]:
                    self.send(403, b"", {"X-Error-Code": "GatedRepo"})
                elif verb == "resolve":
                    self.resolve(data_set, rest)
                elif verb == "paths-info":
                    entries = hub.entries(data_set)
                    self.json([entries[path] for path in self.body["paths"] if path in entries])
                elif verb == "tree":
                    self.tree(data_set, rest, query, url.path)
                elif data_set.startswith(BUCKETS):
                    name, created = data_set.removeprefix(BUCKETS), "2026-01-01T00:00:00.000Z"
                    about = {"id": name, "private": False, "createdAt": created}
                    self.json(about | {"size": 0, "totalFiles": 0})
                else:
                    card = {"license": "cc-by-4.0"}
                    self.json({"id": data_set, "sha": COMMIT, "cardData": card, "siblings": []})

        def tree(self, data_set: str, folder: str, query: dict[str, list[str]], path: str) -> None:
            entries = hub.entries(data_set)
            if folder and folder not in entries:
                self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            here = [
                entry
                for name, entry in entries.items()
                if str(Path(name).parent).removeprefix(".") == folder
                or ("true" in query.get("recursive", []) and name.startswith(folder))
            ]
            first = int(query.get("cursor", ["0"])[0])
            more = {}
            if len(here) > first + PAGE:
                more["Link"] = f'<{hub.endpoint}{path}?cursor={first + PAGE}>; rel="next"'
            self.json(here[first : first + PAGE], more)

        def resolve(self, data_set: str, name: str) -> None:
            hub.asked["resolve"] += 1
            if name not in hub.files.get(data_set, {}):
                self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            entry = hub.entries(data_set)[name]
            about = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(entry["size"])}
            oid = entry["xetHash"] if data_set.startswith(BUCKETS) else entry["lfs"]["oid"]
            about["X-Linked-ETag"] = about["ETag"] = f'"{oid}"'
            self.send(302, b"", {"Location": f"{hub.endpoint}/cdn/{data_set}//{name}", **about})

        def content(self, body: bytes) -> None:
            if asked := self.headers["Range"]:
                first, last = asked.removeprefix("bytes=").split("-")
                end = min(int(last or len(body)), len(body) - 1)
                about = {"Content-Range": f"bytes {first}-{end}/{len(body)}"}
                self.send(206, body[int(first) : end + 1], about)
            else:
                self.send(200, body)

        def json(self, value: object, headers: dict[str, str] | None = None) -> None:
            about = {"Content-Type": "application/json", **(headers or {})}
            self.send(200, json.dumps(value).encode(), about)

        def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler

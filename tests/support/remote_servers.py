"""An S3 server and an HTTP server on this machine, both of which can fail."""

import gzip
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

SECRET_KEY = "abcdefghijklmnopqrstuvwxyz-key"
BUCKET = "shards"


class S3Server:
    """moto's server; what it stores outlives a stop. `environment` is what a program needs."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()
        url = f"http://127.0.0.1:{self.port}"
        keys = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": SECRET_KEY}
        region = "us-east-1"
        self.environment = {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": region}
        self.environment |= {name.upper(): key for name, key in keys.items()}
        self.client = boto3.client("s3", endpoint_url=url, region_name=region, **keys)
        self.client.create_bucket(Bucket=BUCKET)

    def put(self, key: str, content: bytes) -> str:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def put_folder(self, folder: Path, prefix: str) -> None:
        for path in folder.iterdir():
            self.put(f"{prefix}/{path.name}", path.read_bytes())

    def damage(self, key: str) -> bytes:
        """Change what is stored, but not its ETag; the new content."""
        stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys[key]
        tag = stored.etag
        stored.value = stored.value[::-1]
        stored._etag = tag.strip('"')
        return stored.value

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = S3Server()
    S3FileSystem.clear_instance_cache()  # it would go on asking an earlier server
    try:
        yield server
    finally:
        server.stop()
        S3FileSystem.clear_instance_cache()


class FaultyServer:
    """An HTTP server of files in memory, with ranges and ETags.

    Attributes:
        files: path, as /0.tar, -> content.
        faults: what becomes of the next GETs, one each: "cut", "stall", "whole" (of a
            server that knows no ranges), "range" (another than was asked for), "total" (of another
            size), "part" (of what was asked for), "gzip", "endless"; or a status, with the seconds
            of its Retry-After, as "429 1"; after that nothing happens.
        gets, heads: path -> how many GETs and HEADs there were.
        authorizations, queries: what all requests had.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: list[str] = []
        self.gets, self.heads = Counter[str](), Counter[str]()
        self.authorizations: set[str | None] = set()
        self.queries: set[str] = set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    def put(self, path: str, content: bytes) -> str:
        self.files[path] = content
        return f"http://{self.place}{path}"

    def put_folder(self, folder: Path, prefix: str) -> None:
        for path in folder.iterdir():
            self.put(f"/{prefix}/{path.name}", path.read_bytes())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                server.heads[self.path] += 1
                self.answer("")

            def do_GET(self) -> None:
                server.gets[self.path.partition("?")[0]] += 1
                with server._lock:
                    fault = server.faults.pop(0) if server.faults else ""
                with suppress(ConnectionError):  # of a client that has had enough
                    self.answer(fault)

            def answer(self, fault: str) -> None:
                path, _, query = self.path.partition("?")
                server.queries.add(query)
                server.authorizations.add(self.headers["Authorization"])
                content = server.files.get(path)
                if content is None or fault[:3].isdigit():
                    status, _, seconds = fault.partition(" ")
                    self.send_response(int(status or 404))
                    if seconds:
                        self.send_header("Retry-After", seconds)
                    self.end_headers()
                    return
                tag, asked = md5(content).hexdigest(), self.headers["Range"]
                if asked and fault != "whole":
                    first, last = map(int, asked.removeprefix("bytes=").split("-"))
                    last = min(last, len(content) - 1)
                    if fault == "range":
                        first, last = 0, last - first
                    if fault == "part":
                        last = (first + last) // 2
                    total = len(content) + (fault == "total")
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
                    content = content[first : last + 1]
                else:
                    self.send_response(200)
                if fault == "gzip":
                    content = gzip.compress(content)
                    self.send_header("Content-Encoding", "gzip")
                if fault != "endless":
                    self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{tag}"')
                self.end_headers()
                if self.command != "HEAD":
                    self.send(content, fault)
                while fault == "endless":
                    self.wfile.write(bytes(2**20))

            def send(self, content: bytes, fault: str) -> None:
                half = len(content) // 2
                self.wfile.write(content[:half])
                if fault == "cut":
                    self.close_connection = True
                    return
                if fault == "stall":
                    self.wfile.flush()
                    time.sleep(5)
                self.wfile.write(content[half:])

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    server = FaultyServer()
    try:
        yield server
    finally:
        server.close()


def secrets_in(folder: Path, secrets: tuple[str, ...]) -> list[str]:
    """Files in a folder whose path or content has one of the secrets."""
    found = []
    for path in filter(Path.is_file, folder.rglob("*")):
        content = str(path).encode() + b"\n" + path.read_bytes()
        found += [f"{path}: {secret}" for secret in secrets if secret.encode() in content]
    return found

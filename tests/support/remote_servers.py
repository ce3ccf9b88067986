"""An S3 server and an HTTP server on this machine, both of which can fail."""

import gzip
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path

import boto3
from flask import Flask, Response, request
from hub import Serving
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


class FaultyServer(Serving):
    """An HTTP server of files in memory, with ranges and ETags.

    Attributes:
        files: path, as /0.tar, -> content.
        faults: what becomes of the next GETs, one each: "cut", "stall", "whole" (of a
            server that knows no ranges), "range" (another than was asked for), "total" (of another
            size), "gzip", "endless"; or a status, with the seconds
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
        app = Flask(__name__)
        app.get("/<path:_>")(self._answer)
        super().__init__(app)

    def put(self, path: str, content: bytes) -> str:
        self.files[path] = content
        return f"http://{self.place}{path}"

    def put_folder(self, folder: Path, prefix: str) -> None:
        for path in folder.iterdir():
            self.put(f"/{prefix}/{path.name}", path.read_bytes())

    def _answer(self, _: str) -> Response:
        path, _, query = request.environ["RAW_URI"].partition("?")  # as it was sent
        with self._lock:
            is_get = request.method == "GET"
            (self.gets if is_get else self.heads)[path] += 1
            fault = self.faults.pop(0) if is_get and self.faults else ""
        self.queries.add(query)
        self.authorizations.add(request.headers.get("Authorization"))
        content = self.files.get(path)
        if content is None or fault[:3].isdigit():
            status, _, seconds = fault.partition(" ")
            wait = {"Retry-After": seconds} if seconds else {}
            return Response(status=int(status or 404), headers=wait)
        status, headers = 200, {"ETag": f'"{md5(content).hexdigest()}"'}
        if (asked := request.headers.get("Range")) and fault != "whole":
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
            if fault == "range":
                first, last = 0, last - first
            total = len(content) + (fault == "total")
            status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{total}"
            content = content[first : last + 1]
        if fault == "gzip":
            content, headers["Content-Encoding"] = gzip.compress(content), "gzip"
        if fault != "endless":
            headers["Content-Length"] = str(len(content))
        return Response(self._pieces(content, fault), status, headers)

    def _pieces(self, content: bytes, fault: str) -> Iterator[bytes]:
        half = len(content) // 2
        yield content[:half]
        if fault == "stall":
            time.sleep(5)
        if fault != "cut":
            yield content[half:]
        while fault == "endless":
            yield bytes(2**20)


def secrets_in(folder: Path, secrets: tuple[str, ...]) -> list[str]:
    """Files in a folder whose path or content has one of the secrets."""
    found = []
    for path in filter(Path.is_file, folder.rglob("*")):
        content = str(path).encode() + b"\n" + path.read_bytes()
        found += [f"{path}: {secret}" for secret in secrets if secret.encode() in content]
    return found

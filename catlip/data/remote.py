"""Files behind a URL (s3, gs, hf, https and all that fsspec knows), read through a local cache, and
written whole. The functions for small files take local paths as well.

A remote file is fetched whole, in byte ranges, so that a broken connection costs only one range. A
file has changed when its *identity* has: the size in bytes, a space, and the ETag or what the
storage has in its place. Where that is the hub's SHA-256, the content is checked by it. Drivers
find credentials in their usual places; `catlip.system.urls` handles those in a URL. Every error of
a driver becomes an InputError.
"""

import collections
import functools
import io
import math
import os
import random
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from catlip.cli import InputError
from catlip.data.shard_cache import CACHE_SIZE, FileCache
from catlip.system.cache import cache_dir
from catlip.system.engines import work_ahead
from catlip.system.files import write_atomically
from catlip.system.lock import open_no_link
from catlip.system.urls import add_credentials, is_remote, strip_credentials, url_of

DEFAULT_CACHE_GB = 50
BLOCK_BYTES = 64 * 2**20  # fetched at a time: the hub limits requests, not bytes
# Seconds before each further attempt: a storage may be away for a minute.
DELAYS_S = (0.5, 1, 2, 4, 8, 16, 30)
WARN_S = 4  # the user is told of waits from this length on, and no sooner again
GIVE_UP_S = 180  # no further attempt after this time
MAX_WAIT_S = 900  # for a server that asks for it, in all
THREADS_AHEAD = 2  # of each process that reads
STALLED_S = 60  # without a byte of an http(s) server
LONGEST_S = 1800  # of a request to it, which may be answered with a whole shard, slowly
# Where a driver's description of a file may tell its version; the first one present is used.
TAGS = ["ETag", "etag", "lfs", "xet_hash", "blob_id", "md5Hash", "generation", "Content-MD5"]
TAGS += ["content_md5", "Last-Modified", "LastModified", "last_modified", "updated", "mtime"]
HF, DISK, WEB = "hf", "file", ("http", "https")
PIECE_BYTES = 2**20  # of an http(s) server's answer in memory
WAIT_STATUSES = (429, 503)  # of a server that may say how long to wait
RETRY_STATUSES = (408, 425, 429)  # HTTP statuses below 500 after which a request is made again
T = TypeVar("T")
_last_warning = -math.inf  # on the monotonic clock


def identity_of(path: Path) -> str:
    """Size and tag of the remote file as it is now."""

    def ask() -> str:
        # hf gives the hash of a file only together with everything else that it knows, and for a
        # file in a bucket it would give what it knew before.
        options = {"expand_info": True, "refresh": True} if _scheme(path) == HF else {}
        info = _driver(path).info(add_credentials(path), **options)
        if info.get("type") == "directory":
            raise FileNotFoundError(str(path))
        if info.get("size") is None:
            raise ValueError("its server does not tell its size")
        return _identity(info)

    return _with_retries(path, ask)


def _identity(info: dict[str, Any]) -> str:
    tag = next((info[name] for name in TAGS if info.get(name)), "")
    return f"{int(info['size'] or 0)} {getattr(tag, 'sha256', tag)}"


def identities_of(paths: Sequence[Path]) -> dict[Path, str]:
    """The identity of each file, for a local one its size and time. Remote ones are asked for in
    threads; the hub, which limits requests, by folder.
    """
    local = [(path, path.stat()) for path in paths if not is_remote(path)]
    identities = {path: f"{status.st_size} {status.st_mtime_ns}" for path, status in local}
    for folder in dict.fromkeys(path.parent for path in paths if _scheme(path) == HF):
        list_folder = functools.partial(_driver(folder).ls, url_of(folder))
        for info in _with_retries(folder, list_folder):
            path = Path(url_of(_driver(folder).unstrip_protocol(info["name"])))
            identities[path] = _identity(info)
    identities |= dict(work_ahead(identity_of, [path for path in paths if path not in identities]))
    return {path: identities[path] for path in paths}


def size_in(identity: str) -> int:
    return int(identity.partition(" ")[0])


def open_remote(path: Path, identity: str) -> io.FileIO:
    """The remote file of this identity, from the cache or fetched into it, open for reading."""
    fill = functools.partial(_fetch_into, path, identity)
    return _cache().open(_cache_name(path, identity), size_in(identity), fill)


def open_file(path: Path) -> BinaryIO:
    """A local or remote file, open for reading. Raises: OSError if local, InputError if remote."""
    if is_remote(path):
        return io.BufferedReader(open_remote(path, identity_of(path)))
    return open(path, "rb")


def read_file(path: Path) -> bytes:
    """The content of a small file; a remote one takes one request and is not cached."""
    if not is_remote(path):
        return path.read_bytes()
    files = _driver(path)
    content: bytes = _with_retries(path, lambda: files.cat_file(add_credentials(path)))
    return content


def get_file(path: Path, target: Path, identity: str) -> None:
    with io.FileIO(open_no_link(target), "r+") as file:
        file.truncate(0)
        _fetch_into(path, identity, file)


def write_file(path: Path, content: bytes) -> None:
    """Write a file; whole or not at all on a disk and in object stores."""
    if not is_remote(path):
        write_atomically(path, content)
        return
    files, url = _driver(path), add_credentials(path)
    _with_retries(path, lambda: files.pipe_file(url, content), verb="written")


def remove_file(path: Path) -> None:
    def remove() -> None:
        with suppress(FileNotFoundError):
            _driver(path).rm_file(add_credentials(path))

    if is_remote(path):
        _with_retries(path, remove, verb="deleted")
    else:
        path.unlink(missing_ok=True)


def find_remote(pattern: str) -> list[Path]:
    """The remote files that match a pattern with wildcards, sorted; their folder is listed."""
    files = _driver(pattern)
    names = _with_retries(pattern, lambda: files.glob(add_credentials(pattern)))
    # The driver may put the credentials back into a name.
    urls = sorted(strip_credentials(files.unstrip_protocol(name)) for name in names)
    return [Path(url_of(url)) for url in urls]


def names_in(folder: Path) -> set[str]:
    """The names of the files in a folder; none if the folder does not exist."""
    if not is_remote(folder):
        return {path.name for path in folder.glob("*")}

    def ask() -> list[str]:
        try:
            names: list[str] = _driver(folder).ls(add_credentials(folder), detail=False)
        except FileNotFoundError as error:
            if error.__cause__:  # the answer of a server
                raise
            return []
        return names

    return {Path(name).name for name in _with_retries(folder, ask, verb="listed")}


def licence_of(folder: Path) -> str:
    """What the hub says of a data set's licence, as the end of a line; "" for other storages."""
    if _scheme(folder) != HF or "/datasets/" not in (page := _page_of(folder)):
        return ""
    from huggingface_hub import HfApi

    repository = page.partition("/datasets/")[2]
    card = _with_retries(folder, lambda: HfApi().dataset_info(repository)).card_data
    return f", licence: {getattr(card, 'license', None) or 'not stated'} ({page})"


def _page_of(path: str | Path) -> str:
    """The page of the data set or bucket that a hub's file belongs to; "" if there is none."""
    from huggingface_hub import constants

    kind, _, rest = url_of(path).removeprefix(f"{HF}://").partition("/")
    repository = "/".join(rest.split("/")[:2]).partition("@")[0]
    return f"{constants.ENDPOINT}/{kind}/{repository}" if kind in ("datasets", "buckets") else ""


class Prefetcher:
    """Fetches files that will be read soon, in threads; their errors are left to who reads."""

    def __init__(self) -> None:
        self.process = os.getpid()  # a forked process does not have these threads
        self._wanted: collections.deque[Path] = collections.deque()
        self._changed = threading.Condition()
        self.identities: dict[Path, str] = {}  # of the files fetched so far
        self._since = 0.0
        for _ in range(THREADS_AHEAD):
            threading.Thread(target=self._fetch, daemon=True).start()

    def prefetch(self, now: Sequence[Path], next_: Sequence[Path]) -> None:
        """Fetch the files that are read now, and then those that are read next; to make room, only
        files last used before this call are deleted.
        """
        self._since = time.time()
        cache = _cache()
        with self._changed:
            known = {p: self.identities[p] for p in (*now, *next_) if p in self.identities}
            self.identities = known
            held = {p for p, identity in known.items() if cache.touch(_cache_name(p, identity))}
            wanted = dict.fromkeys(path for path in (*now, *next_) if path not in held)
            self._wanted = collections.deque(wanted)
            self._changed.notify_all()

    def _fetch(self) -> None:
        while True:
            with self._changed:
                while not self._wanted:
                    self._changed.wait()
                path, since = self._wanted.popleft(), self._since
            with suppress(InputError, OSError):
                identity = identity_of(path)
                room = _cache().add(
                    _cache_name(path, identity),
                    size_in(identity),
                    functools.partial(_fetch_into, path, identity),
                    unused_since=since,
                )
                with self._changed:
                    self.identities[path] = identity
                    if not room:
                        self._wanted.clear()


def _cache_name(path: Path, identity: str) -> str:
    return sha256(f"{path}\n{identity}".encode()).hexdigest()[:32]


def _cache() -> FileCache:
    gigabytes = os.environ.get(CACHE_SIZE) or DEFAULT_CACHE_GB
    with suppress(ValueError, OverflowError):
        if (limit := int(float(gigabytes) * 1e9)) > 0:
            return FileCache(cache_dir("shards"), limit)
    raise InputError(f"{CACHE_SIZE}={gigabytes} is not a number of gigabytes above 0")


def warn_if_above_cache(patterns: Sequence[str], size: int) -> None:
    """Warn that files of this size in bytes will be fetched again and again."""
    if patterns and size and size > (limit := _cache().limit):
        sources = " ".join(map(shlex.quote, filter(is_remote, patterns)))
        print(
            f"warning: these remote shards have {size / 1e9:.3g} GB, the cache {limit / 1e9:.3g} "
            f"({CACHE_SIZE}), so each epoch fetches them again; instead, fetch them once, with "
            f"large images made small: python -m catlip.data.fetch {sources} --out DIR",
            file=sys.stderr,
        )


def _fetch_into(path: Path, identity: str, file: io.FileIO) -> None:
    """Copy the remote file of this identity into `file`, a block at a time."""
    size, done, content_hash = size_in(identity), 0, sha256()

    def block() -> None:
        nonlocal done
        end = min(done + BLOCK_BYTES, size)
        for piece in _read_range(path, done, end, size):
            rest = memoryview(piece)
            content_hash.update(rest)
            while rest:
                count = os.pwrite(file.fileno(), rest, done)
                rest, done = rest[count:], done + count

    while done < size:
        _with_retries(path, block)
    if identity_of(path) != identity:
        raise InputError(f"{url_of(path)} has changed meanwhile; run the command again")
    tag = identity.partition(" ")[2].strip('"')
    # In the hub's buckets the tag is a hash of the parts.
    is_sha256 = _scheme(path) == HF and "://buckets/" not in url_of(path) and len(tag) == 64
    if is_sha256 and tag != content_hash.hexdigest():
        raise InputError(
            f"{url_of(path)} was received with another sha256 than its storage states, {tag}; run "
            "the command again, or put it there anew"
        )


def _read_range(path: Path, start: int, end: int, size: int) -> Iterator[bytes]:
    """These bytes of a file, or those up to its end from a server that knows no ranges."""
    if _scheme(path) in WEB:
        yield from _stream(path, start, end, size)
        return
    # Otherwise hf would list the folder to know the size, and read more than was asked for.
    hf = {"size": size, "cache_type": "none"} if _scheme(path) == HF else {}
    content: bytes = _driver(path).cat_file(add_credentials(path), start=start, end=end, **hf)
    if len(content) not in (size, end - start):
        raise EOFError(f"received {len(content):,} of {end - start:,} bytes")
    yield content[start:] if len(content) == size else content


def _stream(path: Path, start: int, end: int, size: int) -> Iterator[bytes]:
    """As `_read_range`, from an http(s) server, which may send anything."""
    url, at, headers = add_credentials(path), start, {"Range": f"bytes={start}-{end - 1}"}
    with _driver(path).open(url, block_size=0, size=size, headers=headers) as answer:
        span, _, total = answer.r.headers.get("Content-Range", "").partition("/")
        if answer.r.status != 206:
            at, end = 0, size
        elif not (span.startswith(f"bytes {start}-") and total in ("*", str(size))):
            raise ValueError(f"its server sent {span}/{total} in place of {headers['Range']}")
        if answer.r.headers.get("Content-Encoding", "identity") != "identity":
            raise ValueError("its server sent it compressed, which was not asked for")
        while piece := answer.read(PIECE_BYTES):
            at += len(piece)
            if at > end:
                raise ValueError(f"its server sent more than {end:,} bytes")
            yield piece[max(0, len(piece) - (at - start)) :]
        if at < end:
            raise EOFError(f"received only {at:,} of {end:,} bytes")


def _with_retries(path: str | Path, ask: Callable[[], T], verb: str = "read") -> T:
    """The result of a request, which is repeated after errors that may pass."""
    global _last_warning
    begun = time.monotonic()
    end, waited = begun + GIVE_UP_S, 0.0
    delays = iter((*DELAYS_S, None))
    while True:
        try:
            return ask()
        except InputError:
            raise
        except Exception as error:  # each driver and each of its libraries raises its own
            failure, is_temporary = _describe_failure(path, error, verb)
            _, wait = _answer(error)
            if wait and waited < MAX_WAIT_S:
                print(f"{failure}; it is asked again in {wait:.0f} s, as it says", file=sys.stderr)
                time.sleep(wait)
                end, waited = end + wait, waited + wait
                continue
            delay = next(delays)
            if delay is None or time.monotonic() > end or not is_temporary:
                raise InputError(failure) from None
            now = time.monotonic()
            # If several threads fail together, only one of them says so.
            if now + delay - begun >= WARN_S <= now - _last_warning:
                _last_warning = now
                print(f"warning: {failure}; trying again in {delay} s", file=sys.stderr)
        # At random, so that processes that a storage has turned away do not all return at once.
        time.sleep(delay * random.SystemRandom().uniform(0.5, 1))


def _describe_failure(path: str | Path, error: Exception, verb: str) -> tuple[str, bool]:
    """A failed request in one line, and whether the same request may succeed later."""
    url, (status, _) = url_of(path), _answer(error)
    # fsspec raises it for a failed connection as well, with the cause.
    is_absent = isinstance(error, FileNotFoundError) and not error.__cause__
    if status == 404 or is_absent:
        return f"{url} is not there", False
    if status in (401, 403) or isinstance(error, PermissionError):
        access = "access denied; give its credentials as its driver expects"
        if _scheme(path) == HF and (page := _page_of(path)):
            access = (
                f"it does not exist, or needs access; ask for it at {page}, and set HF_TOKEN to a "
                "token of your account"
            )
        return f"{url} cannot be {verb}: {access}", False
    refused = isinstance(error, (ValueError, TypeError, NotImplementedError))
    is_temporary = not refused and "Credentials" not in type(error).__name__
    if status:
        is_temporary = status >= 500 or status in RETRY_STATUSES
    reason = error.__cause__ or error
    message = f"{type(reason).__name__}: {strip_credentials(str(reason))}"
    return f"{url} cannot be {verb}: {message}", is_temporary


def _answer(error: BaseException | None) -> tuple[int | None, float]:
    """The HTTP status of a failed request, and the seconds that a server which limits requests asks
    to wait; None and 0 if it does not say. A library's error may have another library's as cause.
    """
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):  # botocore's
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(error, "status", None) or getattr(response, "status_code", None)
        if isinstance(status, int):
            headers = getattr(error if response is None else response, "headers", None) or {}
            seconds = headers.get("Retry-After", "") if status in WAIT_STATUSES else ""
            return status, min(float(seconds), MAX_WAIT_S) if seconds.isdigit() else 0
        error = error.__cause__
    return None, 0


def _scheme(path: str | Path) -> str:
    return url_of(path).partition(":")[0]


def _driver(path: str | Path) -> Any:
    """The fsspec file system of a URL."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "1")  # `_with_retries` makes more, and says so
    scheme = _scheme(path)
    options: dict[str, Any] = {}
    try:
        import fsspec

        if scheme in WEB:
            from aiohttp import ClientTimeout

            options["client_kwargs"] = {
                "headers": {"Accept-Encoding": "identity"},
                "timeout": ClientTimeout(total=LONGEST_S, sock_read=STALLED_S),
            }
            # A URL that is encoded already must not be encoded again: its signature would be wrong.
            query = add_credentials(path).partition("?")[2]
            options["encoded"] = "%" in url_of(path) + query
        if scheme == DISK:
            options["auto_mkdir"] = True
        if scheme != HF:  # hf asks for each file in any case
            options["use_listings_cache"] = False  # it would hide changes
        return fsspec.filesystem(scheme, **options)  # one for each process
    except ImportError:
        raise InputError(
            f"{url_of(path)} needs another package: .venv/bin/pip install -e '.[remote]'"
        ) from None
    except ValueError as error:
        raise InputError(f"{url_of(path)} cannot be read: {error}") from None

"""URLs of data that is not on this machine, as paths; their credentials are kept apart.

A URL is a `Path` like any other, which pathlib writes with one slash: `s3:/bucket/00000.tar`.

The credentials of a URL are its user and password, and the query of an http(s) URL, which may be a
signature. They leave the command line before anything reads it, and are held in environment
variables of this process, which its workers inherit. So no path, record, log or message has them.
"""

import json
import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from catlip.program.errors import InputError

# Two letters at least: a single one may be a drive.
SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
PATH_OF_URL = re.compile(rf"\b{SCHEME.pattern}(?!/)[^\s,;]*", re.IGNORECASE)
HOST = re.compile(r"(\[.*\]|[^:{}*]*)(:\d*)?")
WITH_USER = re.compile(r"[^\s/@:]+:[^\s@]*@")  # also after a single slash
WITH_QUERY = ("http", "https")  # elsewhere ? is a wildcard
IN_USER = "%:!$&()*+,;=-._~"  # characters that stay as they are in user and password
VARIABLE = "CATLIP_URL_"  # prefix of the environment variables
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|API_KEY|CREDENTIAL")
MIN_SECRET = 6  # characters; a shorter value would be found in innocent words


def is_remote(path: str | Path) -> bool:
    return SCHEME.match(str(path)) is not None


def url_of(path: str | Path) -> str:
    """The URL that a remote path stands for, without credentials."""
    scheme, _, rest = str(path).partition(":")
    root = "/" if scheme.lower() == "file" else ""  # without it, relative to the working folder
    return f"{scheme.lower()}://{root}{rest.lstrip('/')}"


def show_urls(text: str) -> str:
    """The text with its remote paths as URLs: `s3://bucket/0.tar` for `s3:/bucket/0.tar`."""
    try:
        from fsspec import available_protocols
    except ImportError:  # and nothing remote can be read
        return text
    drivers = set(available_protocols())  # `imagenet:/data/x` is no URL

    def url(match: re.Match[str]) -> str:
        return url_of(match[0]) if match[0].partition(":")[0].lower() in drivers else match[0]

    return PATH_OF_URL.sub(url, text)


def take_credentials(argument: str) -> str:
    """The argument without the credentials of its URL. This process keeps them for the URL and all
    that lies below it, or below the folder of a pattern.
    """
    begin = SCHEME.search(argument)
    if not begin:
        return argument
    scheme, rest, query = begin[0][:-2].lower(), argument[begin.end() :], ""
    if not (rest.startswith("/") or scheme in WITH_QUERY or WITH_USER.match(rest)):
        return argument
    rest = rest.removeprefix("/")
    if scheme in WITH_QUERY:
        rest, _, query = rest.partition("?")
    place, slash, path = rest.partition("/")
    user, _, host = place.rpartition("@")
    is_odd = scheme in WITH_QUERY and not HOST.fullmatch(host)
    is_password = ":" in place and not user and "@" in (path or query)
    is_password &= add_credentials(url := f"{scheme}://{rest}") == url  # none were taken before
    if is_odd or is_password or (SCHEME.search(rest) and ("@" in path or "::" in rest)):
        raise InputError(
            "the host of a URL cannot be told from its password; write / ? # and : in a password "
            "as %2F %3F %23 and %3A, @ in a path as %40, and one URL in an argument, without ::"
        )
    if user or query:
        folder, *pattern = re.split(r"[{*\[]", path, maxsplit=1)
        if pattern:
            folder = folder.rpartition("/")[0]
        beginning = f"{scheme}://{host}/{folder}".rstrip("/")
        name = VARIABLE + sha256(beginning.encode()).hexdigest()[:16]
        os.environ[name] = json.dumps([beginning, user, query])
    return f"{argument[: begin.start()]}{scheme}://{host}{slash}{path}"


def add_credentials(path: str | Path) -> str:
    """The URL of a remote path, with the credentials that this process holds for it."""
    url = url_of(path)
    fitting = [entry for entry in _credentials() if f"{url}/".startswith(f"{entry[0]}/")]
    _, user, query = max(fitting, default=("", "", ""), key=lambda entry: len(entry[0]))
    scheme, _, rest = url.partition("://")
    if user:
        user = f"{quote(user, safe=IN_USER)}@"
    return f"{scheme}://{user}{rest}{'?' if query else ''}{query}"


def strip_credentials(text: str) -> str:
    """A message of a library, without credentials of URLs or values of secret variables."""
    secrets = [value for name, value in os.environ.items() if SECRET.search(name)]
    for _, user, query in _credentials():
        secrets += [user, user.partition(":")[2], query]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_SECRET:
            text = text.replace(secret, "***")
    text = re.sub(r"(:/+)[^\s/@]*@", r"\1", text)
    return re.sub(r"(https?://[^\s?\"']*)\?[^\s\"']*", r"\1", text)


def _credentials() -> Iterator[tuple[str, str, str]]:
    """Beginning of the URLs, user with password, and query."""
    for name, value in os.environ.items():
        if name.startswith(VARIABLE):
            beginning, user, query = json.loads(value)
            yield beginning, user, query

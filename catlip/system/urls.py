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

# Two letters at least: a single one may be a drive.
NAME = r"[a-z][a-z0-9+.-]+"
SCHEME = re.compile(rf"{NAME}:/", re.IGNORECASE)


def _urls(end: str) -> re.Pattern[str]:
    """Finds the URLs in a text; each ends before any of the characters `end`.

    A password should be percent-encoded. If it has a slash, ? or # as it is, the host begins after
    the first @ that no other @ follows before a slash.
    """
    one = rf"(?:(?!{NAME}://)[^{end}])"
    port = rf"\d*(?:[/?#{end}]|$)"
    user = rf"[^/?#{end}]*@|[^:/?#@{end}]+:(?!{port}){one}*?@(?=[^/@{end}]*(?:[/{end}]|$))"
    return re.compile(
        rf"(?P<scheme>{NAME})://(?P<user>{user})?(?P<rest>(?:(?![?#]){one})*)(?P<query>\?{one}*)?",
        re.IGNORECASE,
    )


URL = _urls(end=r"\s\"'")  # in a message
ARGUMENT_URL = _urls(end=r"\0")  # an argument may have any other character
PATH_OF_URL = re.compile(rf"\b{SCHEME.pattern}(?!/)[^\s,;]*", re.IGNORECASE)
WITH_QUERY = ("http", "https")  # elsewhere ? is a wildcard
IN_USER = "%:!$&()*+,;=-._~"  # characters that stay as they are in user and password
HELD = "CATLIP_URL_"  # prefix of the environment variables
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|API_KEY|CREDENTIAL")
MIN_SECRET = 6  # characters; a shorter value would be found in innocent words


def is_remote(path: str | Path) -> bool:
    """Whether a path or pattern is a URL."""
    return SCHEME.match(str(path)) is not None


def url_of(path: str | Path) -> str:
    """The URL that a remote path stands for, without credentials."""
    scheme, _, rest = str(path).partition(":")
    root = "/" if scheme.lower() == "file" else ""  # without it, relative to the working folder
    return f"{scheme.lower()}://{root}{rest.lstrip('/')}"


def with_urls(text: str) -> str:
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
    """The argument with its URLs stripped of their credentials, which this process then holds.

    They apply to this URL and what lies in it as a folder; those of a pattern apply to every URL
    that begins as it does up to its first wildcard or brace, which must be in the path.
    """

    def stripped(match: re.Match[str]) -> str:
        url, user, query = _split(match)
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        if (user or query) and not set("{*?") & set(host):
            literal, *pattern = re.split(r"[{*?\[]", path, maxsplit=1)
            beginning = f"{scheme.lower()}://{host}{slash}{literal}"
            name = HELD + sha256(beginning.encode()).hexdigest()[:16]
            os.environ[name] = json.dumps([beginning, bool(pattern), user, query])
        return url

    return ARGUMENT_URL.sub(stripped, argument)


def with_credentials(path: str | Path) -> str:
    """The URL of a remote path, with the credentials that this process holds for it."""
    url = url_of(path)
    fitting = [held for held in _held() if _is_in(url, held[0], is_pattern=held[1])]
    _, _, user, query = max(fitting, default=("", False, "", ""), key=lambda held: len(held[0]))
    scheme, _, rest = url.partition("://")
    if user:  # a driver would take a slash in the password for the end of the host
        user = f"{quote(user[:-1], safe=IN_USER)}@"
    return f"{scheme}://{user}{rest}{query}"


def without_credentials(text: str) -> str:
    """A message of a library, without credentials of URLs or values of secret variables."""
    secrets = [value for name, value in os.environ.items() if SECRET.search(name)]
    for _, _, user, query in _held():
        secrets += [user.rstrip("@"), user.rstrip("@").partition(":")[2], query.lstrip("?")]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_SECRET:
            text = text.replace(secret, "***")
    return URL.sub(lambda match: _split(match)[0], text)


def _split(match: re.Match[str]) -> tuple[str, str, str]:
    """A URL without credentials, its user with the @, and the query with the ? if it is secret."""
    user, query, kept = match["user"] or "", match["query"] or "", ""
    if match["scheme"].lower() not in WITH_QUERY:
        query, kept = "", query
    return f"{match['scheme']}://{match['rest']}{kept}", user, query


def _is_in(url: str, beginning: str, is_pattern: bool) -> bool:
    if is_pattern:  # cut within a name: `https://host/data/shard-`
        return url.startswith(beginning)
    return f"{url}/".startswith(f"{beginning.rstrip('/')}/")


def _held() -> Iterator[tuple[str, bool, str, str]]:
    """Beginning of the URLs, whether it is a pattern's, user with its @, and query with its ?."""
    for name, value in os.environ.items():
        if name.startswith(HELD):
            beginning, is_pattern, user, query = json.loads(value)
            yield beginning, is_pattern, user, query

"""Digests of data and of code, which show whether the inputs of a step have changed."""

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from catlip.program.methods import user_folders

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("catlip", "baselines", "bench")
# An input of at most this many bytes is compared by content, a larger one by sizes and times.
CONTENT_LIMIT = 256 * 2**20
MISSING = "missing"
# A program's function, which is imported after the command line is read.
LATE = re.compile(r"(\w+\.)+\w+:\w+")
# At most this many remote shards, evenly spaced, are asked for their identity. A training itself
# notices when a shard that it reads has changed.
MAX_ASKED = 1000


def digest_of_data(pattern: str) -> str:
    """A digest of the files of a path, folder or shard pattern, wherever they are: of their
    contents or, if they are large, their sizes and times; of remote shards, sizes and ETags.
    """
    if "://" in pattern:
        return _digest_of_remote(pattern)
    files = [(name, path, path.stat()) for name, path in sorted(_files(pattern)) if path.is_file()]
    if not files:
        return MISSING
    small = sum(stat.st_size for _, _, stat in files) <= CONTENT_LIMIT
    total = sha256()
    for name, path, stat in files:
        if small:
            content = sha256(path.read_bytes()).hexdigest()
        else:
            content = f"{stat.st_size} {stat.st_mtime_ns}"
        total.update(f"{name}\t{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]


def digest_of_code(programs: Iterable[str]) -> str:
    """A digest of programs' code and all that they import here, without comments."""
    seen: set[Path] = set()
    todo = [file for program in programs for file in _sources(program)]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += _read_source(file)[1]
    total = sha256()
    for file in sorted(seen):
        name = file.relative_to(REPOSITORY) if file.is_relative_to(REPOSITORY) else file.name
        total.update(f"{name}\t{_read_source(file)[0]}\n".encode())
    return total.hexdigest()[:16]


def _files(pattern: str) -> Iterator[tuple[str, Path]]:
    """The files, with names relative to the pattern; of a finished training, only its weights."""
    path = Path(pattern)
    if path.is_file():
        yield "", path
    elif (path / "weights.safetensors").is_file():
        yield "weights.safetensors", path / "weights.safetensors"
    elif path.is_dir():
        for file in path.rglob("*"):
            yield str(file.relative_to(path)), file
    else:
        from catlip.cli import InputError
        from catlip.data.shards import expand

        try:
            yield from ((file.name, file) for file in expand(pattern))
        except InputError:
            return  # the program that reads them reports which is missing


@functools.cache
def _digest_of_remote(pattern: str) -> str:
    """Cached, so that each shard is asked once in a run: many steps read the same shards."""
    from catlip.cli import InputError
    from catlip.data.remote import identities_of
    from catlip.data.shards import expand

    try:
        paths = expand(pattern)
        identities = identities_of(paths[:: -(-len(paths) // MAX_ASKED)])
    except InputError:
        return MISSING  # the program that reads them reports why
    lines = [f"{path}\t{identity}" for path, identity in identities.items()]
    return sha256("\n".join([str(len(paths)), *lines]).encode()).hexdigest()[:16]


@functools.cache
def _read_source(file: Path) -> tuple[str, tuple[Path, ...]]:
    """The digest of a source file, and the files that it imports."""
    tree = ast.parse(file.read_bytes())
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and LATE.fullmatch(str(node.value)):
            names += [str(node.value).partition(":")[0]]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Without docstrings, those of attributes too.
            node.body = [
                line
                for line in node.body
                if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    imported = {source for name in names for source in _sources(name)}
    return sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(imported))


@functools.cache
def _sources(module: str) -> tuple[Path, ...]:
    """The files that run when a module is imported or started; () for modules of other projects."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return ()
    folders = [REPOSITORY.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = [folder / "__init__.py" for folder in folders]
    files += [folders[-1] / "__main__.py", folders[-1].with_suffix(".py")]
    if parts[0] == "baselines":  # a user's methods are imported from there too
        files += [folder / f"{parts[-1]}.py" for folder in user_folders()]
    return tuple(file for file in files if file.is_file())

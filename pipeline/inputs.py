"""Has what a step reads changed? Digests of data and of code."""

import ast
import functools
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("catlip", "baselines", "bench")
CONTENT_LIMIT = (
    256 * 2**20
)  # bytes of an input up to which it is read; of a larger one, sizes and times must do
MISSING = "missing"

# What only talks to the user or writes down how a run went: an edit of these changes no result.
WORDS_ONLY = (
    "catlip/cli.py",
    "catlip/dry_run.py",
    "catlip/program/progress.py",
    "catlip/record.py",
    "catlip/training/log.py",
)


def digest_of_data(pattern: str) -> str:
    """A digest of the files of a path, folder or shard pattern: of their contents, or of their
    sizes and times if large.

    It does not depend on where the files lie, only on their names below `pattern`.
    """
    files = [(name, path, path.stat()) for name, path in sorted(_files(pattern)) if path.is_file()]
    if not files:
        return MISSING
    small = sum(stat.st_size for _, _, stat in files) <= CONTENT_LIMIT
    total = sha256()
    for name, path, stat in files:
        seen = (
            sha256(path.read_bytes()).hexdigest() if small else f"{stat.st_size} {stat.st_mtime_ns}"
        )
        total.update(f"{name}\t{seen}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]


def digest_of_code(programs: Iterable[str]) -> str:
    """A digest of the code of programs: of all that they import from this repository, comments and
    docstrings aside.
    """
    seen: set[Path] = set()
    todo = [file for program in programs for file in _sources(program)]
    while todo:
        file = todo.pop()
        if file not in seen and str(file.relative_to(REPOSITORY)) not in WORDS_ONLY:
            seen.add(file)
            todo += _read_source(file)[1]
    total = sha256()
    for file in sorted(seen):
        total.update(f"{file.relative_to(REPOSITORY)}\t{_read_source(file)[0]}\n".encode())
    return total.hexdigest()[:16]


def _files(pattern: str) -> Iterator[tuple[str, Path]]:
    """The files with their names relative to the pattern. Of a finished training only its weights
    count.
    """
    path = Path(pattern)
    if path.is_file():
        yield path.name, path
    elif (path / "weights.safetensors").is_file():
        yield "weights.safetensors", path / "weights.safetensors"
    elif path.is_dir():
        for file in path.rglob("*"):
            yield str(file.relative_to(path)), file
    elif "{" in pattern or "*" in pattern or "?" in pattern or "[" in pattern:
        from catlip.cli import InputError
        from catlip.data.shards import expand

        try:
            yield from ((file.name, file) for file in expand(pattern))
        except InputError:
            return  # the program that reads them says which is missing


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
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_docstring(line)]
    imported = {source for name in names for source in _sources(name)}
    return sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(imported))


def _is_docstring(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


@functools.cache
def _sources(module: str) -> tuple[Path, ...]:
    """The files that run when a module of ours is imported or started; none for a module of
    others.
    """
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return ()
    folders = [REPOSITORY.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = [folder / "__init__.py" for folder in folders]
    files += [folders[-1] / "__main__.py", folders[-1].with_suffix(".py")]
    return tuple(file for file in files if file.is_file())

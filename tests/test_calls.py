"""From the fourth argument on, what a call of our own functions passes is named."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("catlip", "baselines", "bench", "reports", "pipeline")
MOST_POSITIONAL = 3


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def is_dataclass(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        "dataclass" in ast.unparse(decorator) for decorator in node.decorator_list
    )


def names_of_our_own() -> set[str]:
    """Functions and dataclasses that are defined once, and take no `*arguments`."""
    definitions: dict[str, list[bool]] = defaultdict(list)
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                definitions[node.name].append(node.args.vararg is None)
            elif is_dataclass(node):
                definitions[node.name].append(True)
    return {name for name, fixed in definitions.items() if fixed == [True]}


def called(node: ast.Call) -> str:
    """The name of a function, or of a method of `self`; empty for those of other objects."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "self":
        return node.func.attr
    return ""


def test_arguments_are_named_from_the_fourth_on() -> None:
    ours = names_of_our_own()
    assert len(ours) > 1000
    calls = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and len(node.args) > MOST_POSITIONAL
        and not any(isinstance(argument, ast.Starred) for argument in node.args)
        and called(node) in ours
    ]
    assert calls == []

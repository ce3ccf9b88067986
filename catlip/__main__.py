"""Lists every program with the first sentence of its docstring, without importing it."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("catlip", "baselines", "bench", "reports")
ENTRY = '\nif __name__ == "__main__":'


def programs() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            source = path.read_text()
            if ENTRY not in source or path == Path(__file__):
                continue
            if path.name == "__main__.py":  # the package's docstring says more
                path = path.parent
                package = (path / "__init__.py").read_text()
                source = package if ast.get_docstring(ast.parse(package)) else source
            module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
            text = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0]
            sentence = re.split(r"(?<=[.?])\s+(?=[A-Z(`])", text, maxsplit=1)[0]
            yield module, " ".join(sentence.split()).rstrip(".")


def main() -> None:
    if sys.argv[1:] not in ([], ["--help"], ["-h"]):
        print("error: choose a program: python -m catlip lists them", file=sys.stderr)
        sys.exit(2)
    print("./run_all.sh runs what leads from data to page. All programs, each with its --help:\n")
    listed = list(programs())
    width = max(len(module) for module, _ in listed)
    for module, sentence in listed:
        print(f"python -m {module:{width}}  {sentence}")


if __name__ == "__main__":
    main()

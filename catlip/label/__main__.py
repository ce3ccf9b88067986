"""`python -m catlip.label`, with its subcommands `explain` and `audit`."""

from catlip.cli import run
from catlip.label import Explain, Label, explain, main
from catlip.label.audit import Audit, audit

if __name__ == "__main__":
    run(Label, main, subcommands={"explain": (Explain, explain), "audit": (Audit, audit)})

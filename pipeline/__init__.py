"""The steps of ./run_all.sh: what each reads and makes, and when it need not run again.

Only the standard library is imported here, so that options are checked and commands shown before
anything is installed.
"""

import catlip  # noqa: F401  # so that Ctrl-C ends the imports at once

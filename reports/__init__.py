"""Turns records into tables, figures and one page. Does not need torch."""

import catlip  # noqa: F401  # so that Ctrl-C ends the imports at once

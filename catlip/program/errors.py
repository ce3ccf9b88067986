"""Problems that the user can correct: each ends as one line on stderr."""

import errno


class InputError(ValueError):
    """An input of the user cannot be used; the message says which, and what to do."""


# A full or forbidden disk, a wrong path and a limit are for the user to correct; any other OSError
# is a bug.
USER_ERRORS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG),
        *(errno.EMFILE, errno.ENFILE),  # `ulimit -n`
    }
)


def in_words(error: OSError) -> str:
    """The line for the user. Raises: the error itself if it is a bug."""
    if error.errno not in USER_ERRORS:
        raise error
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)

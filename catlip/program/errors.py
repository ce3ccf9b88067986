"""The error for problems that the user can correct."""


class InputError(ValueError):
    """An input of the user cannot be used; the message says which, and what to do."""

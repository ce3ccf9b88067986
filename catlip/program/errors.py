"""What a user can mend."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message names the value and the fix."""

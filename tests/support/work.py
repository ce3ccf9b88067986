"""What workers of a pool do in tests, in a module that they import without torch."""

import os
import signal

from catlip.cli import InputError


def square(number: int) -> int:
    if number == 3:
        raise InputError("three is refused")
    if number == 4:
        raise FileNotFoundError(2, "No such file", "four")
    return number * number


def fail(number: int) -> None:
    raise ZeroDivisionError(f"a bug with {number}")


def die(item):
    path, deaths = item
    with open(path, "a") as file:
        file.write("x")
    if path.stat().st_size <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)

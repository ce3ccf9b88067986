"""Pickles from outside run nothing."""

import contextlib
import os
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catlip.cli import InputError
from catlip.system.foreign import load_plain


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize(
    "call", [(os.system, "touch {}"), (eval, "open('{}', 'w')"), (getattr, "", "join")]
)
def test_a_pickle_that_runs_code_is_refused(tmp_path, call, protocol):
    function, *arguments = call
    trap = tmp_path / "trap"
    calls = Calls(function, *(argument.format(trap) for argument in arguments))
    with pytest.raises(InputError, match="the file"):
        load_plain(pickle.dumps({"n2084071": calls}, protocol), "the file")
    assert not trap.exists()


def test_only_admitted_built_ins_may_be_imported():
    content = pickle.dumps(({"a": 0.5}, {"NN", "VB"}), protocol=2)
    assert load_plain(content, "the file", admitted=("set",)) == ({"a": 0.5}, {"NN", "VB"})
    with pytest.raises(InputError):
        load_plain(content, "the file")


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 40))
@example(b"\x80\x02}r\xff\xff\xff\x7f.", 0)  # it would allocate gigabytes
def test_broken_pickles_are_refused_in_one_way(noise, cut):
    whole = pickle.dumps({"n1740": 3, "n2084071": 5})
    for content in (noise, whole[:cut] + noise, whole[: -1 - cut]):
        with contextlib.suppress(InputError):
            load_plain(content, "the file")

"""What was raised, and where."""

import torch

from spaces.blame import reason, told


def raised(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_in_a_library_is_told_where_it_was_called():
    def mistaken():
        torch.nn.Linear(4, 4)(torch.zeros(3))

    line = mistaken.__code__.co_firstlineno + 1
    assert reason(raised(mistaken)).endswith(f"(test_blame.py:{line} in mistaken)")


def test_an_error_of_no_message_and_of_no_place():
    assert told(MemoryError()) == "MemoryError"
    assert reason(ValueError("x")) == "ValueError: x"


def test_a_syntax_error_says_its_place_itself():
    error = raised(lambda: compile("def f(:", "mine.py", "exec"))
    assert reason(error) == "SyntaxError: invalid syntax (mine.py, line 1)"

"""Modules of a user's own."""

import random


def make_module(folder, text):
    """A module of the user's own; a new name each time, since modules are cached."""
    name = f"mine{random.getrandbits(40):x}"
    (folder / f"{name}.py").write_text(text)
    return name

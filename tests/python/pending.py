"""What the contract promises and the server does not do yet.

A test that needs one of these is expected to fail, strictly: the day it passes, the run fails until the name is taken off this
list. So nothing is skipped in silence, and nothing stays switched off once it works.
"""

import pytest

PENDING = {}


def marks(*names):
    """The mark for a test that needs these features; none when all of them are there."""
    missing = [f"not in this version: {PENDING[name]}" for name in names if name in PENDING]
    if not missing:
        return []
    return [pytest.mark.xfail(strict=True, reason="; ".join(missing))]


def needs(*names):
    """`marks` as a decorator."""

    def decorate(test):
        for mark in marks(*names):
            test = mark(test)
        return test

    return decorate

"""What the parts of the suite have in common: which era this is, and how a fact is told."""

from __future__ import annotations

import openai

# By version and not by what is there, so that nothing can go missing unseen.
VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])
V1 = VERSION < (1, 21)
V2 = not V1
ERRORS_HAVE_REQUEST_IDS = VERSION >= (1, 14)
OBJECTS_HAVE_REQUEST_IDS = VERSION >= (1, 48)

facts = []


def fact(eras=True):  # noqa: FBT002 - reads as "a fact of v2"
    """A fact of the eras for which the condition holds."""

    def keep(function):
        if eras:
            facts.append(function)
        return function

    return keep


def refusal(error_class, call, *args, **params):
    """The error that the call raises."""
    try:
        call(*args, **params)
    except error_class as error:
        return error
    raise AssertionError(f"{error_class.__name__} was not raised")

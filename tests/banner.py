"""What `threadkeep serve` and `threadkeep worker` print when they are ready."""

from __future__ import annotations


def read(lines, name="api"):
    """The first word of the line that has this name, as soon as it is printed; None if they end without one."""
    return next((words[1] for line in lines if (words := line.split())[:1] == [name]), None)

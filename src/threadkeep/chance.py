"""Chance for pauses and turns, where no secret is at stake.

A generator of its own: programs with this server in them, such as tests, may count on what Python's shared one gives.
"""

from __future__ import annotations

import random

_generator = random.Random()  # noqa: S311 - no secret
shuffle = _generator.shuffle
uniform = _generator.uniform

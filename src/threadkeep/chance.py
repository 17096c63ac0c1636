"""Random numbers for jitter and for taking turns, where no secret is at stake.

They come from a generator of their own: programs with this server in them, such as tests, may seed Python's shared one.
"""

from __future__ import annotations

import random

_generator = random.Random()  # noqa: S311 - no secret
shuffle = _generator.shuffle
uniform = _generator.uniform

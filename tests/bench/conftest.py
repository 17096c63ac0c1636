"""The benchmark's own arithmetic and its page. The measuring itself is too slow and too noisy for a test."""

import sys
from pathlib import Path

# `bench` is not installed; it runs from the clone.
sys.path.append(str(Path(__file__).parents[2]))

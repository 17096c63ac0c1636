"""Threadkeep: a self-hosted server that speaks OpenAI's Assistants API."""

from importlib.metadata import version

__version__ = version("threadkeep")

from threadkeep.errors import APIError, CommandError, ThreadkeepError
from threadkeep.settings import Settings

__all__ = ["APIError", "CommandError", "Settings", "ThreadkeepError", "__version__"]

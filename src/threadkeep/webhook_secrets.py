"""Secrets of webhooks: made, replaced, and what they sign, by the Standard Webhooks specification.

A secret that is replaced goes on to sign for a while beside the new one, so that a receiver can be given the new one
without losing an event in between. When its time is over it signs no more, at that moment; then it is erased.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence

import msgspec
from msgspec import Struct

SECRET_BYTES = 32
# As the specification writes secrets.
SECRET_PREFIX = "whsec_"  # noqa: S105 - what it begins with is no secret
# A secret that is replaced again and again, by a client that repeats its request, is not to lose the one in use.
OLD_SECRETS_MAX = 3


class OldSecret(Struct, frozen=True):
    """One that was replaced, and signs until then."""

    secret: str
    until_ms: int


class Secrets(Struct, frozen=True):
    """Those of one webhook; the old ones newest first."""

    current: str
    old: tuple[OldSecret, ...] = ()

    @classmethod
    def stored(cls, current: str, old: str) -> Secrets:
        """Those of a row."""
        return cls(current, _decode_old(old))

    @property
    def stored_old(self) -> str:
        """The old ones as a row has them."""
        return _encode(self.old).decode()

    @property
    def first_end_ms(self) -> int | None:
        """When the first of the old ones must be erased."""
        return min((old.until_ms for old in self.old), default=None)

    @property
    def last_end_ms(self) -> int | None:
        """Until when any of the old ones signs."""
        return max((old.until_ms for old in self.old), default=None)

    def replaced(self, secret: str, now_ms: int, overlap_ms: int) -> Secrets:
        """With a new current one. None that it replaces, now or before, signs for longer than `overlap_ms` from now."""
        end_ms = now_ms + overlap_ms
        old = (OldSecret(self.current, end_ms), *(OldSecret(o.secret, min(o.until_ms, end_ms)) for o in self.old))
        return Secrets(secret, old[:OLD_SECRETS_MAX]).at(now_ms)

    def at(self, now_ms: int) -> Secrets:
        """Those that still sign."""
        return Secrets(self.current, tuple(old for old in self.old if old.until_ms > now_ms))

    def all(self) -> list[str]:
        """The current one, then the old ones."""
        return [self.current, *(old.secret for old in self.old)]


_encode = msgspec.json.Encoder().encode
_decode_old = msgspec.json.Decoder(tuple[OldSecret, ...]).decode


def new_secret() -> str:
    """A secret that nobody else has."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def signed_headers(secrets: Sequence[str], event_id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of the specification: who holds one of the secrets can tell who sent it, and when."""
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(_signature(secret, event_id, at, body) for secret in secrets),
    }


def _signature(secret: str, event_id: str, at: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = hmac.new(key, f"{event_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"

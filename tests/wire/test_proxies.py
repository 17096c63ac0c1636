"""Which peers are believed when they speak of their clients."""

from __future__ import annotations

import pytest

from threadkeep.http.proxies import TrustedProxies


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("::ffff:11.1.2.3", False), ("fd00::1", True), ("unix", False)],
)
def test_an_address_is_the_same_in_both_spellings(address, is_trusted):
    assert TrustedProxies(("10.0.0.0/8", "fd00::/8")).trusts(address) == is_trusted

"""TLS on the way to PostgreSQL, as `sslmode` in its address asks for it.

The PostgreSQL that pip installs is built without TLS, so a front speaks it for it, as a pooler or a cloud's proxy does.
The certificates in `tls/` are good for a hundred years: two authorities, and `localhost` signed by the first.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from threadkeep.errors import CommandError
from threadkeep.settings import Settings
from threadkeep.store import create_store, migrate

CERTIFICATES = Path(__file__).parent / "tls"
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


@asynccontextmanager
async def front(folder, *, speaks_tls):
    """Listens before the PostgreSQL whose socket is in `folder`; gives the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "localhost.pem")
    conversations = []

    async def forward(source, target):
        while data := await source.read(65536):
            target.write(data)
        target.close()

    async def connected(reader, writer):
        conversations.append(asyncio.current_task())
        to_reader, to_writer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        # A client that does not like the certificate hangs up.
        with suppress(ssl.SSLError, ConnectionError):
            if speaks_tls:
                assert await reader.readexactly(8) == SSL_REQUEST
                writer.write(b"S")
                await writer.start_tls(context)
            await asyncio.gather(forward(reader, to_writer), forward(to_reader, writer))
        for each in (writer, to_writer):
            each.close()
            with suppress(ssl.SSLError, ConnectionError):
                await each.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await asyncio.gather(*conversations)


def version_over(url, options, *, host="localhost", speaks_tls=True):
    """The schema version that a store reads through the front."""
    address, _, folder = url.partition("?host=")
    database = address.rpartition("/")[2]

    async def main():
        async with front(folder, speaks_tls=speaks_tls) as port:
            store = create_store(Settings(database=f"postgresql://postgres@{host}:{port}/{database}?{options}"))
            await store.open()
            try:
                await store.migrate()
                return await store.read(migrate.version)
            finally:
                await store.close()

    return asyncio.run(main())


@pytest.fixture
def url(postgres):
    return postgres()


def verified_by(authority):
    return f"sslmode=verify-full&sslrootcert={CERTIFICATES / authority}"


def test_verify_full_takes_the_certificate_of_its_authority(url):
    assert version_over(url, verified_by("authority.pem")) == migrate.LATEST


def test_verify_full_refuses_the_certificate_of_another_authority(url):
    with pytest.raises(CommandError, match=r"Cannot use the PostgreSQL database: .*unable to get local issuer"):
        version_over(url, verified_by("stranger.pem"))


def test_verify_full_refuses_a_certificate_of_another_name(url):
    with pytest.raises(CommandError, match=r"certificate is not valid for '127\.0\.0\.1'"):
        version_over(url, verified_by("authority.pem"), host="127.0.0.1")


def test_require_refuses_a_server_without_tls(url):
    with pytest.raises(CommandError, match=r"Cannot use the PostgreSQL database: .* rejected SSL upgrade"):
        version_over(url, "sslmode=require", speaks_tls=False)

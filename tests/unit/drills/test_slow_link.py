"""The slow link between a client and a server in this process."""

import asyncio
import random
from functools import partial

import pytest

from tests.drills import slow_link


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(slow_link, "DELAY_SECONDS", 0.001)
    monkeypatch.setattr(slow_link, "STALL_SECONDS", 0.01)


def through_the_link(talk):
    """Runs `talk(reader, writer)` against an echo server behind the link."""

    async def echo(reader, writer):
        while piece := await reader.read(1000):
            writer.write(piece)
        writer.close()

    async def run():
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as far:
            port = far.sockets[0].getsockname()[1]
            link = partial(slow_link.connect, "127.0.0.1", port, random.Random(1))
            async with await asyncio.start_server(link, "127.0.0.1", 0) as near:
                reader, writer = await asyncio.open_connection("127.0.0.1", near.sockets[0].getsockname()[1])
                result = await asyncio.wait_for(talk(reader, writer), 20)
                writer.close()
                return result

    return asyncio.run(run())


def test_bytes_arrive_complete_and_in_order(monkeypatch):
    monkeypatch.setattr(slow_link, "BREAKS", 0)

    async def talk(reader, writer):
        got = b""
        for number in range(50):
            writer.write(f"{number},".encode())
            got += await reader.readuntil(b",")
        return got

    assert through_the_link(talk) == b"".join(f"{number},".encode() for number in range(50))


def test_a_link_that_breaks_ends_the_connection(monkeypatch):
    monkeypatch.setattr(slow_link, "BREAKS", 1)

    async def talk(reader, writer):
        writer.write(b"hello")
        return await reader.read()

    assert through_the_link(talk) == b""

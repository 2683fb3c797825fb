"""A proxy that makes a link slow and lossy, for drills only: `python -m tests.drills.slow_link HOST PORT`.

What programs see of a network that delays and loses packets: bytes that come late, now and then much later (TCP sends
them again), and connections that break.
"""

import asyncio
import random
import sys
from functools import partial

DELAY_SECONDS = 0.05
"""In each direction, at most twice as much; evenly distributed."""
STALL_SECONDS = 1.0
STALLS = 0.02
"""Share of the pieces that wait for `STALL_SECONDS`."""
BREAKS = 0.002
"""Share of the pieces with which the connection breaks."""
PIECE_BYTES = 65_536


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, draw: random.Random) -> None:
    """Carries bytes in one direction until one of both ends hangs up, or the link breaks."""
    while piece := await reader.read(PIECE_BYTES):
        fate = draw.random()
        if fate < BREAKS:
            return
        await asyncio.sleep(STALL_SECONDS if fate < BREAKS + STALLS else draw.uniform(0, 2 * DELAY_SECONDS))
        writer.write(piece)
        await writer.drain()


async def connect(
    host: str, port: int, draw: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carries a connection to where it belongs; when one direction ends, so does the other."""
    print("a connection", flush=True)  # the drill wants to know whether anybody came this way
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port)
    except OSError:
        writer.close()
        return
    ways = [
        asyncio.create_task(carry(reader, far_writer, draw)),
        asyncio.create_task(carry(far_reader, writer, draw)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        far_writer.close()


async def serve(host: str, port: int, listen_port: int, seed: int = 1) -> asyncio.Server:
    """Starts to listen; each connection goes on to `host` and `port`."""
    return await asyncio.start_server(partial(connect, host, port, random.Random(seed)), "0.0.0.0", listen_port)


async def main(host: str, port: int) -> None:
    """Serves until it is stopped."""
    server = await serve(host, port, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

"""A proxy that makes a link slow and lossy, for drills only: `python -m tests.drills.slow_link HOST PORT`.

Programs on a network that delays and loses packets see late bytes, sometimes much later ones (TCP sends them again),
and broken connections.
"""

import asyncio
import random
import sys
from functools import partial

DELAY_SECONDS = 0.05
"""Mean delay in each direction; the delay is evenly distributed from 0 to twice the mean."""
STALL_SECONDS = 1.0
STALLS = 0.02
"""Share of the pieces that wait for `STALL_SECONDS`."""
BREAKS = 0.002
"""Share of the pieces with which the connection breaks."""
PIECE_BYTES = 65_536


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, draw: random.Random) -> None:
    """Forwards bytes in one direction until one of the two ends disconnects or the link breaks."""
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
    """Forwards a connection in both directions; when one direction ends, the other ends too."""
    print("a connection", flush=True)  # the drill checks that the link was used
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
    """Starts to listen and forwards each connection to `host` and `port`."""
    return await asyncio.start_server(partial(connect, host, port, random.Random(seed)), "0.0.0.0", listen_port)


async def main(host: str, port: int) -> None:
    """Serves until it is stopped."""
    server = await serve(host, port, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

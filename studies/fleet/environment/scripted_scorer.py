"""A fake scorer, for benchmarks only: `python -m studies.fleet.environment.scripted_scorer --delay-ms 0`.

It replaces the scorer on the fleet's network while the other services are measured. It computes no score: it accepts
every answer, and its name, which is stored with each score, says so.
"""

import argparse
import asyncio
import json

from aiohttp import web

PORT = 8000
NAME = "benchmark: not a score"
BODY = json.dumps(
    {
        "score": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "scorer": NAME,
        "truncated": False,
        "truncated_fields": [],
    }
).encode()


def application(delay_seconds: float) -> web.Application:
    """Creates the server.

    Args:
        delay_seconds: Delay of each answer.
    """

    async def score(request: web.Request) -> web.Response:
        await request.read()
        if delay_seconds:
            await asyncio.sleep(delay_seconds)
        return web.Response(body=BODY, content_type="application/json")

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/score", score)
    return app


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay-ms", type=float, default=0, help="delay of each answer (default: 0)")
    parser.add_argument("--port", type=int, default=PORT, help=f"(default: {PORT})")
    options = parser.parse_args()
    web.run_app(application(options.delay_ms / 1000), port=options.port, print=None, access_log=None)


if __name__ == "__main__":
    main()

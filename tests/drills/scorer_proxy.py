"""A proxy before the scorer that spoils it, for drills only: `python -m tests.drills.scorer_proxy slow|errors|nan`.

It takes the scorer's name on the fleet's network. It makes up no score: `slow` holds the real scorer's answer back,
the others answer with what is no score at all.
"""

import asyncio
import sys

import aiohttp
from aiohttp import web

PORT = 8000
REAL_ALIAS = "scorer-behind-proxy"
REAL = f"http://{REAL_ALIAS}:{PORT}"
SLOW_SECONDS = 10.0
_NAN = b'{"precision": NaN, "recall": NaN, "f1": NaN, "scorer": "drill", "truncated": false, "truncated_fields": []}'


async def slow(request: web.Request) -> web.Response:
    """Answers as the real scorer does, 10 s later."""
    await asyncio.sleep(SLOW_SECONDS)
    async with (
        aiohttp.ClientSession() as session,
        session.request(request.method, f"{REAL}{request.path_qs}", json=await request.json()) as answer,
    ):
        return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")


async def errors(request: web.Request) -> web.Response:
    """Answers 500 to everything."""
    return web.Response(status=500, text="spoilt for a drill")


async def nan(request: web.Request) -> web.Response:
    """Answers with scores that are not a number."""
    return web.Response(body=_NAN, content_type="application/json")


MODES = {"slow": slow, "errors": errors, "nan": nan}


def main() -> None:
    """Serves until it is stopped."""
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", MODES[sys.argv[1]])
    web.run_app(app, port=PORT, print=None)


if __name__ == "__main__":
    main()

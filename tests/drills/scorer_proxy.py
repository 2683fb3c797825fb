"""A faulty proxy in front of the scorer, for drills only: `python -m tests.drills.scorer_proxy MODE URL`.

It has the scorer's name on the fleet's network; the real scorer is at the URL. It never invents a valid score: `slow`
delays the real scorer's replies, the other modes reply with an invalid score or an error.
"""

import asyncio
import sys

import aiohttp
from aiohttp import web

PORT = 8000
SLOW_SECONDS = 30.0
REAL = web.AppKey("real", str)
"""Address of the real scorer."""
_ANSWER = '{"score": %s, "precision": 0.5, "recall": 0.5, "f1": 0.5, "baseline": null, "scorer": "drill"}'


async def slow(request: web.Request) -> web.Response:
    """Replies as the real scorer after 30 s, which exceeds the first and the second time-out of the client."""
    await asyncio.sleep(SLOW_SECONDS)
    async with (
        aiohttp.ClientSession() as session,
        session.request(request.method, f"{request.app[REAL]}{request.path_qs}", json=await request.json()) as answer,
    ):
        return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")


async def errors(request: web.Request) -> web.Response:
    """Replies to everything with status 500."""
    return web.Response(status=500, text="spoilt for a drill")


async def nan(request: web.Request) -> web.Response:
    """Replies with a score that is not a number."""
    return web.Response(text=_ANSWER % "NaN", content_type="application/json")


async def out_of_range(request: web.Request) -> web.Response:
    """Replies with a score in percent."""
    return web.Response(text=_ANSWER % 57, content_type="application/json")


MODES = {"slow": slow, "errors": errors, "nan": nan, "range": out_of_range}


def main() -> None:
    """Serves until it is stopped."""
    app = web.Application(client_max_size=16 * 1024 * 1024)
    mode, app[REAL] = sys.argv[1:]
    app.router.add_route("*", "/{path:.*}", MODES[mode])
    web.run_app(app, port=PORT, print=None)


if __name__ == "__main__":
    main()

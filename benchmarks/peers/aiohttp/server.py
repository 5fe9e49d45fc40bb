"""The floor: aiohttp and uvloop, one process, no queue, no batches, an answer per request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import uvloop
from aiohttp import web

from benchmarks.peers.task import PICTURES, Task, current
from benchmarks.peers.work import handler


async def constant(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=b'{"n":0}', content_type="application/json")


def photos(task: Task) -> Callable[[web.Request], Awaitable[web.Response]]:
    handle = handler(task)
    threads = ThreadPoolExecutor(task.workers)

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        loop = asyncio.get_running_loop()
        return web.json_response((await loop.run_in_executor(threads, handle, [body]))[0])

    return answer


async def serve(task: Task) -> None:
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/", photos(task) if task.work in PICTURES else constant)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", task.port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(current()))

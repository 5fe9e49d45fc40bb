"""`python -m minion.host --spec FILE --address ADDRESS`: one minion's host.

The composition root of this process: reads the spec, opens the listener,
drains on SIGTERM. Ends with its supervisor, however that ends.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from minion.host.server import create_app
from minion.host.spec import ServiceSpec, read_spec

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if arguments.die_with_parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        spec = read_spec(arguments.spec)
    except (OSError, msgspec.MsgspecError) as error:
        print(f"{arguments.spec}: {error}", file=sys.stderr)
        return 2
    uvloop.run(_serve(spec, arguments.address, arguments.grace))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="minion.host", description="Serves one model version.")
    parser.add_argument(
        "--spec", type=Path, required=True, help="JSON file, see minion/host/spec.py"
    )
    parser.add_argument("--address", required=True, help="unix:/path or tcp:host:port")
    parser.add_argument("--grace", type=float, default=10.0, help="seconds to drain")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the parent does")
    return parser.parse_args()


async def _serve(spec: ServiceSpec, address: str, grace_seconds: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = create_app(spec, grace_seconds=grace_seconds)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _site(runner, address).start()
        await stop.wait()
    finally:
        await runner.cleanup()


def _site(runner: web.AppRunner, address: str) -> web.BaseSite:
    scheme, _, place = address.partition(":")
    if scheme == "unix":
        # A socket left behind by a host that was killed.
        Path(place).unlink(missing_ok=True)
        os.umask(0o077)
        return web.UnixSite(runner, place)
    host, _, port = place.rpartition(":")
    return web.TCPSite(runner, host, int(port))


if __name__ == "__main__":
    sys.exit(main())

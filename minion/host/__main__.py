"""`python -m minion.host --spec FILE --address ADDRESS`: one minion's host.

The composition root of this process: reads the spec, opens the listener,
drains on SIGTERM. Ends with its supervisor, however that ends.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from minion.host.credentials import SECRET, credentials_from
from minion.host.server import create_app
from minion.host.spec import ServiceSpec, read_spec
from minion.host.temporary import clear
from wire.credentials import Credentials, InvalidCredentials
from wire.lifetimes import end_with
from wire.logs import log_as_json
from wire.threads import start_threads

#: For the folders of workers.
_THREADS = 2


def main() -> int:
    arguments = _arguments()
    log_as_json(arguments.log_level)
    # What models print is in the log whatever else is.
    logging.getLogger("demitasse.worker").setLevel(logging.INFO)
    if arguments.parent_pid is not None and not end_with(arguments.parent_pid):
        return 1
    try:
        spec = read_spec(arguments.spec)
        if spec.temporary is not None:
            clear(Path(spec.temporary))  # of a predecessor that was killed
    except (OSError, msgspec.MsgspecError) as error:
        print(f"{arguments.spec}: {error}", file=sys.stderr)
        return 2
    try:
        credentials = _credentials(arguments.address)
    except InvalidCredentials as error:
        print(error, file=sys.stderr)
        return 2
    uvloop.run(_serve(spec, arguments.address, arguments.grace, credentials))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="minion.host", description="Serves one model version.")
    parser.add_argument(
        "--spec", type=Path, required=True, help="JSON file, see minion/host/spec.py"
    )
    parser.add_argument("--address", required=True, help="unix:/path or tcp:host:port")
    parser.add_argument("--grace", type=float, default=10.0, help="seconds to drain")
    parser.add_argument("--parent-pid", type=int, help="end when this process does, the parent")
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info"
    )
    return parser.parse_args()


def _credentials(address: str) -> Credentials:
    """Those of links over TCP; a Unix socket has none, whatever the variables say.

    Coordinators of this machine have the same variables, for other ends.

    Raises:
        InvalidCredentials: names the variable or the address, and what to do.
    """
    if address.startswith("unix:"):
        return Credentials()
    credentials = credentials_from(os.environ)
    if credentials.secret is None:
        raise InvalidCredentials(f"{address}: links over TCP need a secret; see {SECRET}")
    return credentials


async def _serve(
    spec: ServiceSpec, address: str, grace_seconds: float, credentials: Credentials
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await start_threads(_THREADS)
    app = create_app(
        spec, grace_seconds=grace_seconds, secret=credentials.secret, adopts_orphans=True
    )
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _site(runner, address, credentials).start()
        gc.freeze()  # what was made so far stays; looking through it again takes 15 ms
        await stop.wait()
    finally:
        await runner.cleanup()


def _site(runner: web.AppRunner, address: str, credentials: Credentials) -> web.BaseSite:
    scheme, _, place = address.partition(":")
    if scheme == "unix":
        # A socket left behind by a host that was killed.
        Path(place).unlink(missing_ok=True)
        os.umask(0o077)
        return web.UnixSite(runner, place)
    host, _, port = place.rpartition(":")
    return web.TCPSite(runner, host, int(port), ssl_context=credentials.tls)


if __name__ == "__main__":
    sys.exit(main())

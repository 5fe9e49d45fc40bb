"""The real thing in one process: a registry, coordinators on loopback, hosts with real workers.

Only the supervisor is missing: a test puts minions on the stage and takes them off.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web
from PIL import Image

from coordinator.app import (
    Rooms,
    create_admin_app,
    doors_of,
    listening,
    open_rooms,
    open_watch,
    serve_public,
)
from coordinator.config import Settings
from coordinator.decoder import DECODER, DECODER_INPUT, DECODER_VERSION
from coordinator.replica import Place, Replica
from minion.host.lane import Lane
from minion.host.link import Links
from minion.host.server import LANE, LINKS, create_app
from minion.host.spec import InputSpec, ServiceSpec
from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from model_registry.leases import Leases
from model_registry.leases import Replica as Lease
from storage.engine import migrate, open_engine
from tests.waiting import eventually

MODELS = Path(__file__).parent / "models"
PATIENCE_SECONDS = 20.0


def first_version(model: str) -> str:
    """What the image tier is, and what tests publish first of a model."""
    return DECODER_VERSION if model == DECODER else "1.0.0"


class Gate:
    """The pipe before which a `gate` model waits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """From when the model has begun to predict; it ends with the block."""
        writer = await asyncio.to_thread(os.open, self.path, os.O_WRONLY)
        try:
            yield
        finally:
            os.close(writer)

    @contextmanager
    def open(self, batches: int = 4096) -> Iterator[Callable[[], object]]:
        """So many do not wait here as long as the block lasts; one more with each call."""
        both = os.open(self.path, os.O_RDWR)
        try:
            os.write(both, bytes(batches))
            yield lambda: os.write(both, b"\0")
        finally:
            os.close(both)


class Host:
    """One minion: its host here, its workers in processes of their own."""

    def __init__(self, spec: ServiceSpec, address: str) -> None:
        self.spec = spec
        self.address = address
        self._runner: web.AppRunner | None = None

    @property
    def place(self) -> Place:
        spec = self.spec
        return Place(spec.replica, spec.model, spec.version, self.address, spec.epoch)

    @property
    def lane(self) -> Lane:
        assert self._runner is not None
        return self._runner.app[LANE]

    async def start(self) -> None:
        app = create_app(self.spec, grace_seconds=2.0)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.UnixSite(self._runner, self.address.removeprefix("unix:")).start()
        await eventually(lambda: self.lane.ready, f"{self.spec.model} is loaded")

    async def stop(self) -> None:
        """Drains, ends the workers, and is not there any more. Once is enough."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def links(self) -> Links:
        assert self._runner is not None
        return self._runner.app[LINKS]

    def hang_up(self) -> None:
        """Closes every link, as a network may; the host stays."""
        for link in list(self.links):
            link.close()


class Coordinator:
    """One coordinator's two applications, each on a port, and clients for both."""

    def __init__(self, rooms: Rooms, port: int, admin_port: int) -> None:
        self.rooms = rooms
        self.port = port
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            trust_env=False,
            timeout=PATIENCE_SECONDS,
            limits=httpx.Limits(max_connections=300),
        )
        self.admin = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{admin_port}", trust_env=False, timeout=PATIENCE_SECONDS
        )

    def replica(self, model: str, version: str | None = None) -> Replica:
        """The only one of this version."""
        (replica,) = self.rooms.fleet.replicas(model, version or first_version(model))
        return replica

    async def connected(self, model: str, version: str | None = None) -> None:
        wanted = version or first_version(model)
        await eventually(
            lambda: self.rooms.fleet.ready(model, wanted), f"{model} {wanted} is connected"
        )

    async def infer(self, model: str, *x: float, **how: Any) -> httpx.Response:
        body = {"inputs": {"x": list(x)}, "parameters": how.pop("parameters", {})}
        return await self.client.post(f"/models/{model}/infer", json=body, **how)

    async def analyze(self, *photos: bytes, **how: Any) -> httpx.Response:
        files = [("images", (f"{i}.png", photo)) for i, photo in enumerate(photos)]
        return await self.client.post("/analyze", files=files, **how)


class Stage:
    """A home with a registry, and whatever a test has put beside it."""

    def __init__(self, home: Path, exits: AsyncExitStack) -> None:
        self.home = home
        self.exits = exits
        self.settings = Settings(
            home=home, port=0, admin_port=0, poll_interval=0.05, lease_ttl=60.0, drain_grace=2.0
        )
        self._engine = open_engine(self.settings.registry_url)
        exits.callback(self._engine.dispose)
        migrate(self._engine)
        self.catalog = Catalog(self._engine, ArtifactStore(home / "artifacts"))
        self.leases = Leases(self._engine)

    def publish(
        self,
        package: str,
        *,
        name: str | None = None,
        version: str = "1.0.0",
        queue_limit: int = 64,
        max_batch_size: int = 1,
        accuracy: float | None = None,
        pure: bool = True,
    ) -> None:
        """One of `models/`, perhaps under another name or version."""
        folder = self.home / "packages" / f"{name or package}-{version}"
        shutil.copytree(MODELS / package, folder)
        manifest = folder / "model.toml"
        text = manifest.read_text().replace(f'name = "{package}"', f'name = "{name or package}"')
        text = text.replace('version = "1.0.0"', f'version = "{version}"')
        if not pure:
            text = f"pure = false\n{text}"
        text += f"\n[admission]\nqueue_limit = {queue_limit}\n"
        text += f"\n[batching]\nmax_batch_size = {max_batch_size}\n"
        if accuracy is not None:
            text += f'\n[quality]\nmetric = "accuracy"\nvalue = {accuracy}\ndata = "none"\n'
        manifest.write_text(text)
        self.catalog.publish(folder, who="test")

    def gate(self, name: str = "gate") -> Gate:
        return Gate(self.home / name)

    def spec(self, model: str, version: str = "1.0.0", **changes: Any) -> ServiceSpec:
        """What a supervisor would have a host serve."""
        entry = self.catalog.snapshot().models[model]
        manifest, settings = entry.versions[version].manifest, entry.settings_for(version)
        values: dict[str, Any] = {
            "model": model,
            "version": version,
            "replica": f"{model}-{version}-0",
            "epoch": 1,
            "python": sys.executable,
            "directory": str(entry.versions[version].directory),
            "entry": manifest.entry,
            "inputs": {n: InputSpec(s.dtype, s.shape) for n, s in manifest.inputs.items()},
            "queue_limit": settings.queue_limit,
            "max_batch_size": settings.max_batch_size,
            "max_queue_delay_seconds": settings.max_queue_delay,
            "pure": manifest.pure,
        }
        return ServiceSpec(**{**values, **changes})

    async def host(self, model: str, version: str = "1.0.0", **changes: Any) -> Host:
        """A minion that is ready, and that the registry lists."""
        return await self._start(self.spec(model, version, **changes))

    async def decoder(self, **changes: Any) -> Host:
        values: dict[str, Any] = {
            "model": DECODER,
            "version": DECODER_VERSION,
            "replica": "decoder-0",
            "epoch": 1,
            "python": sys.executable,
            "directory": str(self.home),
            "entry": "preprocess.model:Decoder",
            "inputs": {DECODER_INPUT: InputSpec("uint8", (-1,))},
            "queue_limit": 8,
            "max_batch_size": 1,
            "max_queue_delay_seconds": 0.0,
        }
        return await self._start(ServiceSpec(**{**values, **changes}))

    async def fragile_decoder(self, harm: str, gate: Gate | None = None) -> Host:
        """One that a photo can hang, crash or have raise; see `models/fragile`."""
        return await self.decoder(
            directory=str(MODELS / "fragile"),
            entry="fragile:Fragile",
            options={"harm": harm, **({"gate": str(gate.path)} if gate is not None else {})},
            predict_timeout_seconds=0.6 if gate is None else 20.0,
        )

    def list(self, host: Host, *, epoch: int = 1, ttl: float = 60.0) -> None:
        """Enters a host into the registry; with `ttl` 0 its lease has ended already."""
        place = host.place
        self.leases.put(
            Lease(place.id, place.model, place.version, place.address, epoch, os.getpid()), ttl=ttl
        )

    async def _start(self, spec: ServiceSpec) -> Host:
        host = Host(spec, f"unix:{self.home}/{spec.replica}-{spec.epoch}.sock")
        self.exits.push_async_callback(host.stop)
        await host.start()
        self.list(host, epoch=spec.epoch)
        return host

    async def coordinator(self, *, only: Sequence[str] = (), **settings: Any) -> Coordinator:
        """One more coordinator, on ports of its own, that knows what is listed by now."""
        chosen = replace(self.settings, **settings)
        rooms = await self.exits.enter_async_context(open_rooms(chosen, name="test", only=only))
        # Not by `serve_admin`: its name for itself need not be one that resolves here.
        admin = await open_watch(create_admin_app(chosen, rooms), chosen, doors_of(chosen))
        self.exits.push_async_callback(admin.close)
        admin_port = await self.exits.enter_async_context(listening(admin.protocol, "127.0.0.1", 0))
        port = await self.exits.enter_async_context(serve_public(chosen, rooms))
        coordinator = Coordinator(rooms, port, admin_port)
        self.exits.push_async_callback(coordinator.client.aclose)
        self.exits.push_async_callback(coordinator.admin.aclose)
        for lease in self.leases.alive():
            await coordinator.connected(lease.model, lease.version)
        return coordinator


@asynccontextmanager
async def open_stage(home: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as exits:
        yield Stage(home, exits)


@contextmanager
def listening_silently() -> Iterator[str]:
    """An address where connections are taken and nothing is ever said."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/silent.sock")
        listener.listen()
        yield f"unix:{folder}/silent.sock"


def photo(*colour: int, size: tuple[int, int] = (16, 12)) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()

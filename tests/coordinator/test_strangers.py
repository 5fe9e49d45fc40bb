"""Who is let in at a link and who is not, from either end."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from edge import calling
from stage import Stage

from coordinator.config import Settings
from coordinator.config_checks import InvalidSettings
from coordinator.credentials import link_credentials
from coordinator.errors import NotServing
from coordinator.link import Link, open_link
from coordinator.outstanding import settling
from minion.host.server import LANE, create_app
from tests.waiting import eventually
from wire.credentials import (
    COORDINATOR,
    NONCE_HEADER,
    Credentials,
    Secret,
    nonce,
    tls_of_coordinator,
    tls_of_host,
)
from wire.examples import Predict, Result
from wire.frames import UPGRADE_TOKEN
from wire.greetings import Hello
from wire.tensor import Tensor

SECRET = Secret(b"between you and me")
OTHER = Secret(b"between you and whom")
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@asynccontextmanager
async def on_tcp(
    stage: Stage, secret: Secret | None = SECRET, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[web.Application, int]]:
    """A host that listens on TCP, and its port."""
    stage.publish("gate")
    app = create_app(stage.spec("gate"), grace_seconds=1.0, secret=secret)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        await eventually(lambda: app[LANE].ready, "it is loaded")
        yield app, runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def answer_over(link: Link) -> list[float]:
    answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    inputs = {"x": Tensor.from_array(np.array([7, 8], np.float32))}
    link.predict(inputs, {}, time.monotonic() + 20, settling(answered))
    result = await answered
    assert isinstance(result, Result), result
    values: list[float] = result.answer.tensors[0].array().tolist()
    return values


async def test_two_who_know_the_secret_have_a_link(stage: Stage) -> None:
    async with on_tcp(stage) as (_, port):
        link = await open_link(f"tcp:127.0.0.1:{port}", "test", None, Credentials(SECRET))

        assert await answer_over(link) == [7.0, 8.0]
        link.close()


async def test_a_host_that_does_not_know_the_secret_is_told_nothing(stage: Stage) -> None:
    async with on_tcp(stage, OTHER) as (_, port):
        with pytest.raises(NotServing, match="does not know the secret"):
            await open_link(f"tcp:127.0.0.1:{port}", "test", None, Credentials(SECRET))


async def test_without_a_secret_there_are_no_links_over_tcp_from_either_end(stage: Stage) -> None:
    async with on_tcp(stage, None) as (_, port):
        with pytest.raises(NotServing, match="link_secret_file"):
            await open_link(f"tcp:127.0.0.1:{port}", "test")
        with pytest.raises(NotServing, match="refused the upgrade"):
            await open_link(f"tcp:127.0.0.1:{port}", "test", None, Credentials(SECRET))


def upgrade(*headers: str) -> bytes:
    lines = ("GET /link HTTP/1.1", "Host: minion", "Connection: Upgrade")
    return "\r\n".join((*lines, f"Upgrade: {UPGRADE_TOKEN}", *headers, "", "")).encode()


@pytest.mark.parametrize("proves", ["nothing", "nonsense", "as-the-host", "another-nonce"])
async def test_a_coordinator_that_does_not_know_the_secret_is_not_served(
    stage: Stage, caplog: pytest.LogCaptureFixture, proves: str
) -> None:
    async with on_tcp(stage) as (app, port), calling(port) as caller:
        mine = nonce()
        await caller.send(upgrade(f"{NONCE_HEADER}: {mine}"))
        status, headers = await caller.head()
        theirs = headers[NONCE_HEADER.lower()]
        proof = {
            "nothing": "",
            "nonsense": "ü" * 64,
            "as-the-host": headers["demitasse-proof"],
            "another-nonce": SECRET.proof(COORDINATOR, mine, nonce()),
        }[proves]
        assert (status, len(theirs)) == (101, 64)

        hello = Hello("stranger", proof=proof).encode()
        inputs = {"x": Tensor.from_array(np.array([1], np.float32))}
        await caller.send(b"".join([*hello, *Predict(1, inputs, None, {}).encode()]))

        assert await caller.closed(), "not even who serves there was said"
        assert app[LANE].bouncer.admitted == 0
    assert "does not know the secret" in caplog.text


@pytest.mark.parametrize("given", [(), (f"{NONCE_HEADER}: 00",)], ids=["no-nonce", "a-short-one"])
async def test_an_upgrade_over_tcp_that_does_not_ask_for_a_proof_is_refused(
    stage: Stage, given: tuple[str, ...]
) -> None:
    async with on_tcp(stage) as (_, port), calling(port) as caller:
        await caller.send(upgrade(*given))

        assert (await caller.reply()).status == 403


async def test_over_tcp_nothing_else_is_asked_of_a_host_but_whether_it_lives(stage: Stage) -> None:
    async with on_tcp(stage) as (app, port), aiohttp.ClientSession() as client:
        statuses = {}
        for route in app.router.routes():
            assert route.resource is not None
            path = route.resource.canonical
            async with client.request(route.method, f"http://127.0.0.1:{port}{path}") as answer:
                statuses[path] = answer.status

    assert statuses.pop("/livez") == statuses.pop("/readyz") == 200
    assert statuses.pop("/link") == 426
    assert set(statuses) == {"/status", "/cost", "/metrics", "/settings", "/infer"}
    assert set(statuses.values()) == {403}


# TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, and what it signed for a host and a coordinator; and a CA that signed nothing."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("certificates")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]

    def make(name: str, *more: str) -> None:
        files = ["-nodes", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        words = [*new, *files, "-subj", f"/CN={name}", *more]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)

    make("ca")
    make("foreign")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE")
    make("host", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    make("elsewhere", *signed, "-addext", "subjectAltName=DNS:elsewhere.example")
    make("coordinator", *signed)
    return folder


def of_host(folder: Path, name: str, *, asks: bool = False) -> ssl.SSLContext:
    ca = f"{folder}/ca.pem" if asks else ""
    return tls_of_host(ca, f"{folder}/{name}.pem", f"{folder}/{name}.key")


def of_coordinator(folder: Path, ca: str, name: str = "") -> Credentials:
    files = (f"{folder}/{name}.pem", f"{folder}/{name}.key") if name else ("", "")
    return Credentials(SECRET, tls_of_coordinator(f"{folder}/{ca}.pem", *files))


async def test_a_link_may_be_tls_with_certificates_from_both(
    stage: Stage, certificates: Path
) -> None:
    host = of_host(certificates, "host", asks=True)
    async with on_tcp(stage, SECRET, host) as (_, port):
        credentials = of_coordinator(certificates, "ca", "coordinator")
        link = await open_link(f"tcp:127.0.0.1:{port}", "test", None, credentials)

        assert await answer_over(link) == [7.0, 8.0]
        link.close()
        await link.closed


@pytest.mark.parametrize(
    ("host", "asks", "coordinator"),
    [
        ("host", False, ("foreign",)),
        ("elsewhere", False, ("ca",)),
        ("host", True, ("ca",)),
        ("host", True, ("ca", "foreign")),
    ],
    ids=["another-ca", "another-host", "no-certificate", "a-certificate-of-nobodys"],
)
async def test_who_shows_the_wrong_certificate_or_none_has_no_link(
    stage: Stage, certificates: Path, host: str, asks: bool, coordinator: tuple[str, ...]
) -> None:
    async with on_tcp(stage, SECRET, of_host(certificates, host, asks=asks)) as (app, port):
        with pytest.raises((OSError, NotServing)):
            await open_link(
                f"tcp:127.0.0.1:{port}", "test", None, of_coordinator(certificates, *coordinator)
            )
        assert app[LANE].bouncer.admitted == 0


async def test_who_does_not_speak_tls_learns_nothing_from_one_who_does(
    stage: Stage, certificates: Path
) -> None:
    async with on_tcp(stage, SECRET, of_host(certificates, "host")) as (_, port):
        with pytest.raises((OSError, NotServing)):
            await open_link(f"tcp:127.0.0.1:{port}", "test", None, Credentials(SECRET))


# Users of one machine.


@contextmanager
def as_nobody() -> Iterator[None]:
    """Another user, as far as the kernel tells those at the other end of a socket."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """One that every user gets into."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    tmp_path.chmod(0o777)
    return tmp_path


@as_root
@pytest.mark.parametrize("path", ["/link", "/status", "/infer"])
async def test_another_user_who_gets_to_the_socket_of_a_host_is_refused(
    stage: Stage, open_folder: Path, path: str
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    place = host.address.removeprefix("unix:")
    os.chmod(place, 0o777)
    connection = socket.socket(socket.AF_UNIX)
    with as_nobody():
        connection.connect(place)
    reader, writer = await asyncio.open_unix_connection(sock=connection)

    writer.write(upgrade().replace(b"/link", path.encode()))

    assert b" 403 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


@as_root
async def test_a_host_that_is_another_user_is_told_nothing(open_folder: Path) -> None:
    path = open_folder / "trap.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        with as_nobody():
            listener.bind(str(path))
            listener.listen()

        with pytest.raises(NotServing, match="another user"):
            await open_link(f"unix:{path}", "test")

        listener.settimeout(20)
        heard, _ = listener.accept()
        with heard:
            heard.settimeout(20)
            assert heard.recv(1) == b""


# Settings.


@pytest.mark.parametrize("setting", ["link_secret_file", "link_ca_file"])
def test_a_file_that_is_missing_is_named_with_its_setting(tmp_path: Path, setting: str) -> None:
    settings = Settings(home=tmp_path, **{setting: str(tmp_path / "absent")})

    with pytest.raises(InvalidSettings, match=rf"{setting}: .*absent.*No such file"):
        link_credentials(settings)


def test_a_certificate_alone_does_not_make_links_in_the_clear(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, link_certificate_file="certificate.pem", link_key_file="key.pem"
    )

    with pytest.raises(InvalidSettings, match="link_ca_file: is missing"):
        link_credentials(settings)


def test_a_secret_of_the_settings_is_the_one_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("between you and me\n")
    file.chmod(0o600)

    found = link_credentials(Settings(home=tmp_path, link_secret_file=str(file)))

    assert found.secret is not None
    assert found.secret.proof("host", "a", "b") == SECRET.proof("host", "a", "b")
    assert found.tls is None

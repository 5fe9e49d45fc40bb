"""What a deployment takes of its machine."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.machine import (
    MAX_SOCKET_FOLDER,
    DeploymentError,
    address,
    claim_port,
    socket_folder,
)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody else's, who would share the port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def test_a_port_in_use_is_refused_with_the_option_that_chooses_another(listener: socket.socket):
    port = listener.getsockname()[1]

    with pytest.raises(DeploymentError, match=rf"127\.0\.0\.1:{port}.*choose another --port"):
        claim_port("127.0.0.1", port, "--port")


def test_a_host_with_colons_is_in_brackets():
    assert address("127.0.0.1", 8080) == "127.0.0.1:8080"
    assert address("::1", 8080) == "[::1]:8080"


def test_a_host_of_another_machine_is_refused():
    with pytest.raises(DeploymentError, match="choose another --port"):
        claim_port("192.0.2.1", 8080, "--port")


def test_a_claimed_port_is_shared_with_those_who_share_and_nobody_else():
    with claim_port("127.0.0.1", 0, "--port") as claim:
        address = claim.getsockname()
        with socket.socket() as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            ours.bind(address)
            ours.listen()
            with socket.create_connection(address), ours.accept()[0]:
                pass
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(address)


def test_sockets_lie_in_the_run_folder_which_is_for_nobody_else():
    with tempfile.TemporaryDirectory() as short:
        run = Path(short) / "run"
        run.mkdir()
        run.chmod(0o755)

        assert socket_folder(run) == run
        assert run.stat().st_mode & 0o777 == 0o700


def test_a_long_path_gets_a_short_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = Path("/" + "x" * MAX_SOCKET_FOLDER)

    folder = socket_folder(run)

    assert folder.parent == tmp_path
    assert folder == socket_folder(run) != socket_folder(run / "other")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_stand_in_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = Path("/" + "x" * MAX_SOCKET_FOLDER)
    os.chmod(socket_folder(run), 0o777)

    with pytest.raises(DeploymentError, match="choose a shorter --home"):
        socket_folder(run)

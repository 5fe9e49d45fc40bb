"""What the two ends of a link prove to each other, and what is refused as a secret."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wire.credentials import (
    COORDINATOR,
    HOST,
    Credentials,
    InvalidCredentials,
    Secret,
    is_our_own,
    nonce,
    openness,
    peer_of,
    read_key,
    read_secret,
    same,
    tls_of_host,
)

SECRET = Secret(b"0123456789abcdef")


def written(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_who_knows_the_secret_proves_what_is_expected() -> None:
    mine = nonce()

    challenge = SECRET.challenge(mine)

    assert challenge is not None
    assert same(SECRET.proof(HOST, mine, challenge.nonce), challenge.proof)
    assert same(SECRET.proof(COORDINATOR, mine, challenge.nonce), challenge.expected)


@pytest.mark.parametrize("changed", ["secret", "side", "coordinators", "hosts"])
def test_a_proof_is_good_for_one_secret_one_side_and_two_nonces(changed: str) -> None:
    mine, theirs = nonce(), nonce()
    right = SECRET.proof(HOST, mine, theirs)

    wrong = {
        "secret": Secret(b"0123456789abcdeX").proof(HOST, mine, theirs),
        "side": SECRET.proof(COORDINATOR, mine, theirs),
        "coordinators": SECRET.proof(HOST, nonce(), theirs),
        "hosts": SECRET.proof(HOST, mine, nonce()),
    }[changed]

    assert not same(wrong, right)


def test_every_challenge_is_a_new_one() -> None:
    mine = nonce()

    challenges = {SECRET.challenge(mine) for _ in range(16)}

    assert len(challenges) == 16


@pytest.mark.parametrize("given", ["", "00", "g\n" * 32, "é" * 64, "0" * 65])
def test_what_is_no_nonce_is_not_answered_with_a_proof(given: str) -> None:
    assert SECRET.challenge(given) is None


@pytest.mark.parametrize("claimed", ["", "ü" * 64, "\ud800", "0" * 64])
def test_nonsense_is_not_a_proof(claimed: str) -> None:
    assert not same(claimed, SECRET.proof(HOST, nonce(), nonce()))


def test_a_secret_is_shown_to_nobody() -> None:
    assert "0123" not in f"{SECRET} {SECRET!r} {Credentials(SECRET)}"


def test_the_white_space_around_a_secret_is_not_part_of_it(tmp_path: Path) -> None:
    read = read_secret(written(tmp_path / "secret", b"  0123456789abcdef\n"))

    assert read.proof(HOST, "a", "b") == SECRET.proof(HOST, "a", "b")


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"0123456789abcdef", 0o644, "can be read by all users: `chmod 600`"),
        (b"0123456789abcdef", 0o620, "can be written by other users: `chmod 600`"),
        (b"short\n", 0o600, "holds 5 bytes"),
        (b"x" * 5000, 0o600, "16 to 4096"),
    ],
    ids=["open", "writable", "short", "long"],
)
def test_what_is_no_secret_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes, mode: int, why: str
) -> None:
    path = written(tmp_path / "secret", content, mode)

    with pytest.raises(InvalidCredentials, match=why) as refused:
        read_secret(path)

    assert path in str(refused.value)
    assert content.decode().strip() not in str(refused.value)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_file_for_its_owner_or_a_group_to_read_may_hold_a_secret(
    tmp_path: Path, mode: int
) -> None:
    path = written(tmp_path / "secret", b"0123456789abcdef", mode)

    assert read_key(path) == b"0123456789abcdef"


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o606, 0o660, 0o622, 0o604])
def test_what_others_may_read_or_a_group_may_write_holds_a_secret_on_read_only_mounts_alone(
    mode: int,
) -> None:
    assert openness(mode, read_only=False)
    assert not openness(mode, read_only=True)


def test_a_secret_that_an_orchestrator_mounted_is_read(tmp_path: Path) -> None:
    """As Kubernetes does: readable for all, behind two links, on a mount that is read-only."""
    volume = tmp_path / "volume"
    (volume / "..first").mkdir(parents=True)
    (volume / "..data").symlink_to("..first")
    (volume / "key").symlink_to("..data/key")
    written(volume / "..first" / "key", b"0123456789abcdef\n", 0o644)
    with pytest.raises(InvalidCredentials, match="can be read by all"):
        read_key(str(volume / "key"))

    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 77; exec "$@"'
    read = "import sys; from wire.credentials import read_key; print(read_key(sys.argv[1]))"
    tried = subprocess.run(
        [
            *("unshare", "--mount", "--map-root-user", "sh", "-c", mount, volume),
            *(sys.executable, "-c", read, volume / "key"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    if tried.returncode in (1, 77) and "Traceback" not in tried.stderr:
        pytest.skip(f"no mounts of our own here: {tried.stderr.strip()}")
    assert tried.stdout == f"{b'0123456789abcdef'}\n", tried.stderr


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidCredentials, match="absent cannot be read: No such file"):
        read_secret(str(tmp_path / "absent"))


def test_what_is_no_certificate_is_named(tmp_path: Path) -> None:
    junk = written(tmp_path / "junk.pem", b"junk")

    with pytest.raises(InvalidCredentials, match=r"junk\.pem cannot be used: not in PEM"):
        tls_of_host("", junk, junk)
    with pytest.raises(InvalidCredentials, match=r"absent.* cannot be used: No such file"):
        tls_of_host(str(tmp_path / "absent"), "", "")


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one) == (os.getpid(), os.getuid())
        assert is_our_own(one)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_not_our_own() -> None:
    one, other = socket.socketpair()
    with one, other:
        try:
            os.seteuid(65534)

            assert not is_our_own(one)
        finally:
            os.seteuid(0)

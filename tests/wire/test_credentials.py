"""What the two ends of a link prove to each other, and what is refused as a secret."""

from __future__ import annotations

import os
import socket
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
    peer_of,
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
        (b"0123456789abcdef", 0o640, "chmod 600"),
        (b"0123456789abcdef", 0o604, "chmod 600"),
        (b"short\n", 0o600, "holds 5 bytes"),
        (b"x" * 5000, 0o600, "16 to 4096"),
    ],
    ids=["group", "others", "short", "long"],
)
def test_what_is_no_secret_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes, mode: int, why: str
) -> None:
    path = written(tmp_path / "secret", content, mode)

    with pytest.raises(InvalidCredentials, match=why) as refused:
        read_secret(path)

    assert path in str(refused.value)
    assert content.decode().strip() not in str(refused.value)


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

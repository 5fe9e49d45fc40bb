"""Sockets that outlive those who serve them."""

from __future__ import annotations

import os
import selectors
import socket
from contextlib import ExitStack

import pytest

from deploy.listeners import open_listeners
from deploy.machine import DeploymentError

HOST = "127.0.0.1"


def test_connections_spread_over_the_slots():
    callers = 64
    with open_listeners(HOST, 0, 2, "--port") as listeners, ExitStack() as exits:
        for _ in range(callers):
            exits.enter_context(socket.create_connection((HOST, listeners.port)))
        taken = [accepted(listeners.own(slot)[0], exits) for slot in range(2)]

    assert sum(taken) == callers
    assert min(taken) > 0


def accepted(descriptor: int, exits: ExitStack) -> int:
    """How many wait at a socket."""
    listener = exits.enter_context(socket.socket(fileno=os.dup(descriptor)))
    count = 0
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while selector.select(0):
            exits.enter_context(listener.accept()[0])
            count += 1
    return count


def test_each_slot_has_all_others_for_neighbours():
    with open_listeners(HOST, 0, 3, "--port") as listeners:
        own = [listeners.own(slot) for slot in range(3)]

        assert listeners.neighbours(1) == [*own[0], *own[2]]
        assert len({each for slot in own for each in slot}) == 3


def test_a_name_of_several_addresses_is_listened_on_at_each_on_one_port():
    wanted = {each[4][0] for each in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}

    with open_listeners("localhost", 0, 1, "--port") as listeners, ExitStack() as exits:
        sockets = [
            exits.enter_context(socket.socket(fileno=os.dup(each))) for each in listeners.own(0)
        ]
        found = {each.getsockname()[:2] for each in sockets}

    assert found == {(address, listeners.port) for address in wanted}


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_every_address_of_the_machine_is_listened_on_of_both_families():
    with open_listeners("", 0, 2, "--port") as listeners:
        for host in (HOST, "::1"):
            socket.create_connection((host, listeners.port)).close()


def test_a_port_in_use_is_refused_with_the_option_that_chooses_another():
    with socket.create_server((HOST, 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(DeploymentError, match=rf"{port}.*choose another --port"),
            open_listeners(HOST, port, 1, "--port"),
        ):
            pass


def test_a_name_that_means_nothing_is_refused():
    with (
        pytest.raises(DeploymentError, match=r"no\.such\.host"),
        open_listeners("no.such.host.invalid", 0, 1, "--port"),
    ):
        pass


def test_after_the_block_nobody_listens():
    with open_listeners(HOST, 0, 2, "--port") as listeners:
        socket.create_connection((HOST, listeners.port)).close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, listeners.port))

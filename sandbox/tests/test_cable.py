"""What is sent over a cut cable arrives when it is mended, and no end learns of the cut."""

import socket

import pytest

from sandbox.chaos.cable import Cable


def test_a_cut_cable_is_silent_in_both_directions() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Cable({"server": server.getsockname()[1], "nobody": 1}) as cable,
    ):
        near = socket.create_connection(("127.0.0.1", cable.ports["server"]), timeout=5)
        far, _ = server.accept()
        with near, far:
            near.sendall(b"before")
            assert far.recv(10) == b"before"
            cable.cut()
            near.settimeout(0.2)
            far.settimeout(0.2)
            near.sendall(b"there")
            far.sendall(b"back")
            for end in (near, far):
                with pytest.raises(TimeoutError):
                    end.recv(10)
            cable.mend()
            near.settimeout(5)
            far.settimeout(5)
            assert (far.recv(10), near.recv(10)) == (b"there", b"back")
        with socket.create_connection(("127.0.0.1", cable.ports["nobody"]), timeout=5) as lost:
            assert lost.recv(10) == b""

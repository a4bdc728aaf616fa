"""Connections between the workers of a job, before TensorFlow has its own."""

from __future__ import annotations

import contextlib
import errno
import socket

from trainer.cluster.cluster import host_and_port


def listen_on(address: str) -> socket.socket:
    """Listens on the port as TensorFlow's server will, on all interfaces."""
    port = host_and_port(address)[1]
    try:
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(OSError):
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            what = "TF_CONFIG: this worker's port must be free, but another process listens on it"
            raise OSError(error.errno, what, address) from None
        what = f"TF_CONFIG: cannot listen on this worker's port: {error.strerror}"
        raise OSError(error.errno, what, address) from None


def read_line(connection: socket.socket) -> str:
    """A line without its end; OSError if the connection ended before it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > 1000:
            raise ConnectionResetError(errno.ECONNRESET, "the connection ended")
        line += byte
    return line[:-1].decode(errors="replace")


def reason_of(error: Exception) -> str:
    """In a few words, on one line."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return "this host name is not known"
    if isinstance(error, TimeoutError):
        return "no answer"
    text = getattr(error, "strerror", None) or str(error)
    return (text[:1].lower() + text[1:]).replace("\n", " ")


def shut(connection: socket.socket) -> None:
    """Closes a socket that another thread may wait for."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()

"""Runs by itself, with the standard library alone: opens the proxy's listener inside of a job's network.

A socket belongs to the network in which it was made, whoever holds it later. So the worker accepts what comes from a
network in which it is not, and nothing of it runs inside.

``inside.py enter NAMESPACE CHANNEL PORT`` goes into the network of that descriptor; ``inside.py make NAME PORT`` makes
one, and holds it until the socket of that path is closed. Both send the listener, and its network, as descriptors.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
import time

__all__ = ["main"]

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_OWNER_OF_NAMESPACE = 0xB701
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
_PATIENCE_S = 20.0
_BACKLOG = 64


def main() -> None:
    """See the module."""
    mode, *words = sys.argv[1:]
    if mode == "enter":
        namespace, port = int(words[0]), int(words[2])
        _enter(namespace)
        channel = socket.socket(fileno=int(words[1]))
        _send(channel, _listener(port), namespace)
        return
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(words[0])
    _call("unshare", _NEW_NETWORK)
    _raise_loopback()
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    _send(channel, _listener(int(words[1])), namespace)
    channel.recv(1)


def _enter(namespace: int) -> None:
    try:
        _call("setns", namespace, _NEW_NETWORK)
    except PermissionError:
        # Without root the network belongs to a user namespace, which whoever made it may enter.
        _call("setns", fcntl.ioctl(namespace, _OWNER_OF_NAMESPACE), _NEW_USER)
        _call("setns", namespace, _NEW_NETWORK)


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        name = b"lo".ljust(16, b"\0")
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _GET_FLAGS, name + bytes(24)), 16)
        fcntl.ioctl(any_socket, _SET_FLAGS, name + struct.pack("h", flags | _UP) + bytes(22))


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            listener.bind(("127.0.0.1", port))
            break
        except OSError as error:
            # Whoever made the network has not raised its loopback yet, and fails if another one does.
            if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > until:
                raise
            time.sleep(0.002)
    listener.listen(_BACKLOG)
    return listener


def _send(channel: socket.socket, listener: socket.socket, namespace: int) -> None:
    descriptors = array.array("i", [listener.fileno(), namespace])
    channel.sendmsg([b"l"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])


def _call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main()

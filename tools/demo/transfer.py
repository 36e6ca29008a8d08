"""16 MB through a TCP connection, with its checksum: the DPU's end of the demo's transfers.

python -m tools.demo.transfer send|receive ADDRESS PORT: listens there for one connection, then prints the SHA-256 of
what went over it.
"""

import hashlib
import os
import socket
import sys

SIZE = 16 << 20


def main() -> None:
    """One transfer."""
    verb, address, port = sys.argv[1:4]
    with socket.create_server((address, int(port))) as server:
        server.settimeout(60)
        connection, _ = server.accept()
    with connection:
        connection.settimeout(120)
        print({"send": send, "receive": receive}[verb](connection))


def send(connection: socket.socket) -> str:
    """16 MB of noise."""
    data = os.urandom(SIZE)
    connection.sendall(data)
    return hashlib.sha256(data).hexdigest()


def receive(connection: socket.socket) -> str:
    """All that comes."""
    digest = hashlib.sha256()
    while data := connection.recv(1 << 16):
        digest.update(data)
    return digest.hexdigest()


main()

"""A datapath process without a controller: functions behind vhost-user are made by message, and it is listened to."""

import itertools
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Self

import msgspec

from softdpu.datapath.messages import Answer, Connect, Create, Destroy, Done, Event, FromDatapath, Negotiated, Update
from softdpu.datapath.process import binary
from softdpu.net.backend import Agreement
from softdpu.net.state import FunctionConfig
from softdpu.net.vhost import VhostFunction
from softdpu.virtio.effects import AnyEffect

PATIENCE = 20.0  # seconds


class Datapath:
    """One process, and this test as its controller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "control"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen(4)
            command = [str(binary()), "--control-fd", str(listener.fileno()), "--log-level", "debug"]
            with (folder / "log").open("ab") as log:
                self.process = subprocess.Popen(command, pass_fds=[listener.fileno()], stdout=log, stderr=log)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.connect(str(path))
        self.control.settimeout(PATIENCE)
        self.tickets = itertools.count(1)
        self.functions: dict[int, VhostFunction] = {}
        self.agreements: dict[int, Agreement] = {}
        self.events: list[Event] = []
        self.listeners: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        for listener in self.listeners:
            listener.close()
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text()

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def serve(self, number: int = 0, *, client: bool = False, **config: Any) -> Path:
        """Make a function; where its front end connects to."""
        mac = bytes((2, 0, 0, 0, 0, number + 1))
        function = VhostFunction.create(FunctionConfig(**({"layout": "transitional", "mac": mac} | config)), client)
        self.functions[number] = function
        path = self.folder / f"vhost{number}"
        path.unlink(missing_ok=True)
        effects = function.start_effects().items
        create = Create(next(self.tickets), number, function.description, False, b"", effects)
        if client:
            self.ask(create)
            return path
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(16)
            self.ask(create, [listener.fileno()])
        return path

    def connect(self, number: int, peer: socket.socket) -> Done:
        """Hand over a connection; how that went."""
        return self.send(Connect(next(self.tickets), number), [peer.fileno()])

    def update(self, number: int, *effects: AnyEffect) -> None:
        """Change a function as its operator would."""
        self.ask(Update(next(self.tickets), number, b"", effects))

    def destroy(self, number: int) -> None:
        """End a function."""
        self.ask(Destroy(next(self.tickets), number))

    def ask(self, message: Create | Update | Destroy | Connect, descriptors: list[int] | None = None) -> None:
        """Send a request and wait until it is done."""
        done = self.send(message, descriptors)
        assert not done.errno, done

    def send(self, message: Create | Update | Destroy | Connect, descriptors: list[int] | None = None) -> Done:
        """Send a request; how it ended."""
        socket.send_fds(self.control, [msgspec.msgpack.encode(message)], descriptors or [])
        while True:
            heard = self.hear()
            if isinstance(heard, Done) and heard.ticket == message.ticket:
                return heard

    def hear(self) -> FromDatapath:
        """The next message, remembered and answered where it needs that."""
        packet, descriptors, _, _ = socket.recv_fds(self.control, 1 << 20, 4)
        for descriptor in descriptors:
            os.close(descriptor)
        assert packet, f"the datapath has ended: {self.log}"
        message: FromDatapath = msgspec.msgpack.decode(packet, type=FromDatapath)
        match message:
            case Event():
                self.events.append(message)
                answer = Answer(message.function, message.request, 0, b"", None, ())
                self.control.send(msgspec.msgpack.encode(answer))
            case Negotiated(function=function, agreement=agreement):
                self.agreements[function] = agreement
                self.functions[function].negotiated(agreement)
        return message

    def event(self, kind: str) -> Event:
        """The next event of a kind, the earlier ones forgotten."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if event.kind == kind:
                    return event
            self.hear()

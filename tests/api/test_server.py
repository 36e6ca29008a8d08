"""The interface on its socket: who may connect, what is answered, what stays behind."""

import asyncio
import errno
import json
import logging
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from softdpu.api.client import Client, ControllerNotRunning
from softdpu.api.server import listen, start
from softdpu.api.service import Service
from softdpu.controller.errors import OperatorError
from tests.api.desk import Desk
from tests.api.served import Served, serving, short_root

HOTPLUG = {"ib_device": "mlx5_0", "mac": "0C:C4:7A:FF:22:93", "mtu": 1500, "max_queues": 3, "max_queue_size": 1024}


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def exchange(served: Served, method: str, resource: str, body: str | None = None) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a request of any form."""
    status, answer = served.client._exchange(method, resource, body)
    return status, json.loads(answer)


# ---- the socket


def test_only_its_owner_may_connect(served: Served) -> None:
    assert stat.S_IMODE(served.root.api.stat().st_mode) == 0o600
    assert [path.name for path in served.root.run.iterdir()] == ["controller.sock"]


def test_a_stale_socket_is_replaced() -> None:
    with short_root() as root:
        root.run.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(root.api))
        with listen(root.api), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(root.api))


def test_stopping_removes_the_socket_but_not_a_successors() -> None:
    with serving() as served:
        path = served.root.api
        successor = served.await_(start(Desk(served.left.append), path))
        served.await_(served.server.stop())
        assert Client(path).get("/v1/health")["service"]["healthy"] == 1
        served.await_(successor.stop())
        assert not path.exists()


def test_a_path_too_long_for_a_socket_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"too long for a unix socket .* choose a shorter root"):
        listen(tmp_path / ("x" * 110))


async def test_the_loops_signal_handlers_stay_the_controllers() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with short_root() as root:
        root.run.mkdir(parents=True)
        server = await start(Desk(lambda how: None), root.api)
        assert {number: signal.getsignal(number) for number in before} == before
        await server.stop()


async def test_nothing_is_left_running_after_stop() -> None:
    with short_root() as root:
        root.run.mkdir(parents=True)
        server = await start(Desk(lambda how: None), root.api)
        await asyncio.to_thread(Client(root.api).get, "/v1/list")
        await server.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_client_that_goes_in_the_middle_harms_nobody(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is it a mistake of the controller's."""
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(served.root.api))
            client.send(b"POST /v1/hotplug HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            time.sleep(0.01)  # so that its body is waited for
    assert served.client.get("/v1/list")["devices"] == []
    assert not caplog.records


def test_what_is_no_http_harms_nobody(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(served.root.api))
        client.send(b"\x00\xff" * 1000 + b"\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    assert served.client.get("/v1/list")["devices"] == []


# ---- what is answered


def test_keys_keep_the_services_order(served: Served) -> None:
    reply = served.client.post("/v1/hotplug", HOTPLUG)
    assert list(reply) == ["bdf", "vuid", "id", "transitional", "sf_rep_net_device", "mac", "errno", "errstr"]


@pytest.mark.parametrize(
    ("line", "body", "status", "number"),
    [
        ("POST /v1/hotplug", json.dumps(HOTPLUG | {"mtu": 1}), 400, 22),
        ("POST /v1/hotplug", json.dumps(HOTPLUG | {"ib_device": "x"}), 404, 19),
        ("POST /v1/unplug", '{"pf": 3}', 404, 19),
        ("POST /v1/modify/device", '{"pf": 0, "rx_mode": 1}', 501, 95),
        ("GET /v1/nothing", None, 404, 2),
        ("GET /v1/hotplug", None, 405, 2),
        ("POST /v1/hotplug", '"' + "x" * 2_000_000 + '"', 413, 22),
    ],
    ids=["bad value", "no ib device", "no device", "not supported", "no resource", "no method", "too large"],
)
def test_the_http_status_fits_the_errno(served: Served, line: str, body: str | None, status: int, number: int) -> None:
    method, resource = line.split()
    answered, reply = exchange(served, method, resource, body)
    assert (answered, reply["errno"]) == (status, number)
    assert list(reply) == ["errno", "errstr"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "it has no body, and needs a JSON object"),
        ("{", "Input data was truncated"),
        ("[]", "Expected `object`, got `array`"),
        ("[" * 100_000, "its body is nested too deeply"),
        (json.dumps(HOTPLUG | {"mtu": "many"}), "mtu: Expected `int`, got `str`"),
        (json.dumps(HOTPLUG | {"mtu": True}), "mtu: Expected `int`, got `bool`"),
        (json.dumps(HOTPLUG | {"colour": "red"}), "unknown field `colour`"),
        ("{}", "missing required field `ib_device`"),
    ],
)
def test_a_body_of_the_wrong_shape_is_named(served: Served, body: str, why: str) -> None:
    status, reply = exchange(served, "POST", "/v1/hotplug", body)
    assert status == 400
    assert reply["errstr"].startswith("the request was not understood: ")
    assert why in reply["errstr"]


def test_a_refusal_of_a_lower_layer_keeps_its_errno_and_sentence(served: Served) -> None:
    served.desk.bound.add("someone")
    assert exchange(served, "POST", "/v1/power-cycle", "{}") == (
        400,
        {"errno": 22, "errstr": "hosts use devices: add --force."},
    )


def test_our_own_mistake_is_said_and_logged_and_serving_goes_on(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "softdpu.api"):
        status, reply = exchange(served, "DELETE", "/v1/hosts/nobody")
    assert (status, reply["errno"]) == (500, 5)
    assert reply["errstr"].startswith("the controller made a mistake: KeyError.")
    assert "Traceback" in caplog.text
    assert served.client.get("/v1/hosts") == {"hosts": []}


def test_hosts_come_and_go(served: Served) -> None:
    assert served.client.post("/v1/hosts", {"qmp": "/tmp/qmp.sock", "name": "a"})["name"] == "a"
    assert served.client.get("/v1/hosts") == {"hosts": [{"name": "a", "qmp": "/tmp/qmp.sock"}]}
    served.client.delete("/v1/hosts/a")
    assert served.client.get("/v1/hosts") == {"hosts": []}


@pytest.mark.parametrize("request_", [{"qmp": "relative.sock"}, {"qmp": "/a\0b"}, {"qmp": "/q", "name": "a/b"}])
def test_a_host_of_bad_name_or_path_is_refused(served: Served, request_: dict[str, str]) -> None:
    with pytest.raises(OperatorError, match="is not accepted: it must be"):
        served.client.post("/v1/hosts", request_)


def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    served.client.post("/v1/hotplug", HOTPLUG)
    assert served.client.text("/metrics").splitlines() == [
        "# HELP softdpu_frames_total Frames moved.",
        "# TYPE softdpu_frames_total counter",
        'softdpu_frames_total{vuid="MT2447X00000VNETS1D0F0"} 5.0',
    ]


def test_openapi_describes_every_method_of_the_service(served: Served) -> None:
    paths = served.client.get("/schema/openapi.json")["paths"]
    described = sum(len(methods) for methods in paths.values())
    assert described == len([name for name in vars(Service) if not name.startswith("_")])


# ---- the client


def test_nobody_there_is_a_sentence() -> None:
    with short_root() as root, pytest.raises(ControllerNotRunning, match=r"does not run: nothing answers on .* Start"):
        Client(root.api).get("/v1/list")


def test_a_stale_socket_is_nobody_there() -> None:
    with short_root() as root:
        root.run.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(root.api))
        with pytest.raises(ControllerNotRunning):
            Client(root.api).get("/v1/list")


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (b"", errno.ECONNRESET),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", errno.ECONNRESET),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", errno.EPROTO),
    ],
    ids=["none", "half", "no JSON"],
)
def test_an_answer_that_is_none_is_a_sentence(answer: bytes, number: int) -> None:
    with listening() as (listener, client):

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.send(answer)

        threading.Thread(target=serve).start()
        with pytest.raises(OperatorError) as refusal:
            client.get("/v1/list")
        assert refusal.value.errno == number


def test_no_answer_in_time_is_a_sentence() -> None:
    with listening() as (_, client), pytest.raises(OperatorError, match="did not answer within 0 s") as refusal:
        client.patience = 0.2
        client.get("/v1/list")
    assert refusal.value.errno == errno.ETIMEDOUT


@contextmanager
def listening() -> Iterator[tuple[socket.socket, Client]]:
    """A socket where a controller should be, and a client of it."""
    with short_root() as root, socket.socket(socket.AF_UNIX) as listener:
        root.run.mkdir(parents=True)
        listener.bind(str(root.api))
        listener.listen()
        yield listener, Client(root.api, patience=10)

"""The HTTP interface: each handler translates one request for the service, and decides nothing.

Importing this takes a good part of a second (Litestar): a controller that restarts does so late, see ``server.start``.
"""

from typing import Annotated, Any, TypeAlias

from litestar import Litestar, MediaType, Response, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from softdpu import __version__
from softdpu.api import failures, prometheus
from softdpu.api.service import Service
from softdpu.controller.requests import (
    DeviceRef,
    HostAttach,
    HostDetach,
    Hotplug,
    Json,
    Log,
    ModifyDevice,
    ModifyQueue,
    PowerCycle,
    Query,
    Restore,
    Save,
    SetVfs,
    Stats,
)

LARGEST_REQUEST = 1 << 20  # bytes
Controller: TypeAlias = NamedDependency[SkipValidation[Service]]
Number: TypeAlias = FromQuery[int | None]
Text: TypeAlias = FromQuery[str | None]
Flag: TypeAlias = FromQuery[bool]


@post("/v1/hotplug", status_code=200)
async def hotplug(data: JSONBody[Hotplug], service: Controller) -> Json:
    """Plug a new PF into the host."""
    return await service.hotplug(data)


@post("/v1/unplug", status_code=200)
async def unplug(data: JSONBody[DeviceRef], service: Controller) -> Json:
    """Unplug a hotplug PF."""
    return await service.unplug(data)


@post("/v1/vfs", status_code=200)
async def set_vfs(data: JSONBody[SetVfs], service: Controller) -> Json:
    """Have so many VFs of a PF: what a host does by writing to sriov_numvfs."""
    return await service.set_vfs(data)


@get("/v1/list")
async def list_devices(service: Controller) -> Json:
    """The controller and every device."""
    return await service.list_devices()


@get("/v1/query")
async def query(
    *,
    service: Controller,
    pf: Number = None,
    vf: Number = None,
    vuid: Text = None,
    every: Annotated[bool, QueryParameter(name="all")] = False,
    queue: Number = None,
    brief: Flag = False,
) -> Json:
    """Devices in full: features, status, queues."""
    return await service.query(Query(pf=pf, vf=vf, vuid=vuid, all=every, queue=queue, brief=brief))


@get("/v1/stats")
async def stats(
    *,
    service: Controller,
    pf: Number = None,
    vf: Number = None,
    vuid: Text = None,
    queue_id: Number = None,
) -> Json:
    """Packet counters of a device's queues."""
    return await service.stats(Stats(pf=pf, vf=vf, vuid=vuid, queue_id=queue_id))


@post("/v1/modify/device", status_code=200)
async def modify_device(data: JSONBody[ModifyDevice], service: Controller) -> Json:
    """Change properties of a device."""
    return await service.modify_device(data)


@post("/v1/modify/queue", status_code=200)
async def modify_queue(data: JSONBody[ModifyQueue], service: Controller) -> Json:
    """Change how a device's queues moderate interrupts."""
    return await service.modify_queue(data)


@post("/v1/save", status_code=200)
async def save(data: JSONBody[Save], service: Controller) -> Json:
    """The state of a device, base64, at a moment at which it stands still."""
    return await service.save(data)


@post("/v1/restore", status_code=200)
async def restore(data: JSONBody[Restore], service: Controller) -> Json:
    """Have a device go on where a saved one stood."""
    return await service.restore(data)


@post("/v1/resume", status_code=200)
async def resume(data: JSONBody[DeviceRef], service: Controller) -> Json:
    """Let a device go on that was saved or restored with ``stop``."""
    return await service.resume(data)


@post("/v1/log", status_code=200)
async def log(data: JSONBody[Log], service: Controller) -> Json:
    """Set how much is logged."""
    return await service.log(data)


@get("/v1/version")
async def version(service: Controller) -> Json:
    """The running and the installed version."""
    return await service.version()


@post("/v1/update", status_code=200)
async def update_start(service: Controller) -> Json:
    """Begin a live update."""
    return await service.update_start()


@get("/v1/update")
async def update_status(service: Controller) -> Json:
    """How the live update goes or went."""
    return await service.update_status()


@get("/v1/health")
async def health(service: Controller) -> Json:
    """Whether the service and each device is well."""
    return await service.health()


@post("/v1/restart", status_code=200)
async def restart(service: Controller) -> Json:
    """Fast restart without losing a device."""
    return await service.restart()


@post("/v1/stop", status_code=200)
async def stop(service: Controller) -> Json:
    """End controller and datapath."""
    return await service.stop()


@post("/v1/power-cycle", status_code=200)
async def power_cycle(data: JSONBody[PowerCycle], service: Controller) -> Json:
    """Power cycle of host and DPU: the firmware's next boot becomes current."""
    return await service.power_cycle(data)


@get("/v1/hosts")
async def hosts(service: Controller) -> Json:
    """The machines into which devices can be plugged."""
    return await service.hosts()


@post("/v1/hosts", status_code=200)
async def host_attach(data: JSONBody[HostAttach], service: Controller) -> Json:
    """Plug devices into this QEMU machine from now on."""
    return await service.host_attach(data)


@delete("/v1/hosts/{name:str}", status_code=200)
async def host_detach(name: FromPath[str], service: Controller) -> Json:
    """Forget a host."""
    return await service.host_detach(HostDetach(name=name))


@get("/v1/functions")
async def functions(service: Controller) -> Json:
    """The PCI functions that a host sees which is no QEMU machine."""
    return await service.functions()


@get("/v1/explain")
async def explain(service: Controller, pf: Number = None, vf: Number = None, vuid: Text = None) -> Json:
    """The feature negotiation of a device, bit by bit."""
    return await service.explain(DeviceRef(pf=pf, vf=vf, vuid=vuid))


@get("/v1/state")
async def state(service: Controller, pf: Number = None, vf: Number = None, vuid: Text = None) -> Json:
    """All that is known of a device; shapes may change."""
    return await service.state(DeviceRef(pf=pf, vf=vf, vuid=vuid))


@get("/v1/qemu-arguments")
async def qemu_arguments(service: Controller) -> Json:
    """Options of a QEMU command line that plug the functions in by hand."""
    return await service.qemu_arguments()


@get("/metrics", media_type=MediaType.TEXT)
async def metrics(service: Controller) -> Response[bytes]:
    """Everything worth counting, for Prometheus."""
    text, media_type = prometheus.exposition(await service.metrics())
    return Response(text, media_type=media_type)


HANDLERS: tuple[Any, ...] = (
    hotplug,
    unplug,
    set_vfs,
    list_devices,
    query,
    stats,
    modify_device,
    modify_queue,
    save,
    restore,
    resume,
    log,
    version,
    update_start,
    update_status,
    health,
    restart,
    stop,
    power_cycle,
    hosts,
    host_attach,
    host_detach,
    functions,
    explain,
    state,
    qemu_arguments,
    metrics,
)


def create_app(service: Service) -> Litestar:
    """The application that serves this controller."""
    return Litestar(
        HANDLERS,
        dependencies={"service": Provide(lambda: service, sync_to_thread=False)},
        exception_handlers={Exception: failures.answer},
        logging_config=None,  # logging is the controller's
        openapi_config=OpenAPIConfig("softdpu", __version__, path="/schema", render_plugins=[JsonRenderPlugin()]),
        request_max_body_size=LARGEST_REQUEST,
    )

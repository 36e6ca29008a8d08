"""Devices as the controller keeps them, without a datapath: for what can be said of them in memory."""

from softdpu.controller.devices import Device, Record
from softdpu.controller.identity import Bdf, hotplug_vuid, representor_name
from softdpu.net.device import Function
from softdpu.net.state import FunctionConfig

SERIAL = "MT2447X00001"


def made(number: int = 0, *, queues: int = 3, vectors: int = 10, link_up: bool = True) -> Device:
    """Hotplug PF ``number``, transitional."""
    mac = bytes.fromhex("0cc47aff2200")[:5] + bytes([number])
    config = FunctionConfig(layout="transitional", mac=mac, queues=queues, vectors=vectors, link_up=link_up)
    function = Function.create(config)
    record = Record(
        kind="hotplug PF",
        pf_id=number,
        vf_id=None,
        slot=number,
        vuid=hotplug_vuid(SERIAL, number),
        ib_device="mlx5_0",
        port=0,
        sf_num=2000 + number,
        representor=representor_name(0, 2000 + number),
        bdf=Bdf(0x15 + number, 0, 0),
        max_queues=queues,
        place=None,
        function=function.state,
    )
    return Device(number, record, function)


def bind(device: Device) -> None:
    """A legacy driver takes the device."""
    assert isinstance(device.function, Function)
    device.function.write(0, 0x12, b"\1")
    device.function.write(0, 0x12, b"\3")

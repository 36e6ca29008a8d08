"""virtnet hotplug: plug a new PF into the host."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.devices import number
from softdpu.cli.reply import echo, fields, show

HELP = "hotplug virtnet device"
FIELDS = (
    "ib_device",
    "features",
    "mac",
    "mtu",
    "max_queues",
    "max_queue_size",
    "sf_num",
    "legacy",
    "num_msix",
    "host",
    "export",
    "connect",
)
EXPORTS = ("auto", "vfio-user", "vhost-user")
IB_DEVICES = ("mlx5_0", "mlx5_1", "mlx5_bond_0")


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    device = parser.add_argument("-i", "--ib_device", required=True, help="RDMA device of the port, such as mlx5_0")
    device.completer = lambda **_: IB_DEVICES  # type: ignore[attr-defined]
    parser.add_argument("-f", "--features", help="feature bits added to the defaults, in hex")
    parser.add_argument("-m", "--mac", required=True, help="MAC address, such as 0C:C4:7A:FF:22:93")
    parser.add_argument("-t", "--mtu", type=number, required=True, help="MTU, 68 to 9216")
    parser.add_argument(
        "-n", "--max_queues", type=number, required=True, help="virtqueues: 3 is receive, transmit, control"
    )
    parser.add_argument("-s", "--max_queue_size", type=number, required=True, help="a power of two, 2 to 32768")
    parser.add_argument("-u", "--sf_num", type=number, help="scalable function number (default: the next free one)")
    parser.add_argument("-l", "--legacy", action="store_true", help="transitional device: usable by legacy drivers")
    parser.add_argument("--num_msix", type=number, help="MSI-X vectors (default: as the firmware says; 0: INTx only)")
    parser.add_argument("--host", help="which attached host, see softdpu host list (default: the only one)")

    parser.add_argument(
        "--export", choices=EXPORTS, help="how the host meets the device (default: as virtnet.conf says, auto)"
    )
    parser.add_argument(
        "--connect",
        metavar="PATH",
        nargs="?",
        const="",
        help="over vhost-user to a VMM that listens, at PATH (default: export_socket), instead of listening for it",
    )


def run(options: Namespace, client: Client) -> int:
    """Returns when the guest can see the device."""
    request = fields(options, *FIELDS)
    echo(request)
    return show(client.post("/v1/hotplug", request))

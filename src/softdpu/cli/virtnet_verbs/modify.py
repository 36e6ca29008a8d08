"""virtnet modify: change a device, or how its queues interrupt."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device, number
from softdpu.cli.reply import echo, fields, show

HELP = "modify virtnet device"
PROPERTIES = (
    "mac",
    "mtu",
    "speed",
    "link",
    "state",
    "features",
    "rx_mode",
    "msix_num",
    "max_queue_size",
    "num_qps",
    "dim_config",
)
MODERATION = ("period_mode", "period", "max_count")
STATE = "device status: 0x40 asks the driver for a reset, 0 resets a device without one"
RX_MODE = (
    "receive mode until the driver sets its own, a mask: 1 promiscuous, 2 all multicast, 4 all unicast, "
    "8 no multicast, 16 no unicast, 32 no broadcast"
)
DIM = "dynamic interrupt moderation: how long interrupts wait follows the load"
PERIOD_MODE = "whether a period counts from the last interrupt, or anew from each completion"


def declare(parser: ArgumentParser) -> None:
    """Its options: which device, then what of it."""
    add_device(parser, every="all devices")
    nouns = parser.add_subparsers(dest="noun", required=True, metavar="{device,queue}")
    _declare_device(nouns.add_parser("device", help="properties of the device"))
    _declare_queue(nouns.add_parser("queue", help="interrupt moderation of its queues, until the driver sets its own"))


def _declare_device(parser: ArgumentParser) -> None:
    parser.add_argument("-m", "--mac", help="MAC address; the driver must be unbound")
    parser.add_argument("-t", "--mtu", type=number, help="MTU, 68 to 9216; the driver must be unbound")
    parser.add_argument("-e", "--speed", type=number, help="link speed, Mb/s")
    parser.add_argument("-l", "--link", type=number, choices=(0, 1), help="link down or up")
    parser.add_argument("-s", "--state", type=number, help=STATE)
    parser.add_argument("-f", "--features", help="feature bits, in hex; the driver must be unbound")
    parser.add_argument("-r", "--rx_mode", type=number, help=RX_MODE)
    parser.add_argument("-n", "--msix_num", type=number, help="MSI-X vectors of a VF; the driver must be unbound")
    parser.add_argument("-q", "--max_queue_size", type=number, help="2 to 32768; the driver must be unbound")
    parser.add_argument("-qp", "--num_qps", type=number, help="queue pairs of a VF")
    parser.add_argument("-dim", "--dim_config", choices=("enable", "disable"), help=DIM)


def _declare_queue(parser: ArgumentParser) -> None:
    parser.add_argument("-e", "--period_mode", choices=("event", "cqe"), help=PERIOD_MODE)
    parser.add_argument("-n", "--period", type=number, help="longest delay of an interrupt, µs (0: none)")
    parser.add_argument("-c", "--max_count", type=number, help="most completions before an interrupt (0: no delay)")


def run(options: Namespace, client: Client) -> int:
    """All of the changes are made, or none."""
    request = fields(options, *DEVICE, "all")
    for name in PROPERTIES if options.noun == "device" else MODERATION:
        if (value := getattr(options, name)) is not None:
            request[name] = value
    echo(request)
    return show(client.post(f"/v1/modify/{options.noun}", request))

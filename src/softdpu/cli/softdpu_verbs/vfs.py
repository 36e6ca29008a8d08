"""softdpu vfs: what a host does that writes to sriov_numvfs."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.reply import show
from softdpu.controller.root import Root

HELP = "have so many VFs of a static PF, as a host that writes to its sriov_numvfs"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("pf", type=int, metavar="PF", help="number of the static PF (see virtnet list)")
    parser.add_argument("number", type=int, metavar="N", help="how many; 0 first where there are some already")
    parser.add_argument("--force", action="store_true", help="even while a QEMU uses one: its guest loses it")


def run(options: Namespace, root: Root) -> int:
    """Returns when they are there, or gone."""
    request = {"pf": options.pf, "num_vfs": options.number, "force": options.force}
    return show(Client(root.api).post("/v1/vfs", request))

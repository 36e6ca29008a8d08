"""softdpu host: the machines into which devices are plugged."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from urllib.parse import quote

from softdpu.api.client import Client
from softdpu.cli.process import Exit
from softdpu.cli.reply import show
from softdpu.controller.root import Root

HELP = "attach QEMU machines to plug devices into"


def declare(parser: ArgumentParser) -> None:
    """Its nouns."""
    verbs = parser.add_subparsers(dest="action", required=True)
    attach = verbs.add_parser("attach", help="plug devices into this QEMU from now on")
    attach.add_argument(
        "qmp", metavar="QMP_SOCKET", type=Path, help="its QMP socket (-qmp unix:PATH,server=on,wait=off)"
    )
    attach.add_argument("--name", help="what to call it (default: chosen)")
    detach = verbs.add_parser("detach", help="forget a host")
    detach.add_argument("name", help="see softdpu host list")
    verbs.add_parser("list", help="every host, with its free ports")


def run(options: Namespace, root: Root) -> int:
    """Prints the controller's JSON."""
    client = Client(root.api)
    if options.action == "attach":
        return show(client.post("/v1/hosts", {"qmp": str(options.qmp.absolute()), "name": options.name}))
    if options.action == "detach":
        return show(client.delete(f"/v1/hosts/{quote(options.name, safe='')}"))
    show(client.get("/v1/hosts"))
    return Exit.SUCCESS

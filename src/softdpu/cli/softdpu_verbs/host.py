"""softdpu host: the machines into which devices are plugged."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from urllib.parse import quote

from softdpu.api.client import Client
from softdpu.cli import simulated
from softdpu.cli.process import Exit
from softdpu.cli.reply import show
from softdpu.controller.root import Root
from softdpu.doctor.limits import Version

HELP = "attach QEMU machines to plug devices into; a shell on the simulated host"


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
    _declare_shell(verbs.add_parser("shell", help="a shell on the host that the DPU is plugged into, simulated"))
    verbs.add_parser("off", help="switch the simulated host off")


def _declare_shell(shell: ArgumentParser) -> None:
    shell.add_argument("-c", dest="command", metavar="COMMAND", help="run this and leave")
    shell.add_argument(
        "--kernel", type=Version.parse, metavar="VERSION", help="its kernel, such as 5.4 (default: 6.12)"
    )
    shell.add_argument("--cpu", choices=("intel", "amd"), help="its CPU (default: intel)")
    shell.add_argument("--no-iommu", action="store_true", help="it was booted with intel_iommu=off")


def run(options: Namespace, root: Root) -> int:
    """Prints the controller's JSON."""
    client = Client(root.api)
    if options.action == "shell":
        return simulated.shell(options, root)
    if options.action == "off":
        return simulated.off(root)
    if options.action == "attach":
        return show(client.post("/v1/hosts", {"qmp": str(options.qmp.absolute()), "name": options.name}))
    if options.action == "detach":
        return show(client.delete(f"/v1/hosts/{quote(options.name, safe='')}"))
    show(client.get("/v1/hosts"))
    return Exit.SUCCESS

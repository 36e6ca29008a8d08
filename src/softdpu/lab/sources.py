"""The Debian mirrors that this machine already uses, read from its own apt sources (both file formats)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from softdpu.lab.errors import LabError

RELEASES = frozenset({"bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"})
_ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+\S+)*)$"
)


@dataclass(frozen=True)
class Source:
    """One repository of binary packages, as the machine's administrator wrote it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def parse_list(text: str) -> Iterator[Source]:
    """Reads the one-line format of sources.list(5); `deb-src` and comments are passed over."""
    for line in text.splitlines():
        found = _ONE_LINE.match(line.split("#", 1)[0].strip())
        if found:
            options = dict(option.split("=", 1) for option in (found["options"] or "").split() if "=" in option)
            signed_by = options.get("signed-by", "")
            yield Source(found["uri"], (found["suite"],), tuple(found["components"].split()), signed_by)


def parse_deb822(text: str) -> Iterator[Source]:
    """Reads the stanzas of a .sources file; disabled stanzas and those without `deb` are passed over."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        suites, components = tuple(fields.get("suites", "").split()), tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            yield Source(uri, suites, components, fields.get("signed-by", ""))


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def is_debian(source: Source) -> bool:
    """Tells Debian's own archive, or a mirror of it, from the many repositories that merely look like it.

    They share suite names and sometimes the component; what they do not share is Debian's key.
    """
    known_key = not source.signed_by or "debian-archive" in source.signed_by
    fetchable = source.uri.startswith(("http://", "https://", "file:"))
    return known_key and fetchable and "main" in source.components and bool(RELEASES.intersection(source.suites))


def machine_mirrors(etc: Path = Path("/etc/apt")) -> list[str]:
    """Mirrors to try in order: the machine's own, those that name Debian first. Raises LabError when it has none."""
    found = [source.uri.rstrip("/") for source in _machine_sources(etc) if is_debian(source)]
    found.sort(key=lambda uri: "debian" not in uri)
    if not found:
        raise LabError(
            f"no Debian mirror is in the apt sources of this machine ({etc}): add one that has bookworm and trixie, "
            "then build again."
        )
    return list(dict.fromkeys(found))


def _machine_sources(etc: Path) -> Iterator[Source]:
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            yield from parse_list(path.read_text(errors="replace"))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        yield from parse_deb822(path.read_text(errors="replace"))

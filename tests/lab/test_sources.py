"""sources.list(5), both formats, and the choice of a mirror."""

from pathlib import Path

import pytest

from softdpu.lab.errors import LabError
from softdpu.lab.sources import Source, is_debian, machine_mirrors, parse_deb822, parse_list

DEBIAN_STANZA = """\
Types: deb
# a comment within the stanza
URIs: http://mirror.example.org/debian http://second.example.org/debian/
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def test_a_stanza_gives_a_source_for_each_uri() -> None:
    sources = list(parse_deb822(DEBIAN_STANZA))
    assert [source.uri for source in sources] == [
        "http://mirror.example.org/debian",
        "http://second.example.org/debian/",
    ]
    assert sources[0].suites == ("bookworm", "bookworm-updates")
    assert sources[0].components == ("main", "contrib")


def test_disabled_and_source_only_stanzas_are_passed_over() -> None:
    disabled = DEBIAN_STANZA + "Enabled: no\n"
    sources_only = DEBIAN_STANZA.replace("Types: deb", "Types: deb-src")
    assert list(parse_deb822(f"{disabled}\n{sources_only}")) == []


def test_a_line_with_options_is_read() -> None:
    line = "deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://mirror.example.org/debian bookworm main # ours"
    expected = Source("http://mirror.example.org/debian", ("bookworm",), ("main",), "/usr/share/keyrings/x.gpg")
    assert list(parse_list(line)) == [expected]


def test_comments_and_deb_src_lines_are_passed_over() -> None:
    assert list(parse_list("# deb http://a/debian bookworm main\n\ndeb-src http://a/debian bookworm main\n")) == []


def test_repositories_of_others_are_not_debian() -> None:
    vendor = Source("https://packages.example.com/debian", ("bookworm",), ("main",), "/usr/share/keyrings/vendor.gpg")
    assert not is_debian(vendor)
    assert not is_debian(Source("https://packages.example.com/apt", ("cloud-sdk-bookworm",), ("main",)))
    assert not is_debian(Source("https://download.example.com/linux/debian", ("bookworm",), ("stable",)))
    assert not is_debian(Source("cdrom:[Debian GNU/Linux 12]/", ("bookworm",), ("main",)))


def test_the_machines_mirrors_that_name_debian_come_first(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb https://packages.example.com/apt stable main\n")
    (tmp_path / "sources.list.d/debian.sources").write_text(DEBIAN_STANZA)
    mirrors = machine_mirrors(tmp_path)
    assert mirrors == [
        "http://mirror.example.org/debian",
        "http://second.example.org/debian",
        "https://packages.example.com/apt",
    ]


def test_a_machine_without_a_debian_mirror_is_told_to_add_one(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="add one that has bookworm and trixie"):
        machine_mirrors(tmp_path)

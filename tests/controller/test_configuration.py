"""virtnet.conf: what is accepted, and the sentence for each mistake, with its line."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softdpu.controller.configuration import Configuration, parse, read
from softdpu.controller.configuration_keys import KEYS, TABLE, reference

MANUAL = """{
  "ib_dev_p0": "mlx5_0",
  "ib_dev_p1": "mlx5_1",
  "ib_dev_for_static_pf": "mlx5_0",
  "is_lag": 0,
  "recovery": 1,
  "sf_pool_percent": 0,
  "sf_pool_force_destroy": 0,
  "static_pf": {
    "mac_base": "08:11:22:33:44:55",
    "features": "0x230047082b",
  },
  "vf": {
    "mac_base": "06:11:22:33:44:55",
    "features": "0x230047082b",
    "vfs_per_pf": 100,
  }
}
"""


def mistakes(text: str, num_vf: int | None = None) -> list[str]:
    return [str(mistake) for mistake in parse(text, num_vf).mistakes]


def accepted(text: str) -> Configuration:
    reading = parse(text)
    assert reading.mistakes == ()
    return reading.configuration


# ---- what is accepted


def test_no_file_is_the_defaults(tmp_path: Path) -> None:
    reading = read(tmp_path / "virtnet.conf")
    assert (reading.mistakes, reading.warnings) == ((), ())
    assert reading.configuration == Configuration()
    assert reading.configuration.ib_devices == ("mlx5_0", "mlx5_1")


def test_the_manuals_sample_with_its_trailing_comma() -> None:
    configuration = accepted(MANUAL)
    assert configuration.static_pf.mac_base == bytes.fromhex("081122334455")
    assert configuration.static_pf.features == 0x230047082B
    assert configuration.vf.vfs_per_pf == 100


def test_trailing_commas_pass_everywhere() -> None:
    assert accepted('{"recovery": 0, "vf": {"vfs_per_pf": 2,},}').vf.vfs_per_pf == 2


def test_mac_base_and_features_may_stand_at_the_top() -> None:
    configuration = accepted('{"mac_base": "02:00:00:00:00:10", "features": 6}')
    assert (configuration.static_pf.mac_base, configuration.static_pf.features) == (b"\x02\0\0\0\0\x10", 6)


def test_features_wider_than_64_bits_pass_as_text_and_as_number() -> None:
    assert accepted(f'{{"features": "{1 << 70:#x}"}}').static_pf.features == 1 << 70
    assert accepted(f'{{"features": {1 << 70}}}').static_pf.features == 1 << 70


def test_a_bond_has_one_port_and_its_device_is_the_static_pfs() -> None:
    configuration = accepted('{"is_lag": 1, "ib_dev_lag": "mlx5_bond_0"}')
    assert (configuration.ib_devices, configuration.ib_dev_for_static_pf) == (("mlx5_bond_0",), "mlx5_bond_0")


def test_a_single_port() -> None:
    configuration = accepted('{"ib_dev_p0": "mlx5_2", "ib_dev_for_static_pf": "mlx5_2", "single_port": 1}')
    assert configuration.ib_devices == ("mlx5_2",)


def test_a_group_address_as_base_is_taken_as_its_unicast_twin_with_a_warning() -> None:
    reading = parse('{\n"static_pf": {"mac_base": "11:22:33:44:55:66"}}')
    assert reading.mistakes == ()
    assert reading.configuration.static_pf.mac_base == bytes.fromhex("102233445566")
    assert str(reading.warnings[0]).startswith("line 2: static_pf.mac_base 11:22:33:44:55:66 is a multicast address")


@pytest.mark.parametrize("path", [key.path for key in TABLE if key.inert])
def test_a_key_without_effect_says_so(path: str) -> None:
    section, _, name = path.rpartition(".")
    value = {"lm_prov": '"kernel"', "mac_base": '"02:00:00:00:00:01"'}.get(name, "1")
    extra = ', "vfs_per_pf": 1' if path == "vf.mac_base" else ""
    text = f'{{"{section}": {{"{name}": {value}{extra}}}}}' if section else f'{{"{name}": {value}}}'
    assert f"{path} has no effect: {KEYS[path].inert}." in [warning.sentence for warning in parse(text).warnings]


# ---- mistakes: each with its line


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{\n"recovry": 1}', "line 2: there is no key recovry; did you mean recovery? accepted are: ib_dev_p0, "),
        ('{"vf": {\n\n"vfs_per_pv": 1}}', "line 3: there is no key vf.vfs_per_pv; did you mean vf.vfs_per_pf?"),
        ('{"vfs_per_pf": 1}', "line 1: there is no key vfs_per_pf; did you mean vf.vfs_per_pf?"),
        ('{"is_lag": "yes"}', 'is_lag is "yes", but must be 0 or 1.'),
        ('{"is_lag": 2}', "is_lag is 2, but must be 0 or 1."),
        ('{"is_lag": 1.0}', "is_lag is 1.0, but must be 0 or 1."),
        ('{"recovery": null}', "recovery is null, but must be 0 or 1."),
        ('{"recovery": [1]}', "recovery is a list, but must be 0 or 1."),
        ('{"sf_pool_percent": 101}', "sf_pool_percent is 101, but must be a number in 0..100."),
        ('{"sf_pool_percent": true}', "sf_pool_percent is true, but must be a number in 0..100."),
        ('{"ib_dev_p0": 5}', "ib_dev_p0 is 5, but must be the name of an RDMA device"),
        ('{"ib_dev_p0": "a/b"}', 'ib_dev_p0 is "a/b", but must be the name of an RDMA device'),
        ('{"lm_prov": "dpdk"}', 'lm_prov is "dpdk", but must be "kernel".'),
        ('{"features": "0xg"}', 'features is "0xg", but must be a number, or hexadecimal text'),
        ('{"features": -1}', "features is -1, but must be a number, or hexadecimal text"),
        ('{"mac_base": "0C:C4"}', 'mac_base is "0C:C4", but must be six hexadecimal bytes in quotes'),
        ('{"mac_base": 5}', "mac_base is 5, but must be six hexadecimal bytes in quotes"),
        ('{"mac_base": "00:00:00:00:00:00"}', "but must be six hexadecimal bytes in quotes"),
        ('{"static_pf": []}', 'static_pf must be an object, such as { "features": "0x230047082b" }.'),
        ('{"vf": {"mac_base": "02:00:00:00:00:01"}}', "vf.mac_base needs vf.vfs_per_pf: add it."),
        ('{"ib_dev_for_static_pf": "mlx5_9"}', "mlx5_9 is no device of this configuration: use mlx5_0 or mlx5_1."),
        ('{"single_port": 1,\n"is_lag": 1}', "line 2: is_lag and single_port (line 1) exclude each other"),
        ('{"ib_dev_lag": "b",\n"ib_dev_p1": "c"}', "line 2: ib_dev_p1 and ib_dev_lag (line 1) exclude each other"),
        (
            '{"mac_base": "02:00:00:00:00:01", "static_pf": {"mac_base": "02:00:00:00:00:01"}}',
            "static_pf.mac_base and mac_base (line 1) exclude each other: keep one of them.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(text: str, sentence: str) -> None:
    found = mistakes(text)
    assert len(found) == 1
    assert sentence in found[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: the file is not JSON: the file ends where a value is expected."),
        ("[]", "line 1: the file must be one object"),
        ('{\n"a" 1}', 'line 2: the file is not JSON: 1 stands where ":" after "a" is expected.'),
        (
            '{"is_lag": 0\n"recovery": 1}',
            'line 2: the file is not JSON: "recovery" stands where "," or "}" is expected.',
        ),
        ('{"is_lag": 0,,}', 'a key in double quotes or "}" is expected'),
        ("{'is_lag': 0}", "a key in double quotes"),
        ('{"is_lag": 0,\n"is_lag": 1}', 'line 2: the file is not JSON: "is_lag" is already given in line 1.'),
        ('{"is_lag": 01}', "where a value is expected"),
        ('{"is_lag": NaN}', "where a value is expected"),
        ('{"is_lag": 0} // end', "where the end of the file is expected"),
        ("[" * 1000, "more than 20 brackets are nested"),
    ],
)
def test_what_is_no_json_is_named_with_its_line(text: str, sentence: str) -> None:
    assert sentence in mistakes(text)[0]


def test_cores_are_a_list_with_ranges() -> None:
    usable = sorted(os.sched_getaffinity(0))
    text = ",".join([f"{usable[-1]}", f"{usable[0]}-{usable[0]}", f" {usable[0]}"])
    assert accepted(json.dumps({"worker_cores": text})).worker_cores == tuple(sorted({usable[0], usable[-1]}))
    assert accepted('{"worker_cores": ""}').worker_cores == ()


def test_a_core_that_is_not_there_is_named_with_those_that_are() -> None:
    there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    assert mistakes('{"worker_cores": "9998-9999"}') == [
        f"line 1: worker_cores names core 9998, which the controller may not use here: choose from {there}."
    ]


@pytest.mark.parametrize("value", ["1-", "2-1", "a", "1,,2", "-1", "0x1", "1-2-3", "99999", "²"])
def test_what_is_no_list_of_cores_is_refused(value: str) -> None:
    [mistake] = mistakes(json.dumps({"worker_cores": value}))
    assert mistake.endswith('must be a list of cores in quotes, such as "2-3,5".')


def test_a_flag_that_is_0_excludes_nothing() -> None:
    assert mistakes('{"single_port": 1, "is_lag": 0}') == []


def test_vfs_are_bounded_by_the_firmware() -> None:
    assert mistakes('{"vf": {"vfs_per_pf": 4}}', num_vf=4) == []
    assert "more than VIRTIO_NET_EMULATION_NUM_VF=4" in mistakes('{"vf": {"vfs_per_pf": 5}}', num_vf=4)[0]


def test_all_mistakes_are_found_in_the_order_of_their_lines() -> None:
    found = parse('{\n"is_lag": 2,\n"nothing": 1,\n"vf": {\n"features": []}\n}').mistakes
    assert [(mistake.line, mistake.key) for mistake in found] == [(2, "is_lag"), (3, "nothing"), (5, "vf.features")]


def test_a_wrong_key_keeps_its_default_and_the_right_ones_count() -> None:
    configuration = parse('{"recovery": "x", "single_port": 1}').configuration
    assert (configuration.recovery, configuration.single_port) == (True, True)


# ---- files


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{\n"ib_dev_p0": "\xff"}', "line 2: the file is not UTF-8 text"),
        (b" " * ((1 << 20) + 1), "larger than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_text_is_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "virtnet.conf"
    path.write_bytes(content)
    assert sentence in str(read(path).mistakes[0])


def test_a_folder_in_its_place_is_a_sentence(tmp_path: Path) -> None:
    assert "the file cannot be read: Is a directory" in str(read(tmp_path).mistakes[0])


def test_a_byte_order_mark_passes(tmp_path: Path) -> None:
    path = tmp_path / "virtnet.conf"
    path.write_bytes(b'\xef\xbb\xbf{"recovery": 0}')
    assert read(path).configuration.recovery is False


# ---- whatever stands in it


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([name for key in TABLE for name in key.path.split(".")]) | st.text(max_size=6)


@given(st.dictionaries(NAMES, JSON_VALUES | st.dictionaries(NAMES, JSON_VALUES, max_size=4), max_size=6))
def test_no_json_crashes_the_reader(content: dict[str, object]) -> None:
    reading = parse(json.dumps(content), 4)
    assert all(mistake.line == 1 for mistake in reading.mistakes)


@given(st.text(alphabet='{}[]:,"\\ \n019.-eEtrufalsn\x00é', max_size=40))
def test_no_text_crashes_the_reader(text: str) -> None:
    reading = parse(text)
    assert reading.mistakes or reading.configuration == Configuration()


def test_the_reference_page_has_every_key() -> None:
    page = reference()
    assert all(f"| `{key.path}` | {key.kind.accepted} |" in page for key in TABLE)

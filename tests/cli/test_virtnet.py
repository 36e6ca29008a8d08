"""virtnet: the command line, the echoed request, the JSON as documented scripts expect it, and every refusal."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from softdpu import __version__
from softdpu.controller.root import Root
from softdpu.controller.update import LiveUpdate
from tests.api.served import Served
from tests.cli.conftest import Command

SEED = "virtnet hotplug -i mlx5_0 -f 0x0 -m 0C:C4:7A:FF:22:93 -t 1500 -n 3 -s 1024 -l"
HOTPLUG = "virtnet hotplug -i {ib} -f {features} -m {mac} -t {mtu} -n {queues} -s {size}"
GOOD = {"ib": "mlx5_0", "features": "0x0", "mac": "0C:C4:7A:FF:22:93", "mtu": "1500", "queues": "3", "size": "1024"}


@pytest.fixture
def plugged(served: Served, run: Command) -> Served:
    assert run(served.root, SEED).status == 0
    return served


# ---- the seed's example and what documented scripts look for


def test_the_seed_line_echoes_the_request_and_prints_the_reply_in_order(served: Served, run: Command) -> None:
    printed = run(served.root, SEED)
    assert printed.status == 0
    assert printed.echo == (
        "{'ib_device': 'mlx5_0', 'features': '0x0', 'mac': '0C:C4:7A:FF:22:93', 'mtu': '0x5dc', "
        "'max_queues': '0x3', 'max_queue_size': '0x400', 'legacy': '0x1'}"
    )
    assert list(printed.json) == ["bdf", "vuid", "id", "transitional", "sf_rep_net_device", "mac", "errno", "errstr"]
    assert printed.out.endswith('  "errno": 0,\n  "errstr": "Success"\n}\n')


def test_grep_transitional_finds_an_unquoted_integer_on_a_line_of_its_own(plugged: Served, run: Command) -> None:
    lines = run(plugged.root, "virtnet query -p 0").out.splitlines()
    assert [line.strip() for line in lines if "transitional" in line] == ['"transitional": 1,']


def test_list_is_json_with_two_spaces_and_a_key_a_line(plugged: Served, run: Command) -> None:
    out = run(plugged.root, "virtnet list").out
    assert out.startswith('{\n  "controller": {\n    "emulation_manager": "mlx5_0"\n  },\n  "devices": [\n')
    assert '      "pf_id": 0,\n' in out


def test_stats_echo_is_as_documented(plugged: Served, run: Command) -> None:
    printed = run(plugged.root, "virtnet stats -p 0 -q 0")
    assert printed.echo == "{'pf': '0x0', 'queue_id': '0x0'}"
    assert printed.json["device"]["queues-stats"][0]["VQ Index"] == 0


def test_version_is_two_objects_with_a_comma_between(served: Served, run: Command) -> None:
    out = run(served.root, "virtnet version").out
    assert out == '{\n  "Original Controller": "v0.1.0"\n},\n{\n  "Destination Controller": "v0.1.1"\n}\n'


def test_update_status_keeps_its_spelling(served: Served, run: Command) -> None:
    out = run(served.root, "virtnet update -t").out
    assert '"current status": "inactive",\n  "last status": "success",\n  "time_used (s)": 1.655439\n' in out


def test_an_update_whose_controller_died_is_a_failure(root: Root, run: Command) -> None:
    assert "does not run" in run(root, "virtnet update -t").out
    root.run.mkdir(parents=True)
    LiveUpdate(root).start()
    with root.lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a controller starts
        assert run(root, "virtnet update -t").json["current status"] == "active"
    status = run(root, "virtnet update -t").json
    assert (status["current status"], status["last status"]) == ("inactive", "failure")


def test_dash_v_is_v_and_the_version(root: Root, run: Command) -> None:
    assert run(root, "virtnet -v") == (0, f"v{__version__}\n", "")


def test_help_has_the_usage_line_of_the_real_one(root: Root, run: Command) -> None:
    usage = " ".join(run(root, "virtnet -h").out.split("\n\n")[0].split())
    assert usage == (
        "usage: virtnet [-h] [-v] "
        "{hotplug,unplug,list,query,modify,log,version,update,debug,stats,health,validate,restart} ..."
    )


# ---- what reaches the controller


def test_brief_leaves_the_queues_out(plugged: Served, run: Command) -> None:
    assert "enabled-queues-info" in run(plugged.root, "virtnet query -a").json["devices"][0]
    assert "enabled-queues-info" not in run(plugged.root, "virtnet query -p 0 -b").json["devices"][0]


def test_modify_passes_every_property(plugged: Served, run: Command) -> None:
    line = "virtnet modify -p 0 device -m 02-00-00-00-00-07 -t 9000 -e 100000 -l 0 -q 256 -qp 4 -dim enable -n 8"
    printed = run(plugged.root, line)
    assert printed.echo.startswith("{'pf': '0x0', 'mac': '02-00-00-00-00-07', 'mtu': '0x2328', 'speed': '0x186a0'")
    device = plugged.desk.devices[0]
    assert (device["mtu"], device["link"], device["num_qps"], device["dim_config"]) == ("9000", "0", "4", "enable")
    assert printed.json == {"errno": 0, "errstr": "Success"}


def test_modify_names_a_device_by_vuid_or_takes_all(plugged: Served, run: Command) -> None:
    assert run(plugged.root, f"virtnet modify -u {plugged.desk.devices[0]['vuid']} device -t 1400").status == 0
    assert run(plugged.root, "virtnet modify -a device -t 1300").status == 0
    assert plugged.desk.devices[0]["mtu"] == "1300"


def test_unplug_by_id(plugged: Served, run: Command) -> None:
    printed = run(plugged.root, "virtnet unplug -p 0")
    assert (printed.echo, printed.json["errstr"], plugged.desk.devices) == ("{'pf': '0x0'}", "Success", [])


def test_log_sets_the_level(served: Served, run: Command) -> None:
    assert run(served.root, "virtnet log -l debug").status == 0
    assert served.desk.level == "debug"


def test_debug_shows_the_state_of_a_device(plugged: Served, run: Command) -> None:
    assert run(plugged.root, "virtnet debug state -p 0").json == {"vuid": "MT2447X00000VNETS1D0F0", "state": {}}


def test_debug_shows_metrics_as_text(plugged: Served, run: Command) -> None:
    assert 'softdpu_frames_total{vuid="MT2447X00000VNETS1D0F0"} 5.0' in run(plugged.root, "virtnet debug metrics").out


# ---- refusals: one sentence, errno, exit status 1


@pytest.mark.parametrize(
    ("wrong", "number", "sentence"),
    [
        ({"mac": "0C:C4:7A"}, 22, "mac '0C:C4:7A' is not accepted: it must be six two-digit hexadecimal bytes"),
        ({"mac": "0C:C4:7A:FF:22:9G"}, 22, "six two-digit hexadecimal bytes"),
        ({"mac": "01:00:5E:00:00:01"}, 22, "a unicast address"),
        ({"mac": "00:00:00:00:00:00"}, 22, "an address other than zero"),
        ({"mtu": "67"}, 22, "mtu 67 is not accepted: it must be 68..9216."),
        ({"mtu": "9217"}, 22, "mtu 9217 is not accepted: it must be 68..9216."),
        ({"size": "1000"}, 22, "max_queue_size 1000 is not accepted: it must be a power of two from 2 to 32768."),
        ({"size": "1"}, 22, "a power of two from 2 to 32768"),
        ({"size": "65536"}, 22, "a power of two from 2 to 32768"),
        ({"queues": "66"}, 22, "max_queues 66 is not accepted: it must be 2..65."),
        ({"features": "0xz"}, 22, "a hexadecimal number of up to 128 bits"),
        ({"ib": "mlx5_7"}, 19, "there is no ib device 'mlx5_7'; did you mean mlx5_"),
    ],
)
def test_a_bad_hotplug_is_refused_and_leaves_nothing(
    served: Served, run: Command, wrong: dict[str, str], number: int, sentence: str
) -> None:
    printed = run(served.root, HOTPLUG.format(**GOOD | wrong))
    assert printed.status == 1
    assert printed.json["errno"] == number
    assert sentence in printed.json["errstr"]
    assert served.desk.devices == []


def test_both_spellings_of_a_mac_are_the_same(served: Served, run: Command) -> None:
    assert run(served.root, HOTPLUG.format(**GOOD | {"mac": "0c-c4-7a-ff-22-93"})).json["mac"] == "0C:C4:7A:FF:22:93"


def test_features_wider_than_64_bits_pass(served: Served, run: Command) -> None:
    assert run(served.root, HOTPLUG.format(**GOOD | {"features": "0x1" + "0" * 30})).status == 0


def test_a_device_that_is_not_there_is_named_beside_those_that_are(plugged: Served, run: Command) -> None:
    reply = run(plugged.root, "virtnet query -p 7").json
    assert reply == {"errno": 19, "errstr": "there is no device pf 7; devices now: pf 0. See virtnet list."}


def test_a_bound_driver_is_ebusy(plugged: Served, run: Command) -> None:
    plugged.desk.bound.add(plugged.desk.devices[0]["vuid"])
    printed = run(plugged.root, "virtnet modify -p 0 device -m 02:00:00:00:00:01")
    assert (printed.status, printed.json["errno"]) == (1, 16)
    assert "unbind the guest's driver first" in printed.json["errstr"]


def test_a_vf_needs_its_pf(served: Served, run: Command) -> None:
    assert "add -p PF" in run(served.root, "virtnet query -a -v 0").json["errstr"]


def test_modify_without_a_property_is_refused(plugged: Served, run: Command) -> None:
    assert "nothing to modify" in run(plugged.root, "virtnet modify -p 0 device").json["errstr"]


def test_one_mac_for_all_devices_is_refused(plugged: Served, run: Command) -> None:
    assert "one MAC for all" in run(plugged.root, "virtnet modify -a device -m 02:00:00:00:00:01").json["errstr"]


def test_moderation_of_queues_is_passed_on(plugged: Served, run: Command) -> None:
    printed = run(plugged.root, "virtnet modify -p 0 queue -e cqe -n 10 -c 30")
    assert printed.echo == "{'pf': '0x0', 'period_mode': 'cqe', 'period': '0xa', 'max_count': '0x1e'}"
    assert (plugged.desk.devices[0]["period"], printed.json) == ("10", {"errno": 0, "errstr": "Success"})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("queue", "nothing to modify: give at least one option, such as -n PERIOD -c MAX_COUNT."),
        ("queue -n 1000001", "period 1000001 is not accepted: it must be 0..1000000."),
        ("queue -c 65536", "max_count 65536 is not accepted: it must be 0..65535."),
        ("device -r 64", "rx_mode 64 is not accepted: it must be 0..63."),
        ("device -s 256", "state 256 is not accepted: it must be 0..255."),
    ],
)
def test_numbers_out_of_range_are_refused(plugged: Served, run: Command, options: str, sentence: str) -> None:
    assert run(plugged.root, f"virtnet modify -p 0 {options}").json == {"errno": 22, "errstr": sentence}


@pytest.mark.parametrize("verb", ["list", "query -a", "stats -p 0", "health", "version", "restart", "log -l info"])
def test_a_controller_that_does_not_run_is_one_sentence(root: Root, run: Command, verb: str) -> None:
    printed = run(root, f"virtnet {verb}")
    assert (printed.status, printed.json["errno"]) == (1, 111)
    assert printed.json["errstr"].startswith(f"the controller does not run: nothing answers on {root.api}. Start it")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nothing",
        "hotplug -i mlx5_0",
        "hotplug -i mlx5_0 -m 0C:C4:7A:FF:22:93 -t many -n 3 -s 1024",
        "query",
        "query -p 0 -u X",
        "unplug",
        "unplug -p 0 -v 0",
        "modify -p 0",
        "modify -p 0 device -l 2",
        "modify -p 0 queue -e never",
        "log -l loud",
        "update",
        "update -s -t",
        "stats",
    ],
)
def test_usage_errors_exit_2(root: Root, run: Command, line: str) -> None:
    printed = run(root, f"virtnet {line}")
    assert (printed.status, printed.out) == (2, "")
    assert "usage: virtnet" in printed.err


# ---- the process


def test_starting_imports_nothing_slow() -> None:
    slow = {"msgspec", "litestar", "uvicorn", "rich", "asyncio", "prometheus_client", "argcomplete", "http.client"}
    code = f"import sys; from softdpu.cli import virtnet; virtnet.parser(); print(*({slow!r} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


def test_a_closed_pipe_ends_it_quietly(root: Root) -> None:
    code = "from softdpu.cli.virtnet import main; main()"
    line = f"{sys.executable} -c '{code}' -h | head -c 1; echo ${{PIPESTATUS[0]}} >&2"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() in ("0", "141")  # done before the pipe closed, or ended by SIGPIPE


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("virtnet hot", "hotplug "), ("virtnet hotplug -i mlx5_b", "mlx5_bond_0 "), ("virtnet log -l d", "debug ")],
)
def test_tab_completes_verbs_and_values(typed: str, offered: str, tmp_path: Path) -> None:
    code = "import sys; sys.argv[0] = 'virtnet'; from softdpu.cli.virtnet import main; main()"
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "COMP_LINE": typed}
    environment = os.environ | asked | {"COMP_POINT": str(len(typed)), "_ARGCOMPLETE_IFS": "\n"}
    subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert answer.read_text() == offered

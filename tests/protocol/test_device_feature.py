"""VFIO_USER_DEVICE_FEATURE: what is the same for all features."""

import errno

import pytest

from softdpu.testkit import Client, GuestMemory, RequestFailed, wire
from softdpu.testkit.wire import Feature, FeatureFlag, Op

GET, SET, PROBE = FeatureFlag.GET, FeatureFlag.SET, FeatureFlag.PROBE
POSSIBLE = {
    Feature.MIGRATION: GET,
    Feature.MIG_DEVICE_STATE: GET | SET,
    Feature.DMA_LOGGING_START: SET,
    Feature.DMA_LOGGING_STOP: SET,
    Feature.DMA_LOGGING_REPORT: GET,
    Feature.MIG_DATA_SIZE: GET,
}
IMPOSSIBLE = [
    *((feature, flag) for feature in POSSIBLE for flag in (GET, SET) if flag not in POSSIBLE[feature]),
    *((feature, GET | SET) for feature in POSSIBLE),
    *((feature, FeatureFlag(0)) for feature in POSSIBLE),
]
UNKNOWN = [0, 3, 4, 5, 10, 11, 0xFFFF]


def refusal(vmm: Client, flags: int, data: bytes = b"", argsz: int | None = None) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.device_feature(flags, data, argsz)
    return refused.value.errno


@pytest.mark.parametrize("feature", POSSIBLE)
def test_probing_repeats_the_request(vmm: Client, feature: Feature) -> None:
    for flags in {PROBE, PROBE | POSSIBLE[feature]}:
        assert vmm.device_feature(feature | flags, b"data") == b"data"


@pytest.mark.parametrize("feature", POSSIBLE)
def test_probing_for_what_cannot_be_done(vmm: Client, feature: Feature) -> None:
    if POSSIBLE[feature] != GET | SET:
        assert refusal(vmm, feature | PROBE | GET | SET) == errno.EINVAL


def test_probing_does_nothing(vmm: Client) -> None:
    state = wire.MIG_DEVICE_STATE.pack(device_state=1)
    vmm.device_feature(Feature.MIG_DEVICE_STATE | PROBE | SET, state)
    assert vmm.migration_state == 2
    vmm.device_feature(Feature.DMA_LOGGING_START | PROBE | SET)
    with pytest.raises(RequestFailed):
        vmm.dirty_log(0, 4096)


@pytest.mark.parametrize(("feature", "flags"), IMPOSSIBLE, ids=lambda value: getattr(value, "name", str(value)))
def test_what_cannot_be_done(vmm: Client, feature: Feature, flags: FeatureFlag) -> None:
    assert refusal(vmm, feature | flags, bytes(32)) == errno.EINVAL


@pytest.mark.parametrize("feature", UNKNOWN)
@pytest.mark.parametrize("flags", [GET, SET, PROBE, PROBE | GET])
def test_features_that_there_are_none_of(vmm: Client, feature: int, flags: FeatureFlag) -> None:
    assert refusal(vmm, feature | flags, bytes(32)) == errno.EINVAL


@pytest.mark.parametrize("bit", range(19, 32))
def test_flags_that_there_are_none_of(vmm: Client, bit: int) -> None:
    assert refusal(vmm, Feature.MIGRATION | GET | 1 << bit) == errno.EINVAL


@pytest.mark.parametrize("length", range(8))
def test_short_body(vmm: Client, length: int) -> None:
    body = wire.DEVICE_FEATURE.pack(argsz=64, flags=Feature.MIGRATION | GET)
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DEVICE_FEATURE, body[:length])
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("argsz", [0, 2, 7])
def test_room_for_less_than_a_heading(vmm: Client, argsz: int) -> None:
    for flags in (Feature.MIGRATION | PROBE, Feature.MIGRATION | GET, Feature.DMA_LOGGING_STOP | SET):
        assert refusal(vmm, flags, argsz=argsz) == errno.EINVAL


def test_room_for_less_than_the_request_repeated(vmm: Client) -> None:
    state = wire.MIG_DEVICE_STATE.pack(device_state=2)
    assert refusal(vmm, Feature.MIG_DEVICE_STATE | SET, state, argsz=8) == errno.EINVAL
    assert refusal(vmm, Feature.MIG_DEVICE_STATE | SET, state, argsz=15) == errno.EINVAL
    assert vmm.device_feature(Feature.MIG_DEVICE_STATE | SET, state, argsz=16) == state


def test_a_reply_says_how_long_it_is(vmm: Client) -> None:
    body = wire.DEVICE_FEATURE.pack(argsz=4096, flags=Feature.MIGRATION | GET)
    reply = vmm.request(Op.DEVICE_FEATURE, body).payload
    assert wire.DEVICE_FEATURE.unpack(reply) == {"argsz": len(reply), "flags": Feature.MIGRATION | GET}


@pytest.mark.usefixtures("no_leak")
def test_descriptors_do_not_belong_here(vmm: Client, memory: GuestMemory) -> None:
    body = wire.DEVICE_FEATURE.pack(argsz=64, flags=Feature.MIGRATION | GET)
    for command in (Op.DEVICE_FEATURE, Op.MIG_DATA_READ, Op.MIG_DATA_WRITE):
        with pytest.raises(RequestFailed) as refused:
            vmm.request(command, body, [memory.fd])
        assert refused.value.errno == errno.EINVAL

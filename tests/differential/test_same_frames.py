"""Whatever a driver makes of its rings, what comes out is what DPDK's vhost makes of it."""

from hypothesis import HealthCheck, Phase, given, settings

from tests.differential.exchange import Ports, run
from tests.differential.program import PROGRAMS, Program

MANY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


def sent(program: Program) -> list[list[bytes]]:
    """What each driver must receive."""
    frames = [frame for burst in program.bursts for frame in burst]
    return [[frame.content for frame in frames if frame.sender != receiver] for receiver in (0, 1)]


@MANY
@given(program=PROGRAMS)
def test_same_frames_come_out(ours: Ports, dpdk: Ports, program: Program) -> None:
    """Of our rings, and of DPDK's; which are the frames that were sent."""
    assert run(ours, program) == run(dpdk, program) == sent(program)

"""Something happens to one of many driven VFs each second: the short form of ``make soak``."""

import pytest

from tools.soak import virtual
from tools.soak.crowd import Crowd, Disturbed
from tools.soak.report import Report
from tools.soak.virtual import Size

SHORT = Size(pfs=2, vfs=24, driven=24, destroyed=6, seconds=20)


@pytest.mark.timeout(300)
def test_what_happens_to_a_vf_disturbs_no_other() -> None:
    virtual.run(report := Report(), SHORT)
    assert [row for row in report.rows if not row.holds] == []


@pytest.mark.timeout(120)
def test_frames_lost_behind_its_back_are_seen() -> None:
    """The link of one VF goes down and up: its frames are missed, which is what the proof above must not miss."""
    with virtual.scene(Size(pfs=2, vfs=4, driven=4, destroyed=2)) as stage:
        virtual.make(stage)
        with Crowd(stage.places(), stage.folder / "flows") as crowd:
            crowd.start_all()
            crowd.all_up()
            crowd.pump(1.0)
            vuid = crowd.members[1].place.vuid
            stage.dpu.virtnet("modify", "-u", vuid, "device", "-l", 0)
            crowd.pump(0.5)
            stage.dpu.virtnet("modify", "-u", vuid, "device", "-l", 1)
            with pytest.raises(Disturbed, match="OutOfOrder"):
                crowd.pump(30.0)

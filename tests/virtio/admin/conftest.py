import pytest

from tests.virtio.admin.desk import SELF, Desk


@pytest.fixture
def desk() -> Desk:
    """An owner of three VFs, whose driver has not sent LIST_USE."""
    return Desk()


@pytest.fixture
def used(desk: Desk) -> Desk:
    """One whose driver uses every command of both groups."""
    desk.use()
    desk.use(SELF)
    return desk

"""Changes are made one at a time, to their end or not at all."""

import asyncio
from pathlib import Path

import pytest

from softdpu.controller.changes import Changes, Leaving
from softdpu.controller.errors import Migrating, OperatorError
from softdpu.controller.root import Root
from softdpu.controller.update import LiveUpdate


@pytest.fixture
def live_update(tmp_path: Path) -> LiveUpdate:
    return LiveUpdate(Root(tmp_path))


@pytest.fixture
def changes(live_update: LiveUpdate) -> Changes:
    return Changes(live_update)


class Step:
    """A change that waits until it is let go, and remembers what became of it."""

    def __init__(self) -> None:
        self.begun, self.go, self.end = asyncio.Event(), asyncio.Event(), ""

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # undoing takes a while
            self.end = "undone"
            raise
        self.end = "done"
        return self.end


async def test_one_at_a_time(changes: Changes) -> None:
    first, second = Step(), Step()
    asked = [asyncio.create_task(changes.make("plug", step)) for step in (first, second)]
    await first.begun.wait()
    assert not second.begun.is_set()
    first.go.set()
    second.go.set()
    assert await asyncio.gather(*asked) == ["done", "done"]


async def test_a_client_that_goes_away_does_not_stop_its_change(changes: Changes) -> None:
    step = Step()
    asked = asyncio.create_task(changes.make("plug", step))
    await step.begun.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    step.go.set()
    await changes.end()
    assert step.end == "done"


async def test_leaving_undoes_what_is_under_way_and_says_so(changes: Changes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softdpu.controller.changes.GRACE", 0)
    running, waiting = Step(), Step()
    asked = [asyncio.create_task(changes.make("plug", step)) for step in (running, waiting)]
    await running.begun.wait()
    await changes.end()
    for task in asked:
        with pytest.raises(Leaving, match="cannot plug now"):
            await task
    assert running.end == "undone"
    assert not waiting.begun.is_set()


async def test_no_device_comes_after_the_last_change(changes: Changes) -> None:
    last, late = Step(), Step()
    asked = [asyncio.create_task(changes.make_last("restart", last)), asyncio.create_task(changes.make("plug", late))]
    await last.begun.wait()
    last.go.set()
    assert await asked[0] == "done"
    with pytest.raises(Leaving):
        await asked[1]
    late.go.set()
    assert await changes.make("modify", late, of_set=False) == "done", "properties may change until the end"


async def test_during_a_live_update_devices_stay_and_properties_change(
    changes: Changes, live_update: LiveUpdate
) -> None:
    live_update.start()
    step = Step()
    step.go.set()
    with pytest.raises(Migrating, match="migrating to a new version") as refused:
        await changes.make("hotplug a device", step)
    assert refused.value.errno == 11
    assert await changes.make("modify a device", step, of_set=False) == "done"


async def test_a_refusal_is_told_and_the_next_goes_on(changes: Changes) -> None:
    async def refuse() -> None:
        raise OperatorError(22, "no.")

    with pytest.raises(OperatorError, match=r"no\."):
        await changes.make("plug", refuse)
    step = Step()
    step.go.set()
    assert await changes.make("plug", step) == "done"

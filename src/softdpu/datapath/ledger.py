"""The ledger that closes: every frame that came in went out, or was dropped for a cause that has a name.

It holds for each port, and so for all of them together: what came in, and the copies that flooding made, equals what
went out and what was dropped. A frame that one port hands to another leaves the first and enters the second; who drops
it counts it. Exact while no frame is on its way; the counters of a running port are read one after the other.
"""

from collections.abc import Iterable, Mapping

import msgspec

from softdpu.datapath.counters import CAME_IN, COPIES, DROPS, WENT_OUT


class Ledger(msgspec.Struct, frozen=True):
    """The sums of one port, or of several, in frames."""

    came_in: int
    copies: int
    went_out: int
    dropped: dict[str, int]  # by cause, those that occurred
    passed_on: int  # to other ports, by the switch
    taken_over: int  # from other ports

    @property
    def missing(self) -> int:
        """Frames of which nothing is known: 0 when the ledger closes, negative for frames out of nowhere."""
        return self.came_in + self.copies - self.went_out - sum(self.dropped.values())


def of_port(counted: Mapping[str, int]) -> Ledger:
    """The ledger of a port from its counters (``DatapathLink.function_counters``)."""
    return Ledger(
        came_in=_sum(counted, CAME_IN),
        copies=_sum(counted, COPIES),
        went_out=_sum(counted, WENT_OUT),
        dropped={name.removeprefix("drop_"): counted[name] for name in DROPS if counted[name]},
        passed_on=counted["switch_out_frames"],
        taken_over=counted["switch_in_frames"],
    )


def of_all(ports: Iterable[Ledger]) -> Ledger:
    """The ledger of a whole switch: what its ports hand to each other cancels out."""
    ledgers = list(ports)
    causes = sorted({cause for ledger in ledgers for cause in ledger.dropped})
    passed_on = sum(ledger.passed_on for ledger in ledgers)
    taken_over = sum(ledger.taken_over for ledger in ledgers)
    return Ledger(
        came_in=sum(ledger.came_in for ledger in ledgers) - taken_over,
        copies=sum(ledger.copies for ledger in ledgers),
        went_out=sum(ledger.went_out for ledger in ledgers) - passed_on,
        dropped={cause: sum(ledger.dropped.get(cause, 0) for ledger in ledgers) for cause in causes},
        passed_on=passed_on,
        taken_over=taken_over,
    )


def check(ports: Mapping[str, Mapping[str, int]]) -> str | None:
    """A sentence for the first port whose ledger does not close, or for the switch between them; None when all do.

    ``ports``: the counters of every port by its name. A switch whose ports were not all given does not close.
    """
    ledgers = {name: of_port(counted) for name, counted in ports.items()}
    for name, ledger in ledgers.items():
        if ledger.missing:
            return f"{name}: {_sentence(ledger)}"
    total = of_all(ledgers.values())
    if total.passed_on != total.taken_over:
        return f"ports handed {total.passed_on} frames to each other, but {total.taken_over} came."
    return None


def _sentence(ledger: Ledger) -> str:
    causes = ", ".join(f"{count} {cause}" for cause, count in ledger.dropped.items()) or "none"
    return (
        f"{ledger.came_in} frames came in and {ledger.copies} copies were made, but {ledger.went_out} went out and "
        f"{sum(ledger.dropped.values())} were dropped ({causes}): {ledger.missing} are missing."
    )


def _sum(counted: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(counted[name] for name in names)

"""How many lines of the log one device may cause. What a guest or a VMM writes to registers can be worth one, and does
not end by itself: without a bound it would fill the disk, and hide what is said of others."""

BURST = 100  # lines at once
EACH = 1.0  # seconds after which there is one more


class Allowance:
    """A device's lines. Time is passed in, seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._left, self._at, self._left_out = float(BURST), 0.0, 0

    def admit(self, now: float) -> int | None:
        """Whether a line may be written: None, or how many were left out before it."""
        self._left = min(BURST, self._left + (now - self._at) / EACH)
        self._at = now
        if self._left < 1:
            self._left_out += 1
            return None
        self._left -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out

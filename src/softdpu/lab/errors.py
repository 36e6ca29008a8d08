"""What can go wrong in the lab, each as a sentence that says what to do."""


class LabError(Exception):
    """The lab cannot be built or used; the text is the sentence for the operator."""


class GuestError(Exception):
    """A guest did not do what it was asked to."""


class GuestDied(GuestError):
    """QEMU is gone, or the guest's kernel panicked; the text ends with what both said last."""


class GuestTimeout(GuestError):
    """A guest took longer than it was given; the text ends with its last console lines."""

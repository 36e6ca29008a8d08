"""What can go wrong with a peer."""

from softdpu.lab.errors import LabError


class PeerError(LabError):
    """A peer cannot be installed, started or talked to; the text is the sentence for the operator."""

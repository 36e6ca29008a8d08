"""softdpu: an open, software BlueField virtio-net."""

__version__ = "0.1.0"

"""DPDK's virtual devices that speak vhost-user, as the words of ``--vdev``."""

from pathlib import Path


def vhost(number: int, path: Path | str, *, queues: int = 1, client: bool = False, **options: int) -> str:
    """A back end on ``path``: it listens there, or connects if ``client``. ``options``: DPDK's, for net_vhost."""
    return _words(f"net_vhost{number}", iface=path, queues=queues, **_if(client, client=1), **options)


def virtio_user(
    number: int, path: Path | str, *, queues: int = 1, size: int = 256, server: bool = False, **options: int | str
) -> str:
    """A driver on ``path``: it connects there, or listens if ``server``.

    ``options`` are those of DPDK's net_virtio_user: packed_vq, mrg_rxbuf, in_order, vectorized (0 or 1), mac.
    """
    words: dict[str, object] = {"path": path, "queues": queues, "queue_size": size, **_if(server, server=1), **options}
    return _words(f"net_virtio_user{number}", **words)


def _if(condition: bool, **words: int) -> dict[str, int]:
    return words if condition else {}


def _words(name: str, **words: object) -> str:
    return ",".join([name, *(f"{key}={value}" for key, value in words.items())])

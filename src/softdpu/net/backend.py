"""A function that is exported over vhost-user: what its back end offers, and what its front end agreed to. Data only.

The VMM is the PCI function; the datapath serves the rings and answers the whole protocol from ``BackEnd`` alone. What
it tells in return is an ``Agreement``.
"""

import msgspec

MQ, LOG_SHMFD, RARP, REPLY_ACK, NET_MTU, BACKEND_REQ, CONFIG = 0, 1, 2, 3, 4, 5, 9
BACKEND_SEND_FD, HOST_NOTIFIER, INFLIGHT_SHMFD, RESET_DEVICE, CONFIGURE_MEM_SLOTS = 10, 11, 12, 13, 15
STATUS, DEVICE_STATE = 16, 19
PROTOCOL_NAMES = {
    MQ: "VHOST_USER_PROTOCOL_F_MQ",
    LOG_SHMFD: "VHOST_USER_PROTOCOL_F_LOG_SHMFD",
    RARP: "VHOST_USER_PROTOCOL_F_RARP",
    REPLY_ACK: "VHOST_USER_PROTOCOL_F_REPLY_ACK",
    NET_MTU: "VHOST_USER_PROTOCOL_F_MTU",
    BACKEND_REQ: "VHOST_USER_PROTOCOL_F_BACKEND_REQ",
    CONFIG: "VHOST_USER_PROTOCOL_F_CONFIG",
    INFLIGHT_SHMFD: "VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD",
    RESET_DEVICE: "VHOST_USER_PROTOCOL_F_RESET_DEVICE",
    CONFIGURE_MEM_SLOTS: "VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS",
    STATUS: "VHOST_USER_PROTOCOL_F_STATUS",
    DEVICE_STATE: "VHOST_USER_PROTOCOL_F_DEVICE_STATE",
}
PROTOCOL_FEATURES = sum(1 << bit for bit in PROTOCOL_NAMES)  # all that the datapath serves


class BackEnd(msgspec.Struct, frozen=True, tag_field="type", tag=str):
    """What a vhost-user back end offers. The datapath adds the bits 26 (VHOST_F_LOG_ALL) and 30 (PROTOCOL_FEATURES)."""

    features: int  # virtio feature bits
    protocol_features: int  # VHOST_USER_PROTOCOL_F_* bits
    config: bytes  # struct virtio_net_config
    queues: int  # rings: two a pair, receive before transmit; there is no control queue
    queue_size: int  # the largest
    client: bool  # the front end listens, and each connection to it is handed over; else a listening socket is


class Ring(msgspec.Struct, frozen=True):
    """A ring as the front end set it up. Addresses are guest-physical, 0 while they are not known."""

    size: int
    descriptor: int
    driver: int
    device: int
    started: bool  # between its kick descriptor's coming and GET_VRING_BASE
    enabled: bool
    position: int  # where it started; a packed one: index | wrap counter << 15


class Agreement(msgspec.Struct, frozen=True):
    """What the front end has agreed to by now."""

    features: int
    protocol_features: int
    status: int  # of SET_STATUS, and NEEDS_RESET after a fault; see ``softdpu.net.vhost`` for one that is never set
    mtu: int  # of NET_SET_MTU; 0: not set
    rings: tuple[Ring, ...]  # by number

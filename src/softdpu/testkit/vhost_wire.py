"""The vhost-user protocol as data: requests, flags and message layouts, in the order of the protocol document.

All numbers are in host order, which is little-endian on every host that we run on.
"""

import enum
from typing import Final

from softdpu.testkit.wire import Layout

VERSION: Final = 1  # in the low two bits of a message's flags
PROTOCOL_FEATURES: Final = 30  # VHOST_USER_F_PROTOCOL_FEATURES, a feature bit that no driver sees
LOG_ALL: Final = 26  # VHOST_F_LOG_ALL: log what is written into guest memory
NO_FD: Final = 0x100  # in a kick, call or error message: there is none
LOG_PAGE: Final = 4096  # bytes of guest memory that a bit of the log stands for
CONFIG_ROOM: Final = 256  # longest configuration space


class Request(enum.IntEnum):
    """What the front end asks for (VHOST_USER_*)."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SEND_RARP = 19
    NET_SET_MTU = 20
    SET_BACKEND_REQ_FD = 21
    IOTLB_MSG = 22
    SET_VRING_ENDIAN = 23
    GET_CONFIG = 24
    SET_CONFIG = 25
    CREATE_CRYPTO_SESSION = 26
    CLOSE_CRYPTO_SESSION = 27
    POSTCOPY_ADVISE = 28
    POSTCOPY_LISTEN = 29
    POSTCOPY_END = 30
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    GPU_SET_SOCKET = 33
    RESET_DEVICE = 34
    VRING_KICK = 35
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40
    GET_SHARED_OBJECT = 41
    SET_DEVICE_STATE_FD = 42
    CHECK_DEVICE_STATE = 43


class BackEndRequest(enum.IntEnum):
    """What the back end asks for (VHOST_USER_BACKEND_*)."""

    IOTLB_MSG = 1
    CONFIG_CHANGE_MSG = 2
    VRING_HOST_NOTIFIER_MSG = 3
    VRING_CALL = 4
    VRING_ERR = 5


class Protocol(enum.IntFlag):
    """Protocol features (VHOST_USER_PROTOCOL_F_*)."""

    MQ = 1 << 0
    LOG_SHMFD = 1 << 1
    RARP = 1 << 2
    REPLY_ACK = 1 << 3
    MTU = 1 << 4
    BACKEND_REQ = 1 << 5
    CROSS_ENDIAN = 1 << 6
    CRYPTO_SESSION = 1 << 7
    PAGEFAULT = 1 << 8
    CONFIG = 1 << 9
    BACKEND_SEND_FD = 1 << 10
    HOST_NOTIFIER = 1 << 11
    INFLIGHT_SHMFD = 1 << 12
    RESET_DEVICE = 1 << 13
    INBAND_NOTIFICATIONS = 1 << 14
    CONFIGURE_MEM_SLOTS = 1 << 15
    STATUS = 1 << 16
    XEN_MMAP = 1 << 17
    SHARED_OBJECT = 1 << 18
    DEVICE_STATE = 1 << 19


class Flag(enum.IntFlag):
    """Flags of the message header, above the version."""

    REPLY = 4
    NEED_REPLY = 8


HEADER: Final = Layout(request="I", flags="I", size="I")  # size: of the payload alone
NUMBER: Final = Layout(value="Q")
VRING_STATE: Final = Layout(index="I", value="I")
VRING_ADDR: Final = Layout(index="I", flags="I", descriptor="Q", used="Q", available="Q", log="Q")
MEM_TABLE: Final = Layout(count="I", padding="I")  # followed by that many REGION
MEM_REG: Final = Layout(padding="Q")  # followed by one REGION
REGION: Final = Layout(guest="Q", size="Q", user="Q", offset="Q")
LOG: Final = Layout(size="Q", offset="Q")
CONFIG: Final = Layout(offset="I", size="I", flags="I")  # followed by the bytes
INFLIGHT: Final = Layout(size="Q", offset="Q", queues="H", queue_size="H")
DEVICE_STATE: Final = Layout(direction="I", phase="I")

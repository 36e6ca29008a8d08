"""Device groups, administration commands and device parts, in the order of the specification. Data only.

Groups, lists and legacy access: virtio 1.3 §2.12, §2.13. Capabilities, resource objects and parts: virtio 1.4, the
same chapters and the one on device parts.
"""

from enum import IntEnum
from struct import Struct
from typing import NamedTuple


class GroupType(IntEnum):
    """Which devices a group has, and what its member identifiers mean (§2.12)."""

    SELF = 0  # the owner itself: member 0
    SRIOV = 1  # VFs 1 to NumVFs of a PF


class Opcode(IntEnum):
    """Administration commands (§2.12.1)."""

    LIST_QUERY = 0x0
    LIST_USE = 0x1
    LEGACY_COMMON_CFG_WRITE = 0x2
    LEGACY_COMMON_CFG_READ = 0x3
    LEGACY_DEV_CFG_WRITE = 0x4
    LEGACY_DEV_CFG_READ = 0x5
    LEGACY_NOTIFY_INFO = 0x6
    CAP_ID_LIST_QUERY = 0x7
    DEVICE_CAP_GET = 0x8
    DRIVER_CAP_SET = 0x9
    RESOURCE_OBJ_CREATE = 0xA
    RESOURCE_OBJ_MODIFY = 0xB  # as each command's own section has it; the table of 1.4 swaps it with QUERY
    RESOURCE_OBJ_QUERY = 0xC
    RESOURCE_OBJ_DESTROY = 0xD
    DEV_PARTS_METADATA_GET = 0xE
    DEV_PARTS_GET = 0xF
    DEV_PARTS_SET = 0x10
    DEV_MODE_SET = 0x11


def bitmap(*opcodes: Opcode) -> int:
    """The word of ``struct virtio_admin_cmd_list`` with these commands."""
    return sum(1 << opcode for opcode in set(opcodes))


LISTS = bitmap(Opcode.LIST_QUERY, Opcode.LIST_USE)  # legal before LIST_USE
LEGACY = bitmap(*(opcode for opcode in Opcode if opcode.name.startswith("LEGACY_")))
CAPABILITIES = bitmap(Opcode.CAP_ID_LIST_QUERY, Opcode.DEVICE_CAP_GET, Opcode.DRIVER_CAP_SET)
PARTS = bitmap(*(opcode for opcode in Opcode if opcode >= Opcode.RESOURCE_OBJ_CREATE))


class Status(IntEnum):
    """What became of a command: numbers of Linux's errors (§2.12.1). EEXIST is named in the text, not in the table."""

    OK = 0
    ENXIO = 6
    EAGAIN = 11
    ENOMEM = 12
    EBUSY = 16
    EEXIST = 17
    EINVAL = 22
    ENOSPC = 28


class Qualifier(IntEnum):
    """Why, for debugging (§2.12.1)."""

    OK = 0x0
    INVALID_COMMAND = 0x1
    INVALID_OPCODE = 0x2
    INVALID_FIELD = 0x3
    INVALID_GROUP = 0x4
    INVALID_MEMBER = 0x5
    NORESOURCE = 0x6
    TRYAGAIN = 0x7


REQUEST = Struct("<HH12xQ")  # virtio_admin_cmd, readable part: opcode, group_type, reserved1, group_member_id
REPLY = Struct("<HH4x")  # its writable part: status, status_qualifier, reserved2
LIST_WORD = Struct("<Q")  # virtio_admin_cmd_list: bit n of word m is opcode 64 m + n

# Legacy interfaces.
LEGACY_WRITE = Struct("<B7x")  # virtio_admin_cmd_legacy_common_cfg_wr_data: offset, reserved; the data follows
LEGACY_READ = Struct("<B")  # ..._rd_data: offset
NOTIFY_INFO = Struct("<BB6xQ")  # virtio_pci_legacy_notify_info: flags, bar, padding, offset
NOTIFY_ENTRIES = 4  # of which the last is the end of the list
NOTIFY_END, NOTIFY_OWNER, NOTIFY_MEMBER = 0, 1, 2

# Device and driver capabilities.
CAP = Struct("<H6x")  # virtio_admin_cmd_cap_get_data, ..._cap_set_data: id, reserved
DEV_PARTS_CAP = 0
PARTS_LIMITS = Struct("<BB")  # virtio_dev_parts_cap: limits of objects that get, and of those that set

# Device resource objects.
OBJECT = Struct("<H2xI")  # virtio_admin_cmd_resource_obj_cmd_hdr: type, reserved, id
OBJECT_FLAGS = Struct("<Q")  # what follows in CREATE, MODIFY and QUERY
OBJ_DEV_PARTS = 0
PARTS_OBJECT = Struct("<B7x")  # virtio_resource_obj_dev_parts: type, reserved
PARTS_TYPE_GET, PARTS_TYPE_SET = 0, 1

# Device parts.
PARTS_SELECT = Struct("<B7x")  # after OBJECT in METADATA_GET and GET: type, reserved
METADATA_SIZE, METADATA_COUNT, METADATA_LIST = 0, 1, 2
METADATA = Struct("<I4x")  # size or count, reserved
GET_SELECTED, GET_ALL = 0, 1
MODE = Struct("<B")  # virtio_admin_cmd_dev_mode_set_data: flags
MODE_STOPPED = 1 << 0
PART = Struct("<HBx8sI")  # virtio_dev_part_hdr: part_type, flags, reserved, selector, length
PART_OPTIONAL = 1 << 0
FIELD_SELECTOR = Struct("<I4x")  # selector.pci_common_cfg: offset
QUEUE_SELECTOR = Struct("<H6x")  # selector.vq_index: index
COMMAND_SELECTOR = Struct("<BB6x")  # virtio_net_dev_part_cvq_selector: class, command
NO_SELECTOR = bytes(8)


class PartType(IntEnum):
    """Device parts, in the order in which they are got and set; the last is of network devices (§5.1)."""

    DEV_FEATURES = 0x100
    DRV_FEATURES = 0x101
    PCI_COMMON_CFG = 0x102
    DEVICE_STATUS = 0x103
    VQ_CFG = 0x104
    VQ_NOTIFY_CFG = 0x105
    NET_CVQ_CFG = 0x200


FEATURES = Struct("<Q")  # virtio_dev_part_features, one word of it
VQ_CFG = Struct("<HHHHQQQ")  # size, vector, enabled, reserved, desc, driver, device
VQ_NOTIFY_CFG = Struct("<HH4x")  # queue_notify_off, queue_notif_config_data, reserved


class Refused(NamedTuple):
    """A command that failed: what its driver is told, and a sentence's end for people."""

    status: Status
    qualifier: Qualifier
    why: str


def invalid(qualifier: Qualifier, why: str) -> Refused:
    """EINVAL with a qualifier: nothing has changed."""
    return Refused(Status.EINVAL, qualifier, why)

"""What an owner's driver has set by administration commands, and what was counted of them."""

import msgspec


class PartsObject(msgspec.Struct, frozen=True):
    """A VIRTIO_RESOURCE_OBJ_DEV_PARTS: of which member, and whether it sets parts rather than gets them."""

    member: int
    sets: bool


class Count(msgspec.Struct, omit_defaults=True):
    """How often a command came, and how often it was refused."""

    done: int = 0
    refused: int = 0


class AdminState(msgspec.Struct, omit_defaults=True):
    """All but ``counts`` returns to its default when the owner is reset."""

    used: dict[int, int] = {}  # by group type: the bitmap of LIST_USE
    limits: tuple[int, int] = (0, 0)  # of the driver: objects that get parts, and that set them
    objects: dict[int, PartsObject] = {}  # by resource id
    counts: dict[str, Count] = {}  # by command, and UNKNOWN

"""Layout of the counters' memory: written by the datapath, read by the controller; declared here, once.

An array of slots: one a function number, then one an uplink. A slot is an array of rows of 64 little-endian 64-bit
counters: row 0 the port, row 1 + n its queue n. Only ever added to, by one writer each, so a reader needs no lock.
The last place of a port's row is no counter: it shows the ISR bits as they are. After the slots come the workers' rows,
one each, with things as they are beside counters.
"""

ROW = 64  # counters in a row
QUEUES = 66  # 32 pairs, the control queue and the administration virtqueue
SLOT_ROWS = 1 + QUEUES
SLOT_BYTES = SLOT_ROWS * ROW * 8
ISR = ROW - 1  # place in a port's row

FUNCTION_COUNTERS = (
    "representor_in_frames",  # read from the representor
    "representor_in_octets",
    "representor_out_frames",  # written to the representor
    "representor_out_octets",
    "switched_frames",  # copied to another guest
    "switched_octets",
    "drop_no_buffer",  # the receiving guest had posted no buffer
    "drop_filtered",  # MAC filter of the receiving guest
    "drop_vlan",  # VLAN filter of the receiving guest
    "drop_link_down",
    "drop_too_long",  # longer than the receiver's MTU allows
    "drop_too_short",  # shorter than an Ethernet header
    "drop_bad_header",  # virtio-net header asks for what was not negotiated
    "drop_no_receiver",  # nothing is there that takes it: no other guest, no representor
    "drop_representor_busy",  # its queue is full
    "drop_representor_down",  # the operator set it down
    "drop_not_ready",  # the receiving guest's driver is not there yet
    "queue_faults",  # queues stopped because the driver broke a rule
    "peer_faults",  # connections closed because the VMM broke a rule
    "dma_maps",
    "dma_unmaps",
    "interrupts",
    "uplink_in_frames",  # read from the uplink
    "uplink_in_octets",
    "transmitted_frames",  # taken from the guest's transmit queues, whatever became of them
    "received_frames",  # put into the guest's receive queues; one that is cut into segments there counts once
    "switch_in_frames",  # offered to this port by others
    "switch_out_frames",  # offered to other ports
    "flood_copies",  # a frame that goes to n receivers makes n - 1 copies
    "uplink_out_frames",  # written to the uplink
    "uplink_out_octets",
    "drop_bad_descriptor",  # the guest described memory that is not there, or a chain that is none
    "drop_uplink_busy",  # its queue is full
    "drop_uplink_down",  # its interface is gone
    "drop_no_such_mac",  # nobody is known to have the address, and flooding is off
    "stuck_interrupts",  # eventfds given up because the VMM let a write to them block
    "drop_queue_disabled",  # sent on a queue that the VMM has disabled
)

# Which counters of a port say where its frames came from and what became of them (``softdpu.datapath.ledger``).
CAME_IN = ("transmitted_frames", "representor_in_frames", "uplink_in_frames", "switch_in_frames")
COPIES = ("flood_copies",)
WENT_OUT = ("received_frames", "representor_out_frames", "uplink_out_frames", "switch_out_frames")
DROPS = tuple(name for name in FUNCTION_COUNTERS if name.startswith("drop_"))

QUEUE_COUNTERS = (
    "doorbells",
    "batches",
    "received_desc",  # chains taken from the available ring
    "completed_desc",  # chains put on the used ring
    "bad_desc_errors",
    "exceed_max_chain",
    "invalid_buffer",  # address or length outside the guest's memory
    "frames",
    "octets",
    "interrupts",
    "suppressed_interrupts",
    "size_64_or_less",
    "size_65_to_127",
    "size_128_to_255",
    "size_256_to_511",
    "size_512_to_1023",
    "size_1024_to_1522",
    "size_1523_to_2047",
    "size_2048_to_4095",
    "size_4096_to_8191",
    "size_8192_to_9022",
    "size_9023_or_more",
    "drop_no_buffer",  # on a receive queue, as are the next two: frames that were steered to it
    "drop_not_ready",  # it does not run
    "drop_bad_header",  # on a transmit queue, like the next two, a frame that cannot be sent: it is none of ``frames``
    "drop_bad_descriptor",
    "drop_too_short",
    "unsent_frames",  # of a transmit queue's ``frames``, those that reached nobody; why, the port tells
    "unsent_octets",
    "unsent_gso_frames",
    "unsent_gso_octets",
    "needs_csum",  # of ``frames``, those whose checksum is left undone
    "csum_valid",  # of ``frames``, those whose checksum was checked
    "gso_frames",  # of ``frames``, those to be cut into segments, which were not cut here
    "gso_octets",
    "commands",  # taken from a control queue
    "commands_ok",  # of those, answered with VIRTIO_NET_OK
)

WORKERS = 64  # rows of workers

WORKER_FIGURES = (
    "serves",  # 1 where there is such a worker
    "core",  # given to it, counted from 1; 0: none
    "busy_ns",  # in all
    "queues",  # that it serves now
    "ports",  # representors and uplinks likewise
)

# Which counters of a queue are of frames that it dropped: each is a part of the port's of the same name.
QUEUE_DROPS = tuple(name for name in QUEUE_COUNTERS if name.startswith("drop_"))

"""The documented BlueField workflow for transitional devices, end to end, on stock QEMU and stock kernels."""

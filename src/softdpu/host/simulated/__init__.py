"""The host that the DPU is plugged into, simulated: what its kernel shows in /sys and /proc, and does when told."""

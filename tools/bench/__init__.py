"""Ours beside the peers, as ratios of interleaved runs in the same minutes on the same machine."""

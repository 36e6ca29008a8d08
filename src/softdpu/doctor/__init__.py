"""Whether a real host, or a DPU's, meets what the transitional workflow asks of it. It only reads."""

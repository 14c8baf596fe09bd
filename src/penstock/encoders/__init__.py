"""The three transport encoders: frames to bytes, purely."""

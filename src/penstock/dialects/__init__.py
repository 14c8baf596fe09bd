"""Payload vocabularies: bytes to `ChatRequest`, entries to frames, purely."""

"""The only rooms that know ASGI."""

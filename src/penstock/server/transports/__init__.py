"""What moves bytes: HTTP responses and WebSockets. A transport only writes; it decides nothing about a run."""

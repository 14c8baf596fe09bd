"""Runs in motion: the bounded log, its readers, the pump and the registry of runs. Knows no HTTP, no dialect, no provider."""

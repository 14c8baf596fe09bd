"""Frameworks as clients: they take long to install and to import, so `make test-clients` runs them and `make test` does not."""

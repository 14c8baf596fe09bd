"""For tests: a provider that fails as it is told, strategies for runs, parsers for what encoders write, and the laws of every seam.

`upstream`, `script` and `wire` need nothing but the server's own dependencies. What generates cases (`strategies`, `laws`) needs
`hypothesis`, which is not among them; so nothing is imported here.
"""

"""For the tests of plug-ins: strategies for runs, parsers for what encoders write, and the laws every dialect keeps.

Needs `hypothesis`, which is not among the dependencies of the server.
"""

"""TLS served directly: the certificate and its key as what handshakes go by. A new one is for those that come after."""

from __future__ import annotations

import ssl
from pathlib import Path

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secret and authenticated. Those of 1.3 are all so."""


class BadCertificate(Exception):
    """The files are no certificate with its key. The message says which, and why."""


def read_certificate(certificate: Path, key: Path) -> ssl.SSLContext:
    """What handshakes go by. Raises `BadCertificate`."""
    for path, what in ((certificate, "certificate"), (key, "key")):
        try:
            text = path.read_bytes()
        except OSError as problem:
            raise BadCertificate(f"the TLS {what} {path} cannot be read: {problem.strerror}") from None
        mark = b"CERTIFICATE-----" if what == "certificate" else b"PRIVATE KEY-----"
        if mark not in text:
            raise BadCertificate(f"{path} holds no {what} in PEM form, which says -----BEGIN {mark.decode()}")
        if what == "key" and (b"BEGIN ENCRYPTED" in text or b"Proc-Type: 4,ENCRYPTED" in text):
            raise BadCertificate(
                f"the TLS key {path} wants a passphrase; store it without one (openssl pkey -in ... -out ...)"
            )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as problem:
        if problem.reason == "KEY_VALUES_MISMATCH":
            raise BadCertificate(f"the TLS key {key} does not belong to the certificate {certificate}") from None
        raise BadCertificate(f"{certificate} and {key} cannot be used for TLS: {problem.reason or problem}") from None
    return context

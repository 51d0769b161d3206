"""A certificate authority of our own, for servers of tests."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own, and servers it vouches for."""

    file: Path
    tls: ssl.SSLContext
    """For a server at 127.0.0.1."""
    elsewhere: ssl.SSLContext
    """For a server at another address."""


def make_authority(directory: Path) -> Authority:
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, directory.name)]),
    )
    root = certificate(name, name, key.public_key(), key, None)
    file = directory / "ca.pem"
    file.write_bytes(root.public_bytes(serialization.Encoding.PEM))

    def server_at(address: str) -> ssl.SSLContext:
        own = ec.generate_private_key(ec.SECP256R1())
        leaf = certificate(name, x509.Name([]), own.public_key(), key, address)
        both = directory / f"{address}.pem"
        both.write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + leaf.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context

    return Authority(file, server_at("127.0.0.1"), server_at("192.0.2.1"))


def certificate(
    issuer: x509.Name,
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signed_by: ec.EllipticCurvePrivateKey,
    address: str | None,
) -> x509.Certificate:
    """Return a certificate for a server at ``address``, or for an authority."""
    now, days = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=2)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - days)
        .not_valid_after(now + days)
        .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()),
            critical=False,
        )
    )
    if address is None:
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
                "digital_signature",
            ),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True
        )
    else:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(signed_by, hashes.SHA256())

"""What a time stamp authority is asked (RFC 3161, 2.4.1; docs/formats/stamp.md#request-and-response). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from evidence_store.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Request:
    """`der`: the TimeStampReq. `nonce`: as in it."""

    der: bytes
    nonce: int


def request(data: bytes) -> Request:
    """Asks for a stamp over SHA-256(data), with a random nonce of 64 bits and the signer's certificate.

    Raises InvalidInput for no bytes at all.
    """
    if not data:
        raise InvalidInput("nothing cannot be stamped", code="stamp-nothing")
    built = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    if built.nonce is None:
        raise InvalidInput("a request has a nonce", code="stamp-nothing")
    return Request(built.as_bytes(), built.nonce)

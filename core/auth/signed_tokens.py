"""What a browser keeps for us and cannot change: cookies and form tokens, signed.

The key lies in the data directory (``session.key``). It is in no log, no page and no run
folder; removing it and starting again signs everybody out.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any, Literal

from itsdangerous import BadData, URLSafeSerializer

from core.files.private_file import secret_key

Kind = Literal["session.1", "device.2", "form.1"]
"""What is sealed, and the version of its form: one is never taken for another."""
_MAX_LETTERS = 4096


class SignedTokens:
    """Signs and verifies with the key in ``path``, which is read or made when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._key: bytes | None = None

    def seal(self, kind: Kind, value: Any) -> str:
        """Return ``value`` (of JSON's types) as text for a cookie or a form.

        Raises ``FatalError`` when the key can be neither read nor written.
        """
        sealed = self._serializer(kind).dumps(value)
        return sealed.decode() if isinstance(sealed, bytes) else sealed

    def open(self, kind: Kind, text: str) -> Any:
        """Return what was sealed; None for anything that this key has not sealed as ``kind``."""
        if not text or len(text) > _MAX_LETTERS:
            return None
        try:
            return self._serializer(kind).loads(text)
        except (BadData, UnicodeError, RecursionError):
            return None

    def _serializer(self, kind: Kind) -> URLSafeSerializer:
        with self._lock:
            if self._key is None:
                self._key = secret_key(self._path)
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        return URLSafeSerializer(self._key, salt=f"himuro.{kind}", signer_kwargs=options)

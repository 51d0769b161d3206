"""Files made from the archive list (``core/export/background.py``), for whoever knows the
address."""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core.errors import HimuroError
from core.export.disk_quota import KEPT
from pages import services
from pages.base_path import at
from pages.http.doors import PRIVATE
from pages.http.downloads import Download

_GONE = (
    "このファイルはもうありません。書き出したファイルは"
    f"{KEPT.total_seconds() // 60:.0f}分で消えます。"
    "アーカイブ一覧から、もう一度書き出してください。"
)

_logger = logging.getLogger(__name__)


def export_address(export_id: str) -> str:
    return at(f"/exports/{export_id}")


def _export(request: Request) -> Response:
    """Send a file from the disk, under its Japanese name (RFC 5987)."""
    try:
        found = services.current().exports.file(request.path_params["export_id"])
    except HimuroError as exc:
        _logger.warning("%s: %s", request.url.path, exc)
        found = None
    if found is None:
        return PlainTextResponse(_GONE, 404, PRIVATE)
    return Download(*found, _GONE)


EXPORT_ROUTES = [Route("/exports/{export_id}", _export, methods=["GET"])]

"""The commands (``docs/contract.md``, "Commands"): ``python -m core …``.

The one module of ``core`` that knows ``db`` and ``core/s3``: it wires the commands, as
``pages/services.py`` wires the pages.
"""

from __future__ import annotations

import gc
import sys

from core.archive.ports import ObjectStore
from core.cli.main import Wiring, main
from core.config.settings import Settings
from core.health.ports import Health
from core.ports import Catalogue
from core.restore.ports import RestoreStore


def open_catalogue(settings: Settings) -> Catalogue:
    from db import open_catalogue as opened  # noqa: PLC0415 - only commands that need it wait

    return opened(settings.database_url)


def open_store(settings: Settings) -> ObjectStore:
    from core.s3.archive_store import S3ObjectStore  # noqa: PLC0415

    return S3ObjectStore(settings)


def open_restore_store(settings: Settings) -> RestoreStore:
    from core.s3.restore_store import S3RestoreStore  # noqa: PLC0415

    return S3RestoreStore(settings)


def init_db(settings: Settings) -> None:
    from db.schema import upgrade  # noqa: PLC0415

    upgrade(settings.database_url)


def open_health(settings: Settings) -> Health:
    from core.s3.health import S3Health  # noqa: PLC0415
    from db.health import SqlHealth  # noqa: PLC0415

    return Health(SqlHealth(settings.database_url), S3Health(settings))


WIRING = Wiring(open_catalogue, open_store, open_restore_store, init_db, open_health)


if __name__ == "__main__":
    # A command makes much that lives until it ends, and hardly any cycles: looking for those
    # ten times as seldom saves a twentieth of its processor time.
    gc.set_threshold(7_000, 100, 100)
    code = main(sys.argv[1:], WIRING)
    gc.freeze()  # all of it goes now: there is nothing to look for once more
    sys.exit(code)

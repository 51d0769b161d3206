"""Values that travel between the parts of Himuro. All of them are immutable.

Paths called ``path`` are UNC paths with backslashes (``\\\\fsx01\\share\\a.txt``) in the
spelling of the server; ``local`` is where the same file is mounted on this machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from core.errors import Code, Severity, sentence

MARKER_SUFFIX = "_archived.txt"
"""What is added to an original's name to make its marker's (``docs/contract.md``, "Decisions").
Stored rows end in it and are never changed: with another one, the names that they hold could not
be told from names that really end so."""

MAX_TYPED = 255
"""Longest request ID and requester, in characters (``docs/contract.md``, "Table archive_list")."""


class ListKind(StrEnum):
    """What a list is for; the column with the file name has another title in each."""

    ARCHIVE = "archive"
    RESTORE = "restore"


class RunKind(StrEnum):
    """What a run is for; the words stand in ``run.json`` and in run ids.

    Where kinds are read, they stay text: a run of a later version may have another word.
    """

    ARCHIVE = "archive"
    VALIDATE = "validate"
    """A check of a list, of either kind, and nothing else."""
    RESTORE = "restore"


class HiddenRows(StrEnum):
    """What becomes of the rows of a list that Excel does not show; the operator decides."""

    ASK = "ask"
    """They are an error until that is decided."""
    INCLUDE = "include"
    EXCLUDE = "exclude"


@dataclass(frozen=True, slots=True)
class ListSource:
    """One uploaded file, as its sender made it."""

    name: str
    """File name without directory; only for display and for the suffix of ``input.*``."""
    content: bytes


@dataclass(frozen=True, slots=True)
class ListRow:
    """One entry of a list: a file or a directory."""

    source: str
    """Name of the uploaded file it stands in, with the sheet when several are read."""
    line: int
    """1-based line (or sheet row) in that file."""
    text: str
    """What the sender wrote: the path, or directory and name joined."""
    path: str
    """UNC path; separators and surrounding spaces cleaned, letters as written."""
    archived_at: datetime | None = None
    """Restore lists: the generation meant, with time zone. None: the newest."""
    exact: str = ""
    """``path`` with the spaces around its names as written: a name on the share may really
    begin or end so. Empty when there are none."""
    # Restore lists only:
    precision: timedelta = timedelta(seconds=1)
    """How much of ``archived_at`` may have been cut off, by Excel or by our own downloads."""
    marker: bool = False
    """True when the name is a marker's: it stands in the column ``アーカイブファイル名``."""
    unmarked: tuple[str, ...] = ()
    """``path`` and ``exact`` without the apostrophe that our CSV puts before a name that Excel
    would run; empty when the name has none."""
    key: str = ""
    """The S3 key that stands beside it. It only tells apart what path and time do not."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something the sender or the operator has to know about one entry."""

    code: Code
    about: str | ArchiveItem
    """The text as written in the list, the path found below a listed directory, or the file."""
    source: str = ""
    """Name of the list; empty when the problem concerns no single list."""
    line: int | None = None
    """1-based; None when no single line is to blame."""
    detail: str = ""
    """Japanese addition to the code's sentence, e.g. the near name that exists."""

    @property
    def path(self) -> str:
        """The text as written in the list, or the path of what was found."""
        return self.about if isinstance(self.about, str) else self.about.path

    @property
    def severity(self) -> Severity:
        return self.code.severity

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    @property
    def reason(self) -> str:
        """What is wrong, one Japanese sentence without the remedy."""
        return sentence(self.code, self.detail)

    @property
    def remedy(self) -> str:
        return self.code.remedy


@dataclass(frozen=True, slots=True)
class DetectedList:
    """How one uploaded file was read, to be shown to the operator."""

    source: str
    """Its name, with the sheet when several are read."""
    encoding: str
    """``UTF-8``, ``UTF-8 (BOM)``, ``CP932``, ``UTF-16`` or ``Excel``."""
    form: str
    """``columns`` (with a header) or ``paths`` (one path a line)."""
    rows: int


@dataclass(frozen=True, slots=True)
class ParsedList:
    """The rows of all uploaded files in their order, with every problem found in them."""

    rows: tuple[ListRow, ...]
    problems: tuple[Problem, ...]
    detected: tuple[DetectedList, ...]


class ArchiveStatus(StrEnum):
    """What the archive list says about a file, judged by size and modification time.

    The judgement is for the operator's eyes; the run itself compares SHA-256.
    """

    NEW = "new"
    ARCHIVED = "archived"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the archive list."""

    directory: str
    """Original directory, UNC, spelling of the server."""
    archived_name: str
    """Original name + ``_archived.txt``."""
    bucket: str
    key: str
    archived_at: datetime
    """With time zone."""
    request_id: str
    requester: str
    comment: str
    size: int
    """Bytes."""
    sha256: str
    """64 hexadecimal digits."""
    modified_at: datetime
    """The original's modification time, with time zone."""
    search_key: str
    """``core.paths.normalization.search_key(directory, original name)``."""
    id: int = 0
    """Serial key; 0 until stored."""

    @property
    def name(self) -> str:
        """The original's name."""
        return self.archived_name.removesuffix(MARKER_SUFFIX)

    @property
    def path(self) -> str:
        """The original's UNC path."""
        return f"{self.directory}\\{self.name}"


class Order(StrEnum):
    """What the hits of a search are sorted by; the words stand in commands and addresses.

    Paths and names compare as ``検索キー`` does, letter by letter (code points). Equal ones
    follow each other by path, then in the order in which they were stored.
    """

    DATE = "date"
    PATH = "path"
    NAME = "name"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What is asked of the archive list. Empty fields do not restrict."""

    words: str = ""
    """Words separated by spaces, all of which must occur in directory or name; what stands in
    quotation marks is one (``core.search.query_words``)."""
    directory: str = ""
    """This UNC directory and below."""
    request_id: str = ""
    requester: str = ""
    since: datetime | None = None
    """Archived at or after; with time zone."""
    until: datetime | None = None
    """Archived before; with time zone."""
    directory_only: bool = False
    """Of ``directory`` without what is below it."""
    file_types: str = ""
    """Endings of names, any of which will do, separated by spaces or commas: ``xlsx, pdf``."""
    least_size: int | None = None
    """Bytes, as is ``most_size``; both are included."""
    most_size: int | None = None
    order: Order = Order.DATE
    descending: bool = True
    """Newest, largest, last in the alphabet first."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page of hits in the order that was asked for."""

    total: int
    """All hits on all pages; when ``over``, there are at least so many."""
    entries: tuple[Entry, ...]
    over: bool = False
    """True when counting all hits would have taken too long."""
    unsorted: bool = False
    """True when there are too many hits to sort them as asked: these are the newest ones."""


@dataclass(frozen=True, slots=True)
class ShareDirectory:
    """A directory of a share; all the files in it refer to one object."""

    path: str
    local: str
    """Absolute path on this machine."""

    def path_of(self, name: str) -> str:
        """Return the UNC path of what is in it."""
        return f"{self.path}\\{name}"

    def local_of(self, name: str) -> str:
        return f"{self.local.rstrip(os.sep)}{os.sep}{name}"


@dataclass(frozen=True, slots=True)
class History:
    """What the archive list holds of one file."""

    newest: Entry | None = None
    """The row that was stored last; None when the file was never archived."""
    latest: datetime | None = None
    """The latest ``archived_at`` of its rows, whatever clock they are from; None: no rows."""
    taken_keys: frozenset[str] = frozenset()
    """Keys of earlier generations of this file: they have rows and cannot be used again."""


NO_HISTORY = History()


@dataclass(frozen=True, slots=True)
class ArchiveItem:
    """One file that a run intends to archive. A plan may hold 200,000, so what follows from
    other fields is put together when it is asked for."""

    parent: ShareDirectory
    name: str
    size: int
    """Bytes, at the time of the check."""
    mtime_ns: int
    """Modification time at the check, nanoseconds since 1970-01-01 UTC."""
    key_directory: str
    """What the keys of all files of its directory begin with; ends in a slash."""
    standing: ArchiveStatus = ArchiveStatus.NEW
    history: History = NO_HISTORY
    """In a plan only the keys of rows under another spelling; in a run everything, as it was
    when the file's turn came."""

    @property
    def path(self) -> str:
        return self.parent.path_of(self.name)

    @property
    def local(self) -> str:
        """Absolute path on this machine."""
        return self.parent.local_of(self.name)

    @property
    def key(self) -> str:
        """The S3 key of the first generation."""
        return self.key_directory + self.name

    @property
    def directory(self) -> str:
        return self.parent.path

    @property
    def marker_name(self) -> str:
        return self.name + MARKER_SUFFIX


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, shown to the operator and executed unchanged."""

    items: tuple[ArchiveItem, ...]
    problems: tuple[Problem, ...]
    detected: tuple[DetectedList, ...] = ()

    @property
    def refused(self) -> bool:
        return any(p.is_error for p in self.problems) or not self.items

    @property
    def total_bytes(self) -> int:
        return sum(item.size for item in self.items)

    def count(self, standing: ArchiveStatus) -> int:
        return sum(item.standing is standing for item in self.items)


class Result(StrEnum):
    """How a file ended; the words stand in ``outcomes.csv`` and in ``report.csv``."""

    ARCHIVED = "archived"
    """Uploaded (or adopted from an interrupted run), registered and marked."""
    UNCHANGED = "unchanged"
    """The newest generation in the archive list has the same content."""
    FAILED = "failed"


RESULT_WORDS = {
    Result.ARCHIVED: "成功",
    Result.UNCHANGED: "アーカイブ済み",
    Result.FAILED: "失敗",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one file."""

    path: str
    result: Result
    size: int = 0
    """Bytes read."""
    key: str = ""
    sha256: str = ""
    code: Code | None = None
    """Why it failed; None otherwise."""
    detail: str = ""

    @property
    def settled(self) -> bool:
        """True when nothing is left to do for this file."""
        return self.result is not Result.FAILED

    @property
    def reason(self) -> str:
        return sentence(self.code, self.detail) if self.code else ""


class RunState(StrEnum):
    """States of a run (``docs/contract.md``, "Run folder")."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED_FILES = "failed_files"
    REFUSED = "refused"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    ERROR = "error"

    @property
    def is_final(self) -> bool:
        return self not in (RunState.RUNNING, RunState.WAITING)


EXIT_CODES = {
    RunState.DONE: 0,
    RunState.FAILED_FILES: 1,
    RunState.REFUSED: 2,
    RunState.ERROR: 3,
    RunState.WAITING: 4,
    RunState.STOPPED: 130,
    RunState.INTERRUPTED: 130,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a check or a run stands. Rates are for the caller to derive."""

    total_files: int = 0
    total_bytes: int = 0
    done_files: int = 0
    """Finished, failed ones included."""
    done_bytes: int = 0
    """Bytes of finished files and of the sent parts of running ones."""
    failed_files: int = 0
    current: str = ""
    """UNC path of a file being worked on; empty when none is."""
    phase: str = ""
    """What is going on, one Japanese word or two for the screen."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Who wants what, typed in by the operator."""

    request_id: str
    requester: str
    comment: str = ""
    started_by: str = ""
    """Account of who is signed in, or operating-system user of a command."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """``run.json``: all that is known about one run."""

    run_id: str
    """Also the folder's name: ``<yyyymmdd-hhmmss>-<kind>-<short id>``."""
    kind: str
    """A ``RunKind``, or a word of a later version."""
    state: RunState
    request: RunRequest
    created_at: datetime
    """With time zone, as are the next two."""
    started_at: datetime | None = None
    """When the first file was begun. None: still in the queue, or refused."""
    finished_at: datetime | None = None
    total_files: int = 0
    total_bytes: int = 0
    archived_files: int = 0
    archived_bytes: int = 0
    unchanged_files: int = 0
    failed_files: int = 0
    message: str = ""
    """Japanese: why the run was refused or stopped early; empty when it just ended."""
    inputs: tuple[str, ...] = ()
    """Names of the lists as uploaded."""
    # A restore, the sum of all its steps so far:
    tier: str = ""
    """``core.restore.model.Tier`` by value; empty for other kinds."""
    days: int = 0
    """For how many days copies were asked to stay readable, from the request on."""
    left_out_rows: int = 0
    """Rows of the list that matched nothing that can be restored."""
    thawing_files: int = 0
    """Asked for, and not readable yet when they were last looked at."""
    unrequested_files: int = 0
    """Never asked for: the requests ended early. Nothing brings them before that is done."""
    placed_files: int = 0
    placed_bytes: int = 0
    ready_by: datetime | None = None
    """When all files asked for can be read at the latest, with time zone."""
    target: str = ""
    """Directory of the last placing, as it was typed."""
    target_mount: str = ""
    """What that lay on (``core.files.mounts.Mount`` as text); empty: not known."""
    last_by: str = ""
    """Who started the last step after the first."""
    settings: dict[str, str] = field(default_factory=dict)
    """Without secrets."""

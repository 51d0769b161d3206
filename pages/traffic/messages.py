"""The messages of the WebSocket: which ones pages need, and what they may hold.

What comes in is looked at as bytes (the wire format of Protocol Buffers) and never taken apart
before it is known to be small. What goes out tells nothing about this machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Common_pb2 import FileURLsRequest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.state.common import GENERATED_ELEMENT_ID_PREFIX

from core.auth.accounts import Role

MAX_BYTES = {
    Role.ANYONE: 64 * 1024,
    Role.OPERATOR: 640 * 1024,
    Role.ADMINISTRATOR: 640 * 1024,
}
"""Of one message from a browser, by role: what a page sends at most. A letter of a search goes out
three times, in its field and twice in the page's address, and has 21 bytes then; an operator may
paste 200,000 letters of three bytes instead of uploading a list."""
LONGEST = max(MAX_BYTES.values())
MAX_WIDGETS = 200
"""Widget states in a message, and hashes of messages that the browser has kept."""
MAX_NAMES = 100
"""Files that an uploader asks addresses for at once."""

RERUN, STOP, UPLOAD = "rerun_script", "stop_script", "file_urls_request"
NEEDED = {RERUN: Role.ANYONE, STOP: Role.ANYONE, UPLOAD: Role.OPERATOR}
"""What reaches Streamlit, and from whom: what is clicked and typed, the button that stops a page
which is being made, and the addresses for lists that are uploaded.

All else is left out: ``clear_cache`` empties caches of everybody; ``load_git_info`` starts git
and tells its branch and files; ``set_run_on_save``, ``debug_disconnect_websocket`` and
``debug_shutdown_runtime`` are for developers; ``app_heartbeat`` is for pages that frame this one,
and none may; ``backend_operation_request`` is for tables of more rows than a page has, for
``st.download_button`` and for installing tools on this machine.
"""

_KINDS: dict[int, str] = {field.number: field.name for field in BackMsg.DESCRIPTOR.fields}
_LONGEST_VARINT = 10
_WIDGET_ID = f"{GENERATED_ELEMENT_ID_PREFIX}-".encode()
_SILENT = frozenset(
    (ForwardMsg.GIT_INFO_CHANGED_FIELD_NUMBER, ForwardMsg.PAGE_PROFILE_FIELD_NUMBER)
)
"""Messages for the browser that say what the program and the machine are, and nothing else."""
_ABOUT = frozenset((ForwardMsg.HASH_FIELD_NUMBER, ForwardMsg.METADATA_FIELD_NUMBER))
"""What stands before the message itself."""


class NotAllowed(Exception):
    """A message that no page sends; the text says why, for the log."""


def kind_of(data: bytes) -> str:
    """Return the name of a message's kind, as ``BackMsg`` has it.

    Browsers send one field and nothing behind it. Raises ``NotAllowed`` for all else.
    """
    found = list(_fields(data, 0, len(data), 1))
    if not found:
        raise NotAllowed("empty message")
    number, _begin, _end = found[0]
    if number not in _KINDS:
        raise NotAllowed("unknown kind of message")
    return _KINDS[number]


def check(kind: str, data: bytes) -> None:
    """Raise ``NotAllowed`` when a message of a kind that is needed holds more than pages send."""
    ((_number, begin, end),) = _fields(data, 0, len(data), 1)
    if kind == UPLOAD:
        _check_names(data, begin, end)
    elif kind == RERUN:
        _check_state(data, begin, end)


def _check_names(data: bytes, begin: int, end: int) -> None:
    numbers = [number for number, _, _ in _fields(data, begin, end, MAX_NAMES + 2)]
    if numbers.count(FileURLsRequest.FILE_NAMES_FIELD_NUMBER) > MAX_NAMES:
        raise NotAllowed("too many file names")


def _check_state(data: bytes, begin: int, end: int) -> None:
    left = MAX_WIDGETS
    most = len(ClientState.DESCRIPTOR.fields) + MAX_WIDGETS
    for number, first, last in _fields(data, begin, end, most):
        if number == ClientState.WIDGET_STATES_FIELD_NUMBER:
            for inner, from_, to in _fields(data, first, last, left):
                if inner != WidgetStates.WIDGETS_FIELD_NUMBER:
                    raise NotAllowed("unknown field of widget states")
                _check_widget(data, from_, to)
                left -= 1


def _check_widget(data: bytes, begin: int, end: int) -> None:
    """Let only names pass that Streamlit has made. With any other it ends the script with an
    error, which costs a page of the log."""
    names = [
        data[first:last]
        for number, first, last in _fields(data, begin, end, len(WidgetState.DESCRIPTOR.fields))
        if number == WidgetState.ID_FIELD_NUMBER
    ]
    if len(names) != 1 or not names[0].startswith(_WIDGET_ID):
        raise NotAllowed("not the name of a widget")


def _fields(data: bytes, at: int, end: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of each field between two places, at most so many.

    Raises ``NotAllowed`` where there are more, or where it is not the wire format.
    """
    while at < end:
        if most <= 0:
            raise NotAllowed("too many fields")
        most -= 1
        tag, at = _varint(data, at, end)
        begin = at
        match tag & 7:
            case 0:
                _value, at = _varint(data, at, end)
            case 1:
                at += 8
            case 2:
                size, begin = _varint(data, at, end)
                at = begin + size
            case 5:
                at += 4
            case _:
                raise NotAllowed("not a message")
        if at > end:
            raise NotAllowed("not a message")
        yield tag >> 3, begin, at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(at, min(end, at + _LONGEST_VARINT)):
        byte = data[place]
        value |= (byte & 0x7F) << (7 * (place - at))
        if byte < 0x80:
            return value, place + 1
    raise NotAllowed("not a message")


class Told(NamedTuple):
    """A message for a browser."""

    data: bytes
    """Empty for one that is not sent at all."""
    session_id: str = ""
    """Streamlit's name of the page's session, when it is in the message."""


def outgoing(data: bytes) -> Told:
    """Return a message for a browser without what it says about this machine; empty for one that
    says nothing else.

    ``new_session`` names the path of the program, the versions of Streamlit and Python, the
    operating system and numbers made of the machine's own. The front end wants the fields to be
    there; of the version it only asks whether it is another one than before.
    """
    for number, _begin, _end in _fields(data, 0, len(data), len(data)):
        if number in _ABOUT:
            continue
        if number in _SILENT:
            return Told(b"")
        return _redacted(data) if number == ForwardMsg.NEW_SESSION_FIELD_NUMBER else Told(data)
    return Told(data)


def _redacted(data: bytes) -> Told:
    message = ForwardMsg.FromString(data)
    session = message.new_session
    session.main_script_path = ""
    first = session.initialize
    told = f"{first.environment_info.streamlit_version}\n{first.user_info.installation_id_v4}"
    for part in (first.user_info, first.environment_info):
        part.Clear()
        part.SetInParent()
    # Keyed with what only this machine knows: it changes with the version and does not tell it.
    first.environment_info.streamlit_version = hashlib.sha256(told.encode()).hexdigest()[:16]
    first.recommend_skills_install = False
    first.skills_nudge_suppressed_reason = ""
    return Told(message.SerializeToString(), first.session_id)

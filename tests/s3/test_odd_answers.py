"""Answers of S3 that nobody expects: understood, or one object's that is not ready."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.settings import load_settings
from core.errors import Code, ItemError
from core.restore.model import ObjectState, Thaw
from core.s3.object_states import head_state
from core.s3.restore_store import S3RestoreStore
from tests.support.environment import aws_environment
from tests.support.servers.scripted_s3 import Peer, Script, serving

BUCKET = load_settings({"HIMURO_BUCKET": "himuro-x"})
UNTIL = datetime(2026, 11, 27, tzinfo=UTC)
READY = ObjectState(Thaw.READABLE, 5, UNTIL)
FROZEN = ObjectState(Thaw.FROZEN, 5)
THAWING = ObjectState(Thaw.THAWING, 5)


@pytest.mark.parametrize(
    ("header", "state"),
    [
        ('ongoing-request="true"', THAWING),
        ('ongoing-request = "true"', THAWING),
        ("ongoing-request='true'", THAWING),
        ("ongoing-request=true", THAWING),
        ('Ongoing-Request="TRUE"', THAWING),
        ('ongoing-request="true", expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"', THAWING),
        ('ongoing-request="false", expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"', READY),
        ('expiry-date="Fri, 27 Nov 2026 00:00:00 GMT", ongoing-request="false"', READY),
        ('ongoing-request="false",expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"', READY),
        ('ongoing-request = "false" ,  expiry-date = "Fri, 27 Nov 2026 00:00:00 GMT" ', READY),
        ("ongoing-request='false', expiry-date='Fri, 27 Nov 2026 00:00:00 GMT'", READY),
        ('ongoing-request="false"; expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"', READY),
        ('ongoing-request="false", expiry-date="2026-11-27T00:00:00Z"', READY),
        ('ongoing-request="false", expiry-date="2026-11-27T09:00:00+09:00"', READY),
        ('ongoing-request="false", expiry-date="2026-11-27T00:00:00.000Z"', READY),
        ('ongoing-request="false", expiry-date="2026-11-27"', READY),
        ('ongoing-request="false", expiry-date="Fri, 27 Nov 2026 00:00:00 -0000"', READY),
        # Nothing that proves a readable copy:
        ('ongoing-request="false"', FROZEN),
        ('ongoing-request="false", expiry-date=""', FROZEN),
        ('ongoing-request="false", expiry-date="soon"', FROZEN),
        ('ongoing-request="false", expiry-date="Fri, 99 Nov 2026 00:00:00 GMT"', FROZEN),
        ('expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"', FROZEN),
        ('ongoing-request="perhaps", expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"', FROZEN),
        ('x-ongoing-request="false", expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"', FROZEN),
        ("", FROZEN),
        ("true", FROZEN),
        ('ongoing-request="false', FROZEN),
    ],
)
def test_what_x_amz_restore_means(header: str, state: ObjectState) -> None:
    answer = {"ContentLength": 5, "StorageClass": "DEEP_ARCHIVE", "Restore": header}
    assert head_state(answer) == state


WORDS = ["ongoing-request", "expiry-date", "true", "false", "=", '"', "'", ",", ";", " ", "GMT"]
DATES = ["Fri, 27 Nov 2026 00:00:00 GMT", "2026-11-27T00:00:00Z", "27/11/2026", "0", "９９", "-1"]
headers = st.lists(st.sampled_from(WORDS + DATES) | st.text(max_size=5), max_size=12).map("".join)


@given(headers)
def test_no_header_is_readable_without_its_proof(header: str) -> None:
    """And none is an error."""
    state = head_state({"ContentLength": 5, "StorageClass": "DEEP_ARCHIVE", "Restore": header})
    if state.thaw is Thaw.READABLE:
        assert "ongoing-request" in header.lower()
        assert "false" in header.lower()
        assert state.readable_until is not None
        assert state.readable_until.tzinfo is not None


@given(
    st.permutations([0, 1]),
    st.sampled_from(['"', "'"]),
    st.tuples(*[st.sampled_from(["", " ", "  "])] * 4),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
    st.booleans(),
)
def test_every_spelling_of_a_readable_copy_is_understood(
    order: list[int], quote: str, spaces: tuple[str, ...], when: datetime, iso: bool
) -> None:
    until = when.replace(microsecond=0, tzinfo=UTC)
    date = until.isoformat() if iso else format_datetime(until, usegmt=True)
    a, b, c, d = spaces
    attributes = [
        f"ongoing-request{a}={b}{quote}false{quote}",
        f"expiry-date{a}={b}{quote}{date}{quote}",
    ]
    header = f"{c},{d}".join(attributes[n] for n in order)
    answer = {"ContentLength": 5, "StorageClass": "DEEP_ARCHIVE", "Restore": header}
    assert head_state(answer) == ObjectState(Thaw.READABLE, 5, until)


LISTED = (
    "<Contents><Key>{key}</Key><LastModified>{when}</LastModified><ETag>e</ETag>{size}"
    "{storage}{status}</Contents>"
)
PLAIN = {
    "when": "2026-11-23T00:00:00Z",
    "size": "<Size>5</Size>",
    "storage": "<StorageClass>DEEP_ARCHIVE</StorageClass>",
    "status": "",
}


def copy(inside: str) -> str:
    return f"<RestoreStatus>{inside}</RestoreStatus>"


ODD_ITEMS = {
    "no storage class": {"storage": ""},
    "no size": {"size": ""},
    "a size that is none": {"size": "<Size>five</Size>"},
    "a time that is none": {"when": "yesterday"},
    "an expiry that is none": {
        "status": copy(
            "<IsRestoreInProgress>false</IsRestoreInProgress>"
            "<RestoreExpiryDate>soon</RestoreExpiryDate>"
        )
    },
    "a status without anything": {"status": copy("")},
    "neither in progress nor an expiry": {
        "status": copy("<IsRestoreInProgress>false</IsRestoreInProgress>")
    },
}
HEAD = (
    b'HTTP/1.1 200 OK\r\nx-amz-request-id: 1\r\nETag: "e"\r\nContent-Length: 5\r\n'
    b"x-amz-storage-class: DEEP_ARCHIVE\r\n"
)
THAWED = b'x-amz-restore: ongoing-request="false", expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"\r\n'


def s3_that_says(items: dict[str, dict[str, str]], heads: dict[str, bytes]) -> Script:
    """Return an S3 with one page of a listing, and answers to HEADs by key."""
    listed = "".join(LISTED.format(key=key, **{**PLAIN, **odd}) for key, odd in items.items())
    page = (
        '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>'
        f"{listed}</ListBucketResult>"
    ).encode()

    def script(peer: Peer) -> None:
        while request := peer.request():
            if request.method == "HEAD":
                key = request.path.rpartition("/")[2]
                peer.answer(heads.get(key, HEAD + THAWED) + b"\r\n")
            else:
                length = b"Content-Length: %d\r\n\r\n" % len(page)
                kind = b"x-amz-request-id: 1\r\nContent-Type: application/xml\r\n"
                peer.answer(b"HTTP/1.1 200 OK\r\n" + kind + length + page)

    return script


def said_by(
    monkeypatch: pytest.MonkeyPatch, script: Script, keys: list[str]
) -> tuple[dict[str, ObjectState | ItemError], list[str]]:
    """Return the states of these keys, and the keys for which HEAD was asked."""
    with serving(script) as server:
        for name, value in aws_environment(f"http://127.0.0.1:{server.port}").items():
            monkeypatch.setenv(name, value)
        store = S3RestoreStore(BUCKET)
        said = dict(store.states(keys))
        for one in (store._client, store._s3.quick):
            one.close()
    heads = [r.path.rpartition("/")[2] for r in server.requests if r.method == "HEAD"]
    return said, [key for key in heads if key != BUCKET.bucket]


@pytest.mark.parametrize("odd", ODD_ITEMS, ids=str)
def test_one_odd_item_of_a_listing_is_asked_by_head(
    monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    keys = [f"{n:02}" for n in range(40)]
    ready = copy(
        "<IsRestoreInProgress>false</IsRestoreInProgress>"
        "<RestoreExpiryDate>2026-11-27T00:00:00Z</RestoreExpiryDate>"
    )
    items = {key: {"status": ready} for key in keys} | {"20": {"status": ready, **ODD_ITEMS[odd]}}
    said, heads = said_by(monkeypatch, s3_that_says(items, {}), keys)
    assert said == dict.fromkeys(keys, READY)
    if odd == "a size that is none":  # botocore understands nothing of such a page
        assert sorted(heads) == keys
    elif odd == "a time that is none":  # nobody wants it
        assert heads == ["00"]
    else:
        assert sorted(heads) == ["00", "20"]


@pytest.mark.parametrize(
    ("head", "state"),
    [
        (HEAD.replace(b"Content-Length: 5\r\n", b"Content-Length: five\r\n"), None),
        (HEAD + b"Last-Modified: yesterday\r\n" + THAWED, READY),
        (HEAD + b"x-amz-restore: ???\r\n", FROZEN),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/html\r\n", None),
        (b"HTTP/1.1 200 OK\r\nx-amz-request-id: 1\r\n", None),
    ],
)
def test_one_odd_answer_to_a_head_is_its_objects_alone(
    monkeypatch: pytest.MonkeyPatch, head: bytes, state: ObjectState | None
) -> None:
    said, _ = said_by(monkeypatch, s3_that_says({}, {"odd": head}), ["a", "odd", "z"])
    assert (said["a"], said["z"]) == (READY, READY)
    if state is None:
        assert isinstance(said["odd"], ItemError)
        assert said["odd"].code is Code.DOWNLOAD_FAILED
    else:
        assert said["odd"] == state

"""Numbers that hold for everybody: files, connections, and how often something may happen."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from core.config.limits import FEWEST, KEPT_SESSIONS, PAGE_DESCRIPTORS, Limits
from core.config.settings import load_settings
from core.errors import SettingsError
from pages.traffic import messages
from pages.traffic.buckets import Address, Addresses, Bucket
from pages.traffic.messages import MAX_NAMES, MAX_WIDGETS, NotAllowed
from tests.support.environment import CHECKOUT, clean_environment


def back(**fields: Any) -> BackMsg:
    return BackMsg(**fields)


def forward(**fields: Any) -> ForwardMsg:
    return ForwardMsg(**fields)


# Settings


def test_each_limit_can_be_set() -> None:
    names = [name for name in load_settings({}).without_secrets() if name.startswith(PREFIXES)]
    assert len(names) == 6
    limits = load_settings({name: str(n) for n, name in enumerate(names, 7)}).limits
    assert limits == Limits(7, 8, 9, 10, 11, 12)


PREFIXES = ("HIMURO_CONNECTIONS", "HIMURO_PAGES", "HIMURO_MESSAGES")


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1.5", "１０", "100001", "1" * 30])
def test_a_limit_is_a_number(wrong: str) -> None:
    with pytest.raises(SettingsError, match="HIMURO_PAGES は1から100000の整数"):
        load_settings({"HIMURO_PAGES": wrong})


# Files


@given(descriptors=st.integers(0, 100_000))
def test_connections_leave_files_for_runs(descriptors: int) -> None:
    limits = Limits().fitting(descriptors)
    taken = limits.connections + (PAGE_DESCRIPTORS - 1) * (limits.pages + KEPT_SESSIONS)
    assert limits.pages >= FEWEST
    if descriptors >= 1024:
        assert taken <= descriptors - 300
        assert limits.connections >= 100
        assert limits.pages >= 50
    assert limits.connections_per_address <= limits.connections
    assert limits.pages_per_address <= limits.pages


def test_the_limit_of_files_is_raised_to_what_is_allowed() -> None:
    program = (
        "import resource, core.resources.descriptors as d;"
        "print(d.raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        ["sh", "-c", 'ulimit -Sn 300; ulimit -Hn 3000; exec "$@"', "sh"]
        + [sys.executable, "-c", program],
        cwd=CHECKOUT,
        env={**clean_environment(), "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["3000", "3000", "3000"], done.stderr


# Buckets


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 20), st.integers(1, 50))
def test_a_bucket_gives_no_more_than_its_rate(gaps: list[float], rate: int, burst: int) -> None:
    now, given_out, bucket = 0.0, 0, Bucket(rate, burst, 0.0)
    for gap in gaps:
        now += gap
        given_out += bucket.take(now)
        assert given_out <= burst + rate * now + 1e-6


def test_whoever_reserves_first_comes_first() -> None:
    bucket = Bucket(2, 1, 0.0)
    assert [bucket.reserve(0.0, 1.0) for _ in range(4)] == [0.0, 0.5, 1.0, math.inf]
    assert bucket.reserve(1.0, 1.0) == 0.5


def test_whoever_was_closed_owes_some_time_and_not_more() -> None:
    bucket = Bucket(5, 100, 0.0)
    for _ in range(1000):
        bucket.spend(4, 0.0, 5)
    assert bucket.reserve(0.0, 60) == 1.2
    assert bucket.reserve(10.0, 60) == 0.0


def test_addresses_are_forgotten_but_not_those_with_pages_open() -> None:
    made: list[Address] = []

    def make() -> Address:
        made.append(Address(Bucket(1, 1, 0.0), Bucket(1, 1, 0.0)))
        return made[-1]

    addresses = Addresses(make, most=3)
    here = addresses.of("192.0.2.1")
    here.streams = 1
    for last in range(2, 50):
        addresses.of(f"192.0.2.{last}")
    assert addresses.of("192.0.2.1") is here
    assert len(addresses._known) == 3
    assert addresses.of("2001:db8::1") is addresses.of("2001:db8::2")


# Messages


def test_a_message_of_each_kind_is_known_by_its_bytes() -> None:
    for field in BackMsg.DESCRIPTOR.fields:
        message = BackMsg()
        if field.message_type is None:
            setattr(message, field.name, True)
        else:
            getattr(message, field.name).SetInParent()
        assert messages.kind_of(message.SerializeToString()) == field.name


@given(st.binary(max_size=60))
def test_what_passes_is_what_streamlit_reads(data: bytes) -> None:
    """Nothing passes as one kind that protobuf reads as another, or with more in it."""
    try:
        kind = messages.kind_of(data)
        messages.check(kind, data)
    except NotAllowed:
        return
    read = BackMsg()
    try:
        read.ParseFromString(data)
    except Exception as exc:  # noqa: BLE001 - protobuf's own, for which there are no types
        assert type(exc).__name__ == "DecodeError"  # noqa: PT017
        return  # Streamlit closes it
    assert read.WhichOneof("type") in (kind, None)


@given(st.integers(0, 2 * MAX_WIDGETS), st.integers(1, 3))
def test_widgets_are_counted_however_they_are_split(count: int, parts: int) -> None:
    """Protobuf adds up fields that come several times."""
    data = b""
    for part in range(parts):
        some = [{"id": f"$$ID-{n}-q"} for n in range(part, count, parts)]
        whole = back(rerun_script={"widget_states": {"widgets": some}})
        data += whole.rerun_script.SerializeToString()
    whole = BackMsg()
    whole.rerun_script.MergeFromString(data)
    assert len(whole.rerun_script.widget_states.widgets) == count
    head = b"\x5a" + _varint(len(data))
    assert BackMsg.FromString(head + data) == whole
    if count > MAX_WIDGETS:
        with pytest.raises(NotAllowed):
            messages.check(messages.RERUN, head + data)
    else:
        messages.check(messages.RERUN, head + data)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize(("count", "passes"), [(MAX_NAMES, True), (MAX_NAMES + 1, False)])
def test_names_are_counted(count: int, *, passes: bool) -> None:
    data = back(file_urls_request={"file_names": ["a"] * count, "session_id": "s"})
    try:
        messages.check(messages.UPLOAD, data.SerializeToString())
    except NotAllowed:
        assert not passes
    else:
        assert passes


def test_what_says_only_what_this_machine_is_stays_here() -> None:
    for message in (forward(git_info_changed={}), forward(page_profile={})):
        assert messages.outgoing(message.SerializeToString()).data == b""
    delta = forward(hash="x", delta={}).SerializeToString()
    assert messages.outgoing(delta) == (delta, "")


def test_the_version_is_told_apart_and_not_told() -> None:
    def told(version: str) -> str:
        about = {"environment_info": {"streamlit_version": version, "python_version": "3.11.2"}}
        first = {"user_info": {"installation_id_v4": "machine"}, **about}
        sent = forward(new_session={"main_script_path": "/opt/x.py", "initialize": first})
        data = messages.outgoing(sent.SerializeToString()).data
        assert version.encode() not in data
        assert b"/opt" not in data
        read = ForwardMsg.FromString(data).new_session.initialize
        return str(read.environment_info.streamlit_version)

    assert told("1.67.0") == told("1.67.0") != told("1.68.0")

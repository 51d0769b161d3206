"""``make demo``: the console with a file share and an S3 of its own, nothing to install.

Everything lies in ``.demo/`` below the checkout and is gone when the demo ends. Only
127.0.0.1 is used. ``HIMURO_DEMO_PORT`` asks for a port, ``HIMURO_DEMO_DIR`` for a directory.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.servers.processes import Console
    from tests.support.share import Lists, Share

# The other modules are imported inside functions: Ctrl-C must not show a traceback even while
# they are being loaded.

BUCKET = "himuro-demo"
FIRST_PORT = 8501
_OWNER = "himuro-demo.txt"
"""Its presence says that a directory was made by a demo and may be removed."""
_STEPS = 5
_THAW_SECONDS = 60
"""Deep Archive takes up to two days."""


class DemoError(Exception):
    """The demo cannot be set up; the message is fit for the screen."""


def main() -> int:
    """Run the demo until it is stopped; 0 after Ctrl-C or SIGTERM, 1 when it failed."""
    checkout = Path(__file__).resolve().parents[2]
    place = Path(os.environ.get("HIMURO_DEMO_DIR") or checkout / ".demo").absolute()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Japanese is no reason to fail
    try:
        _listen_for_stop()
        with _own_directory(place):
            _run(place)
    except KeyboardInterrupt:
        _say("デモを停止し、作成したデータをすべて削除しました。")
        return 0
    except (DemoError, OSError) as exc:
        _say(f"\n{exc}")
        return 1
    return 0


def _listen_for_stop() -> None:
    """Turn the first stop signal into KeyboardInterrupt and ignore the rest.

    Clearing up must not be cut short by a second Ctrl-C.
    """
    numbers = [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)]

    def stop(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(OSError):  # print() may be what was interrupted
            os.write(1, "\n\n停止しています …\n".encode())
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, stop)


def _say(text: str = "", *, end: str = "\n") -> None:
    with contextlib.suppress(OSError):  # nobody reads any more
        print(text, end=end, flush=True)


@contextlib.contextmanager
def _step(number: int, doing: str) -> Iterator[list[str]]:
    """Say what is being done, then that it is; what is put into the list stands behind."""
    _say(f"  [{number}/{_STEPS}] {doing} … ", end="")
    details: list[str] = []
    yield details
    _say("できました" + "".join(f"（{detail}）" for detail in details))


@contextlib.contextmanager
def _own_directory(place: Path) -> Iterator[None]:
    """Make ``place`` for this demo alone and remove it afterwards.

    What an earlier demo left behind is removed first; raises ``DemoError`` when one is still
    running there, or when the directory is somebody else's. After a ``DemoError`` the
    directory stays until the next start, because the logs are in it.
    """
    from filelock import FileLock, Timeout

    if place.exists() and not (place / _OWNER).exists() and any(place.iterdir()):
        raise DemoError(f"{place} はデモが作ったものではないため、使えません。")
    place.mkdir(parents=True, exist_ok=True)
    (place / _OWNER).write_text("このフォルダーはデモの終了時に削除されます。\n", "utf-8")
    lock = FileLock(place / "lock")
    keep = False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DemoError(
            "デモは既に起動しています。起動した画面で Ctrl+C を押すと止まります。"
        ) from None
    try:
        for old in place.iterdir():
            if old.name not in (_OWNER, "lock"):
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        yield
    except DemoError:
        keep = True
        raise
    finally:
        lock.release()
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def _run(place: Path) -> None:
    """Set everything up, say where it is, and wait."""
    from tests.support.environment import aws_environment
    from tests.support.servers.processes import ServerError, make_bucket, strict_server
    from tests.support.share import build_share, write_lists

    _say("氷室（Himuro）のデモを準備しています。\n")
    with _step(1, "共有フォルダーの見本を作っています") as details:
        share = build_share(place / "share")
        details.append(f"{len(share.files)}ファイル、{share.total_bytes / 1e6:.0f} MB")
    with _step(2, "依頼の一覧を作っています"):
        lists = write_lists(place / "lists")
    people = _write_accounts(place / "data" / "accounts.toml")
    with contextlib.ExitStack() as stack:
        with _step(3, "S3の代わりになるものを起動しています"):
            try:
                endpoint = stack.enter_context(
                    strict_server(place / "s3.log", thaw_seconds=_THAW_SECONDS)
                )
            except ServerError as exc:
                raise DemoError(f"起動できませんでした。\n{exc.tail}") from exc
            make_bucket(endpoint, BUCKET)
        env = {**_settings(place, share), **aws_environment(endpoint)}
        _write_settings(place / "settings.env", env)
        with _step(4, "データベースを準備しています"):
            _init_database(env, place)
        with _step(5, "コンソールを起動しています"):
            console = stack.enter_context(_console(env, place))
        _announce(console, people, share, lists, place)
        console.process.wait()
        raise DemoError(f"コンソールが終了しました。記録: {place / 'console.log'}")


def _settings(place: Path, share: Share) -> dict[str, str]:
    restored = place / "restored"
    restored.mkdir()
    return {
        "HIMURO_DATA_DIR": str(place / "data"),
        "HIMURO_BUCKET": BUCKET,
        "HIMURO_SHARES": share.setting.replace("\\", "/"),
        "HIMURO_RESTORE_ROOTS": str(restored),
    }


def _write_accounts(file: Path) -> dict[str, str]:
    """Make an account for each role with a password of this demo alone; returns them."""
    from core.auth.passwords import hash_password

    people = {"operator": "operator", "admin": "administrator"}
    passwords = {name: secrets.token_urlsafe(9) for name in people}
    lines = (
        f'[accounts.{name}]\nrole = "{role}"\npassword = "{hash_password(passwords[name])}"\n'
        for name, role in people.items()
    )
    file.parent.mkdir()
    file.touch(0o600)
    file.write_text("".join(lines), "utf-8")
    return passwords


def _write_settings(file: Path, env: dict[str, str]) -> None:
    """Write what a shell, or a test, needs to run commands against the demo."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in env.items()]
    file.write_text("".join(lines), "utf-8")


def _init_database(env: dict[str, str], place: Path) -> None:
    from tests.support.environment import CHECKOUT, clean_environment

    done = subprocess.run(
        [sys.executable, "-m", "core", "init-db"],
        env={**clean_environment(), "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1", **env},
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        raise DemoError(f"データベースを準備できませんでした。\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def _console(env: dict[str, str], place: Path) -> Iterator[Console]:
    """Run the console on the port asked for, or on the next that is free."""
    from tests.support.environment import free_port
    from tests.support.servers.processes import ServerError, console

    wanted = os.environ.get("HIMURO_DEMO_PORT") or str(FIRST_PORT)
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 65_000:
        raise DemoError(f"HIMURO_DEMO_PORT は1から65000の整数にしてください（現在: {wanted}）。")
    log = place / "console.log"
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            port = free_port(int(wanted))
            try:
                running = stack.enter_context(
                    console(env, port, log=log, cwd=place, module="tests.demo.console")
                )
                break
            except ServerError as exc:
                if free_port(port) != port:
                    continue  # somebody was faster
                text = f"コンソールを起動できませんでした。記録: {log}\n{exc.tail}"
                raise DemoError(text) from exc
        else:
            raise DemoError("空いているポートがありません。")
        yield running


def _announce(
    console: Console, people: dict[str, str], share: Share, lists: Lists, place: Path
) -> None:
    accounts = "".join(f"      {name:<10}{password}\n" for name, password in people.items())
    names = "".join(f"      {file.name}\n" for file in (*lists.good, lists.mistakes, lists.restore))
    _say(
        f"""
準備ができました。ブラウザーで次のアドレスを開いてください。

    {console.url}

サインイン（アカウントとパスワード。デモを起動するたびに変わります）
{accounts}
アップロードする一覧  {lists.mistakes.parent}
{names}
共有フォルダーの見本  {share.root}
  一覧の中では {share.unc} と書かれています。

復元
  {lists.restore.name} は、1 の一覧をアーカイブした後に、復元のページで使います。
  デモでは、復元するファイルは2日後ではなく、約1分で取り出せるようになります。
  配置先のフォルダー  {place / "restored"}

止めるには、この画面で Ctrl+C を押してください。作成したデータはすべて削除されます。"""
    )


if __name__ == "__main__":
    sys.exit(main())

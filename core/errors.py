"""Everything that can go wrong, with the sentence an operator reads and what to do next.

One file's failure is a value (``Outcome`` or ``Problem`` with a ``Code``); only what stops a
whole run is raised: ``ListError`` before anything was touched, ``FatalError`` afterwards.
"""

from __future__ import annotations

import errno
from enum import Enum, StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """The second word of a line in ``error_log.txt``."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    NOTE = "INFO"
    """Worth showing to the operator, not worth a line in the log."""


class Explanation(NamedTuple):
    """What failed and what to do, both Japanese sentences without a full stop at the end."""

    what: str
    remedy: str
    severity: Severity = Severity.ERROR


W = Severity.WARNING
_SAME = "原因を取り除いてから、エラーファイル一覧をそのまま再実行してください"


class Code(Enum):
    """Codes of problems. The name stands in brackets at the end of a log line."""

    # The list
    LIST_ENCODING = Explanation(
        "一覧の文字コードを判別できません",
        "Excelで「名前を付けて保存」→「CSV UTF-8（コンマ区切り）」を選んで保存し直してください",
    )
    LIST_FORMAT = Explanation(
        "一覧の形式を読み取れません",
        "CSV・TXT・TSV・XLSXのいずれかで、1行目を「ディレクトリパス,ファイル名」にしてください",
    )
    LIST_TOO_LARGE = Explanation(
        "一覧が大きすぎます",
        "一覧を分割してください",
    )
    LIST_EMPTY = Explanation(
        "対象のファイルが1件もありません",
        "一覧の内容を確認してください",
    )
    SHEET_UNREAD = Explanation(
        "見出しがないため読み取れないシートがあります",
        "そのシートも対象なら1行目に見出しを書き、対象でないならシートを削除してください",
    )
    SHEET_IGNORED = Explanation(
        "非表示のシートは読み取っていません",
        "そのシートも対象なら、再表示して保存し直してください",
        W,
    )
    ROWS_HIDDEN = Explanation(
        "Excelで隠れている行があります",
        "その行も対象にするか、除くかを選んでください",
    )
    ROWS_HIDDEN_DECIDED = Explanation(
        "Excelで隠れている行の扱いを選びました",
        "選んだ内容が依頼のとおりかを確認してください",
        W,
    )
    LIST_ADJUSTED = Explanation(
        "一覧の書き方を読み替えました",
        "（）の中のとおりに読み取りました。依頼と違うときは一覧を直してください",
        Severity.NOTE,
    )
    PATH_SYNTAX = Explanation(
        "パスの書き方が正しくありません",
        "（）の中の理由に沿って直してください。パスは \\\\サーバー名\\共有名 から書きます",
    )
    PATH_PARENT = Explanation(
        "パスに「..」または「.」が含まれています",
        "「..」を使わず、実際のフォルダーのパスを書いてください",
    )
    PATH_OUTSIDE_SHARES = Explanation(
        "対象の共有フォルダーの外にあるパスです",
        "設定された共有フォルダーの中のパスに直してください",
    )
    DUPLICATE_ENTRY = Explanation(
        "同じパスが重複しています",
        "1回だけ処理します。対応は不要です",
        W,
    )
    NAMED_DATE = Explanation(
        "アーカイブ日時の書き方が正しくありません",
        "2026/10/05 10:15:00 の形で書いてください",
    )
    NOT_ARCHIVED = Explanation(
        "アーカイブ一覧に見つかりません",
        "アーカイブ一覧を検索して、パスを確認してください",
    )
    RESTORE_AMBIGUOUS = Explanation(
        "どのファイルかを1つに決められません",
        "（）の中から選び、一覧の名前かアーカイブ日時をそのとおりに書いてください",
    )
    FOLDER_SPELLINGS = Explanation(
        "大文字と小文字などだけが違うフォルダーのファイルは含まれていません",
        "そのファイルも復元する場合は、（）の中のフォルダーを一覧に加えてください",
        W,
    )
    # The source
    SOURCE_NOT_FOUND = Explanation(
        "ファイルが存在しません",
        "パスを確認し、一覧を直してください",
    )
    SOURCE_UNREADABLE = Explanation(
        "ファイルを読み取れません",
        "アクセス権、またはほかの人が開いていないかを確認してください",
    )
    SOURCE_AMBIGUOUS = Explanation(
        "大文字と小文字などだけが違う名前が複数あります",
        "サーバー上の名前をそのまま書いてください",
    )
    NOT_A_FILE = Explanation(
        "通常のファイルでもフォルダーでもありません",
        "一覧から外してください",
    )
    LINK_OUTSIDE = Explanation(
        "共有フォルダーの外へのリンクです",
        "リンクを外すか、一覧から外してください",
    )
    LINK_LOOP = Explanation(
        "自分の上位フォルダーへのリンクです",
        "リンクを外すか、一覧から外してください",
    )
    LINK_NOT_FOLLOWED = Explanation(
        "パスの途中か最後がリンクのため、たどりません",
        "リンクの先のパスを一覧に書くか、リンクを外してください",
    )
    LINK_TWICE = Explanation(
        "一覧のほかの場所を指すリンクです",
        "リンクの先にある本来の場所で1回だけ処理します。対応は不要です",
        W,
    )
    EMPTY_DIRECTORY = Explanation(
        "フォルダーの中にファイルがありません",
        "アーカイブするものがないため、何もしません",
        W,
    )
    MARKER_SKIPPED = Explanation(
        "アーカイブ済みの目印ファイルです",
        "目印はアーカイブしません。対応は不要です",
        W,
    )
    LEFTOVER_SKIPPED = Explanation(
        "復元の途中のファイルです",
        "アーカイブしません。同じフォルダーにもう一度配置すると消えます。対応は不要です",
        W,
    )
    MARKER_NAME_TOO_LONG = Explanation(
        "ファイル名が長すぎて目印ファイルを作れません",
        "ファイル名を短くしてください（末尾に _archived.txt を付けられる長さまで）",
    )
    MARKER_NAME_TAKEN = Explanation(
        "目印ファイルと同じ名前のファイルが既にあります",
        "その「_archived.txt」ファイルの名前を変えてください",
    )
    NAME_NOT_STORABLE = Explanation(
        "名前にS3へ保存できない文字が含まれています",
        "ファイル名またはフォルダー名を変えてください",
    )
    KEY_TOO_LONG = Explanation(
        "パスが長すぎます（S3キーは1,024バイトまで）",
        "フォルダー名またはファイル名を短くしてください",
    )
    FILE_TOO_LARGE = Explanation(
        "ファイルが大きすぎます（上限は5 TiB）",
        "ファイルを分割してください",
    )
    TIME_NOT_STORABLE = Explanation(
        "更新日時が壊れているため記録できません（西暦1年から9999年まで）",
        "ファイルを開いて保存し直すなどして、更新日時を直してください",
    )
    ARCHIVED_UNCHANGED = Explanation(
        "既にアーカイブ済みで、変更されていません",
        "アップロードは行いません。対応は不要です",
        Severity.NOTE,
    )
    ARCHIVED_CHANGED = Explanation(
        "アーカイブした後に変更されています",
        "新しい世代として保存します。前の世代も残ります",
        W,
    )
    OTHER_BUCKET = Explanation(
        "設定と違うS3バケットにアーカイブされています",
        "管理者に連絡し、HIMURO_BUCKET をそのバケットにした環境で復元してください",
    )
    # During the run
    CHANGED_WHILE_READING = Explanation(
        "読み取り中にファイルが変更されました",
        "ファイルを閉じてもらってから、エラーファイル一覧を再実行してください",
    )
    UPLOAD_FAILED = Explanation(
        "S3へのアップロードに失敗しました",
        "しばらく待ってから、エラーファイル一覧を再実行してください",
    )
    OBJECT_DENIED = Explanation(
        "S3がこのファイルだけを許可していません",
        "管理者に連絡し、このS3キーに対するIAMポリシー、バケットポリシー、KMSキーの許可を確認してください",
    )
    KEY_OCCUPIED = Explanation(
        "S3キーが別の内容で使われています",
        "管理者に連絡してください",
    )
    OBJECT_UNLISTED = Explanation(
        "登録されないまま残っている以前の内容がS3にあります",
        "今回の内容は別のキーに保存します。残っている内容の扱いは管理者が判断してください",
        W,
    )
    MARKER_FAILED = Explanation(
        "アーカイブは完了しましたが、目印ファイルを作れません",
        "フォルダーの書き込み権限を確認し、エラーファイル一覧を再実行してください",
    )
    NOT_REGISTERED = Explanation(
        "アーカイブ一覧に登録できませんでした",
        _SAME,
    )
    # During a restore
    OBJECT_MISSING = Explanation(
        "S3にオブジェクトがありません",
        "管理者に連絡してください",
    )
    RESTORE_REFUSED = Explanation(
        "S3が取り出しの要求を受け付けません",
        "しばらく待ってから、もう一度要求してください",
    )
    NOT_READABLE = Explanation(
        "まだ取り出せないか、取り出せる期限が切れています",
        "状況を確認し、期限切れの場合はもう一度要求してください",
    )
    DOWNLOAD_FAILED = Explanation(
        "S3からのダウンロードに失敗しました",
        "しばらく待ってから、もう一度配置してください",
    )
    CONTENT_MISMATCH = Explanation(
        "S3から届いた内容がアーカイブした内容と一致しません",
        "もう一度配置してください。繰り返す場合は管理者に連絡してください",
    )
    NAME_NOT_PLACEABLE = Explanation(
        "この名前のファイルを配置先に作れません",
        "管理者に連絡してください",
    )
    STOPPED = Explanation(
        "停止したため処理していません",
        "エラーファイル一覧を再実行してください",
    )
    INTERRUPTED = Explanation(
        "前回の実行が途中で終了したため、完了を確認できません",
        "エラーファイル一覧を再実行してください",
    )
    INTERNAL = Explanation(
        "予期しないエラーが発生しました",
        "エラーログを添えて管理者に連絡してください",
    )
    # The environment: these stop the run
    MACHINE_SHORT = Explanation(
        "このサーバーの資源が足りません",
        "スレッド・メモリ・同時に開けるファイルの上限を確認し、少し待ってからやり直してください",
    )
    SHARE_NOT_MOUNTED = Explanation(
        "共有フォルダーに接続できません",
        "共有フォルダーのマウントとネットワークを確認してください",
    )
    NO_CREDENTIALS = Explanation(
        "AWSの認証情報がありません",
        "IAMロール、または AWS_ACCESS_KEY_ID などの設定を確認してください",
    )
    CREDENTIALS_UNAVAILABLE = Explanation(
        "AWSの認証情報を取得できません",
        "（）の中の取得元と、そこへのネットワークを確認してください",
    )
    CREDENTIALS_REJECTED = Explanation(
        "AWSの認証情報が無効か、期限が切れています",
        "認証情報を更新してください",
    )
    ACCESS_KEY_UNKNOWN = Explanation(
        "AWSのアクセスキーが存在しないか、無効にされています",
        "AWS_ACCESS_KEY_ID、またはプロファイルのアクセスキーを確認してください",
    )
    SECRET_KEY_WRONG = Explanation(
        "AWSのシークレットアクセスキーがアクセスキーと合いません",
        "AWS_SECRET_ACCESS_KEY、またはプロファイルのシークレットアクセスキーを設定し直してください",
    )
    ROLE_REFUSED = Explanation(
        "AWSのロールを引き受けられません",
        "role_arn の値、ロールの信頼ポリシー、引き受ける側の権限を確認してください",
    )
    SIGN_IN_ENDED = Explanation(
        "AWSへのサインイン（SSO）がまだか、期限が切れています",
        "氷室を動かすユーザーで aws sso login を実行し直してください",
    )
    MFA_REQUIRED = Explanation(
        "MFAの入力が必要なAWSプロファイルは使えません",
        "mfa_serial のないプロファイル、またはIAMロールを使ってください",
    )
    AWS_CONFIGURATION = Explanation(
        "AWSの設定に誤りがあります",
        "AWS_ で始まる環境変数と、AWSの設定ファイル（~/.aws）を確認してください",
    )
    CLOCK_WRONG = Explanation(
        "時計がずれているため、AWSに拒否されました",
        "このマシンの時刻をNTPで合わせてください",
    )
    ACCESS_DENIED = Explanation(
        "S3バケットへのアクセスが許可されていません",
        "IAMポリシーとバケットポリシー、"
        "HIMURO_BUCKET が別のアカウントのバケットでないかを確認してください",
    )
    ACCOUNT_UNUSABLE = Explanation(
        "AWSアカウントの状態のため、S3を使えません",
        "アカウントの契約と支払いの状態をAWSの管理者に確認してください",
    )
    KMS_DENIED = Explanation(
        "KMSの鍵の使用が許可されていません",
        "鍵ポリシーとIAMポリシーで kms:GenerateDataKey と kms:Decrypt を許可してください",
    )
    KMS_KEY_UNUSABLE = Explanation(
        "暗号化に使うKMSの鍵が使えません",
        "KMSの鍵の状態と、バケットの既定の暗号化を確認してください",
    )
    REGION_WRONG = Explanation(
        "S3バケットが設定と違うリージョンにあります",
        "AWS_DEFAULT_REGION と AWS_ENDPOINT_URL_S3 をバケットのリージョンに合わせてください",
    )
    CERTIFICATE_UNTRUSTED = Explanation(
        "接続先の証明書を確認できません",
        "社内の認証局の証明書なら、そのファイルを AWS_CA_BUNDLE に指定してください",
    )
    PROXY_FAILED = Explanation(
        "プロキシを通して接続できません",
        "HTTPS_PROXY と NO_PROXY の設定、プロキシの稼働を確認してください",
    )
    S3_STALLED = Explanation(
        "S3は応答しますが、何も成功しません",
        "AWSの障害情報と、S3までの通信経路（プロキシ、VPCエンドポイント）を確認してください",
    )
    NO_SUCH_BUCKET = Explanation(
        "S3バケットが存在しません",
        "HIMURO_BUCKET の設定を確認してください",
    )
    S3_UNREACHABLE = Explanation(
        "S3に接続できません",
        "ネットワーク、リージョン、AWS_ENDPOINT_URL_S3 の設定を確認してください",
    )
    TARGET_UNWRITABLE = Explanation(
        "配置先に書き込めません",
        "配置先のフォルダーがあること、書き込み権限、空き容量を確認してください",
    )
    DATABASE_UNAVAILABLE = Explanation(
        "データベースに接続できません",
        "HIMURO_DATABASE_URL の設定とデータベースの稼働を確認してください",
    )
    DATABASE_REPLACED = Explanation(
        "実行中にデータベースのファイルが削除されたか、別のファイルに置き換えられました",
        "データベースをバックアップなどから戻してから、エラーファイル一覧を再実行してください",
    )
    SEARCHES_WAITING = Explanation(
        "検索する人が多く、順番が来ませんでした",
        "しばらく待ってから、もう一度やり直してください",
    )
    DATABASE_SCHEMA = Explanation(
        "データベースの準備ができていません",
        "python -m core init-db を実行してください",
    )
    DATA_DIR_UNWRITABLE = Explanation(
        "実行記録を書き込めません",
        "データディレクトリの空き容量と書き込み権限を確認してください",
    )
    DATA_DIR_IN_USE = Explanation(
        "データディレクトリをほかのコンソールが使用しています",
        "先にそのコンソールを終了するか、HIMURO_DATA_DIR を別のフォルダーにしてください",
    )
    DATA_DIR_UNREADABLE = Explanation(
        "実行記録を読み取れません",
        "データディレクトリの場所と読み取り権限を確認してください",
    )

    @property
    def what(self) -> str:
        return self.value.what

    @property
    def remedy(self) -> str:
        return self.value.remedy

    @property
    def severity(self) -> Severity:
        return self.value.severity


def sentence(code: Code, detail: str = "") -> str:
    """Return the code's sentence, with ``detail`` in full-width brackets when there is one."""
    return f"{code.what}（{detail}）" if detail else code.what


_OS_REASONS = {
    errno.EACCES: "アクセスが拒否されました",
    errno.EPERM: "アクセスが拒否されました",
    errno.EROFS: "書き込みが禁止されています",
    errno.EBUSY: "ほかの人が使用中です",
    errno.ETXTBSY: "ほかの人が使用中です",
    errno.EAGAIN: "ほかの人が使用中です",
    errno.ENOSPC: "空き容量がありません",
    errno.EDQUOT: "割り当て容量を超えました",
    errno.ENOENT: "存在しません",
    errno.ENAMETOOLONG: "名前が長すぎます",
    errno.ELOOP: "パスの途中か最後がリンクです",
    errno.EIO: "読み書きに失敗しました",
    errno.ESTALE: "サーバーとの接続が切れました",
    errno.ETIMEDOUT: "時間内に応答がありません",
    errno.EHOSTDOWN: "サーバーに接続できません",
    errno.EMFILE: "このプログラムが開けるファイルの数（ファイル記述子）の上限に達しました",
    errno.ENFILE: "このサーバーが開けるファイルの数（ファイル記述子）の上限に達しました",
    errno.ENOMEM: "メモリが足りません",
    errno.ENOBUFS: "通信のためのメモリが足りません",
}


def os_reason(exc: OSError) -> str:
    """Return an operating-system error in words an operator knows."""
    name = errno.errorcode.get(exc.errno or 0, type(exc).__name__)
    return _OS_REASONS.get(exc.errno or 0, name)


class HimuroError(Exception):
    """Base of all errors that Himuro raises on purpose; ``str()`` is fit for an operator."""


class SettingsError(HimuroError):
    """Wrong or missing settings, every one of them in ``problems``."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("設定に誤りがあります:\n" + "\n".join(f"  - {p}" for p in problems))


class ListError(HimuroError):
    """A request that cannot be carried out as asked; nothing was touched."""


class ItemError(HimuroError):
    """One file cannot be archived; the others go on."""

    def __init__(self, code: Code, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(sentence(code, detail))


class FatalError(HimuroError):
    """The environment is broken: the run stops at once (``docs/contract.md``, "Invariants", 7)."""

    def __init__(self, code: Code, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        self.at = ""
        """Path or S3 key of the file at which it was met; empty when at none."""
        super().__init__(f"{sentence(code, detail)}。{code.remedy}。")


NOT_SET_UP = "氷室はまだ使えるように設定されていません"


def for_strangers(exc: HimuroError) -> str:
    """Return what somebody who is not signed in may read of an error.

    What is wrong with this machine and its settings names paths, hosts and programs: that is
    for the console's log, and for those who are signed in.
    """
    if isinstance(exc, SettingsError):
        return f"{NOT_SET_UP}。管理者に連絡してください。"
    if isinstance(exc, FatalError):
        return f"{exc.code.what}。続くときは管理者に連絡してください。"
    return str(exc)

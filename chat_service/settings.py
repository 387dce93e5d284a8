from pydantic import Field, field_validator

from libs.settings import CommaList, ServiceSettings, ServiceUrl, config

_MIB = 1 << 20
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")


class Settings(ServiceSettings):
    """What chat reads from its environment."""

    model_config = config("CHAT_")

    send_rate: float = Field(5, gt=0, description="Messages a second that one user may send through one process.")
    send_burst: int = Field(20, ge=1, description="Messages that a user may send at once before `send_rate` counts.")
    conversation_send_rate: float = Field(
        2, gt=0, description="Messages a second that one user may send into one conversation."
    )
    conversation_send_burst: int = Field(10, ge=1, description="The same at once.")
    change_rate: float = Field(
        5, gt=0, description="Edits, reactions, pins and deletions a second of one user, through one process."
    )
    change_burst: int = Field(20, ge=1, description="The same at once.")
    edit_window_seconds: int = Field(300, ge=0, description="How long after sending it one may edit a message.")
    delete_window_seconds: int = Field(
        3600, ge=0, description="How long after sending it one may delete a message for everybody."
    )
    event_log_keep: int = Field(
        10_000, ge=300, description="Events of each conversation that stay in the log, however old: to resume from."
    )
    event_log_days: int = Field(30, ge=1, description="Days that an event stays in the log at least.")
    sync_rate: float = Field(2, gt=0, description="How often a second one user may ask for all that has changed.")
    frame_rate: float = Field(30, gt=0, description="Frames a second that one socket may send, of any kind.")
    frame_burst: int = Field(60, ge=1, description="Frames that one socket may send at once.")
    people_rate: float = Field(
        0.5,
        gt=0,
        description="How often a second one user may start a conversation, add people to one, join one, ask somebody to"
        " become a contact, block or report; each counts for itself.",
    )
    people_burst: int = Field(30, ge=1, description="The same at once.")
    conversation_members: int = Field(10_000, ge=2, description="Members that a conversation may have.")
    sockets_per_user: int = Field(20, ge=1, description="Sockets that one user may hold open at one process.")
    ungreeted_per_address: int = Field(
        20,
        ge=1,
        description="Sockets of one address that have not said who they are, at one process.",
    )
    streams_per_socket: int = Field(512, ge=1, description="Conversations that one socket may follow.")
    heartbeat_seconds: float = Field(25, gt=0, description="How often an open socket hears from the server at least.")
    idle_seconds: float = Field(60, gt=0, description="A socket that sent nothing for so long is closed.")
    typing_max_members: int = Field(
        100, ge=0, description="In conversations of more members nobody is told who is typing."
    )
    mention_all_max: int = Field(
        1000, ge=0, description="Members that a conversation may have for a message to mention all of them."
    )
    audit_members_per_minute: int = Field(
        600, ge=1, description="Members a minute whose counts the worker checks against what is there."
    )
    message_max_bytes: int = Field(
        40_000, ge=1, le=40_000, description="Longest message in bytes of UTF-8; the limit of 10,000 characters stays."
    )
    attachment_store: str = Field(
        ".parley/attachments",
        description="Where files lie: a folder, or the address of an object store as `s3://bucket/prefix`, `gs://bucket`"
        " or `az://account/container`. Its credentials come from the environment (`AWS_ACCESS_KEY_ID`,"
        " `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_KEY` ...). For this"
        " deployment alone: what no row knows is deleted after a day.",
    )
    attachment_max_bytes: int = Field(
        25 * _MIB, ge=1, le=99 * _MIB, description="Longest file in bytes. Pictures: 32 MiB at most."
    )
    attachment_quota_bytes: int = Field(1 << 30, ge=0, description="What all files of one user take up at most.")
    attachment_types: CommaList = Field(
        default_factory=lambda: [*_PICTURES, "audio/*", "video/*", "text/plain", "application/*"],
        description="Comma separated types of files that are taken, found from their bytes. Programs never are. Place"
        " and device are taken out of JPEG, PNG, GIF and WebP alone: adding `image/*` lets the others in as they are.",
    )
    attachment_max_pixels: int = Field(
        50_000_000, ge=1, description="Pictures with more pixels are refused before they are decoded."
    )
    attachment_unused_hours: int = Field(
        24, ge=1, description="Files that no message shows so long after their upload are deleted."
    )
    notify_url: ServiceUrl = Field(
        "http://127.0.0.1:8003",
        validation_alias="PARLEY_NOTIFY_URL",
        description="Address of notify for internal calls.",
    )
    existing_clients: CommaList = Field(
        default_factory=lambda: ["hub", "rooms"],
        description="Existing clients whose calls and sockets are answered, comma separated: `hub`, `rooms`.",
    )
    throttle_rate_seconds: float = Field(
        1, ge=0, description="Seconds between two messages that a user of the Rooms client sends into one conversation."
    )

    @field_validator("existing_clients")
    @classmethod
    def _know_clients(cls, names: list[str]) -> list[str]:
        if set(names) - {"hub", "rooms"}:
            raise ValueError("Existing clients are hub and rooms.")
        return names

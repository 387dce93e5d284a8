from pydantic import Field

from libs.settings import ServiceSettings, config


class Settings(ServiceSettings):
    """What chat reads from its environment."""

    model_config = config("CHAT_")

    send_rate: float = Field(5, gt=0, description="Messages a second that one user may send through one process.")
    send_burst: int = Field(20, ge=1, description="Messages that a user may send at once before `send_rate` counts.")
    conversation_send_rate: float = Field(
        2, gt=0, description="Messages a second that one user may send into one conversation."
    )
    conversation_send_burst: int = Field(10, ge=1, description="The same at once.")
    frame_rate: float = Field(30, gt=0, description="Frames a second that one socket may send, of any kind.")
    frame_burst: int = Field(60, ge=1, description="Frames that one socket may send at once.")
    sockets_per_user: int = Field(20, ge=1, description="Sockets that one user may hold open at one process.")
    streams_per_socket: int = Field(512, ge=1, description="Conversations that one socket may follow.")
    heartbeat_seconds: float = Field(25, gt=0, description="How often an open socket hears from the server at least.")
    idle_seconds: float = Field(60, gt=0, description="A socket that sent nothing for so long is closed.")
    message_max_bytes: int = Field(
        40_000, ge=1, le=40_000, description="Longest message in bytes of UTF-8; the limit of 10,000 characters stays."
    )

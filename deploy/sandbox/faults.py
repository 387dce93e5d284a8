"""Failures on order: what the mail server shall do wrong, for whom, and how often."""

from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from libs.ids import uuid7


class Fault(BaseModel):
    """One scripted misbehaviour. Faults are tried in the order of their arrival; the first match is used."""

    model_config = ConfigDict(extra="forbid")

    match: str = Field("", max_length=320, description="Part of a recipient's address; empty: any.")
    reply: str | None = Field(
        None,
        pattern=r"^[45][0-9]{2} [\x20-\x7e]{1,400}$",
        description="The refusal, such as `451 4.3.0 try later`; 421 also closes the connection.",
    )
    times: int = Field(1, ge=1, le=1_000_000, description="How often before the fault is used up.")
    after_data: bool = Field(default=False, description="Strike when the whole message has arrived, not at RCPT.")
    delay_ms: int = Field(0, ge=0, le=300_000, description="Wait this long before the answer.")
    slow_ms: int = Field(0, ge=0, le=300_000, description="Over HTTP: so long the body of the answer takes to come.")
    drop: bool = Field(default=False, description="Close the connection instead of answering.")
    keep: bool = Field(
        default=False,
        description="Deliver all the same: the sender cannot know whether the message got through.",
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.reply or self.delay_ms or self.slow_ms or self.drop):
            raise ValueError("a fault needs a reply, a delay_ms, a slow_ms or drop")
        if self.keep and not self.after_data:
            raise ValueError("keep needs after_data: before it there is no message to deliver")
        return self


class ScriptedFault(Fault):
    id: str
    remaining: int


class Faults:
    def __init__(self) -> None:
        self._scripted: list[ScriptedFault] = []

    def add(self, fault: Fault) -> ScriptedFault:
        scripted = ScriptedFault(id=str(uuid7()), remaining=fault.times, **fault.model_dump())
        self._scripted.append(scripted)
        return scripted

    def pending(self) -> Sequence[ScriptedFault]:
        return tuple(self._scripted)

    def clear(self) -> None:
        self._scripted.clear()

    def take(self, recipients: Iterable[str], *, after_data: bool) -> Fault | None:
        """The fault to show these recipients now, counted as used."""
        addresses = [recipient.casefold() for recipient in recipients]
        for fault in self._scripted:
            part = fault.match.casefold()
            if fault.after_data == after_data and any(part in address for address in addresses):
                fault.remaining -= 1
                if not fault.remaining:
                    self._scripted.remove(fault)
                return fault
        return None

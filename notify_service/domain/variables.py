"""Types that a content may declare for its variables, and what is a value of each. Pure.

Values come as texts, for files have nothing else: JSON's numbers, `true` and `false` are those texts. There is
one way to write each: `1,234.50` and `03/04/2026`, which some read otherwise, are refused rather than guessed.
"""

import re
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Literal, NoReturn
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Value = str | Decimal | date | datetime | time | bool
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,6})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?", re.ASCII)
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_URL = re.compile(r"https?://[^\s\x00-\x20\x7f\"'<>\\^`{|}]{1,1990}", re.IGNORECASE)
_YEARS = range(1900, 3000)
# ISO 4217, without funds, metals and tests. No three letters are parts of two codes, so that `in` finds codes alone.
_CURRENCIES = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG "
    "HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD "
    "RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX "
    "USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
)
_WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_WITH_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"


def _currency(code: str) -> str:
    if code not in _CURRENCIES:
        raise ValueError("Give a currency by its code, as EUR.")
    return code


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("Give a time zone as Europe/Berlin.") from None
    return name


class Kind(BaseModel):
    """`read` raises ValueError, with a sentence for people, for what is no value of this type."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Words(Kind):
    type: Literal["text"]
    max_length: Annotated[int, Field(ge=1, le=10_000)] = 10_000

    def read(self, text: str) -> Value:
        if len(text) > self.max_length:
            _refuse(f"At most {self.max_length} characters.")
        return text


class Number(Kind):
    type: Literal["number"]
    decimals: Annotated[int, Field(ge=0, le=6)] | None = Field(
        None, description="How many are shown. Without it, those that the value has."
    )

    def read(self, text: str) -> Value:
        return Decimal(_matching(_NUMBER, text, "Write a number as 1234.5."))


class Money(Kind):
    type: Literal["money"]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), AfterValidator(_currency)]

    @property
    def decimals(self) -> int:
        if self.currency in _WITHOUT_DECIMALS:
            return 0
        return 3 if self.currency in _WITH_THREE_DECIMALS else 2

    def read(self, text: str) -> Value:
        amount = Decimal(_matching(_NUMBER, text, "Write an amount as 1234.5, without its currency."))
        # Money is not rounded on the way.
        if amount != round(amount, self.decimals):
            _refuse(f"{self.currency} has {self.decimals} decimals.")
        return amount


class Date(Kind):
    type: Literal["date"]

    def read(self, text: str) -> Value:
        refusal = "Write a date as 2026-11-22."
        try:
            return date.fromisoformat(_matching(_DATE, text, refusal))
        except ValueError:
            raise ValueError(refusal) from None


class TimeOfDay(Kind):
    type: Literal["time"]

    def read(self, text: str) -> Value:
        return time.fromisoformat(_matching(_TIME, text, "Write a time as 14:05 or 14:05:30."))


class Moment(Kind):
    type: Literal["datetime"]
    timezone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)] = Field(
        "UTC", description="By whose clock it is shown to readers who are no users."
    )

    def read(self, text: str) -> Value:
        refusal = "Write a date and a time with its offset, as 2026-11-22T14:05:00Z."
        try:
            found = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(refusal) from None
        if found.utcoffset() is None or found.year not in _YEARS:
            _refuse(refusal)
        return found


class Link(Kind):
    type: Literal["url"]

    def read(self, text: str) -> Value:
        refusal = "An address begins with https:// or http:// and has no blanks."
        link = _matching(_URL, text, refusal)
        try:
            parts = urlsplit(link)
        except ValueError:
            raise ValueError(refusal) from None
        # With a name before it, an address poses as one of somebody else.
        if not parts.hostname or "@" in parts.netloc:
            _refuse(refusal)
        return link


class Truth(Kind):
    type: Literal["boolean"]

    def read(self, text: str) -> Value:
        found = _TRUTHS.get(text.strip().lower())
        if found is None:
            _refuse("Write true or false.")
        return found


Declared = Annotated[Words | Number | Money | Date | TimeOfDay | Moment | Link | Truth, Field(discriminator="type")]


def _matching(pattern: re.Pattern[str], text: str, refusal: str) -> str:
    found = pattern.fullmatch(text.strip())
    if found is None:
        _refuse(refusal)
    return found[0]


def _refuse(sentence: str) -> NoReturn:
    raise ValueError(sentence)

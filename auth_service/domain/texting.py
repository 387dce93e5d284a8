"""Where texts may go, and how many of them, as a deployment has it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import phonenumbers
from phonenumbers import PhoneNumberType

# Numbers that a call or message costs extra, or that nobody reads messages at.
_EXPENSIVE = frozenset(
    {
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.PERSONAL_NUMBER,
        PhoneNumberType.PAGER,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    }
)
# Of satellites and of services that no country has.
_NO_COUNTRY = "001"
_CALLING_CODES = frozenset(f"+{code}" for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
_LONGEST_PREFIX = 9


@dataclass(frozen=True, slots=True)
class Budgets:
    """How many messages: a day to numbers that begin with one of `prefixes` (`+1876`, the longest that fits), a day to
    every other calling code, an hour for one network of senders, and an hour in all."""

    prefixes: Mapping[str, int]
    prefix: int
    network: int
    total: int

    def prefix_of(self, phone: str) -> tuple[str, int]:
        """What the phone is counted by, and how many there are for it."""
        for length in range(min(len(phone), _LONGEST_PREFIX), 1, -1):
            if phone[:length] in self.prefixes:
                return phone[:length], self.prefixes[phone[:length]]
        return calling_code(phone), self.prefix


@dataclass(frozen=True, slots=True)
class Texting:
    """How this deployment sends codes. `countries` are regions (`DE`) and calling codes (`+49`); empty: all of them."""

    key: bytes = field(repr=False)
    digits: int
    countries: frozenset[str]
    budgets: Budgets

    def reason_against(self, phone: str) -> str | None:
        """Why a number gets nothing, whoever asks and how often; None: it may."""
        number = phonenumbers.parse(phone)
        region = phonenumbers.region_code_for_number(number)
        if region == _NO_COUNTRY or phonenumbers.number_type(number) in _EXPENSIVE:
            return "expensive"
        if self.countries and not self.countries & {region, f"+{number.country_code}"}:
            return "country"
        return None


def allowed(countries: Iterable[str]) -> frozenset[str]:
    """Raises ValueError for what is neither a region nor a calling code, as a typing error would stop all messages."""
    known = {entry.strip().upper() for entry in countries}
    for entry in known:
        if entry not in phonenumbers.SUPPORTED_REGIONS and entry not in _CALLING_CODES:
            raise ValueError("A country of AUTH_SMS_COUNTRIES is a region as DE or a calling code as +49.")
    return frozenset(known)


def budgets_by_prefix(entries: Iterable[str]) -> Mapping[str, int]:
    """Of entries as `+49=5000`. Raises ValueError for anything else, and for a prefix that is named twice."""
    budgets: dict[str, int] = {}
    for entry in entries:
        prefix, _, most = (part.strip() for part in entry.partition("="))
        if not (_is_prefix(prefix) and most.isdecimal() and most.isascii()) or prefix in budgets:
            raise ValueError("A budget of AUTH_SMS_PREFIX_BUDGETS is a prefix and texts a day, once each, as +49=5000.")
        budgets[prefix] = int(most)
    return budgets


def _is_prefix(given: str) -> bool:
    """The beginning of numbers that exist: a calling code, and perhaps more digits."""
    is_number = given[1:].isdecimal() and given.isascii() and len(given) <= _LONGEST_PREFIX
    return is_number and any(given[:length] in _CALLING_CODES for length in (2, 3, 4))


def calling_code(phone: str) -> str:
    return f"+{phonenumbers.parse(phone).country_code}"

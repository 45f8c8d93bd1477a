"""How the market says no: one class per HTTP status, with the texts that published clients show."""

from __future__ import annotations

from fairgrid.errors import ServiceError, UsageError

__all__ = ["Forbidden", "Invalid", "MarketRefusal", "NotFound", "TooLarge", "Unauthorized"]


class MarketRefusal(ServiceError):
    """The market refuses a call; ``status`` is the HTTP status, the message the text for the client."""

    status = 403


class Unauthorized(MarketRefusal):
    """The authorization header proves nothing. The text never says why."""

    def __init__(self) -> None:
        super().__init__("invalid authorization")


class Forbidden(MarketRefusal):
    """A rule of the order book forbids it."""


class NotFound(MarketRefusal):
    """There is no such document."""

    status = 404

    def __init__(self, document: str) -> None:
        super().__init__(f"{document} not found")


class Invalid(UsageError):
    """A parameter or the body has the wrong form."""


class TooLarge(UsageError):
    """The body is larger than any order."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"The body is larger than {limit_bytes} bytes. An order is smaller.")

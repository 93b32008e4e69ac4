"""The errors that a client may see, each with the word its message starts with and Triton's code for it."""


class RequestError(Exception):
    """One request cannot be served. `code` names an attribute of Triton's TritonError."""

    word = "engine_error"
    code = "INTERNAL"

    def __str__(self) -> str:
        return f"{self.word}: {super().__str__()}"


class InvalidRequest(RequestError):
    """The client asked for something that is not offered."""

    word = "invalid_request"
    code = "INVALID_ARG"


class ContextLengthExceeded(RequestError):
    """The prompt does not fit."""

    word = "context_length_exceeded"
    code = "INVALID_ARG"


class Overloaded(RequestError):
    """Every place is taken; try again later or elsewhere."""

    word = "overloaded"
    code = "UNAVAILABLE"


class Stopping(RequestError):
    """The server is going down."""

    word = "stopping"
    code = "UNAVAILABLE"

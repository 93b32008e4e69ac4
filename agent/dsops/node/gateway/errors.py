"""Every refusal of the gateway, in the form of OpenAI's API."""

import json


class ApiError(Exception):
    """Becomes {"error": {message, type, param, code}} with an HTTP status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    @property
    def type(self) -> str:
        return _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def render(self) -> bytes:
        body = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": body}, ensure_ascii=False).encode("utf-8", "replace")


_TYPES = {401: "authentication_error", 429: "rate_limit_error", 503: "service_unavailable", 504: "timeout"}


def bad_value(param: str, message: str, *, code: str = "invalid_value") -> ApiError:
    """400 that names the parameter."""
    return ApiError(400, f"{param}: {message}", code=code, param=param)


def unsupported(param: str, why: str = "is not supported by this server") -> ApiError:
    """400 for what OpenAI's API has and this server does not."""
    return ApiError(400, f"{param} {why}", code="unsupported_parameter", param=param)


def retry_later(status: int, message: str, *, code: str, after: int) -> ApiError:
    """429 or 503 with an honest Retry-After in seconds."""
    return ApiError(status, message, code=code, retry_after=after)

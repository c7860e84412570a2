"""What the simulated API answers when it does not answer 200."""

from __future__ import annotations


class ApiError(Exception):
    """One HTTP answer: status, reason phrase and, for parameters, the error per name.

    `body` is false where a real host sends nothing at all (401, 595, 596).
    """

    def __init__(self, status: int, reason: str, errors: dict[str, str] | None = None, *, body: bool = True) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.errors = errors
        self.body = body


class TaskError(Exception):
    """A worker died; the text becomes the task's exit status."""


def bad_parameters(errors: dict[str, str]) -> ApiError:
    return ApiError(400, "Parameter verification failed.", errors)


def refused(detail: str = "") -> ApiError:
    return ApiError(403, f"Permission check failed ({detail})" if detail else "Permission check failed")


def not_implemented(method: str, path: str) -> ApiError:
    return ApiError(501, f"Method '{method} {path}' not implemented")

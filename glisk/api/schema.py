"""What the API's schema says of every address, beside what its views say of themselves."""

from http import HTTPStatus
from typing import Any, Final

from glisk.api.exceptions import AWAY_DETAIL, AWAY_RETRY_SECONDS

_AWAY: Final = {
    "description": "The database does not answer; nothing was done.",
    "headers": {
        "Retry-After": {
            "description": "Seconds after which to come again.",
            "schema": {"type": "integer", "example": AWAY_RETRY_SECONDS},
        }
    },
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/Error"},
            "examples": {"away": {"value": {"detail": AWAY_DETAIL}}},
        }
    },
}


def name_statuses(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Give each answer without words of its own the name of its status: pages show a blank else."""
    for operations in result["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if not response.get("description"):
                    response["description"] = HTTPStatus(int(status)).phrase
    return result


def tell_of_outages(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Add to each operation what the exception handler answers without the database.

    Those that answer something else then (an empty leaderboard, their own words and 500, a
    redirect) say so themselves.
    """
    for operations in result["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            if responses.keys().isdisjoint({"302", "500", "503"}):
                responses["503"] = _AWAY
    return result

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


def complete_answers(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Add what the exception handler answers without the database, and names of statuses.

    Those that answer something else then (an empty leaderboard, their own words and 500, a
    redirect) say so themselves. An answer without words of its own would be a blank on the pages.
    """
    for operations in result["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            for status, response in responses.items():
                response["description"] = (
                    response.get("description") or HTTPStatus(int(status)).phrase
                )
            if responses.keys().isdisjoint({"302", "500", "503"}):
                responses["503"] = _AWAY
    return result

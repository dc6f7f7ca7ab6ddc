"""Ask this machine's web server whether it is healthy; the container's health check.

    python -m glisk.web.probe

Without Django, whose start takes a second of CPU: twice a minute, that is more than the 1 % of a
core that everything together may take while idle (benchmark `idle`).
"""

import http.client
import os
import sys

_TIMEOUT_SECONDS = 4.0


def main() -> int:
    """Return 0 if /health answers with 200, else 1 and say what it did."""
    port = int(os.environ.get("PORT") or 8000)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError as error:
        sys.stderr.write(f"no answer at port {port}: {error}\n")
        return 1
    finally:
        connection.close()
    if status != http.client.OK:
        sys.stderr.write(f"/health answered {status}\n")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())

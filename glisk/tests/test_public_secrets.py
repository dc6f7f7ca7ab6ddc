"""Outside a developer's machine no secret works that everybody can read in the repository."""

import secrets
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

from glisk.config import Environment
from glisk.config.keys import DEVELOPMENT_ADDRESSES
from glisk.tests.environments import EXAMPLE, PRODUCTION, WORKER, complaint, faults
from sandbox.accounts import ACCOUNTS

SECRETS = {
    "SECRET_KEY",
    "ALCHEMY_WEBHOOK_SECRET",
    "REPLICATE_API_TOKEN",
    "REPLICATE_WEBHOOK_SECRET",
    "PINATA_JWT",
    "KEEPER_PRIVATE_KEY",
}


def named(variables: dict[str, str], command: tuple[str, ...] = WORKER) -> set[str]:
    """Return the variables that the start refuses as public, of .env.example with changes."""
    return {found.split(":")[0] for found in faults(variables, command) if "public" in found}


def own_secrets() -> dict[str, str]:
    """Return what somebody who goes live would put in their places."""
    key = secrets.token_hex(32)
    return {**dict.fromkeys(SECRETS - {"REPLICATE_WEBHOOK_SECRET"}, key)} | {
        "REPLICATE_WEBHOOK_SECRET": "",
        "GLISK_DEFAULT_AUTHOR_WALLET": PRODUCTION["GLISK_DEFAULT_AUTHOR_WALLET"],
    }


@pytest.mark.process
def test_a_copied_example_is_refused_by_one_message() -> None:
    for network in ("BASE_SEPOLIA", "BASE_MAINNET"):
        assert named({"NETWORK": network}) == {*SECRETS, "GLISK_DEFAULT_AUTHOR_WALLET"}
        assert named({"NETWORK": network, **own_secrets()}) == set()
    # The web process, which has no key, refuses the same.
    assert named({"NETWORK": "BASE_SEPOLIA"}, ("gunicorn",)) >= SECRETS
    # So it is in production on the local chain.
    production = {"APP_ENV": "production", "NETWORK": "LOCAL"}
    assert named(production) == SECRETS
    assert named({**production, **own_secrets()}) == set()


@pytest.mark.process
def test_one_public_key_among_good_ones_is_refused_and_not_echoed() -> None:
    public = EXAMPLE["ALCHEMY_WEBHOOK_SECRET"]
    mixed = {"ALCHEMY_WEBHOOK_SECRET": f"whsec_of_the_deployment, {public}"}
    said = complaint({**PRODUCTION, **mixed})
    assert "ALCHEMY_WEBHOOK_SECRET: is public" in said
    assert public not in said
    # Nor is a secret of one variable a secret of another.
    swapped = {"X_CLIENT_SECRET": EXAMPLE["PINATA_JWT"], "OPENSEA_API_KEY": "sandbox-opensea-key"}
    said = complaint({**PRODUCTION, **swapped})
    assert all(f"{name}: is public" in said for name in swapped)


@pytest.mark.process  # that reads the file
def test_a_keeper_of_the_local_test_nodes_is_refused_in_every_form(tmp_path: Path) -> None:
    seed = seed_from_mnemonic("test " * 11 + "junk", "")
    keys = [key_from_seed(seed, f"m/44'/60'/0'/0/{number}").hex() for number in range(20)]
    assert {Account.from_key(key).address for key in keys} == DEVELOPMENT_ADDRESSES
    for key in (keys[0], keys[9], keys[19]):
        for form in (key, "0x" + key.upper()):
            (tmp_path / "key").write_text(form + "\n")
            for name, given in (("", form), ("_FILE", str(tmp_path / "key"))):
                environment = Environment({f"KEEPER_PRIVATE_KEY{name}": given})
                value, file = environment.private_key("KEEPER_PRIVATE_KEY", needed=True)
                assert bool(value) != bool(file.path)
                environment.refuse_published(example=tmp_path / "no example")
                assert len(environment.faults) == 1


@pytest.mark.process
def test_addresses_of_public_keys_belong_to_nobody_on_a_real_network() -> None:
    for address in (account.address for account in ACCOUNTS):
        for form in (address, address.lower()):
            for is_real in (True, False):
                read = Environment({"NAME": form})
                assert read.address("NAME", is_real=is_real) == address
                assert len(read.faults) == is_real
    names = ("GLISK_DEFAULT_AUTHOR_WALLET", "KEEPER_ADDRESS")
    said = complaint({**PRODUCTION, **dict.fromkeys(names, ACCOUNTS[3].address)})
    for name in names:
        assert f"{name}: is an account of every local test node" in said

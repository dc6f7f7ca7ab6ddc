"""Who is who on the local chain: anvil's ten public development accounts.

Their keys are printed by every anvil and hardhat node: they are worth nothing anywhere else.
"""

import json
from pathlib import Path
from typing import Final, NamedTuple


class DevAccount(NamedTuple):
    address: str
    private_key: str


ACCOUNTS: Final = tuple(
    DevAccount(**account) for account in json.loads(Path(__file__).with_suffix(".json").read_text())
)
DEPLOYER: Final = ACCOUNTS[0]  # Owns the demo contract: DEFAULT_ADMIN_ROLE.
COLLECTORS: Final = ACCOUNTS[1:4]
AUTHORS: Final = ACCOUNTS[4:7]
DEFAULT_AUTHOR: Final = ACCOUNTS[7]  # GLISK_DEFAULT_AUTHOR_WALLET of the sandbox.
STRANGER: Final = ACCOUNTS[8]  # Has no role and registered nowhere.
KEEPER: Final = ACCOUNTS[9]  # KEEPER_ROLE and nothing else.

# Where DEPLOYER's first transaction on a fresh chain puts a contract.
CONTRACT_ADDRESS: Final = "0x5FbDB2315678afecb367f032d93F642f64180aa3"

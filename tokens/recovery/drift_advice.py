"""What an operator has to do about each kind of difference between chain and database."""

ADVICE = {
    "not_tiled": "Run `manage.py recover_tokens`: it reads the blocks around the gap again.",
    "missing": "Run `manage.py recover_tokens`.",
    "vanished": "The contract has not given these ids out. Check GLISK_NFT_CONTRACT_ADDRESS and "
    "RPC_URL. If both are right, a reorg took the mints: the worker withdraws what is not "
    "revealed within a minute.",
    "author_differs": "Chain and database name different authors. The mint is looked at again by "
    "the worker; if this stays, compare GLISK_NFT_CONTRACT_ADDRESS with the mint's transaction.",
    "uri_differs": "The URI on chain is not ours. It cannot be changed: compare both files, and "
    "find out who else holds KEEPER_ROLE.",
    "not_revealed": "The database says revealed, the chain does not: look at the transaction on "
    "an explorer, and check that the node is on the right chain.",
    "revealed_by_others": "Whoever holds KEEPER_ROLE or the admin role did this. The worker, or "
    "`manage.py check_drift --repair`, adopts the tokens, so that nothing more is paid for them.",
    "revealed_unminted": "Somebody revealed ids that are not minted yet: whoever mints them gets "
    "that art. Find out who holds KEEPER_ROLE, and revoke it.",
}

"""Base's price of data on Ethereum, on a local node: its oracle, which says what a test wants.

The node itself charges nothing; `FaultyRpc.tell_l1_fees` puts the fee into receipts.
"""

from __future__ import annotations

from sandbox.chain import DemoChain

ORACLE = "0x420000000000000000000000000000000000000F"


def charge_for_data(chain: DemoChain, wei_per_byte: int, *, before_fjord: bool = False) -> None:
    """Put an oracle on the chain; 0 takes it away.

    `before_fjord`: it knows only getL1Fee(bytes), and not yet getL1FeeUpperBound(uint256).
    """
    # size = the word at an offset of the call data; return size * wei_per_byte
    price = f"6f{wei_per_byte:032x}025f5260205ff3"
    if before_fjord:  # revert unless the selector is that of getL1Fee(bytes)
        code = "5f3560e01c6349948e0e146011575f5ffd5b602435" + price
    else:  # the same for getL1FeeUpperBound(uint256)
        code = "5f3560e01c63f1c7a58b146011575f5ffd5b600435" + price
    chain.rpc("anvil_setCode", ORACLE, "0x" + (code if wei_per_byte else ""))

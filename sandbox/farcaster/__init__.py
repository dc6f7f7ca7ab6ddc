"""Emulate Farcaster's registry of names; its contracts are in contracts/TestWallets.sol."""

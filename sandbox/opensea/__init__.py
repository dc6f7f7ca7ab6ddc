"""An emulator of OpenSea's metadata refresh."""

from sandbox.opensea.emulator import OpenSeaEmulator, OpenSeaFaults

__all__ = ["OpenSeaEmulator", "OpenSeaFaults"]

"""The demo: real mints on a local chain become images, CIDs and reveals, before your eyes."""

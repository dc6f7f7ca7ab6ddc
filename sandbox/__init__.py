"""A whole local world for GLISK: node, demo contract, emulated vendors and the demo.

Production code never imports this package.
"""

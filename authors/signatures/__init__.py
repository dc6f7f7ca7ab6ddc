"""Who a wallet's signature belongs to, and what exactly it allows."""

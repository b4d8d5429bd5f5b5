"""Token-transfer events (CAP-67) of a stellar-arrow-source server, for those who speak gRPC, JSON or SQL."""

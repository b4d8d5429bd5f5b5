"""Token-transfer events (CAP-67): read from contract events, and derived from operations, results and entry changes."""

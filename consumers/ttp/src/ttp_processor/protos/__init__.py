"""The messages and the service that clients of token-transfer events know."""

"""The Flight server: plans requests, streams decoded ledgers, and lives from start to a drained end."""

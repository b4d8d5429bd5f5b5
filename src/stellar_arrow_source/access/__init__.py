"""Who may use a server, and how much of it: clients, their credentials, scopes and limits."""

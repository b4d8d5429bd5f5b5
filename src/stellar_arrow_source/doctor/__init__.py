"""Looks, before a server is started, at what keeps servers from working: machine, settings, files, ports, source."""

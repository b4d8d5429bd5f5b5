"""Where clients may fetch the parts of a range: every server of the same ledgers can serve every ticket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pyarrow import flight

from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.flight.planning import sub_requests

SAME_CONNECTION: Final = "arrow-flight-reuse-connection://?"
"""Flight's location for "where you asked", for clients that reach the server under another address than it knows."""

ALTERNATIVES: Final = 3
"""Servers that an endpoint names at most, beside the one that was asked."""


class Locations:
    """Names, for each part of a range, the servers to fetch it from, best first.

    Parts of a bounded range go round the servers that share the work; where those cannot be reached, the server that
    was asked serves them too. Without such servers, and for the tip, it serves everything.

    Args:
        own: gives the URI by which clients reach this server.
        sharing: gives the URIs of the servers that share the work now.
        told: whether clients are told of this server even where no work is shared.
    """

    def __init__(self, own: Callable[[], str], sharing: Callable[[], Sequence[str]], *, told: bool) -> None:
        self._own = own
        self._sharing = sharing
        self._told = told

    def endpoints(self, request: StreamRequest) -> Iterator[flight.FlightEndpoint]:
        """The endpoints whose streams, in order, are the stream of ``request``."""
        own, sharing = self._own(), list(self._sharing())
        if request.end is None or not sharing:
            for part in sub_requests(request):
                yield flight.FlightEndpoint(part.to_ticket(), [own] if self._told else [])
            return
        for number, part in enumerate(sub_requests(request, servers=len(sharing))):
            first = number % len(sharing)
            chosen = (sharing[first:] + sharing[:first])[:ALTERNATIVES]
            # Each once, in this order.
            yield flight.FlightEndpoint(part.to_ticket(), list(dict.fromkeys([*chosen, own, SAME_CONNECTION])))

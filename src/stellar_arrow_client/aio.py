"""The client for asyncio: the same calls and streams, which never block the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from stellar_arrow_client.client import Client, StreamList, as_request
from stellar_arrow_client.display import PREVIEWED_ROWS, Preview
from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError
from stellar_arrow_client.policy import PARALLEL, RetryPolicy
from stellar_arrow_client.request import Cursor, StreamRequest

if TYPE_CHECKING:
    from stellar_arrow_client.rows import Rows


class AsyncClient:
    """A connection to a stellar-arrow-source server, for asyncio.

    Args and errors are those of :class:`~stellar_arrow_client.Client`.
    """

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        tls_roots: bytes | None = None,
        client_cert: bytes | None = None,
        client_key: bytes | None = None,
        retry: RetryPolicy | None = None,
        parallel: int = PARALLEL,
    ) -> None:
        self._client = Client(
            server,
            token=token,
            tls_roots=tls_roots,
            client_cert=client_cert,
            client_key=client_key,
            retry=retry,
            parallel=parallel,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; a stream that is still being read breaks."""
        await asyncio.to_thread(self._client.close)

    async def streams(self) -> StreamList:
        """The streams of the server, in its order."""
        return await asyncio.to_thread(self._client.streams)

    async def schema(self, stream: str, columns: Sequence[str] | None = None) -> pa.Schema:
        """The schema of a stream's batches; see :meth:`stellar_arrow_client.Client.schema`."""
        return await asyncio.to_thread(self._client.schema, stream, columns)

    async def latest_ledger(self) -> int | None:
        """The newest ledger that the server can give now; None when there is none yet."""
        return await asyncio.to_thread(self._client.latest_ledger)

    async def health(self) -> dict[str, Any]:
        """The server's own report."""
        return await asyncio.to_thread(self._client.health)

    async def preview(
        self, stream: str, rows: int = PREVIEWED_ROWS, *, columns: Sequence[str] | None = None
    ) -> Preview:
        """Rows of the newest ledgers, to look at."""
        return await asyncio.to_thread(self._client.preview, stream, rows, columns=columns)

    async def stream(
        self,
        request: StreamRequest | str,
        *,
        resume: int | None = None,
        heartbeats: bool = False,
        on_reconnect: Callable[[StellarArrowError], None] | None = None,
    ) -> AsyncGenerator[tuple[pa.RecordBatch, Cursor], None]:
        """Batches of whole ledgers, in order, each ledger once; see :meth:`stellar_arrow_client.Client.stream`.

        A few batches are read ahead, then the server waits. Cancelling the task that iterates, or closing the
        generator (``contextlib.aclosing`` does it when a loop is left early), ends the call on the server and
        every thread of the stream before it returns.

        Args:
            on_reconnect: called in a thread of the stream.
        """
        stop = threading.Event()
        batches = self._client.stream(
            request, resume=resume, stop=stop, heartbeats=heartbeats, on_reconnect=on_reconnect
        )
        loop = asyncio.get_running_loop()
        # One thread: what closes the stream waits there for what still reads from it.
        thread = ThreadPoolExecutor(1, thread_name_prefix="stream")
        try:
            while (item := await loop.run_in_executor(thread, next, batches, None)) is not None:
                yield item
        finally:
            stop.set()
            closed = loop.run_in_executor(thread, batches.close)
            thread.shutdown(wait=False)
            await asyncio.shield(closed)

    def read(self, request: StreamRequest | str, *, progress: bool = False) -> Rows:
        """The rows of a range of ledgers; see :meth:`stellar_arrow_client.Client.read`.

        Reading them blocks: leave it to a thread, as in ``await asyncio.to_thread(client.read(request).to_pandas)``.
        """
        return self._client.read(request, progress=progress)

    async def read_table(self, request: StreamRequest | str) -> pa.Table:
        """All rows of a bounded range, in memory; waits for ledgers that are not there yet.

        Raises:
            InvalidRequestError: the range has no end.
        """
        request = as_request(request)
        if request.end is None:
            raise InvalidRequestError(f"{request} has no end; read_table needs one, use stream() to follow the tip")
        schema = await self.schema(request.stream, request.columns)
        return pa.Table.from_batches([batch async for batch, _ in self.stream(request)], schema)

"""Feeding damaged ledgers to the decoder: it gives rows, or says in one typed error what is wrong where.

``python -m tests.property.hostile --mutants 1000000`` runs as long as wanted and prints what it met.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.tables import DecodedBatch, LedgerDecoder
from tests.property.mutations import mutant
from tests.support.corpus import PASSPHRASES, PUBNET, files, read
from tests.support.decoding import assert_true_nullability, full_decoder
from tests.support.made_ledgers import made_ledger

SECONDS = 1.0
"""No input of these sizes may take longer."""

LARGEST_SEED = 40_000
"""Bytes; larger ledgers would only make the runs slower, not the cases more."""

Outcome = DecodedBatch | IntegrityError


def seeds() -> dict[str, list[bytes]]:
    """Passphrase → ledgers to damage: random ones, and of the corpus one or two of every file that has small ones."""
    found = {PUBNET: [made_ledger(seed, PUBNET, budget=1500) for seed in range(40)]}
    for file in files():
        small = [ledger.xdr for ledger in read(file)[:40] if 1500 < len(ledger.xdr) < LARGEST_SEED]
        found.setdefault(PASSPHRASES[file.split("/", 1)[0]], []).extend(small[:2])
    return found


def attempt(decoder: LedgerDecoder, data: bytes) -> Outcome:
    """What the decoder makes of this input; anything but rows and a telling error is an AssertionError."""
    outcome, took = timed(decoder, data)
    if took > SECONDS:
        outcome, took = timed(decoder, data)  # the first time may have compiled a kernel
    assert took < SECONDS, f"{took:.2f} s for {len(data)} bytes"
    if isinstance(outcome, DecodeError):
        assert_tells_where(outcome, data)
    elif isinstance(outcome, DecodedBatch):
        for batch in outcome.batches.values():
            assert_true_nullability(batch)
    else:
        assert str(outcome).strip()
    return outcome


def timed(decoder: LedgerDecoder, data: bytes) -> tuple[Outcome, float]:
    """Rows or error, and the seconds of this thread's time that it took."""
    started = time.thread_time()
    try:
        return decoder.decode([data]), time.thread_time() - started
    except IntegrityError as error:
        return error, time.thread_time() - started


def assert_tells_where(error: DecodeError, data: bytes, index: int = 0) -> None:
    assert error.index == index
    assert error.ledger is None or 0 <= error.ledger < 2**32
    assert 0 <= error.offset <= len(data), f"offset {error.offset} of {len(data)} bytes"
    assert error.path.startswith("LedgerCloseMeta"), f"path {error.path!r}"
    assert error.reason.strip()
    assert error.reason in str(error)
    assert error.path in str(error)
    assert str(error.offset) in str(error)


def run(mutants: int, seed: int, show_progress: bool = False) -> Counter[str]:
    """Decode so many damaged ledgers; returns how often each outcome was met.

    One decoder per network serves all, so that one input's damage would show in another's rows.
    """
    chance = random.Random(seed)
    families = [Family(passphrase, ledgers) for passphrase, ledgers in seeds().items()]
    met: Counter[str] = Counter()
    for number in range(mutants):
        family = chance.choice(families)
        data = mutant(family.seeds, chance)
        try:
            met[type(attempt(family.decoder, data)).__name__] += 1
        except BaseException as error:
            raise AssertionError(f"mutant {number} of seed {seed}: {error!r}\n{data.hex()[:4000]}") from error
        if number % 2000 == 0:
            family.assert_unharmed()
            if show_progress:
                print(number, dict(met), flush=True)
    for family in families:
        family.assert_unharmed()
    return met


class Family:
    """The seeds of one network, and the decoder that must survive their mutants."""

    def __init__(self, passphrase: str, ledgers: Sequence[bytes]) -> None:
        self.seeds = ledgers
        self.decoder = full_decoder(passphrase)
        self.rows = self.decoder.decode(ledgers).batches

    def assert_unharmed(self) -> None:
        for stream, batch in self.decoder.decode(self.seeds).batches.items():
            assert batch.equals(self.rows[stream]), f"{stream}: other rows than before the damaged input"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=20_000, help="inputs to try (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations (default: %(default)s)")
    options = parser.parse_args()
    print(dict(run(options.mutants, options.seed, show_progress=True)))


if __name__ == "__main__":
    main()

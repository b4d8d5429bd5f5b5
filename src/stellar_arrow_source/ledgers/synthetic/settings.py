"""Operations on accounts themselves: options, data, sequence numbers and who pays the reserves."""

from __future__ import annotations

from hashlib import sha256

from stellar_sdk.xdr import OperationType, RevokeSponsorshipType

from stellar_arrow_source.ledgers.synthetic.entries import Account, Data
from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    account_id,
    i64,
    opaque,
    operation_body,
    operation_result,
    some,
    u32,
)
from stellar_arrow_source.ledgers.synthetic.step import Applied, Step

_MAX_SIGNERS = 3


def set_options(step: Step) -> Applied:
    """Sets the home domain, or adds or removes a signer."""
    source = step.source
    step.changes.touch(source)
    domain = signer = VOID
    if step.rng.random() < 0.6:
        source.home_domain = f"home{int(step.rng.random() * 1000)}.example".encode()
        domain = some(opaque(source.home_domain))
    elif len(source.signers) < _MAX_SIGNERS:
        added = account_id(sha256(source.id + u32(step.world.sequence) + u32(step.number)).digest()) + u32(1)
        source.signers = sorted([*source.signers, added])
        source.subentries += 1
        signer = some(added)
    else:
        removed = source.signers[0]
        source.signers = source.signers[1:]
        source.subentries -= 1
        signer = some(removed[:-4] + u32(0))  # weight 0 removes
    return Applied(
        operation_body(OperationType.SET_OPTIONS, VOID * 7, domain, signer),
        operation_result(OperationType.SET_OPTIONS),
    )


def manage_data(step: Step) -> Applied:
    """Writes or deletes a named value of the source."""
    name = f"note {int(step.rng.random() * 4)}".encode()
    value = None
    if (step.source.id, name) not in step.world.data or step.rng.random() < 0.5:
        value = step.rng.randbytes(1 + int(step.rng.random() * 63))
    _write(step, name, value, sponsor=None)
    return _manage_data(name, value)


def bump_sequence(step: Step) -> Applied:
    """Raises the source's sequence number."""
    target = step.source.sequence + 1 + int(step.rng.random() * 100)
    step.changes.touch(step.source)
    step.source.sequence = target
    step.source.sequence_ledger = step.world.sequence
    step.source.sequence_time = step.context.close_time
    return Applied(
        operation_body(OperationType.BUMP_SEQUENCE, i64(target)),
        operation_result(OperationType.BUMP_SEQUENCE),
    )


def begin_sponsoring(step: Step) -> Applied:
    """The payer begins to sponsor the transaction's source."""
    sponsored = step.source
    step.act_as(step.world.payer)
    return Applied(
        operation_body(OperationType.BEGIN_SPONSORING_FUTURE_RESERVES, account_id(sponsored.id)),
        operation_result(OperationType.BEGIN_SPONSORING_FUTURE_RESERVES),
    )


def sponsored_data(step: Step) -> Applied:
    """Writes a value whose reserve the payer sponsors."""
    name, value = b"sponsored", step.rng.randbytes(32)
    _write(step, name, value, sponsor=step.world.payer)
    return _manage_data(name, value)


def end_sponsoring(step: Step) -> Applied:
    """The source ends what :func:`begin_sponsoring` began."""
    return Applied(
        operation_body(OperationType.END_SPONSORING_FUTURE_RESERVES),
        operation_result(OperationType.END_SPONSORING_FUTURE_RESERVES),
    )


def revoke_sponsorship(step: Step) -> Applied | None:
    """The payer no longer sponsors a value."""
    data = next((one for one in step.world.data.values() if one.sponsor is not None), None)
    if data is None:
        return None
    step.act_as(step.world.payer)
    step.changes.touch(data)
    _sponsor(step, data, None)
    return Applied(
        operation_body(
            OperationType.REVOKE_SPONSORSHIP,
            u32(RevokeSponsorshipType.REVOKE_SPONSORSHIP_LEDGER_ENTRY),
            data.key(),
        ),
        operation_result(OperationType.REVOKE_SPONSORSHIP),
    )


def _manage_data(name: bytes, value: bytes | None) -> Applied:
    written = VOID if value is None else some(opaque(value))
    return Applied(
        operation_body(OperationType.MANAGE_DATA, opaque(name), written),
        operation_result(OperationType.MANAGE_DATA),
    )


def _write(step: Step, name: bytes, value: bytes | None, *, sponsor: Account | None) -> None:
    """Create, change or (no value) delete a value of the source; only a new one gets a sponsor."""
    world, holder = step.world, step.source
    data = world.data.get((holder.id, name))
    if data is None:
        if value is None:
            return
        data = Data(modified=world.sequence, holder=holder, name=name, value=value)
        world.data[holder.id, name] = data
        step.changes.touch(holder)
        holder.subentries += 1
        step.changes.create(data)
        if sponsor is not None:
            _sponsor(step, data, sponsor)
    elif value is not None:
        step.changes.touch(data)
        data.value = value
    else:
        step.changes.touch(holder)
        holder.subentries -= 1
        step.changes.remove(data)
        _sponsor(step, data, None)
        del world.data[holder.id, name]


def _sponsor(step: Step, data: Data, sponsor: Account | None) -> None:
    """Let the reserve of a value be paid by a sponsor, or by its holder again."""
    if data.sponsor is not None:
        step.changes.touch(data.sponsor, data.holder)
        data.sponsor.sponsoring -= 1
        data.holder.sponsored -= 1
    if sponsor is not None:
        step.changes.touch(sponsor, data.holder)
        sponsor.sponsoring += 1
        data.holder.sponsored += 1
    data.sponsor = sponsor

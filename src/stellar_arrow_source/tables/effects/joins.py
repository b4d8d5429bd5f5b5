"""Kernels that find what belongs together: ``find_runs``, ``number_assets``, ``prove_assets``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.tables.effects.layout import ASSET_WORDS
from stellar_arrow_source.xdr.jit import Mask, Positions, Words, kernel


@kernel
def find_runs(rows: NDArray[np.int32], of_site: Mask, first: Positions, count: Positions) -> None:
    """The runs of a relation's rows, at some of its sites, below each parent there; they stand side by side.

    Args:
        of_site: bool, by number of the site.
        first, count: int64 (parents,), zeros (out).
    """
    for row in range(rows.shape[0]):
        if of_site[rows[row, 2]]:
            parent = rows[row, 1]
            if count[parent] == 0:
                first[parent] = row
            count[parent] += 1


@kernel
def number_assets(assets: Words, named: Mask, heads: Positions, asset_of: Positions) -> None:
    """Find, for each event, the first event that names the same asset.

    Args:
        assets: uint32, that of event e from word (1 + e) * ASSET_WORDS on.
        named: bool (n,), which events name an asset.
        heads: int64, a power of two of more than n, all -1: scratch.
        asset_of: int64 (n,); -1 for none (out).
    """
    mask = heads.shape[0] - 1
    for event in range(named.shape[0]):
        asset_of[event] = -1
        if not named[event]:
            continue
        base = (1 + event) * ASSET_WORDS
        h = np.int64(0)
        for k in range(ASSET_WORDS):
            h = ((h * 31) & 0xFFFFFFFF) ^ np.int64(assets[np.uint64(base + k)])
        h = (h ^ (h >> 15)) & mask
        while heads[h] >= 0:
            same = True
            for k in range(ASSET_WORDS):
                if assets[np.uint64(base + k)] != assets[np.uint64((1 + heads[h]) * ASSET_WORDS + k)]:
                    same = False
                    break
            if same:
                break
            h = (h + 1) & mask
        if heads[h] < 0:
            heads[h] = event
        asset_of[event] = heads[h]


@kernel
def prove_assets(words: Words, contract: Positions, ids: Words, asset_of: Positions, proved: Mask) -> None:
    """Which events come from the contract of the asset that they name.

    Args:
        contract: int64 (n,), positions of the contracts' ids.
        ids: uint32 (assets, 8), ids of the assets' contracts; asset_of int64 (n,), -1 for none.
        proved: bool (n,) (out).
    """
    for event in range(contract.shape[0]):
        proved[event] = asset_of[event] >= 0
        for k in range(8):
            if not proved[event]:
                break
            proved[event] = ids[asset_of[event], k] == words[np.uint64(contract[event] + k)]

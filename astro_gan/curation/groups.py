"""Pictures of the same sky are one group, and a group is in one split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from astro_gan.curation import sources
from astro_gan.curation.duplicates import Match

NONE: Mapping[str, str] = MappingProxyType({})


def by_sky(
    names: Sequence[str], matched: Iterable[Match], rows: Mapping[str, dict[str, str]], degrees: float
) -> dict[str, str]:
    """The group of each picture: the name of its first member.

    Together are pictures that match, those with the same entry in a manifest's column `group`, and those whose
    coordinates lie within `degrees`; and, by chains of these, others.
    """
    links = [(match.first, match.second) for match in matched]
    first_of: dict[str, int] = {}
    placed, directions = [], []
    for n, name in enumerate(names):
        row = rows.get(name, {})
        if row.get('group'):
            links.append((first_of.setdefault(row['group'], n), n))
        if (place := sources.coordinates(row)) is not None:
            ra, dec = np.radians(place)
            placed.append(n)
            directions.append((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)))
    if len(placed) > 1:
        chord = 2 * np.sin(np.radians(min(degrees, 180)) / 2)
        links += [(placed[a], placed[b]) for a, b in cKDTree(directions).query_pairs(chord)]
    table = sparse.coo_array((np.ones(len(links)), np.array(links, int).reshape(-1, 2).T), shape=(len(names),) * 2)
    _, label = sparse.csgraph.connected_components(table, directed=False)
    leader: dict[int, str] = {}
    return {name: leader.setdefault(int(one), name) for name, one in zip(names, label, strict=True)}


def splits(
    groups: Iterable[str],
    test_fraction: float,
    validation_fraction: float,
    seed: int,
    inherited: Mapping[str, str] = NONE,
) -> dict[str, str]:
    """Share groups out by a hash of the seed and the name, but for those that have inherited a split.

    Three groups or more leave no wanted split empty: the group whose hash is nearest goes there.
    """
    groups, have = set(groups), set(inherited.values())
    share = {name: _share(f'{seed}:{name}') for name in groups - inherited.keys()}
    ordered = sorted(share, key=lambda name: (share[name], name))
    test = sum(value < test_fraction for value in share.values())
    validation = sum(value < test_fraction + validation_fraction for value in share.values()) - test
    if len(groups) >= 3:
        test = max(test, 1) if test_fraction and 'test' not in have else test
        validation = max(validation, 1) if validation_fraction and 'validation' not in have else validation
        while test + validation > max(0, len(ordered) - ('train' not in have)):
            test, validation = (test - 1, validation) if test > validation else (test, validation - 1)
    names = ['test'] * test + ['validation'] * validation
    names += ['train'] * (len(ordered) - len(names))
    return dict(inherited) | dict(zip(ordered, names, strict=True))


def torn(group_of: Mapping[str, str], earlier: Mapping[str, str]) -> dict[str, set[str]]:
    """Groups whose pictures have come from several splits, and from which."""
    found: dict[str, set[str]] = {}
    for name, group in group_of.items():
        if name in earlier:
            found.setdefault(group, set()).add(earlier[name])
    return {group: came for group, came in found.items() if len(came) > 1}


def _share(text: str) -> float:
    """A number in [0, 1) that is as good as random but always the same."""
    digest = hashlib.sha256(text.encode('utf-8', 'surrogateescape')).digest()
    return int.from_bytes(digest[:8], 'big') / 2**64

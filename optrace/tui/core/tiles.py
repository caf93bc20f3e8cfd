"""Small matrices side by side: a convolution's kernels at a glance, rather than one slice after another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from optrace.tui.core.grid import Array, Grid, Place

LARGEST = 11
"""Rows and columns of a kernel up to which tiles are drawn."""


@dataclass(frozen=True)
class Tiles(Grid):
    """The slices of a value of rank 3 or more as tiles with a gap of one cell between them.

    The next to last of the leading dimensions goes down, the last of them to the right, in as many rows as it takes:
    of a weight [out, in, height, width] each output channel is a row of tiles, one for each input channel.
    """

    across: int = 1

    @property
    def _counts(self) -> tuple[int, int]:
        """Slices downwards and to the right, before the latter are broken into rows of `across`."""
        down, right = math.prod(self.shape[:-3]), self.shape[-3]
        return (1, down) if right == 1 else (down, right)

    @property
    def _broken(self) -> int:
        """Rows of tiles that one step downwards takes."""
        return -(-self._counts[1] // self.across)

    @property
    def rows(self) -> int:
        return self._counts[0] * self._broken * (self.shape[-2] + 1) - 1

    @property
    def columns(self) -> int:
        return min(self.across, self._counts[1]) * (self.shape[-1] + 1) - 1

    def cell(self, place: Place) -> tuple[int, int]:
        flat = int(np.ravel_multi_index(place[:-2], self.slices))
        down, right = divmod(flat, self._counts[1])
        tile_row, tile_column = down * self._broken + right // self.across, right % self.across
        return tile_row * (self.shape[-2] + 1) + place[-2], tile_column * (self.shape[-1] + 1) + place[-1]

    def place(self, row: int, column: int, current: Place) -> Place | None:
        if not (0 <= row < self.rows and 0 <= column < self.columns):
            return None
        (tile_row, inner_row), (tile_column, inner_column) = (
            divmod(row, self.shape[-2] + 1),
            divmod(column, self.shape[-1] + 1),
        )
        down, broken = divmod(tile_row, self._broken)
        right = broken * self.across + tile_column
        if inner_row == self.shape[-2] or inner_column == self.shape[-1] or right >= self._counts[1]:
            return None
        flat = down * self._counts[1] + right
        return (*(int(i) for i in np.unravel_index(flat, self.slices)), inner_row, inner_column)

    def step(self, place: Place, rows: int, columns: int) -> Place:
        """The element so many rows and columns on, over the gaps into the next tile; stops where there is none."""
        for down, right in [(1 if rows > 0 else -1, 0)] * abs(rows) + [(0, 1 if columns > 0 else -1)] * abs(columns):
            row, column = self.cell(place)
            near, far = ((row + times * down, column + times * right) for times in (1, 2))
            place = self.place(*near, place) or self.place(*far, place) or place
        return place

    def window(self, place: Place, rows: int, columns: int) -> tuple[int, int]:
        row, column = self.cell(place)
        return (
            _page(row, self.rows, rows, self.shape[-2] + 1),
            _page(column, self.columns, columns, self.shape[-1] + 1),
        )

    def take(self, value: Array, place: Place, first: tuple[int, int], rows: int, columns: int) -> list[list[Any]]:
        """The elements in view, row by row; None in the gaps."""
        found = []
        for row in range(first[0], min(first[0] + rows, self.rows)):
            places = [self.place(row, first[1] + offset, place) for offset in range(min(columns, self.columns))]
            found.append([None if at is None else value[at] for at in places])
        return found

    def row_label(self, row: int) -> str:
        """The number of the slice downwards beside the first row of its tiles, `+32` where they go on."""
        tile_row, inner = divmod(row, self.shape[-2] + 1)
        down, broken = divmod(tile_row, self._broken)
        if inner:
            return ""
        return f"+{broken * self.across}" if broken else str(down) if self._counts[0] > 1 else "0"

    def column_label(self, column: int) -> str:
        """The number of the slice to the right above the first column of its tiles."""
        tile, inner = divmod(column, self.shape[-1] + 1)
        return "" if inner else str(tile)


def tiled(lengths: Place, room: int, cell: int, least: int = 2) -> Tiles | None:
    """Tiles for a value of this shape in `room` columns, where it is small enough and `least` fit side by side."""
    if len(lengths) < 3 or 0 in lengths or math.prod(lengths[:-2]) < 2 or max(lengths[-2:]) > LARGEST:
        return None
    fit = (room // cell + 1) // (lengths[-1] + 1)
    whole = Tiles(lengths)
    return Tiles(lengths, across=min(fit, whole._counts[1])) if fit >= least else None


def _page(at: int, whole: int, room: int, tile: int) -> int:
    """The first row (or column) in view: whole pages of whole tiles where one fits."""
    if whole <= room:
        return 0
    page = max(1, (room + 1) // tile * tile)
    return at // page * page

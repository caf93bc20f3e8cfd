"""A value of any rank as a grid to look at: its slices, the part in view, and the cursor in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Place = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """How a shape lies on the screen: the last two dimensions are rows and columns, earlier ones are a slice.

    A vector is folded into rows of `fold` columns, a scalar is one cell.
    """

    shape: Place
    fold: int = 1

    @property
    def rows(self) -> int:
        if len(self.shape) < 2:
            return -(-self.length // self.fold) if self.length else 0
        return self.shape[-2]

    @property
    def columns(self) -> int:
        if len(self.shape) < 2:
            return min(self.fold, self.length)
        return self.shape[-1]

    @property
    def length(self) -> int:
        """Elements of a vector or scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def slices(self) -> Place:
        """The dimensions that a slice is chosen in."""
        return self.shape[:-2] if len(self.shape) > 2 else ()

    def cell(self, place: Place) -> tuple[int, int]:
        """Row and column of an element."""
        if len(self.shape) >= 2:
            return place[-2], place[-1]
        return divmod(place[0], self.fold) if place else (0, 0)

    def place(self, row: int, column: int, current: Place) -> Place | None:
        """The element at a row and column of the current slice."""
        if not (0 <= row < self.rows and 0 <= column < self.columns):
            return None
        if len(self.shape) >= 2:
            return (*current[:-2], row, column)
        flat = row * self.fold + column
        if flat >= self.length:
            return None
        return (flat,) if self.shape else ()

    def step(self, place: Place, rows: int, columns: int) -> Place:
        """The element so many rows and columns on, stopping at the edges."""
        if not self.shape or 0 in self.shape:
            return place
        if len(self.shape) == 1:
            return (max(0, min(self.length - 1, place[0] + rows * self.fold + columns)),)
        row, column = place[-2] + rows, place[-1] + columns
        return (*place[:-2], max(0, min(self.rows - 1, row)), max(0, min(self.columns - 1, column)))

    def turn(self, place: Place, by: int) -> Place:
        """The same cell so many slices on."""
        dims = self.slices
        if not dims or 0 in dims:
            return place
        flat = int(np.ravel_multi_index(place[:-2], dims)) + by
        flat = max(0, min(int(np.prod(dims)) - 1, flat))
        return (*(int(i) for i in np.unravel_index(flat, dims)), *place[-2:])

    def window(self, place: Place, rows: int, columns: int) -> tuple[int, int]:
        """The first row and column in view: whole pages, so that it depends on the element alone."""
        row, column = self.cell(place)
        first_row = 0 if self.rows <= rows else min(row // rows * rows, self.rows - rows)
        first_column = 0 if self.columns <= columns else min(column // columns * columns, self.columns - columns)
        return first_row, first_column

    def take(self, value: Array, place: Place, first: tuple[int, int], rows: int, columns: int) -> list[list[Any]]:
        """The elements in view, row by row."""
        top, start = first
        if len(self.shape) >= 2:
            matrix = value[place[:-2]] if len(self.shape) > 2 else value
            return [list(row) for row in matrix[top : top + rows, start : start + columns]]
        flat = value.reshape(-1)
        last = min(top + rows, self.rows)
        return [
            list(flat[row * self.fold + start : min((row + 1) * self.fold, row * self.fold + start + columns)])
            for row in range(top, last)
        ]

    def row_label(self, row: int) -> str:
        """What stands left of a row: its number, of a vector that of its first element."""
        return str(row * (self.fold if len(self.shape) < 2 else 1))

    def column_label(self, column: int) -> str:
        """What stands above a column."""
        return str(column) if column % 5 == 0 else ""


def start(shape: Place) -> Place:
    """The first element."""
    return (0,) * len(shape)


def fitting(place: Place, shape: Place) -> Place:
    """The same element where the shape has it, the first otherwise."""
    if len(place) == len(shape) and all(p < s for p, s in zip(place, shape, strict=True)):
        return place
    return start(shape)

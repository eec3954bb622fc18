"""OBJ files as most are, in one walk over their bytes, by numba: lines of `v` with plain decimals, of `f` with triangles.

In: the bytes of a file. Out: what `obj_mvfer.parse_obj(..., geometry_only=True)` gives, to the last bit; or nothing: whatever is
unusual, or wrong, is left to it and its messages.
"""

import numpy as np

from .numba_mvfer import compiled
from .obj_mvfer import POWERS_OF_TEN


@compiled
def plain_obj(text, vertices, faces):
    """Fill `vertices (N, 3)` float64 and `faces (M, 3)` int64 from `text (L,)` uint8: how many of each, or (-1, -1)."""
    place, num_vertices, num_faces, width = 0, 0, 0, 0
    while place < len(text):
        place = after_blanks(text, place)
        if place == len(text):
            break
        kind, is_alone = text[place], place + 1 == len(text) or text[place + 1] <= 32
        if kind == 118 and is_alone and num_vertices < len(vertices):  # v
            found, place = numbers(text, place + 1, vertices[num_vertices])
            if found < 3 or found == 5 or (width and found != width):
                return -1, -1
            width = found
            num_vertices += 1
        elif kind == 102 and is_alone and num_faces < len(faces):  # f
            place += 1
            for corner in range(3):
                index, place = vertex_of_corner(text, after_blanks(text, place))
                if index < 1:
                    return -1, -1
                faces[num_faces, corner] = index - 1
            place = after_blanks(text, place)
            num_faces += 1
            if not at_end_of_line(text, place):
                return -1, -1
        elif (kind == 118 or kind == 102) and is_alone:
            return -1, -1
        while not at_end_of_line(text, place):
            if text[place] == 92 or text[place] == 13:  # the line goes on in the next one, or ends as of old
                return -1, -1
            place += 1
        place += 1 + (place < len(text) and text[place] == 13)
    return num_vertices, num_faces


@compiled
def after_blanks(text, place):
    """The first place from here that holds neither blank nor tab."""
    while place < len(text) and (text[place] == 32 or text[place] == 9):
        place += 1
    return place


@compiled
def at_end_of_line(text, place):
    """Whether a line ends here, by a line feed, with or without a carriage return before it."""
    return (
        place >= len(text)
        or text[place] == 10
        or (text[place] == 13 and place + 1 < len(text) and text[place + 1] == 10)
    )


@compiled
def numbers(text, place, row):
    """The first three numbers of a line into `row (3,)`: how many there are, or -1, and where the line ends."""
    found = 0
    while True:
        place = after_blanks(text, place)
        if at_end_of_line(text, place):
            return found, place
        begin, is_negative, digits, decimals, value = place, text[place] == 45, 0, -1, np.int64(0)
        place += is_negative
        while place < len(text) and text[place] > 32:
            byte = text[place]
            if 48 <= byte <= 57:
                value = 10 * value + np.int64(byte - 48)
                digits += 1
                decimals += decimals >= 0
            elif byte == 46 and decimals < 0:
                decimals = 0
            else:
                return -1, place
            place += 1
            if place - begin > 18:
                return -1, place
        if not digits or value >= 1 << 53:  # what is below is rounded once, by the division
            return -1, place
        if found < 3:
            number = value / POWERS_OF_TEN[max(decimals, 0)]
            row[found] = -number if is_negative and value else number
        found += 1


@compiled
def vertex_of_corner(text, place):
    """The `v` of `v`, `v/t`, `v//n` or `v/t/n`, or -1, and where it ends."""
    index, slashes, digits = np.int64(0), 0, 0
    while place < len(text) and text[place] > 32:
        byte = text[place]
        if 48 <= byte <= 57 and digits < 9:
            digits += 1
            if not slashes:
                index = 10 * index + np.int64(byte - 48)
        elif byte == 47 and (digits or slashes == 1) and slashes < 2:
            slashes, digits = slashes + 1, 0
        else:
            return -1, place
        place += 1
    return (index if digits else -1), place

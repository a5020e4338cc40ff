"""The rows of a table of fields."""


class Row:
    """A field: how NVML is asked for it, in words and as a function of the entries of the lists that the field is in, and
    what its unit has to be multiplied with."""

    def __init__(self, call, read, factor=1):
        self.call, self.read, self.factor = call, read, factor
        self.compared = 0

    def wanted(self, entries):
        value = self.read(*entries)
        if isinstance(value, bytes):
            value = value.decode()
        return value * self.factor if self.factor != 1 else value


class Told:
    """A field that NVML does not have, and where it is from."""

    def __init__(self, why):
        self.why = why


SLACK = 0.1


def between(reading, before, after):
    """Whether a figure that moves was between these two, or near to one.

    >>> between(60, 55, 62), between(60, 62, 55), between(66, 50, 60), between(67, 50, 60), between(43, 50, 60)
    (True, True, True, False, False)
    >>> between(0, 0, 0), between(1, 0, 0), between(1, 0, None), between([30, 41], [30, 40], [31, 40]), between([30], [], [])
    (True, False, False, True, False)
    """
    if any(isinstance(value, list) for value in (reading, before, after)):
        of_all = isinstance(before, list) and isinstance(after, list) and len(reading) == len(before) == len(after)
        return of_all and all(map(between, reading, before, after))
    if before is None or after is None:
        return False
    low, high = sorted((before, after))
    slack = SLACK * max(abs(low), abs(high))
    return low - slack <= reading <= high + slack


def bits(reading, before, after):
    """The same of a mask: a bit that both have, or have not, is as it is there.

    >>> bits(0b101, 0b100, 0b101), bits(0b100, 0b001, 0b001), bits(0b110, 0b100, 0b101)
    (True, False, False)
    """
    return before is not None and after is not None and before & after == reading & before & after and reading & ~(before | after) == 0

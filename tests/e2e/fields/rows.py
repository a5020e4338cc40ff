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

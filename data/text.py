"""Foreign text in messages: printable and of bounded length."""

from reprlib import Repr

LONGEST_VALUE = 80

# What stands for itself many times over, as YAML's aliases let it, would be written out as often.
_BOUNDED = Repr()
_BOUNDED.maxlevel = 3
_BOUNDED.maxdict = _BOUNDED.maxlist = _BOUNDED.maxtuple = _BOUNDED.maxset = _BOUNDED.maxfrozenset = 12
_BOUNDED.maxstring = _BOUNDED.maxlong = _BOUNDED.maxother = 2 * LONGEST_VALUE


def printable(text: object) -> str:
    """On one line, in text that any file and terminal can hold: what is not printable is escaped."""
    return "".join(each if each.isprintable() else _escaped(each) for each in str(text))


def shown(value: object) -> str:
    """A value as a message quotes it, cut where it is long."""
    return cut(_BOUNDED.repr(value))


def cut(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _escaped(character: str) -> str:
    # Python holds a byte of a file name that is not UTF-8 as one of these.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()

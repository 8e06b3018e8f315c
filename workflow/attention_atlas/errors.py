"""The error a user can act on: it names the file, the row, the value, and what to do."""


class AtlasError(Exception):
    """A problem in what was given, told in full; the command line prints it without a traceback."""


MOST_NAMES, LONGEST_NAME = 40, 200


def nearest(name: str, known: list[str]) -> str:
    """The hint " Did you mean 'x'?" for a mistyped name, or the list of all names where none is near."""
    import difflib

    match = difflib.get_close_matches(str(name)[:LONGEST_NAME], known, n=1)
    if match:
        return f" Did you mean {match[0]!r}?"
    more = f" and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    return f" Known: {', '.join(map(repr, known[:MOST_NAMES]))}{more}." if known else ""

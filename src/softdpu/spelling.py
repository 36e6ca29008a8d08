"""The nearest valid word to one that is not valid, for sentences to the operator."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like this one, or None if none is close. Case does not count."""
    from difflib import get_close_matches  # noqa: PLC0415  # slow to import, and only mistakes need it

    by_fold = {name.casefold(): name for name in known}
    match = get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.5)
    return by_fold[match[0]] if match else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?``, or nothing if no known word is close."""
    found = nearest(word, known)
    return f"; did you mean {found}?" if found else ""

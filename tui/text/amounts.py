"""Numbers as people read them: bytes, durations, rates. In the current language."""

from tui.text.translation import _

GB = 1024**3


def size(count: int) -> str:
    """Bytes in the largest unit that leaves a digit before the point; GB is 1024³ bytes, as GPU makers count."""
    for unit, bytes_in_it in (("GB", GB), ("MB", 1024**2), ("KB", 1024)):
        if count >= bytes_in_it * 0.95:
            return f"{count / bytes_in_it:.1f} {unit}"
    return f"{count} B"


def of_size(part: int, whole: int) -> str:
    """For example "3.2 of 15.8 GB"."""
    return _("{part} of {whole}").format(part=f"{part / GB:.1f}", whole=f"{whole / GB:.1f} GB")


def duration(seconds: float) -> str:
    """For example 0:42, 12:05 or 3:07:59."""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def time_left(seconds: float) -> str:
    """Rounded: nobody needs the seconds of an hour."""
    if seconds < 90:
        return _("{count} s").format(count=max(1, round(seconds)))
    if seconds < 90 * 60:
        return _("{count} min").format(count=round(seconds / 60))
    return _("{hours} h {minutes} min").format(hours=int(seconds // 3600), minutes=int(seconds // 60 % 60))


def rate(tokens: int, seconds: float) -> str:
    """Tokens per second; empty when either is 0."""
    return _("{rate} tokens/s").format(rate=f"{tokens / seconds:.1f}") if tokens and seconds > 0 else ""


def count(number: int) -> str:
    """A large count, for example 1.2 M."""
    for unit, size_of_it in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size_of_it:
            return f"{number / size_of_it:.3g} {unit}"
    return str(number)

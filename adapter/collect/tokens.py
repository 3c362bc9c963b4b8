"""Bearer tokens from files, read anew each time: they are renewed while we run."""

from pathlib import Path

from ..errors import SourceRejectedError

__all__ = ["bearer_headers"]


def bearer_headers(token_file: Path | None, source: str) -> dict[str, str]:
    """Return the header that carries the token, or none without a file.

    Raises
    ------
    SourceRejectedError
        If the file can't be read or is empty; the message names it, never its content.
    """
    if token_file is None:
        return {}
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        detail = f"the token in {token_file} can't be read: {type(exc).__name__}"
        raise SourceRejectedError(source, detail) from exc
    if not token:
        raise SourceRejectedError(source, f"the token in {token_file} is empty")
    return {"Authorization": f"Bearer {token}"}

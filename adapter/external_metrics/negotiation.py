"""Which form of an answer a client gets: its Accept header against what there is. Pure.

Kubernetes names forms by media-type parameters: `as`, `g` and `v` must agree with the
offer's, and a clause without them means the plain form. Other parameters are ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..errors import NotAcceptableError

__all__ = ["Offer", "negotiate", "wants_gzip"]

MAX_CLAUSES = 32


@dataclass(frozen=True, slots=True)
class Offer:
    """A form that can be served; `parameters` is its (as, g, v), empty for a plain one."""

    media_type: str
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def content_type(self) -> str:
        """Return the Content-Type of an answer in this form."""
        return ";".join([self.media_type, *(f"{name}={value}" for name, value in self.parameters)])


@dataclass(frozen=True, slots=True)
class _Clause:
    main: str
    sub: str
    parameters: tuple[tuple[str, str], ...]
    quality: float

    def accepts(self, offer: Offer) -> bool:
        main, _, sub = offer.media_type.partition("/")
        fits = self.main in {"*", main} and self.sub in {"*", sub}
        return fits and sorted(self.parameters) == sorted(offer.parameters)


# Few clients, each with one Accept header: parsing it once is enough.
@lru_cache(maxsize=256)
def negotiate(accept: str, offers: Sequence[Offer]) -> Offer:
    """Return the offer that `accept` prefers; the first offer where it states nothing.

    Raises
    ------
    NotAcceptableError
        If no clause fits an offer; the message lists the offers.
    """
    if not accept.strip():
        return offers[0]
    clauses = sorted(_clauses(accept), key=lambda clause: -clause.quality)
    for clause in clauses:
        for offer in offers:
            if clause.quality > 0 and clause.accepts(offer):
                return offer
    listed = ", ".join(offer.content_type for offer in offers)
    raise NotAcceptableError(f"only the following media types are accepted: {listed}")


def wants_gzip(accept_encoding: str) -> bool:
    """Return whether the client takes gzip."""
    for clause in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in clause.split(";"))
        if coding in {"gzip", "*"}:
            return _quality(dict(_pairs(parameters))) > 0
    return False


def _clauses(accept: str) -> list[_Clause]:
    clauses = []
    for text in accept.split(",")[:MAX_CLAUSES]:
        media_range, *parameters = (part.strip() for part in text.split(";"))
        main, slash, sub = media_range.lower().partition("/")
        if not slash or (main == "*" and sub != "*"):
            continue
        pairs = dict(_pairs(parameters))
        form = tuple((name, pairs[name]) for name in ("g", "v", "as") if name in pairs)
        clauses.append(_Clause(main, sub, form, _quality(pairs)))
    return clauses


def _pairs(parameters: Sequence[str]) -> list[tuple[str, str]]:
    pairs = (parameter.partition("=") for parameter in parameters)
    return [(name.strip().lower(), value.strip().strip('"')) for name, _, value in pairs]


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 1.0

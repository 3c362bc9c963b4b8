"""Encoded answers to metric reads: each made when first asked for, and once per publication.

A list is for machines, which add its values up: it is whole or it is refused, since
leaving one variant out would read as less. A table is for people: it shows every row.
An answer stands until the next publication, or until an age passes a limit.
"""

import gzip
from collections.abc import Mapping, Sequence

from ..clock import Clock
from ..errors import NoMatchError
from ..records import Freshness
from ..store import Edition, Store, describe_variants
from .negotiation import Offer
from .quantity import encode_quantity
from .selector import Selector, parse_selector
from .wire import LIST_FORMS, encode_item, encode_list, encode_table

__all__ = ["GZIP_BYTES", "Answer", "Answers"]

# Below it, compressing costs more than the network saves.
GZIP_BYTES = 32 * 1024
# Selectors come from outside: what is remembered for them has a bound.
MAX_KEPT_BYTES = 32 * 1024 * 1024
_KEY_BYTES = 512


class Answer:
    """One encoded body; the compressed form is made when first asked for."""

    __slots__ = ("_compressed", "body", "valid_until_s")

    def __init__(self, body: bytes, valid_until_s: float) -> None:
        self.body = body
        self.valid_until_s = valid_until_s
        self._compressed: bytes | None = None

    @property
    def compressed(self) -> bytes:
        """Return the body under gzip."""
        if self._compressed is None:
            self._compressed = gzip.compress(self.body, compresslevel=1, mtime=0)
        return self._compressed


class Answers:
    """Answers reads from the store.

    Attributes
    ----------
    encoded : int
        How many answers were encoded so far; the others were remembered ones.
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._edition: Edition | None = None
        self._kept: dict[tuple[Offer, str, str, str], Answer] = {}
        self._kept_bytes = 0
        self._items: dict[tuple[str, int, Freshness], bytes] = {}
        self.encoded = 0

    def answer(self, form: Offer, namespace: str, metric: str, selector: str) -> Answer:
        """Return the answer for the variants of `namespace` that `selector` matches.

        Raises
        ------
        UnknownMetricError, StalePublicationError, NoMatchError, BadSelectorError
            As `Store.read`; a selector that matches nothing is never an empty list, which
            HPA would show without a reason.
        """
        now_s = self._clock.monotonic_s()
        edition = self._store.edition
        if edition is not self._edition:
            self._forget(edition)
        key = (form, namespace, metric, selector)
        kept = self._kept.get(key)
        if kept is not None and now_s <= kept.valid_until_s:
            return kept
        answer = self._encode(form, namespace, metric, selector)
        size = len(answer.body) + _KEY_BYTES + len(selector)
        if self._kept_bytes + size > MAX_KEPT_BYTES:
            self._forget(edition)
        self._kept[key] = answer
        self._kept_bytes += size
        return answer

    def _forget(self, edition: Edition | None) -> None:
        self._edition = edition
        self._kept.clear()
        self._items.clear()
        self._kept_bytes = 0

    def _encode(self, form: Offer, namespace: str, metric: str, selector: str) -> Answer:
        name = self._store.metric(metric, namespace=namespace)
        wanted = parse_selector(selector)
        edition = self._store.current()
        rows = matching(edition, namespace, wanted)
        if not rows:
            raise NoMatchError(_no_match(edition, namespace, name, selector))
        now_s = self._clock.monotonic_s()
        if form is LIST_FORMS[0]:
            body = encode_list([self._item(edition, name, row, now_s) for row in rows])
        else:
            version = dict(form.parameters)["v"]
            body = encode_table(version, [_cells(edition, name, row, now_s) for row in rows])
            # Ages are shown: a table is made anew for each look.
            return Answer(body, now_s)
        self.encoded += 1
        return Answer(body, edition.valid_until_s(rows, now_s))

    def _item(self, edition: Edition, metric: str, row: int, now_s: float) -> bytes:
        key = (metric, row, edition.freshness(row, now_s))
        item = self._items.get(key)
        if item is None:
            value = edition.value(metric, row, now_s)
            read_unix_s = float(edition.publication.read_unix_s[row])
            item = encode_item(metric, edition.publication.labels[row], value, read_unix_s)
            self._items[key] = item
        return item


def matching(edition: Edition, namespace: str, selector: Selector) -> Sequence[int]:
    """Return the rows of the namespace's variants that `selector` matches.

    A selector that fixes `variant_name` is answered from the index.
    """
    labels: Sequence[Mapping[str, str]] = edition.publication.labels
    names = selector.pinned("variant_name")
    if names is None:
        candidates = edition.rows(namespace)
    else:
        found = (edition.row(namespace, name) for name in sorted(names))
        candidates = [row for row in found if row is not None]
    return [row for row in candidates if selector.matches(labels[row])]


def _cells(edition: Edition, metric: str, row: int, now_s: float) -> list[str]:
    labels = edition.publication.labels[row]
    value = edition.served(metric, row, now_s)
    age_s = edition.age_s(row, now_s)
    return [
        edition.publication.variants[row].name,
        "<unknown>" if value is None else encode_quantity(value),
        edition.freshness(row, now_s).name.lower(),
        f"{age_s:.0f}s" if age_s < float("inf") else "never read",
        labels.get("model_name", ""),
        labels.get("accelerator_type", ""),
        edition.publication.message[row],
    ]


def _no_match(edition: Edition, namespace: str, metric: str, selector: str) -> str:
    variants = describe_variants(edition, namespace)
    shown = f"selector {selector!r}" if selector else "a variant"
    return f"{metric}: nothing matches {shown} in namespace {namespace!r}, which has {variants}"

"""The objects that events and statuses are about, as a publication names them. Pure."""

from typing import NamedTuple

from ..records import Publication, VariantKey

__all__ = ["Subject", "parse_subject", "subjects_of"]

_KINDS = {
    "HPA": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "ScaledObject": ("keda.sh/v1alpha1", "ScaledObject"),
    "VariantAutoscaling": ("llmd.ai/v1alpha1", "VariantAutoscaling"),
}


class Subject(NamedTuple):
    """One object of the cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """Return where the API server has it."""
        place = f"{self.namespace}/{self.kind.lower()}s/{self.name}"
        return f"/apis/{self.api_version}/namespaces/{place}"


def parse_subject(text: str) -> Subject | None:
    """Return the object that "KIND NAMESPACE/NAME" names; None if it names none of the known."""
    kind, _, place = text.partition(" ")
    namespace, _, name = place.partition("/")
    if kind not in _KINDS or not namespace or not name or " " in name:
        return None
    return Subject(*_KINDS[kind], namespace, name)


def subjects_of(publication: Publication) -> dict[VariantKey, Subject]:
    """Return what declares each variant; those that the settings declare have no object."""
    declared = publication.texts.get("declared_by")
    if declared is None:
        return {}
    found = zip(publication.variants, map(parse_subject, declared), strict=True)
    return {key: subject for key, subject in found if subject is not None}

"""Is the adapter there, may it do what it does, and does the API server lead to it?"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from .behavior import minor_of
from .evidence import ADAPTER, API_SERVICE, Evidence, Object, Right, Unread, condition, dig
from .findings import Finding, fail, ok, skip, warn
from .followers import metrics_of_ours
from .rights import YOU

__all__ = ["check_installation"]

OLDEST_MINOR = 29
CLOCK_WARN_S = 5.0
# A leader renews every few seconds and is replaced within 15 s.
LEASE_FRESH_S = 30.0


def check_installation(seen: Evidence) -> Iterator[Finding]:
    """Yield findings on the cluster and the adapter in it."""
    yield _version(seen)
    yield _deployment(seen)
    yield from _pods(seen)
    yield _api_service(seen)
    yield from _rights(seen)
    yield from _leader(seen)
    yield _clock(seen)


def _version(seen: Evidence) -> Finding:
    if not isinstance(seen.version, dict):
        return skip("kubernetes", "version", _why(seen.version, "the API server doesn't say"))
    text = dig(seen.version, "gitVersion", default="unknown")
    minor = minor_of(seen)
    if minor is not None and minor < OLDEST_MINOR:
        return warn(
            "kubernetes",
            "version",
            f"{text} is older than 1.{OLDEST_MINOR}, the oldest that is tested",
            "upgrade the cluster",
        )
    return ok("kubernetes", "version", text)


def _deployment(seen: Evidence) -> Finding:
    subject = f"{seen.namespace}/{ADAPTER}"
    if isinstance(seen.deployment, Unread):
        return skip("adapter", subject, seen.deployment.reason)
    if seen.deployment is None:
        return skip("adapter", subject, "not installed", "make install")
    wanted = dig(seen.deployment, "spec", "replicas", default=1)
    ready = dig(seen.deployment, "status", "readyReplicas", default=0)
    if ready == 0:
        return fail(
            "adapter",
            subject,
            f"none of {wanted} pods is ready",
            f"kubectl -n {seen.namespace} describe pods -l app.kubernetes.io/name={ADAPTER}",
        )
    if ready < wanted:
        return warn(
            "adapter",
            subject,
            f"{ready} of {wanted} pods are ready",
            f"kubectl -n {seen.namespace} get pods",
        )
    return ok("adapter", subject, f"{ready} of {wanted} pods are ready")


def _pods(seen: Evidence) -> Iterator[Finding]:
    """Yield what keeps a container from running, in the kubelet's words."""
    if isinstance(seen.pods, Unread):
        return
    for pod in seen.pods:
        name = f"{seen.namespace}/{dig(pod, 'metadata', 'name')}"
        for status in dig(pod, "status", "containerStatuses", default=()):
            waiting = dig(status, "state", "waiting")
            if waiting is not None:
                words = f"{waiting.get('reason', '')}: {waiting.get('message', '')}"
                remedy = f"kubectl -n {seen.namespace} logs {name.partition('/')[2]} --previous"
                yield fail("adapter", name, words.rstrip(": "), remedy)


def _api_service(seen: Evidence) -> Finding:
    found = seen.api_service
    if isinstance(found, Unread):
        return skip("apiservice", API_SERVICE, found.reason)
    asked = any(metrics_of_ours(hpa) for hpa in _listed(seen.hpas))
    if found is None:
        return _no_api_service(seen, asked=asked)
    owner = "{}/{}".format(
        dig(found, "spec", "service", "namespace"), dig(found, "spec", "service", "name")
    )
    if owner != f"{seen.namespace}/{ADAPTER}":
        return _foreign(owner, asked=asked)
    return _available(found, owner)


def _no_api_service(seen: Evidence, *, asked: bool) -> Finding:
    if seen.deployment is None:
        return ok("apiservice", API_SERVICE, "nobody has it: overlay hpa can be installed")
    if not asked:
        return skip("apiservice", API_SERVICE, "there is none; KEDA needs none")
    return fail(
        "apiservice",
        API_SERVICE,
        "there is none, and an HPA asks for our metric: the leader makes it if it may",
        "make install OVERLAY=hpa",
    )


def _foreign(owner: str, *, asked: bool) -> Finding:
    message = f"{owner} has it, and a cluster has one: stock HPA can't reach the adapter, KEDA can"
    remedy = (
        "make install OVERLAY=keda, and a ScaledObject in place of the HPA: "
        "manifests/examples/scaled-object.yaml"
    )
    if asked:
        return fail("apiservice", API_SERVICE, f"{message}; an HPA asks for our metric", remedy)
    return warn("apiservice", API_SERVICE, message, remedy)


def _available(found: Object, owner: str) -> Finding:
    available = condition(found, "Available")
    if available.get("status") != "True":
        words = f"{available.get('reason', 'unknown')}: {available.get('message', '')}".rstrip(": ")
        return fail(
            "apiservice",
            API_SERVICE,
            f"{owner} isn't available ({words}), and until it is no namespace can be deleted",
            f"kubectl -n {owner.partition('/')[0]} get pods,endpointslices",
        )
    if dig(found, "spec", "insecureSkipTLSVerify", default=False):
        return warn(
            "apiservice",
            API_SERVICE,
            f"{owner} is available, its certificate isn't checked (insecureSkipTLSVerify)",
            f"kubectl edit apiservice {API_SERVICE}: caBundle in its place",
        )
    return ok("apiservice", API_SERVICE, f"{owner} has it and is available")


def _rights(seen: Evidence) -> Iterator[Finding]:
    """Yield each right that is missing, and one line for those that are there."""
    unknown = [right for right in seen.rights if right.allowed is None]
    for right in seen.rights:
        if right.allowed is False:
            yield _missing(right)
    if unknown:
        rights = f"{len(unknown)} rights of {unknown[0].who}"
        yield skip("rbac", rights, unknown[0].why_unknown, "ask as a cluster administrator")
    for who, good in Counter(right.who for right in seen.rights if right.allowed).items():
        yield ok("rbac", who, f"{good} rights, as needed")


def _missing(right: Right) -> Finding:
    where = f" in {right.namespace}" if right.namespace else ""
    flag = f" -n {right.namespace}" if right.namespace else " -A"
    message = f"may not {right.verb} {right.resource}{where}: {right.needed_for}"
    if right.who == YOU:
        return fail("rbac", YOU, message, "let a cluster administrator install it")
    look = f"kubectl auth can-i {right.verb} {right.resource}{flag} --as {right.who}"
    return fail("rbac", right.who, message, f"make install; then {look}")


def _leader(seen: Evidence) -> Iterator[Finding]:
    if seen.deployment is None or seen.lease is None:
        return
    subject = f"{seen.namespace}/{ADAPTER}"
    if isinstance(seen.lease, Unread):
        yield skip("leader", subject, seen.lease.reason)
        return
    holder = dig(seen.lease, "spec", "holderIdentity", default="")
    renewed = dig(seen.lease, "spec", "renewTime")
    if not holder or renewed is None:
        yield fail("leader", subject, "nobody holds the lease", _logs(seen))
        return
    if seen.server_unix_s is None:
        yield skip("leader", subject, f"{holder}; when it renewed can't be told")
        return
    age_s = seen.server_unix_s - datetime.fromisoformat(renewed).timestamp()
    if age_s > LEASE_FRESH_S:
        yield fail("leader", subject, f"{holder} hasn't renewed for {age_s:.0f} s", _logs(seen))
    elif age_s < -CLOCK_WARN_S:
        message = f"{holder} renewed {-age_s:.0f} s in the future: its clock is ahead"
        yield warn("leader", subject, message, "set the clocks of the nodes (chrony, ntpd)")
    else:
        yield ok("leader", subject, f"{holder}, renewed {max(age_s, 0.0):.0f} s ago")


def _clock(seen: Evidence) -> Finding:
    if seen.clock_ahead_s is None:
        return skip("clock", "this machine", "the API server's answer has no date")
    if abs(seen.clock_ahead_s) > CLOCK_WARN_S:
        words = "ahead of" if seen.clock_ahead_s > 0 else "behind"
        return warn(
            "clock",
            "this machine",
            f"{abs(seen.clock_ahead_s):.0f} s {words} the API server's: ages shown here are off",
            "set the clock (chrony, ntpd)",
        )
    return ok("clock", "this machine", "agrees with the API server's within 5 s")


def _logs(seen: Evidence) -> str:
    return f"kubectl -n {seen.namespace} logs deployment/{ADAPTER}"


def _listed(found: tuple[Object, ...] | Unread) -> tuple[Object, ...]:
    return () if isinstance(found, Unread) else found


def _why(found: object, otherwise: str) -> str:
    return found.reason if isinstance(found, Unread) else otherwise

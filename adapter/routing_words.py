"""By what law a variant gets its requests, and what that makes of a replica, in words. Pure."""

from optimizer import Basis, Law, Plan

__all__ = ["routing_words"]

_BASIS = {
    Basis.DECLARED: "declared",
    Basis.MEASURED: "as the variants' shares show",
    Basis.ASSUMED: "assumed: nothing shows another yet",
}


def routing_words(plan: Plan) -> tuple[str, ...]:
    """Return, for each variant, the law, why it is taken for that, and what it comes to."""
    columns = (plan.law, plan.law_basis, plan.capacity_rps, plan.routed_rps)
    return tuple(_words(*row) for row in zip(*(c.tolist() for c in columns), strict=True))


def _words(law: int, basis: int, own_rps: float, beside_rps: float) -> str:
    name = "by capacity" if law == Law.LEARNED else Law(law).name.lower()
    text = f"{name} ({_BASIS[Basis(basis)]})"
    if beside_rps == 0.0 < own_rps:
        return f"{text}: left out, its replicas would be full first and hold the others back"
    if beside_rps < own_rps * (1.0 - 1e-6):
        return f"{text}: carries {beside_rps:.3g}/s beside its siblings, {own_rps:.3g}/s by itself"
    return text
